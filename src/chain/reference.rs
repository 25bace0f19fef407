//! [`ReferenceChain`]: validation, fork choice, pool and store behind the engine's trait.
//!
//! A block is judged once, when it is submitted, against its own branch; what was accepted is never judged again. Orphans
//! are not kept: the answer names the parent and sync fetches it. A reorganisation walks from the new tip to the fork and
//! back up, and touches the disk only for abandoned blocks that hold transactions worth returning to the pool, a slice at a time.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;

use crate::chain::block::{Block, HEADER_LEN, Header, MAX_BLOCK_LEN};
use crate::chain::entering::Keeping;
use crate::chain::genesis::Params;
use crate::chain::gossip::{self, Gossip};
use crate::chain::index::{Index, NewBlock, Node, NodeId};
use crate::chain::mempool::Mempool;
use crate::chain::off_loop::OffLoop;
use crate::chain::open::OpenError;
use crate::chain::reorganisations::Reorganisations;
use crate::chain::returning::Returning;
use crate::chain::served::Served;
use crate::chain::store::{Health, Store, StoreError};
use crate::chain::transaction::{self, NETWORK, Transaction, TransactionError};
use crate::chain::writer::SPOILED;
use crate::chain::{merkle, pow, rules, served};
use crate::proto::sync::chain::{
    Chain, CheckedBlock, CheckedHeader, Finished, HeaderError, HeaderInfo, Lookup, Rejection, Tip, Verdict,
};
use crate::proto::work::Work;
use crate::source::Source;
use crate::time::UnixTime;
use crate::wire::{Hash, Kind};

/// Hashes at the tip that a locator lists one by one before it starts to double its steps.
const LOCATOR_DENSE: usize = 10;
/// The most hashes of a locator: the main one and 64 more.
const LOCATOR_MAX: usize = 65;
/// The most headers in one answer: what a Headers frame carries.
const HEADERS_MAX: usize = 2000;
/// Transactions of dropped blocks that are forgotten at once.
const FORGOTTEN_AT_ONCE: usize = 2_048;

/// The reference chain. Not `Clone`: it owns its store.
#[derive(Debug)]
pub struct ReferenceChain {
    pub(super) params: Params,
    pub(super) genesis: Hash,
    pub(super) genesis_bytes: Bytes,
    pub(super) index: Index,
    pub(super) store: Store,
    pub(super) pool: Mempool,
    /// What the clock said last: when what comes back to the pool comes.
    pub(super) now: UnixTime,
    /// Blocks that left the best chain and whose transactions are not back in the pool yet.
    pub(super) returning: Returning,
    /// Did the store give back something else than it was given? Behind a shared reference, as reads are.
    pub(super) spoiled: AtomicBool,
    pub(super) served: Served,
    /// Who judges and reads large blocks, if not the loop.
    pub(super) off_loop: Option<OffLoop>,
    /// Blocks that were read there, for each who waits for one.
    pub(super) read: VecDeque<(u64, Option<Bytes>)>,
    /// The block that enters the index a slice at a time, and under which number its verdict is promised.
    pub(super) keeping: Option<(u64, Keeping)>,
    pub(super) work: Work,
    pub(super) reorganisations: Reorganisations,
}

impl ReferenceChain {
    /// A chain that lives in memory and starts at genesis.
    pub fn memory(params: Params) -> ReferenceChain {
        ReferenceChain::new(params, Store::memory())
    }

    /// The chain in the directory `path`, which is made when it is not there. Reads every block once: formats, links, work
    /// and roots are checked, not what the transactions say; [`ReferenceChain::verify`] checks all.
    ///
    /// # Errors
    ///
    /// Why the store cannot be used. It is left as it is.
    pub fn open(params: Params, path: &Path) -> Result<ReferenceChain, OpenError> {
        ReferenceChain::with_store(params, Store::open(path, &params)?)
    }

    /// The chain in the directory `path`, to look at it: nothing is written, and others may look at it too.
    ///
    /// # Errors
    ///
    /// Why the store cannot be used; also when there is none.
    pub fn open_read_only(params: Params, path: &Path) -> Result<ReferenceChain, OpenError> {
        ReferenceChain::with_store(params, Store::open_read_only(path, &params)?)
    }

