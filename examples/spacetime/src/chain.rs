//! [`SpacetimeChain`]: ledger, pool and store behind the engine's trait.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use spacetime_network::proto::sync::chain::{
    Chain, CheckedBlock, Finished, HeaderError, HeaderInfo, Rejection, Tip, Verdict,
};
use spacetime_network::source::Source;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{self, Kind};

use crate::codec::Reader;
use crate::crypto::{Hash, PublicKey, sha256};
use crate::difficulty::{Pace, meets};
use crate::format::{Block, HEADER_LEN, Header, Proof, Transaction, VERSION};
use crate::genesis::Genesis;
use crate::gossip::{self, BestProof};
use crate::judges::{self, Judged, Judges};
use crate::ledger::{Ledger, Outcome, Position};
use crate::pool::{Pool, Refused};
use crate::rules::{self, Fault};
use crate::store::{Store, StoreError};

/// A block of so many transactions is judged at once, a larger one on another thread: a millisecond is soon.
const SMALL: usize = 8;
/// So many transactions go into a block.
const BLOCK_TRANSACTIONS: usize = 10_000;
/// Transactions of abandoned blocks that go back to the pool in one go.
const RETURNED_AT_ONCE: usize = 500;
/// Hashes of a locator: at the tip one by one, then in steps that double.
const LOCATOR_DENSE: usize = 10;
const LOCATOR_MAX: usize = 65;
/// The most headers in one answer.
const HEADERS_MAX: usize = 2000;
/// Units of work: of a signature, of a header, of applying a transaction.
const SIGNATURE_WORK: usize = 300;
const HEADER_WORK: usize = 10;
const APPLY_WORK: usize = 10;

/// The Spacetime blockchain for the engine.
#[derive(Debug)]
pub struct SpacetimeChain {
    pace: Pace,
    genesis: Bytes,
    ledger: Ledger,
    pool: Pool,
    store: Store,
    /// Who judges large blocks, if not the caller.
    judges: Option<Judges>,
    next_ticket: u64,
    /// Verdicts that are due.
    finished: VecDeque<Finished>,
    /// A block was turned away for want of room.
    owes_room: bool,
    /// Blocks that left the best chain, and how many of their transactions are back in the pool.
    returning: VecDeque<(Hash, usize)>,
    best_proof: Option<BestProof>,
    work: u32,
}

/// What a farmer needs to know of the end of the chain.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Contest {
    pub parent: Hash,
    pub height: i64,
    pub challenge: Hash,
    pub difficulty: i64,
    pub parent_time: i64,
    pub pace: Pace,
}

impl SpacetimeChain {
    /// A chain that lives in memory.
    ///
    /// # Errors
    ///
    /// What is wrong with the genesis file.
    pub fn memory(genesis: &Genesis) -> Result<Self, StoreError> {
        let (bytes, block) = genesis.decoded()?;
        let ledger = Ledger::new(&block, genesis.pace())?;
        Ok(SpacetimeChain {
            pace: genesis.pace(),
            genesis: bytes.into(),
            ledger,
            pool: Pool::default(),
            store: Store::memory(),
            judges: None,
            next_ticket: 1,
            finished: VecDeque::new(),
            owes_room: false,
            returning: VecDeque::new(),
            best_proof: None,
            work: 0,
        })
    }

    /// The chain in the file `path`, which is made when it is not there. Its blocks were judged before they were written, and are
    /// not judged again; the accounts are made anew.
    ///
    /// # Errors
    ///
    /// Why the store cannot be used.
    pub fn open(genesis: &Genesis, path: &Path) -> Result<Self, StoreError> {
        let mut chain = SpacetimeChain::memory(genesis)?;
        let (ledger, id) = (&mut chain.ledger, chain.genesis.clone());
        let id = Block::decode(&id).map(|block| block.header.hash()).ok_or("no first block")?;
        let store = Store::open(path, &id, |bytes, find| {
            let block =
                Block::decode(&bytes).ok_or("the store holds what is not a block: remove it and download anew")?;
            match ledger.insert(&block, &|hash| find(hash).and_then(|bytes| Block::decode(&bytes))) {
                Outcome::Best { .. } | Outcome::Side | Outcome::Aside | Outcome::Refused(_) => Ok(block.header.hash()),
                Outcome::Known | Outcome::Orphan | Outcome::TooManyAside => {
                    Err("the store's blocks do not follow each other: remove it and download anew".into())
                }
            }
        })?;
        chain.store = store;
        Ok(chain)
    }

