//! What several tests need: keys, networks with a difficulty of one, and blocks for them.

#![allow(dead_code, reason = "each test uses its part")]

use spacetime_example::crypto::{Hash, PublicKey, SecretKey, sha256};
use spacetime_example::difficulty::meets;
use spacetime_example::format::{Block, Header, Proof, Transaction, VERSION};
use spacetime_example::genesis::Genesis;
use spacetime_example::plot::PlotHeader;
use spacetime_example::rules::{Place, challenge_after};

/// When these networks began.
pub const BEGAN: i64 = 1_700_000_000;

/// A key by its number.
pub fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number.max(1); 32]).unwrap()
}

/// A network in which keys 1 to 4 have a thousand coins each.
pub fn network() -> Genesis {
    let grants: Vec<(PublicKey, i64)> = (1..=4).map(|number| (key(number).public(), 1000)).collect();
    Genesis::new("tests", BEGAN, 1, &grants).unwrap()
}

/// Random numbers, the same for each seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

pub fn payment(sender: &SecretKey, recipient: PublicKey, amount: i64, nonce: i64, fee: i64) -> Transaction {
    let mut transaction =
        Transaction { version: VERSION, sender: sender.public(), recipient, amount, nonce, fee, signature: [0; 64] };
    transaction.sign(sender);
    transaction
}

/// A proof from a plot of one leaf that is good enough.
pub fn proof(challenge: &Hash, difficulty: i64, salt: u64) -> Proof {
    let leaf = |round: u64| sha256(&[&salt.to_le_bytes(), &round.to_le_bytes()]);
    let leaf = (0..).map(leaf).find(|leaf| meets(&sha256(&[challenge, leaf]), difficulty)).unwrap();
    let mut proof = Proof {
        leaf,
        leaf_index: 0,
        path: Vec::new(),
        leaf_count: 1,
        plot_id: sha256(&[&salt.to_le_bytes()]),
        plot_header: [0; 32],
        plot_version: VERSION,
    };
    let header = PlotHeader { seed: proof.plot_id, leaves: 1, tree_height: 0, root: proof.root() };
    proof.plot_header = header.hash();
    proof
}

/// A block at a place; blocks of one place and another salt differ.
pub fn block(place: &Place, transactions: Vec<Transaction>, miner: &SecretKey, salt: u64) -> Block {
    let height = place.parent_height + 1;
    let challenge = challenge_after(&place.parent, height);
    let proof = proof(&challenge, place.difficulty, salt);
    let mut block = Block {
        header: Header {
            version: VERSION,
            parent: place.parent,
            height,
            time: BEGAN + 10 * height,
            difficulty: place.difficulty,
            epoch: height,
            challenge,
            plot_root: proof.root(),
            score: proof.score(&challenge),
            transaction_root: [0; 32],
            miner: miner.public(),
            signature: [0; 64],
        },
        transactions,
        proof,
    };
    block.header.transaction_root = block.transaction_root();
    block.header.sign(miner);
    block
}

/// So many blocks on a place of difficulty one, one on the other. The difficulty stays, for each takes its time.
pub fn line(mut place: Place, count: usize, salt: u64) -> Vec<Block> {
    let mut blocks = Vec::new();
    for _ in 0..count {
        let next = block(&place, Vec::new(), &key(9), salt);
        place = Place { parent: next.header.hash(), parent_height: next.header.height, ..place };
        blocks.push(next);
    }
    blocks
}
