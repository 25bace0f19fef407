//! What can be judged of a header or a block without knowing its ancestors.
//!
//! The order matters for blame. A block's hash names its header, and the header's root names its transactions. Whatever is
//! wrong before the root was found to match may be the work of whoever passed the block on, so it is `mutated`; whatever is
//! wrong after it was committed to by the miner, so the block itself is invalid for ever.

use core::time::Duration;
use std::collections::HashSet;

use bytes::Bytes;

use crate::chain::block::{Block, HEADER_LEN, Header, MAX_BLOCK_LEN, MAX_TRANSACTIONS};
use crate::chain::genesis::Params;
use crate::chain::transaction::{self, Transaction};
use crate::chain::{merkle, pow};
use crate::proto::sync::chain::{HeaderError, HeaderInfo, Rejection};
use crate::time::UnixTime;
use crate::wire::Hash;

/// How far a header's time may be ahead of ours: more than honest clocks differ, as in Bitcoin.
pub(super) const MAX_AHEAD: Duration = Duration::from_secs(2 * 60 * 60);

/// Blocks whose times' median the next one must keep to, as in Bitcoin.
pub(super) const MEDIAN_OF: usize = 11;
/// Branches whose median time is before this one do not have the rule of [`in_order`]: chains from before it stay valid, in
/// every node alike, for this is decided by what stands in them.
const IN_ORDER_FROM: UnixTime = UnixTime::from_millis(1_795_910_400_000);

/// Checks a header's time against its branch: it is not below the median of the eleven blocks before it. Without this, who finds
/// a block may say any time of the past, and times tell nothing. Equal times are right: the clock of a header has
/// milliseconds, and a chain of little work has several blocks in each; were they to grow, they would run ahead of it.
///
/// Of headers alone this is not asked, so a branch that breaks it is found out with its first such block. Its work is as
/// real as any, and work is all that the storing of headers has to be paid with.
pub(super) fn in_order(median: UnixTime, time: UnixTime) -> Result<(), Rejection> {
    if time < median && median >= IN_ORDER_FROM {
        return Err(Rejection::invalid("time is before the median of the eleven blocks before it"));
    }
    Ok(())
}

/// Decodes a header and checks all that it proves alone. `genesis` passes by its hash: its work is not checked.
pub(super) fn header(
    params: &Params,
    genesis: &Hash,
    now: UnixTime,
    bytes: &[u8],
) -> Result<(Header, HeaderInfo), HeaderError> {
    let invalid = |why| Err(HeaderError::Invalid(Rejection::invalid(why)));
    let Some(header) = Header::decode(bytes) else {
        return invalid("not a header of version 1");
    };
    let hash = header.hash();
    let work = pow::work(params.difficulty());
    let info = HeaderInfo { hash, previous: header.previous, height: header.height, work };
    if hash == *genesis {
        return Ok((header, info));
    }
    if header.height == 0 {
        return invalid("another genesis");
    }
    if header.difficulty != params.difficulty() {
        return invalid("not the chain's difficulty");
    }
    if !pow::meets(&hash, header.difficulty) {
        return invalid("not enough work");
    }
    if header.time > now.plus(MAX_AHEAD) {
        return Err(HeaderError::Early);
    }
    Ok((header, info))
}

/// Checks everything under a header that passed: framing, root, each transaction, the reward. That header as the block has
/// it, and the transactions' ids.
pub(super) fn body(params: &Params, bytes: &Bytes) -> Result<(Header, Vec<Hash>), Rejection> {
    if bytes.len() > MAX_BLOCK_LEN {
        return Err(Rejection::mutated("block above the wire's largest payload"));
    }
    let block = Block::decode(bytes).ok_or(Rejection::mutated("block with wrong framing"))?;
    // Before they are hashed. That the root names them all is not known yet.
    if block.transactions.len() > MAX_TRANSACTIONS {
        return Err(Rejection::mutated("more transactions than a block may have"));
    }
    let ids = block.ids();
    if merkle::root(&ids) != block.header.root {
        return Err(Rejection::mutated("transactions are not the ones of the root"));
    }
    if ids.is_empty() {
        return Err(Rejection::invalid("block without a reward"));
    }
    let mut seen = HashSet::with_capacity(ids.len());
    for (position, (bytes, id)) in block.transactions.iter().zip(&ids).enumerate() {
        let transaction = transaction(bytes)?;
        if position == 0 {
            reward(params, &transaction)?;
        } else if transaction.is_reward() {
            return Err(Rejection::invalid("reward that is not the first transaction"));
        }
        if !seen.insert(id) {
            return Err(Rejection::invalid("transaction twice in a block"));
        }
    }
    Ok((block.header, ids))
}

/// Checks a transaction that is to wait in the pool, as every node does with what it is sent: who sends one that is refused
/// breaks the rules.
///
/// # Errors
///
/// What is wrong with it: it is no transaction, or a reward, whose sender [`NETWORK`](transaction::NETWORK) is no account.
pub fn check_transaction(bytes: &[u8]) -> Result<(), Rejection> {
    if transaction(bytes)?.is_reward() {
        return Err(Rejection::invalid("reward outside a block"));
    }
    Ok(())
}

/// Checks all of a block that can be checked without its ancestors, as a node does with one that comes, but for how far its time is
/// ahead. Genesis is right as it is.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_block(params: &Params, bytes: &Bytes) -> Result<Header, Rejection> {
    let genesis = params.genesis();
    let due = UnixTime::from_millis(i64::MAX);
    let begin = bytes.get(..HEADER_LEN).ok_or(Rejection::invalid("shorter than a header"))?;
    let checked = header(params, &genesis.header.hash(), due, begin);
    let (header, info) = checked.map_err(|problem| match problem {
        HeaderError::Invalid(rejection) => rejection,
        HeaderError::Early => Rejection::invalid("its time is too far ahead"),
    })?;
    if info.hash == genesis.header.hash() {
        let is_same = **bytes == *genesis.encode();
        return if is_same { Ok(header) } else { Err(Rejection::mutated("another genesis")) };
    }
    body(params, bytes).map(|(header, _)| header)
}

fn transaction(bytes: &[u8]) -> Result<Transaction<'_>, Rejection> {
    if bytes.len() > transaction::MAX_LEN {
        return Err(Rejection::invalid("transaction above the wire's largest payload"));
    }
    Transaction::decode(bytes).map_err(|error| Rejection::invalid(error.why()))
}

fn reward(params: &Params, first: &Transaction<'_>) -> Result<(), Rejection> {
    if !first.is_reward() {
        return Err(Rejection::invalid("first transaction is not the reward"));
    }
    if first.amount != params.reward() {
        return Err(Rejection::invalid("not the chain's reward"));
    }
    Ok(())
}
