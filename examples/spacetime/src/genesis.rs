//! The genesis file: what the nodes of a network agree on.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::{from_hex, to_hex};
use crate::crypto::{NO_KEY, PublicKey, SecretKey, sha256};
use crate::difficulty::Pace;
use crate::format::{Block, Header, Proof, Transaction, VERSION};

/// A network, as its file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of the file")]
pub struct Genesis {
    pub network: String,
    /// Hexadecimal. Agreed on as bytes, and not checked.
    pub block: String,
    /// Seconds.
    pub target_block_time: u64,
    pub adjustment_interval: u64,
    pub dampening: u32,
}

impl Genesis {
    /// A new network that begins at `time` and grants coins to some keys.
    ///
    /// # Errors
    ///
    /// When the system has no randomness for the key that signs it, which nobody keeps.
    pub fn new(
        network: &str,
        time: i64,
        difficulty: i64,
        grants: &[(PublicKey, i64)],
    ) -> Result<Self, getrandom::Error> {
        let maker = SecretKey::random()?;
        let grant = |(recipient, amount): &(PublicKey, i64)| {
            let mut transaction = Transaction {
                version: VERSION,
                sender: NO_KEY,
                recipient: *recipient,
                amount: *amount,
                nonce: 0,
                fee: 0,
                signature: [0; 64],
            };
            transaction.sign(&maker);
            transaction
        };
        let mut block = Block {
            header: Header {
                version: VERSION,
                parent: [0; 32],
                height: 0,
                time,
                difficulty,
                epoch: 0,
                challenge: sha256(&[network.as_bytes()]),
                plot_root: [0; 32],
                score: [0; 32],
                transaction_root: [0; 32],
                miner: maker.public(),
                signature: [0; 64],
            },
            transactions: grants.iter().map(grant).collect(),
            proof: Proof {
                leaf: [0; 32],
                leaf_index: 0,
                path: Vec::new(),
                leaf_count: 1,
                plot_id: [0; 32],
                plot_header: [0; 32],
                plot_version: VERSION,
            },
        };
        block.header.transaction_root = block.transaction_root();
        block.header.sign(&maker);
        Ok(Genesis {
            network: network.to_owned(),
            block: to_hex(&block.encode()),
            target_block_time: 10,
            adjustment_interval: 100,
            dampening: 4,
        })
    }

    /// The first block: its bytes, and what they say.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn decoded(&self) -> Result<(Vec<u8>, Block), &'static str> {
        let bytes = from_hex(&self.block).ok_or("\"block\" is not hexadecimal")?;
        let block = Block::decode(&bytes).ok_or("\"block\" is not a block")?;
        if block.header.height != 0 || block.header.difficulty < 1 {
            return Err("\"block\" is no first block");
        }
        let numbers = [self.target_block_time, self.adjustment_interval, u64::from(self.dampening)];
        if !numbers.iter().all(|number| (1..=1_000_000).contains(number)) {
            return Err("\"target_block_time\", \"adjustment_interval\" and \"dampening\" are 1 to 1,000,000");
        }
        Ok((bytes, block))
    }

    /// How the difficulty moves.
    pub fn pace(&self) -> Pace {
        Pace {
            target_block_time: Duration::from_secs(self.target_block_time),
            interval: self.adjustment_interval,
            dampening: self.dampening,
        }
    }
}