    /// The chain in `storage`, written by its own thread of calls: no clock, no thread. `path` is its name in reports.
    #[cfg(feature = "sim")]
    pub(crate) fn open_on(
        params: Params,
        storage: impl crate::chain::Storage,
        path: &Path,
    ) -> Result<ReferenceChain, OpenError> {
        ReferenceChain::with_store(params, Store::open_on(storage, path, &params)?)
    }

    /// The chain of the blocks in `store`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Damaged`] when a block is malformed or stands without its parent.
    pub fn with_store(params: Params, store: Store) -> Result<ReferenceChain, OpenError> {
        let mut chain = ReferenceChain::new(params, store);
        let (index, difficulty) = (&mut chain.index, params.difficulty());
        chain.store.load(|seq, bytes| {
            let block = Block::decode(&bytes).ok_or("not a block")?;
            let parent = index.find(&block.header.previous).ok_or("its parent is missing")?;
            if block.header.difficulty != difficulty {
                return Err("not the chain's difficulty".into());
            }
            if index.node(parent).tip.height.checked_add(1) != Some(block.header.height) {
                return Err("its height is not one above its parent's".into());
            }
            let (header, hash, ids) = (block.header, block.header.hash(), block.ids());
            if index.find(&hash).is_some() {
                return Err("it stands there twice".into());
            }
            // A bit that flipped on the disk must not become a block that we hand out and are blamed for.
            if !pow::meets(&hash, difficulty) {
                return Err("it lacks its work".into());
            }
            if merkle::root(&ids) != header.root {
                return Err("its transactions are not the ones of its root".into());
            }
            let work = pow::work(difficulty);
            let new = NewBlock { header, hash, work, seq: Some(seq), len: bytes.len(), ids };
            let id = index.insert(parent, new);
            index.follow(id);
            Ok(())
        })?;
        Ok(chain)
    }

    fn new(params: Params, store: Store) -> ReferenceChain {
        let block = params.genesis();
        let (genesis, genesis_bytes) = (block.header.hash(), block.encode());
        let index = Index::new(NewBlock {
            header: block.header,
            hash: genesis,
            work: pow::work(params.difficulty()),
            seq: None,
            len: genesis_bytes.len(),
            ids: block.ids(),
        });
        ReferenceChain {
            params,
            genesis,
            genesis_bytes,
            index,
            store,
            pool: Mempool::default(),
            now: UnixTime::default(),
            returning: Returning::default(),
            spoiled: AtomicBool::new(false),
            served: Served::default(),
            off_loop: None,
            read: VecDeque::new(),
            keeping: None,
            work: Work::default(),
            reorganisations: Reorganisations::default(),
        }
    }

    /// What the nodes of this network agree on.
    pub fn params(&self) -> Params {
        self.params
    }

    /// The transactions that wait for a block.
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// How many blocks are held on all branches, genesis included.
    pub fn block_count(&self) -> usize {
        self.index.len()
    }

    /// Where the branch of a block leaves the best chain: the block itself when it is on it, `None` when we do not hold it. Takes
    /// a step for each block in between.
    pub fn fork_of(&self, hash: &Hash) -> Option<Tip> {
        let mut id = self.index.find(hash)?;
        while !self.index.is_best(id) {
            id = self.index.node(id).parent;
        }
        Some(self.index.node(id).tip)
    }

    /// How the store is doing.
    pub fn health(&self) -> Health {
        let mut health = self.store.health();
        if health.error.is_none() && self.spoiled.load(Ordering::Relaxed) {
            health.error = Some(SPOILED.to_owned());
        }
        health
    }

    /// Waits until every accepted block is durable, at most `patience`; half of that also for blocks that are being judged and could
    /// be accepted. For a clean stop.
    ///
    /// # Errors
    ///
    /// When a write fails meanwhile or the disk takes longer.
    pub fn flush(&mut self, patience: Duration) -> Result<(), StoreError> {
        let half = patience / 2;
        self.finish_judging(half);
        self.store.flush(patience - half)
    }