    /// From now on large blocks are judged on threads; `wake` has the loop ask for the outcome.
    ///
    /// # Errors
    ///
    /// When the system has no threads to give.
    pub fn judge_elsewhere(&mut self, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        self.judges = Some(Judges::start(cores.saturating_sub(1), wake)?);
        Ok(())
    }

    /// Blocks and accounts.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What waits for a block.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits until every accepted block is on the disk. For a clean stop: nothing can be written afterwards.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.store.finish()
    }

    /// What proofs for the next block are measured by.
    pub fn contest(&self) -> Contest {
        let best = self.ledger.best();
        let height = i64::try_from(best.height).unwrap_or(i64::MAX).saturating_add(1);
        Contest {
            parent: best.hash,
            height,
            challenge: rules::challenge_after(&best.hash, height),
            difficulty: self.ledger.place_after(&best.hash).map_or(i64::MAX, |place| place.difficulty),
            parent_time: self.ledger.header(&best.hash).map_or(0, |header| header.time),
            pace: self.pace,
        }
    }

    /// The next block of `miner`'s by a proof, with waiting transactions, to be signed.
    pub fn template(&self, now: UnixTime, miner: PublicKey, proof: Proof) -> Block {
        let contest = self.contest();
        let mut block = Block {
            header: Header {
                version: VERSION,
                parent: contest.parent,
                height: contest.height,
                time: now.as_secs().max(0),
                difficulty: contest.difficulty,
                epoch: contest.height,
                challenge: contest.challenge,
                plot_root: proof.root(),
                score: proof.score(&contest.challenge),
                transaction_root: [0; 32],
                miner,
                signature: [0; 64],
            },
            transactions: self.pool.pick(self.ledger.accounts(), BLOCK_TRANSACTIONS),
            proof,
        };
        block.header.transaction_root = block.transaction_root();
        block
    }

    fn spend(&mut self, units: usize) {
        self.work = self.work.saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
    }

    fn header_info(&self, now: UnixTime, header: &Header) -> Result<HeaderInfo, HeaderError> {
        let hash = header.hash();
        let invalid = |fault: Fault| HeaderError::Invalid(Rejection::invalid(fault.why()));
        if hash != self.ledger.genesis() {
            rules::header_alone(header, now.as_secs()).map_err(|fault| match fault {
                Fault::InvalidTimestamp => HeaderError::Early,
                fault => invalid(fault),
            })?;
            rules::epoch(header).and_then(|()| rules::challenge(header)).map_err(invalid)?;
            rules::target(header).map_err(invalid)?;
            // Of a header whose parent is a header too, nobody tells us what is due; its block is measured when it comes.
            if let Some(place) = self.ledger.place_after(&header.parent) {
                rules::header_at(header, &place).map_err(invalid)?;
            }
        }
        Ok(HeaderInfo {
            hash: wire::Hash(hash),
            previous: wire::Hash(header.parent),
            height: header.height.unsigned_abs(),
            work: u128::from(header.difficulty.unsigned_abs()),
        })
    }

    fn accept(&mut self, source: Source, checked: CheckedBlock) -> Verdict {
        let (hash, parent) = (checked.hash().0, checked.header().previous().0);
        if let Some(why) = self.ledger.refusal(&hash) {
            return Verdict::Invalid(Rejection::invalid(why));
        }
        if self.ledger.position(&hash).is_some() {
            return Verdict::Known;
        }
        let bytes = checked.into_bytes();
        self.spend(bytes.len() / 64);
        // The header was read before; what is wrong is behind it, and another copy may be right.
        let Some(block) = Block::decode(&bytes) else {
            return Verdict::Invalid(Rejection::mutated("what follows its header is not a block's"));
        };
        let parent_is_judged = self.judges.as_ref().is_some_and(|judges| judges.is_judging(&parent));
        if !parent_is_judged && self.ledger.position(&parent).is_none() {
            return match self.ledger.refusal(&parent) {
                Some(why) => Verdict::Invalid(Rejection::invalid(why)),
                None => Verdict::Orphan { parent: wire::Hash(parent) },
            };
        }
        if self.store.is_behind() {
            self.owes_room = true;
            return Verdict::Ignored("the disk is behind");
        }
        match &mut self.judges {
            Some(judges) if parent_is_judged || block.transactions.len() > SMALL => {
                let ticket = self.next_ticket;
                if !judges.submit(ticket, source, hash, block, bytes) {
                    self.owes_room = true;
                    return Verdict::Ignored("too many blocks are being judged");
                }
                self.next_ticket = ticket.saturating_add(1);
                Verdict::Pending(ticket)
            }
            _ => {
                self.spend(block.transactions.len().saturating_add(1).saturating_mul(SIGNATURE_WORK));
                let outcome = judges::judge(&block);
                self.settle(&block, bytes, outcome)
            }
        }
    }

    /// The rest of a judgement: what depends on other blocks.
    fn settle(&mut self, block: &Block, bytes: Bytes, outcome: judges::Outcome) -> Verdict {
        if let Err(fault) = outcome {
            // The transactions may be the ones that the hash names all the same: then no other copy is better.
            let is_named = fault == Fault::InvalidTransaction && rules::transaction_root(block).is_ok();
            let is_of_the_copy = fault.is_of_the_copy() && !is_named;
            return Verdict::Invalid(Rejection { why: fault.why(), mutated: is_of_the_copy });
        }
        let Some(place) = self.ledger.place_after(&block.header.parent) else {
            return Verdict::Orphan { parent: wire::Hash(block.header.parent) };
        };
        if let Err(fault) = rules::header_at(&block.header, &place) {
            return Verdict::Invalid(Rejection::invalid(fault.why()));
        }
        let (store, hash) = (&self.store, block.header.hash());
        let outcome = self.ledger.insert(block, &|hash| store.read(hash).and_then(|bytes| Block::decode(&bytes)));
        self.spend(block.transactions.len().saturating_mul(APPLY_WORK));
        match outcome {
            Outcome::Best { left, joined } => {
                self.store.put(hash, bytes);
                self.spend(joined.len().saturating_mul(100));
                self.pool.settle(self.ledger.accounts());
                self.spend(self.pool.len());
                self.returning.extend(left.into_iter().rev().map(|hash| (hash, 0)));
                Verdict::Accepted { best_changed: true }
            }
            Outcome::Side => {
                self.store.put(hash, bytes);
                Verdict::Accepted { best_changed: false }
            }
            // No verdict says "valid, and never wanted": "ignored" would be tried again for ever, and "invalid" would be a lie.
            Outcome::Aside => Verdict::Accepted { best_changed: false },
            Outcome::TooManyAside => Verdict::Ignored("too many blocks stand on forks that are never adopted"),
            Outcome::Known => Verdict::Known,
            Outcome::Orphan => Verdict::Orphan { parent: wire::Hash(block.header.parent) },
            Outcome::Refused(why) => Verdict::Invalid(Rejection::invalid(why)),
        }
    }

    /// Puts some transactions of abandoned blocks back into the pool. Their signatures were checked with their blocks.
    fn return_some(&mut self) {
        let Some((hash, done)) = self.returning.pop_front() else { return };
        let block = self.store.read(&hash).and_then(|bytes| Block::decode(&bytes));
        let mut returned = done;
        for transaction in block.iter().flat_map(|block| &block.transactions).skip(done).take(RETURNED_AT_ONCE) {
            returned = returned.saturating_add(1);
            // What the new chain holds too has a nonce that is used.
            let _ = self.pool.put_back(transaction.clone(), self.ledger.accounts());
        }
        self.spend(returned.saturating_sub(done).saturating_mul(APPLY_WORK));
        if returned > done {
            self.returning.push_front((hash, returned));
        } else if self.returning.is_empty() {
            self.finished.push_back(Finished::Returned);
        }
    }

    fn tip(position: Position) -> Tip {
        Tip { hash: wire::Hash(position.hash), height: position.height, work: position.work }
    }
}

