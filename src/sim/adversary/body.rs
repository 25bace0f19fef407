//! What an attacker keeps of the headers and blocks that it makes.

use crate::chain::Block;

/// Branches of a header thrasher.
pub(super) const BRANCHES: usize = 3;

/// Transactions under one root, for blocks of one height.
pub(super) struct Body {
    pub(super) height: u64,
    pub(super) block: Block,
}