    /// A block on the best tip that pays `miner` and holds waiting transactions, at most `max_bytes` long (and never longer
    /// than the wire allows), without work: give its header to a [`Miner`](crate::chain::Miner). Where `now` is by a clock that
    /// is behind those of the last blocks, its time is the earliest that is valid.
    ///
    /// # Errors
    ///
    /// When `miner` is empty or above 65,535 bytes.
    pub fn template(&self, now: UnixTime, miner: &str, max_bytes: usize) -> Result<Block, TransactionError> {
        let best = self.index.best().tip;
        let height = best.height.saturating_add(1);
        let now = now.max(self.index.median_time(self.index.tip()));
        // The height makes the reward unique on its branch: a miner may be paid the same twice in a millisecond.
        let reward =
            Transaction { sender: NETWORK, recipient: miner, amount: self.params.reward(), time: now, nonce: height };
        let (difficulty, previous, root) = (self.params.difficulty(), best.hash, Hash::ZERO);
        let header = Header { height, previous, root, time: now, difficulty, nonce: 0 };
        let mut block = Block { header, transactions: vec![reward.encode()?] };
        let room = max_bytes.min(MAX_BLOCK_LEN).saturating_sub(block.len());
        block.transactions.extend(self.pool.pick(room));
        block.seal();
        Ok(block)
    }

    /// The block of the best chain that holds a transaction.
    pub fn transaction_block(&self, id: &Hash) -> Option<Tip> {
        self.index.best_place(id).map(|node| node.tip)
    }

    /// Bytes of a block that is known.
    #[cfg(feature = "sim")]
    pub(crate) fn block_len(&self, hash: &Hash) -> Option<u64> {
        Some(self.index.node(self.index.find(hash)?).len)
    }

    /// A block as the store gives it.
    pub(super) fn read(&self, node: &Node) -> Option<Bytes> {
        match node.seq {
            Some(seq) => self.store.read(seq),
            None => Some(self.genesis_bytes.clone()),
        }
    }

    /// A block, if it is still the one that was stored: what a disk has spoiled is reported and not handed out, for who
    /// gets it blames us.
    pub(super) fn stored(&self, node: &Node) -> Option<Bytes> {
        let bytes = self.read(node)?;
        self.work.spend_hashing(bytes.len());
        self.work.spend(node.ids.len().saturating_mul(2));
        let same = |block: Block| bytes.starts_with(&node.header) && block.ids()[..] == node.ids[..];
        if Block::decode(&bytes).is_some_and(same) {
            return Some(bytes);
        }
        self.spoiled.store(true, Ordering::Relaxed);
        None
    }

    fn accept(&mut self, source: Source, block: CheckedBlock) -> Result<Verdict, Rejection> {
        let (header, len) = (block.header(), block.bytes().len());
        if len > MAX_BLOCK_LEN {
            return Err(Rejection::mutated("block above the wire's largest payload"));
        }
        let parent = match self.place_for(&header)? {
            Ok(parent) => Some(parent),
            // What builds on a block whose verdict is to come is judged after it.
            Err(Verdict::Orphan { parent }) if self.off_loop.as_ref().is_some_and(|off| off.is_judging(&parent)) => {
                None
            }
            Err(verdict) => return Ok(verdict),
        };
        if self.store.is_behind() {
            self.store.hand_over();
            return Ok(Verdict::Ignored("store is behind"));
        }
        match (parent, &mut self.off_loop) {
            (None, Some(off_loop)) => Ok(off_loop.judge(self.params, source, block)),
            (Some(_), Some(off_loop)) if off_loop.is_large(len) => Ok(off_loop.judge(self.params, source, block)),
            (parent, _) => {
                let Some(parent) = parent else { return Ok(Verdict::Orphan { parent: header.previous() }) };
                self.work.spend_hashing(len);
                let bytes = block.into_bytes();
                let body = rules::body(&self.params, &bytes);
                self.work.spend(body.as_ref().map_or(0, |(_, ids)| ids.len()).saturating_mul(4));
                self.keep(parent, header, bytes, body)
            }
        }
    }

    /// The parent that a block is to stand on, or what its header says already.
    pub(super) fn place_for(&self, header: &CheckedHeader) -> Result<Result<NodeId, Verdict>, Rejection> {
        if self.index.find(&header.hash()).is_some() {
            return Ok(Err(Verdict::Known));
        }
        let Some(parent) = self.index.find(&header.previous()) else {
            return Ok(Err(Verdict::Orphan { parent: header.previous() }));
        };
        if self.index.node(parent).tip.height.checked_add(1) != Some(header.height()) {
            return Err(Rejection::invalid("height is not one above the parent's"));
        }
        Ok(Ok(parent))
    }
}

