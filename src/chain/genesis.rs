//! The two numbers that make a network, and the first block they make.
//!
//! The protocol spells out every byte of genesis but leaves no place for the reward, while nodes that disagree on it must
//! not take each other for the same network. The reward therefore goes into the one free field, the nonce of the genesis
//! transaction, as `reward XOR 50`: zero for the default reward, so that the default network's genesis is byte for byte
//! the protocol's, and different for every other reward.

use core::fmt;

use bytes::Bytes;

use crate::chain::block::{Block, Header};
use crate::chain::pow::MAX_DIFFICULTY;
use crate::chain::transaction::{NETWORK, Transaction};
use crate::time::UnixTime;
use crate::wire::Hash;

/// The reward whose genesis is the protocol's, to the byte.
pub const DEFAULT_REWARD: u64 = 50;
/// The difficulty of the default network.
pub const DEFAULT_DIFFICULTY: u8 = 2;

/// When the first block says it was made, in Unix milliseconds.
const TIME: UnixTime = UnixTime::from_millis(1_700_000_000_000);

/// What the nodes of one network agree on before they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    difficulty: u8,
    reward: u64,
}

/// The difficulty is above [`MAX_DIFFICULTY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamsError;

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the difficulty must be at most {MAX_DIFFICULTY}")
    }
}

impl std::error::Error for ParamsError {}

impl Default for Params {
    fn default() -> Self {
        Params { difficulty: DEFAULT_DIFFICULTY, reward: DEFAULT_REWARD }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "difficulty {}, reward {}", self.difficulty, self.reward)
    }
}

impl Params {
    /// A network whose blocks start with `difficulty` zeros and pay `reward`.
    ///
    /// # Errors
    ///
    /// When the difficulty is above [`MAX_DIFFICULTY`].
    pub fn new(difficulty: u8, reward: u64) -> Result<Params, ParamsError> {
        if difficulty > MAX_DIFFICULTY { Err(ParamsError) } else { Ok(Params { difficulty, reward }) }
    }

    /// How many hexadecimal zeros a header's hash starts with.
    pub fn difficulty(&self) -> u8 {
        self.difficulty
    }

    /// What each block after genesis pays its miner.
    pub fn reward(&self) -> u64 {
        self.reward
    }

    /// The network's first block.
    pub fn genesis(&self) -> Block {
        let nonce = self.reward ^ DEFAULT_REWARD;
        let transaction = Transaction { sender: NETWORK, recipient: "genesis", amount: 0, time: TIME, nonce };
        let (previous, root) = (Hash::ZERO, Hash::ZERO);
        let header = Header { height: 0, previous, root, time: TIME, difficulty: self.difficulty, nonce: 0 };
        // Both names are constants that encode; `genesis_is_the_protocols` would notice if they did not.
        let transactions: Vec<Bytes> = transaction.encode().into_iter().collect();
        let mut block = Block { header, transactions };
        block.seal();
        block
    }

    /// The parameters that a genesis block was made from; `None` when it is not a genesis block.
    pub fn of_genesis(block: &Block) -> Option<Params> {
        let first = block.transactions.first()?;
        let reward = Transaction::decode(first).ok()?.nonce ^ DEFAULT_REWARD;
        let params = Params::new(block.header.difficulty, reward).ok()?;
        (params.genesis() == *block).then_some(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The genesis hash of difficulty 2, spelled out from the protocol's text with nothing of this crate but SHA-256.
    fn spelled_out() -> [u8; 32] {
        let time = 1_700_000_000_000i64.to_le_bytes();
        let mut transaction = vec![1, 7, 0];
        transaction.extend(b"network");
        transaction.extend([7, 0]);
        transaction.extend(b"genesis");
        transaction.extend([0; 8]);
        transaction.extend(time);
        transaction.extend([0; 8]);
        let id = Sha256::digest(&transaction);
        let root = Sha256::digest([&[0u8][..], &id[..]].concat());
        let mut header = vec![1, 0, 0, 0];
        header.extend([0; 8]);
        header.extend([0; 32]);
        header.extend(&root[..]);
        header.extend(time);
        header.push(2);
        header.extend([0; 8]);
        Sha256::digest(&header).into()
    }

    #[test]
    fn genesis_is_the_protocols() {
        let genesis = Params::default().genesis();
        assert_eq!(genesis.header.hash(), Hash(spelled_out()));
        assert_eq!(genesis.header.hash().to_string(), PINNED);
        assert_eq!(genesis.transactions.len(), 1);
    }

    #[test]
    fn networks_that_differ_in_difficulty_or_reward_have_different_ids() {
        let mut seen = std::collections::BTreeSet::new();
        for difficulty in 0..=MAX_DIFFICULTY {
            for reward in [0, 1, 49, 50, 51, u64::MAX] {
                let params = Params::new(difficulty, reward).unwrap();
                assert!(seen.insert(params.genesis().header.hash()));
                assert_eq!(Params::of_genesis(&params.genesis()), Some(params));
            }
        }
        assert_eq!(Params::new(MAX_DIFFICULTY + 1, 50), Err(ParamsError));
    }

    #[test]
    fn a_block_that_is_not_a_genesis_names_no_network() {
        let mut block = Params::default().genesis();
        block.header.nonce = 1;
        assert_eq!(Params::of_genesis(&block), None);
    }

    const PINNED: &str = "9c5a6a5d81a69c35be28289be36a81805a4bd13387b0850ded1f1fc2e960a9f2";
}
