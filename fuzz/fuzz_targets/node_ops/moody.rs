//! A chain that does not always answer at once: the reference chain, with moods that the input chooses.

use std::collections::BTreeMap;

use bytes::Bytes;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::proto::sync::chain::{
    Chain, CheckedBlock, Finished, HeaderError, HeaderInfo, Lookup, Tip, Verdict,
};
use spacetime_network::source::Source;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Hash, Kind};

/// How the next submission is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// At once.
    Prompt,
    /// Later.
    Slow,
    /// Not now.
    Busy,
}

/// What waits for its verdict.
enum Waiting {
    Block(CheckedBlock),
    Transaction(Bytes),
    Gossip(Kind, Bytes),
    /// Not a verdict: the block itself.
    Read(Hash),
}

/// The chain.
pub struct Moody {
    pub inner: ReferenceChain,
    pub mood: Mood,
    tickets: u64,
    waiting: BTreeMap<u64, (UnixTime, Waiting)>,
}

impl Moody {
    pub fn new() -> Self {
        let inner = ReferenceChain::memory(Params::new(1, 50).expect("a difficulty that there is"));
        Moody { inner, mood: Mood::Prompt, tickets: 0, waiting: BTreeMap::new() }
    }

    /// Tickets whose verdict is due.
    pub fn tickets(&self) -> Vec<u64> {
        let judged = self.waiting.iter().filter(|(_, (_, waiting))| !matches!(waiting, Waiting::Read(_)));
        judged.map(|(ticket, _)| *ticket).collect()
    }

    /// The verdict for a ticket, once.
    pub fn verdict(&mut self, ticket: u64) -> Option<Verdict> {
        let (now, waiting) = self.waiting.remove(&ticket)?;
        Some(match waiting {
            Waiting::Block(block) => self.inner.accept_block(now, block),
            Waiting::Transaction(transaction) => self.inner.submit_transaction(now, transaction),
            Waiting::Gossip(kind, payload) => self.inner.check_gossip(now, kind, &payload),
            Waiting::Read(_) => return None,
        })
    }

    fn answer(&mut self, now: UnixTime, waiting: Waiting) -> Verdict {
        match self.mood {
            Mood::Busy => Verdict::Ignored("busy"),
            Mood::Prompt | Mood::Slow => {
                self.tickets += 1;
                self.waiting.insert(self.tickets, (now, waiting));
                if self.mood == Mood::Slow {
                    return Verdict::Pending(self.tickets);
                }
                self.verdict(self.tickets).expect("it was put there")
            }
        }
    }
}

impl Chain for Moody {
    fn genesis(&self) -> Hash {
        self.inner.genesis()
    }
    fn best(&self) -> Tip {
        self.inner.best()
    }
    fn position(&self, hash: &Hash) -> Option<Tip> {
        self.inner.position(hash)
    }
    fn locator(&self) -> Vec<Hash> {
        self.inner.locator()
    }
    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        self.inner.headers_after(locator, stop, max)
    }
    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.inner.block(hash)
    }
    fn check_header(&self, now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.inner.check_header(now, header)
    }
    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.inner.check_block_header(now, block)
    }
    fn check_begun_block(&self, now: UnixTime, start: &[u8]) -> Option<Result<HeaderInfo, HeaderError>> {
        self.inner.check_begun_block(now, start)
    }
    fn block_hash(&self, block: &[u8]) -> Option<Hash> {
        self.inner.block_hash(block)
    }
    fn accept_block(&mut self, now: UnixTime, block: CheckedBlock) -> Verdict {
        self.answer(now, Waiting::Block(block))
    }
    fn submit_transaction(&mut self, now: UnixTime, transaction: Bytes) -> Verdict {
        self.answer(now, Waiting::Transaction(transaction))
    }
    fn transaction_id(&self, transaction: &[u8]) -> Option<Hash> {
        self.inner.transaction_id(transaction)
    }
    fn pool_ids(&self, max: usize) -> Vec<Hash> {
        self.inner.pool_ids(max)
    }
    fn pool_transaction(&self, id: &Hash) -> Option<Bytes> {
        self.inner.pool_transaction(id)
    }
    fn check_gossip(&mut self, now: UnixTime, kind: Kind, payload: &[u8]) -> Verdict {
        self.answer(now, Waiting::Gossip(kind, Bytes::copy_from_slice(payload)))
    }
    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
        self.inner.gossip_id(kind, payload)
    }
    fn look_up(&mut self, _: Source, hash: &Hash) -> Lookup {
        if self.mood != Mood::Slow {
            return self.inner.block(hash).map_or(Lookup::Missing, Lookup::Here);
        }
        self.tickets += 1;
        self.waiting.insert(self.tickets, (UnixTime::default(), Waiting::Read(*hash)));
        Lookup::Pending(self.tickets)
    }
    fn cancel(&mut self, ticket: u64) {
        // Or it comes all the same.
        if ticket.is_multiple_of(2) {
            self.waiting.remove(&ticket);
        }
    }
    fn poll(&mut self, now: UnixTime) -> Option<Finished> {
        if let Some(told) = self.inner.poll(now) {
            return Some(told);
        }
        // The last one first: nothing says in which order they come.
        let (&ticket, (_, waiting)) = self.waiting.last_key_value().filter(|_| self.mood != Mood::Slow)?;
        if let Waiting::Read(hash) = waiting {
            let bytes = self.inner.block(hash);
            self.waiting.remove(&ticket);
            return Some(Finished::Read(ticket, bytes));
        }
        self.verdict(ticket).map(|verdict| Finished::Judged(ticket, verdict))
    }
    fn take_work(&mut self) -> u32 {
        self.inner.take_work()
    }
    fn turn_ended(&mut self) {
        self.inner.turn_ended();
    }
    fn has_work(&self) -> bool {
        self.inner.has_work()
    }
}