/// Where the header stands in a block.
fn header_in(block: &[u8]) -> Option<&[u8]> {
    block.get(..HEADER_LEN)
}

impl Chain for ReferenceChain {
    fn genesis(&self) -> Hash {
        self.genesis
    }

    fn best(&self) -> Tip {
        self.index.best().tip
    }

    fn position(&self, hash: &Hash) -> Option<Tip> {
        self.index.find(hash).map(|id| self.index.node(id).tip)
    }

    fn locator(&self) -> Vec<Hash> {
        let mut hashes = Vec::new();
        let (mut height, mut step) = (self.best().height, 1u64);
        while height > 0 && hashes.len() + 1 < LOCATOR_MAX {
            hashes.extend(self.index.at(height).map(|node| node.tip.hash));
            if hashes.len() >= LOCATOR_DENSE {
                step = step.saturating_mul(2);
            }
            height = height.saturating_sub(step);
        }
        hashes.push(self.genesis);
        hashes
    }

    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        let known = locator.take(LOCATOR_MAX).find_map(|hash| {
            let id = if hash.is_zero() { self.index.find(&self.genesis) } else { self.index.find(&hash) }?;
            self.index.is_best(id).then(|| self.index.node(id).tip.height)
        });
        let mut headers = Vec::new();
        for node in self.index.best_from(known.unwrap_or(0).saturating_add(1)).take(max.min(HEADERS_MAX)) {
            headers.push(Bytes::copy_from_slice(&node.header));
            if stop == Some(node.tip.hash) {
                break;
            }
        }
        headers
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        let node = self.index.node(self.index.find(hash)?);
        if let Some(bytes) = self.served.find(hash) {
            return Some(bytes);
        }
        let bytes = self.stored(node)?;
        // A small one is read as fast as it is found, where nobody waits for a disk.
        if bytes.len() >= served::LARGE {
            self.served.keep(*hash, &bytes);
        }
        Some(bytes)
    }

    fn check_header(&self, now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        rules::header(&self.params, &self.genesis, now, header).map(|(_, info)| info)
    }

    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        let header = header_in(block).ok_or(HeaderError::Invalid(Rejection::invalid("shorter than a header")))?;
        self.check_header(now, header)
    }

    fn check_begun_block(&self, now: UnixTime, start: &[u8]) -> Option<Result<HeaderInfo, HeaderError>> {
        Some(self.check_header(now, header_in(start)?))
    }

    fn block_hash(&self, block: &[u8]) -> Option<Hash> {
        header_in(block).map(crate::chain::sha256)
    }

    fn accept_block(&mut self, now: UnixTime, block: CheckedBlock) -> Verdict {
        self.accept_block_from(now, Source::Own, block)
    }

    fn accept_block_from(&mut self, now: UnixTime, source: Source, block: CheckedBlock) -> Verdict {
        self.now = now;
        self.accept(source, block).unwrap_or_else(Verdict::Invalid)
    }

    fn look_up(&mut self, source: Source, hash: &Hash) -> Lookup {
        self.look_up_ahead(source, hash, &mut core::iter::empty())
    }

    fn look_up_ahead(&mut self, source: Source, hash: &Hash, next: &mut dyn Iterator<Item = Hash>) -> Lookup {
        if let Some(bytes) = self.served.find(hash) {
            return Lookup::Here(bytes);
        }
        match self.serve_elsewhere(source, hash, next) {
            Some(ticket) => Lookup::Pending(ticket),
            None => self.block(hash).map_or(Lookup::Missing, Lookup::Here),
        }
    }

    fn cancel(&mut self, ticket: u64) {
        if let Some(off_loop) = &mut self.off_loop {
            off_loop.cancel(ticket);
        }
    }

    fn poll(&mut self, now: UnixTime) -> Option<Finished> {
        self.now = now;
        if self.store.has_room_again(true) {
            return Some(Finished::Room);
        }
        self.finish_next().or_else(|| self.returning.take_news().then_some(Finished::Returned))
    }

    fn submit_transaction(&mut self, now: UnixTime, transaction: Bytes) -> Verdict {
        self.submit_transaction_from(now, Source::Own, transaction)
    }

    fn submit_transaction_from(&mut self, now: UnixTime, source: Source, transaction: Bytes) -> Verdict {
        if let Err(rejection) = rules::check_transaction(&transaction) {
            return Verdict::Invalid(rejection);
        }
        let id = transaction::id(&transaction);
        if self.pool.contains(&id) || self.index.best_place(&id).is_some() {
            return Verdict::Known;
        }
        match self.pool.insert(id, transaction, source, now) {
            Ok(()) => Verdict::Accepted { best_changed: false },
            Err(no_room) => Verdict::Ignored(no_room.why()),
        }
    }

    fn transaction_id(&self, transaction: &[u8]) -> Option<Hash> {
        Transaction::decode(transaction).is_ok().then(|| transaction::id(transaction))
    }

    fn pool_ids(&self, max: usize) -> Vec<Hash> {
        self.pool.ids().take(max).copied().collect()
    }

    fn pool_transaction(&self, id: &Hash) -> Option<Bytes> {
        self.pool.get(id).cloned()
    }

    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
        let mut named = Vec::with_capacity(payload.len().saturating_add(1));
        named.push(kind as u8);
        named.extend_from_slice(payload);
        crate::chain::sha256(&named)
    }

    /// Passes whatever has the right layout: this chain has no use for challenges and proofs. An acceptance of a block that
    /// we hold must tell its height; of one that we do not hold, nothing can be said.
    fn check_gossip(&mut self, _now: UnixTime, kind: Kind, payload: &[u8]) -> Verdict {
        match gossip::read(kind, payload) {
            Err(rejection) => Verdict::Invalid(rejection),
            Ok(Gossip::Accepted(hash, height)) if self.position(&hash).is_some_and(|tip| tip.height != height) => {
                // Not the sender's fault: who lacks the block passes on any height.
                Verdict::Ignored("accepted at another height")
            }
            Ok(_) => Verdict::Accepted { best_changed: false },
        }
    }

    fn keep_house(&mut self, now: UnixTime) {
        self.now = now;
        self.pool.expire(now);
    }

    fn turn_ended(&mut self) {
        self.return_some();
        let _ = self.drop_some();
        self.index.tidy(FORGOTTEN_AT_ONCE);
        self.pool.free_some();
        self.store.hand_over();
        #[cfg(feature = "sim")]
        self.off_loop.iter_mut().for_each(OffLoop::work);
    }

    fn take_work(&mut self) -> u32 {
        self.work.take().saturating_add(self.index.work.take())
    }

    fn has_work(&self) -> bool {
        let is_ready = self.off_loop.as_ref().is_some_and(OffLoop::is_ready);
        let is_keeping = self.keeping.is_some() || self.index.is_untidy() || self.index.is_above_limits();
        is_ready || is_keeping || !self.read.is_empty() || self.is_settling() || self.store.has_room_again(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The store reads what it is asked for and believes it. A block of which the disk had changed one bit was handed out as
    /// it was, and the peer that got it took us for a liar and banned us.
    #[test]
    fn a_block_that_rots_while_the_node_runs_is_reported_and_not_handed_out() {
        let (params, now) = (Params::new(0, 50).unwrap(), UnixTime::from_secs(1_800_000_000));
        let mut chain = ReferenceChain::memory(params);
        let mut blocks = Vec::new();
        for miner in ["a", "b", "c"] {
            let block = chain.template(now, miner, MAX_BLOCK_LEN).unwrap();
            assert_eq!(chain.submit_block(now, block.encode()), Verdict::Accepted { best_changed: true });
            blocks.push((block.header.hash(), block.encode()));
        }
        let len = blocks[1].1.len();
        for bit in 0..len * 8 {
            chain.store = Store::memory();
            for (at, (_, bytes)) in blocks.iter().enumerate() {
                let mut bytes = bytes.to_vec();
                if at == 1 {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                chain.store.append(bytes.into());
            }
            *chain.spoiled.get_mut() = false;
            assert_eq!(chain.block(&blocks[0].0).as_ref(), Some(&blocks[0].1));
            assert_eq!(chain.health().error, None);
            assert_eq!(chain.block(&blocks[1].0), None, "bit {bit}");
            assert_eq!(chain.health().error.as_deref(), Some(SPOILED));
            assert_eq!(chain.block(&blocks[2].0).as_ref(), Some(&blocks[2].1));
        }
        assert!(len > HEADER_LEN && chain.verify(|_, _| ()).is_err());
    }
}
