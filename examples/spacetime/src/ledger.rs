//! Every block that is known, which of them are the best chain, and the accounts at its end.
//!
//! Takes blocks whose rules hold, and judges what depends on others: the accounts, and which branch counts. The accounts of a
//! branch are judged when it would become the best chain; what they refuse is known by its hash then, for they look at nothing
//! that the hash does not cover.

use std::collections::{BTreeMap, VecDeque};

use crate::accounts::{Accounts, Undo};
use crate::crypto::Hash;
use crate::difficulty::Pace;
use crate::format::{Block, Header};
use crate::rules::Place;

/// So many blocks are undone at most.
pub const UNDO_MAX: usize = 100;
/// How far back it is kept what blocks changed: a reorganisation leaves the blocks below it, and may be undone itself.
const UNDOS_KEPT: usize = 2 * UNDO_MAX;
/// So many blocks on forks that are never adopted are remembered, and so many that the accounts refuse. Each has cost its work.
const USELESS_MAX: usize = 20_000;

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the end of the best chain now. These blocks were left for it, the latest first, and these followed, it being the last.
    Best {
        /// No longer on the best chain.
        left: Vec<Hash>,
        /// On it now.
        joined: Vec<Hash>,
    },
    /// It stands on a branch that has no more work.
    Side,
    /// It stands on a branch that leaves the best chain too far down: valid, and never adopted, however much work it has. Only its
    /// header is kept, and only while we run.
    Aside,
    /// There are too many such blocks.
    TooManyAside,
    /// We have it.
    Known,
    /// Its parent is not here.
    Orphan,
    /// The accounts refuse it, or one that it builds on, whatever copy of it comes.
    Refused(&'static str),
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Position {
    pub hash: Hash,
    pub height: u64,
    pub work: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Aside,
    Refused(&'static str),
}

#[derive(Debug)]
struct Entry {
    header: Header,
    at: Position,
    /// Genesis is its own.
    parent: usize,
    /// What is due after it.
    next_difficulty: i64,
    state: State,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    pace: Pace,
    entries: Vec<Entry>,
    by_hash: BTreeMap<Hash, usize>,
    /// By height; never empty, and all of it stands in `entries`.
    best: Vec<usize>,
    accounts: Accounts,
    /// What the last blocks of the best chain changed.
    undos: VecDeque<Undo>,
    /// Entries that no chain will ever need.
    useless: usize,
}

impl Ledger {
    /// Begins at a genesis block.
    ///
    /// # Errors
    ///
    /// When it makes no accounts.
    pub fn new(genesis: &Block, pace: Pace) -> Result<Self, &'static str> {
        let at = Position { hash: genesis.header.hash(), height: 0, work: work(&genesis.header) };
        let next_difficulty = genesis.header.difficulty;
        let entry = Entry { header: genesis.header.clone(), at, parent: 0, next_difficulty, state: State::Kept };
        Ok(Ledger {
            pace,
            entries: vec![entry],
            by_hash: BTreeMap::from([(at.hash, 0)]),
            best: vec![0],
            accounts: Accounts::genesis(genesis)?,
            undos: VecDeque::new(),
            useless: 0,
        })
    }

    /// The accounts at the end of the best chain.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The end of the best chain.
    pub fn best(&self) -> Position {
        self.at(self.tip())
    }

    /// The hash of the first block.
    pub fn genesis(&self) -> Hash {
        self.at(0).hash
    }

    /// Where a block stands that nobody has refused.
    pub fn position(&self, hash: &Hash) -> Option<Position> {
        let entry = self.entries.get(*self.by_hash.get(hash)?)?;
        (!matches!(entry.state, State::Refused(_))).then_some(entry.at)
    }

    /// Why the accounts have refused this block, if they have.
    pub fn refusal(&self, hash: &Hash) -> Option<&'static str> {
        match self.entries.get(*self.by_hash.get(hash)?)?.state {
            State::Refused(why) => Some(why),
            State::Kept | State::Aside => None,
        }
    }

    /// Has this block a body that can be asked for?
    pub fn is_kept(&self, hash: &Hash) -> bool {
        self.by_hash.get(hash).and_then(|id| self.entries.get(*id)).is_some_and(|entry| entry.state == State::Kept)
    }

    /// The block of the best chain at a height.
    pub fn at_height(&self, height: u64) -> Option<(&Header, Hash)> {
        let id = self.best.get(usize::try_from(height).ok()?)?;
        self.entries.get(*id).map(|entry| (&entry.header, entry.at.hash))
    }

    /// Is this block on the best chain, and how high?
    pub fn best_height(&self, hash: &Hash) -> Option<u64> {
        let at = self.position(hash)?;
        (self.at_height(at.height)?.1 == *hash).then_some(at.height)
    }

    /// The header of a block.
    pub fn header(&self, hash: &Hash) -> Option<&Header> {
        self.by_hash.get(hash).and_then(|id| self.entries.get(*id)).map(|entry| &entry.header)
    }

    /// What a block on this parent is measured by.
    pub fn place_after(&self, parent: &Hash) -> Option<Place> {
        let entry = self.entries.get(*self.by_hash.get(parent)?)?;
        let parent_height = entry.header.height;
        Some(Place { parent: *parent, parent_height, difficulty: entry.next_difficulty })
    }

    /// Takes a block whose rules hold at its [place](Ledger::place_after). `body` gives the transactions of blocks that were taken
    /// before and are kept: a branch that becomes the best chain needs them.
    pub fn insert(&mut self, block: &Block, body: &dyn Fn(&Hash) -> Option<Block>) -> Outcome {
        let hash = block.header.hash();
        if let Some(why) = self.refusal(&hash) {
            return Outcome::Refused(why);
        }
        if self.by_hash.contains_key(&hash) {
            return Outcome::Known;
        }
        let Some((parent, above)) =
            self.by_hash.get(&block.header.parent).and_then(|id| Some((*id, self.entries.get(*id)?)))
        else {
            return Outcome::Orphan;
        };
        if let State::Refused(why) = above.state {
            return Outcome::Refused(why);
        }
        let parent_is_aside = above.state == State::Aside;
        let work = above.at.work.saturating_add(work(&block.header));
        let at = Position { hash, height: above.at.height.saturating_add(1), work };
        let next_difficulty = self.next_difficulty(parent, &block.header);
        let mut entry = Entry { header: block.header.clone(), at, parent, next_difficulty, state: State::Kept };
        if parent == self.tip() {
            return match self.accounts.apply(block) {
                Ok(undo) => {
                    let id = self.push(entry);
                    self.advance(id, undo);
                    Outcome::Best { left: Vec::new(), joined: vec![hash] }
                }
                Err(why) => {
                    entry.state = State::Refused(why);
                    if self.useless < USELESS_MAX {
                        self.useless = self.useless.saturating_add(1);
                        self.push(entry);
                    }
                    Outcome::Refused(why)
                }
            };
        }
        let branch = self.branch(parent);
        if parent_is_aside || branch.is_none() {
            if self.useless >= USELESS_MAX {
                return Outcome::TooManyAside;
            }
            self.useless = self.useless.saturating_add(1);
            entry.state = State::Aside;
            self.push(entry);
            return Outcome::Aside;
        }
        let is_better = entry.at.work > self.best().work;
        let id = self.push(entry);
        match branch {
            Some(branch) if is_better => self.reorganise(branch, id, block, body),
            _ => Outcome::Side,
        }
    }

    /// The blocks from the best chain to `id`, `id` being the last, and the height at which they leave it; `None` when that is
    /// too far down.
    fn branch(&self, mut id: usize) -> Option<(Vec<usize>, usize)> {
        let mut branch = Vec::new();
        let lowest = self.best.len().saturating_sub(1).saturating_sub(self.undos.len().min(UNDO_MAX));
        loop {
            let entry = self.entries.get(id)?;
            let height = usize::try_from(entry.at.height).ok()?;
            if height < lowest {
                return None;
            }
            if self.best.get(height) == Some(&id) {
                branch.reverse();
                return Some((branch, height));
            }
            branch.push(id);
            id = entry.parent;
        }
    }

    /// Makes `last` the end of the best chain, or leaves everything as it was when the accounts refuse a block on the way.
    fn reorganise(
        &mut self,
        (mut branch, fork): (Vec<usize>, usize),
        last: usize,
        block: &Block,
        body: &dyn Fn(&Hash) -> Option<Block>,
    ) -> Outcome {
        branch.push(last);
        let above: Vec<usize> = self.best.iter().skip(fork.saturating_add(1)).copied().collect();
        let mut redo = Vec::with_capacity(above.len());
        for _ in &above {
            redo.extend(self.undos.pop_back().map(|undo| self.accounts.undo(undo)));
        }
        for (applied, id) in branch.iter().enumerate() {
            let earlier = if *id == last { None } else { body(&self.at(*id).hash) };
            let body = if *id == last { Some(block) } else { earlier.as_ref() };
            // A block whose body cannot be read is no reason to call it bad: it stays on the side.
            let result = body.map(|body| self.accounts.apply(body));
            if let Some(Ok(undo)) = result {
                self.undos.push_back(undo);
                continue;
            }
            for _ in 0..applied {
                let _ = self.undos.pop_back().map(|undo| self.accounts.undo(undo));
            }
            while let Some(undone) = redo.pop() {
                self.undos.push_back(self.accounts.undo(undone));
            }
            let Some(Err(why)) = result else { return Outcome::Side };
            self.refuse(*id, why);
            return Outcome::Refused(why);
        }
        self.forget_undos();
        self.best.truncate(fork.saturating_add(1));
        self.best.extend_from_slice(&branch);
        let hashes = |ids: &[usize]| ids.iter().map(|id| self.at(*id).hash).collect::<Vec<_>>();
        let mut left = hashes(&above);
        left.reverse();
        Outcome::Best { left, joined: hashes(&branch) }
    }

    /// Notes that the accounts refuse a block, and with it all that builds on it.
    fn refuse(&mut self, id: usize, why: &'static str) {
        // Children come after their parents.
        for at in id..self.entries.len() {
            let parent = self.entries.get(at).and_then(|entry| self.entries.get(entry.parent));
            let is_above = parent.is_some_and(|parent| matches!(parent.state, State::Refused(_)));
            if let Some(entry) = self.entries.get_mut(at)
                && (at == id || is_above)
            {
                entry.state = State::Refused(why);
            }
        }
    }

    fn next_difficulty(&self, parent: usize, header: &Header) -> i64 {
        if !self.pace.adjusts_after(header.height) {
            return header.difficulty;
        }
        let (mut id, mut begun) = (parent, header.time);
        for _ in 0..self.pace.interval {
            let Some(entry) = self.entries.get(id) else { break };
            (id, begun) = (entry.parent, entry.header.time);
        }
        self.pace.adjusted(header.difficulty, begun, header.time)
    }

    fn push(&mut self, entry: Entry) -> usize {
        let id = self.entries.len();
        self.by_hash.insert(entry.at.hash, id);
        self.entries.push(entry);
        id
    }

    fn advance(&mut self, id: usize, undo: Undo) {
        self.best.push(id);
        self.undos.push_back(undo);
        self.forget_undos();
    }

    fn forget_undos(&mut self) {
        while self.undos.len() > UNDOS_KEPT {
            self.undos.pop_front();
        }
    }

    fn tip(&self) -> usize {
        self.best.last().copied().unwrap_or(0)
    }

    fn at(&self, id: usize) -> Position {
        self.entries.get(id).map_or(Position { hash: [0; 32], height: 0, work: 0 }, |entry| entry.at)
    }
}

fn work(header: &Header) -> u128 {
    u128::from(header.difficulty.max(0).unsigned_abs())
}
