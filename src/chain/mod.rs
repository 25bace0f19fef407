//! The reference chain: proof of work over SHA-256, a pool, and a store that survives `kill -9`.
//!
//! The engine knows only the [`Chain`](crate::proto::sync::chain::Chain) trait; this is one implementation of it, small
//! enough to read and complete enough to run. Its formats are in [`wire::protocol`](crate::wire::protocol), section 8. Accounts are names without keys
//! and may go below zero: the chain orders transfers, it does not police them.
//!
//! | file          | why it is there                                                            |
//! |---------------|----------------------------------------------------------------------------|
//! | `transaction` | a transfer and its bytes                                                   |
//! | `block`       | headers and blocks and their bytes                                         |
//! | `merkle`      | the transaction root                                                       |
//! | `pow`         | what valid work is, and the search for it                                  |
//! | `genesis`     | the two numbers that make a network, and its first block                   |
//! | `rules`       | what can be judged of a block without knowing its ancestors                |
//! | `index`       | the tree of blocks in memory: work, ancestors, the best chain              |
//! | `mempool`     | transactions that wait for a block                                         |
//! | `gossip`      | the layouts of what this chain only passes on                               |
//! | `store`       | the blocks on disk, and what is promised of them                           |
//! | `writer`      | its helper thread                                                          |
//! | `log`         | the segments as who writes them sees them                                  |
//! | `places`      | where each block stands, and reading it                                    |
//! | `open`        | opening a store, and the ways in which one is not ours                     |
//! | `scan`        | reading a segment: where its records end, and whether that is damage       |
//! | `record`      | the bytes of segments and records, with their checksums                    |
//! | `storage`     | where segments lie                                                         |
//! | `off_loop`    | judging large blocks and reading any on other threads than the loop's        |
//! | `elsewhere`   | handing over to them, and what is left for the loop when they are done       |
//! | `workers`     | those threads, and the queue before them                                   |
//! | `settle`      | what a move of the best chain means for the pool                           |
//! | `returning`   | abandoned blocks whose transactions are on their way back                  |
//! | `reorganisations` | how often the best chain left blocks behind                            |
//! | `reading`     | blocks for whoever looks at a running node                                 |
//! | `served`      | blocks that were read lately                                               |
//! | `reference`   | [`ReferenceChain`]: all of these behind the engine's trait                 |
//! | `verify`      | looking at a chain: iteration, balances, full verification                 |

pub mod block;
mod elsewhere;
mod entering;
pub mod genesis;
mod gossip;
pub(crate) mod health;
mod index;
mod keeping;
mod log;
pub mod mempool;
pub mod merkle;
pub(crate) mod off_loop;
mod open;
mod places;
pub mod pow;
mod read;
mod reading;
mod record;
pub mod reference;
mod reorganisations;
mod returning;
mod rules;
mod scan;
mod served;
mod settle;
mod side_leaves;
mod storage;
pub mod store;
pub mod transaction;
pub mod verify;
mod workers;
mod writer;

pub use block::{Block, Header};
pub use genesis::{Params, ParamsError};
pub use mempool::Mempool;
pub use open::OpenError;
pub use pow::Miner;
pub use reading::BlockReader;
pub use reference::ReferenceChain;
pub use reorganisations::Reorganisations;
pub use rules::{check_block, check_transaction};
#[cfg(feature = "sim")]
pub(crate) use storage::{Access, Lock, SegmentFile, Storage};
pub use store::{Health, Store, StoreError};
pub use transaction::Transaction;
pub use verify::{VerifyError, VerifyReport};

use sha2::{Digest, Sha256};

use crate::wire::Hash;

/// SHA-256 of `bytes`: the name of a header or a transaction.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}