impl Chain for SpacetimeChain {
    fn genesis(&self) -> wire::Hash {
        wire::Hash(self.ledger.genesis())
    }

    fn best(&self) -> Tip {
        Self::tip(self.ledger.best())
    }

    fn position(&self, hash: &wire::Hash) -> Option<Tip> {
        self.ledger.position(&hash.0).map(Self::tip)
    }

    fn locator(&self) -> Vec<wire::Hash> {
        let (mut hashes, mut height, mut step) = (Vec::new(), self.ledger.best().height, 1u64);
        while height > 0 && hashes.len().saturating_add(1) < LOCATOR_MAX {
            hashes.extend(self.ledger.at_height(height).map(|(_, hash)| wire::Hash(hash)));
            if hashes.len() >= LOCATOR_DENSE {
                step = step.saturating_mul(2);
            }
            height = height.saturating_sub(step);
        }
        hashes.push(self.genesis());
        hashes
    }

    fn headers_after(
        &self,
        locator: &mut dyn Iterator<Item = wire::Hash>,
        stop: Option<wire::Hash>,
        max: usize,
    ) -> Vec<Bytes> {
        let known = locator.take(LOCATOR_MAX).find_map(|hash| self.ledger.best_height(&hash.0)).unwrap_or(0);
        let mut headers = Vec::new();
        for height in (known.saturating_add(1)..).take(max.min(HEADERS_MAX)) {
            let Some((header, hash)) = self.ledger.at_height(height) else { break };
            headers.push(header.encode().into());
            if stop == Some(wire::Hash(hash)) {
                break;
            }
        }
        headers
    }

    fn block(&self, hash: &wire::Hash) -> Option<Bytes> {
        if hash.0 == self.ledger.genesis() {
            return Some(self.genesis.clone());
        }
        self.ledger.is_kept(&hash.0).then(|| self.store.read(&hash.0)).flatten()
    }

    fn check_header(&self, now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        let header = Header::decode(header).ok_or(HeaderError::Invalid(Rejection::invalid("not a header")))?;
        self.header_info(now, &header)
    }

    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        let header = Header::read(&mut Reader::new(block));
        self.header_info(now, &header.ok_or(HeaderError::Invalid(Rejection::invalid("no header in front")))?)
    }

    fn check_begun_block(&self, now: UnixTime, start: &[u8]) -> Option<Result<HeaderInfo, HeaderError>> {
        (start.len() >= HEADER_LEN).then(|| self.check_block_header(now, start))
    }

    fn block_hash(&self, block: &[u8]) -> Option<wire::Hash> {
        Header::read(&mut Reader::new(block)).map(|header| wire::Hash(header.hash()))
    }

    fn accept_block(&mut self, now: UnixTime, block: CheckedBlock) -> Verdict {
        self.accept_block_from(now, Source::Own, block)
    }

    fn accept_block_from(&mut self, _: UnixTime, source: Source, block: CheckedBlock) -> Verdict {
        self.spend(HEADER_WORK);
        self.accept(source, block)
    }

    fn poll(&mut self, _: UnixTime) -> Option<Finished> {
        if let Some(finished) = self.finished.pop_front() {
            return Some(finished);
        }
        if let Some(Judged { tickets, block, bytes, outcome }) = self.judges.as_mut().and_then(Judges::next_judged) {
            let verdict = self.settle(&block, bytes, outcome);
            let other = if matches!(verdict, Verdict::Accepted { .. }) { Verdict::Known } else { verdict.clone() };
            let (first, others) = tickets.split_first()?;
            self.finished.extend(others.iter().map(|ticket| Finished::Judged(*ticket, other.clone())));
            return Some(Finished::Judged(*first, verdict));
        }
        let is_roomy = self.judges.as_ref().is_none_or(|judges| judges.has_room(0)) && !self.store.is_behind();
        (is_roomy && core::mem::take(&mut self.owes_room)).then_some(Finished::Room)
    }

    fn submit_transaction(&mut self, _: UnixTime, transaction: Bytes) -> Verdict {
        self.spend(SIGNATURE_WORK);
        match self.pool.insert(transaction, self.ledger.accounts()) {
            Ok(_) => Verdict::Accepted { best_changed: false },
            Err(Refused::Known) => Verdict::Known,
            Err(Refused::Invalid(why)) => Verdict::Invalid(Rejection::invalid(why)),
            Err(Refused::Ignored(why)) => Verdict::Ignored(why),
        }
    }

    fn transaction_id(&self, transaction: &[u8]) -> Option<wire::Hash> {
        Transaction::decode(transaction).map(|transaction| wire::Hash(transaction.hash()))
    }

    fn pool_ids(&self, max: usize) -> Vec<wire::Hash> {
        self.pool.ids().take(max).map(wire::Hash).collect()
    }

    fn pool_transaction(&self, id: &wire::Hash) -> Option<Bytes> {
        self.pool.get(&id.0)
    }

    fn check_gossip(&mut self, _: UnixTime, kind: Kind, payload: &[u8]) -> Verdict {
        self.spend(HEADER_WORK);
        gossip::check(kind, payload, &self.contest(), &self.ledger, &mut self.best_proof)
    }

    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> wire::Hash {
        wire::Hash(sha256(&[&[kind as u8], payload]))
    }

    fn turn_ended(&mut self) {
        self.return_some();
        self.store.hand_over();
    }

    fn take_work(&mut self) -> u32 {
        core::mem::take(&mut self.work)
    }

    fn has_work(&self) -> bool {
        let is_judged = self.judges.as_ref().is_some_and(Judges::is_ready);
        is_judged || !self.finished.is_empty() || !self.returning.is_empty()
    }
}

/// Is a leaf good enough for what is contested?
pub fn wins(contest: &Contest, score: &Hash) -> bool {
    meets(score, contest.difficulty)
}
