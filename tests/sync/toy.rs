//! A chain whose blocks are whatever a test says they are: no work is done, headers claim it.

use bytes::Bytes;
use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, HeaderError, HeaderInfo, Rejection, Tip, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Hash, Kind};
use std::cell::Cell;
use std::collections::BTreeMap;

pub const HEADER_LEN: usize = 57;

/// What a header says of itself, at its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Good = 0,
    BadHeader = 1,
    Early = 2,
    BadBody = 3,
}

/// FNV-1a, four times with different starts.
pub fn hash(bytes: &[u8]) -> Hash {
    let mut out = Hash::ZERO;
    for (lane, chunk) in out.0.chunks_exact_mut(8).enumerate() {
        let mut state = 0xcbf2_9ce4_8422_2325u64 ^ (lane as u64) << 17;
        for byte in bytes {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        chunk.copy_from_slice(&state.to_be_bytes());
    }
    out
}

/// Header: previous (32), height (8), work (8), digest of the body (8), nature (1). Then the body.
pub fn block(previous: Hash, height: u64, work: u64, body: &[u8], nature: Nature) -> Bytes {
    let mut out = previous.0.to_vec();
    out.extend(height.to_be_bytes());
    out.extend(work.to_be_bytes());
    out.extend(&hash(body).0[..8]);
    out.push(nature as u8);
    out.extend(body);
    out.into()
}

pub fn name(block: &[u8]) -> Hash {
    hash(&block[..HEADER_LEN])
}

#[derive(Clone)]
pub struct Toy {
    blocks: BTreeMap<Hash, (Tip, Hash, Bytes)>,
    best: Vec<Hash>,
    /// Answer "pending" and keep what was submitted.
    pub defer: bool,
    pub deferred: Vec<(u64, Bytes)>,
    /// Answer "ignored" to the next so many blocks.
    pub ignore: u32,
    pub submitted: u32,
    /// Headers looked at, alone or in a block.
    pub checked: Cell<u32>,
    /// The clock went back: every header is too early.
    pub slow_clock: bool,
    /// Zeros after each header that is told, for answers that are too large.
    pub padding: usize,
}

impl Toy {
    pub fn new() -> Self {
        let genesis = block(Hash::ZERO, 0, 0, b"genesis", Nature::Good);
        let hash = name(&genesis);
        let tip = Tip { hash, height: 0, work: 0 };
        let blocks = [(hash, (tip, Hash::ZERO, genesis))].into();
        Toy {
            blocks,
            best: vec![hash],
            defer: false,
            deferred: Vec::new(),
            ignore: 0,
            submitted: 0,
            checked: Cell::new(0),
            slow_clock: false,
            padding: 0,
        }
    }

    /// Genesis and `count` blocks of work 1 with bodies of `label`.
    pub fn grown(count: u64, label: &str) -> Self {
        let mut toy = Toy::new();
        toy.grow(count, label);
        toy
    }

    pub fn grow(&mut self, count: u64, label: &str) {
        for _ in 0..count {
            self.push(1, label, Nature::Good);
        }
    }

    /// A block on the best tip.
    pub fn push(&mut self, work: u64, label: &str, nature: Nature) -> Hash {
        let tip = self.best();
        self.extend(tip.hash, work, label, nature)
    }

    /// A block anywhere, whatever its nature.
    pub fn extend(&mut self, parent: Hash, work: u64, label: &str, nature: Nature) -> Hash {
        let height = self.position(&parent).unwrap().height + 1;
        let block = block(parent, height, work, format!("{label} {height}").as_bytes(), nature);
        let hash = name(&block);
        self.store(block);
        hash
    }

    /// The block at a height of the best chain.
    pub fn at(&self, height: usize) -> Hash {
        self.best[height]
    }

    fn store(&mut self, block: Bytes) -> bool {
        let (hash, previous) = (name(&block), Hash(block[..32].try_into().unwrap()));
        let parent = self.blocks[&previous].0;
        let work = u64::from_be_bytes(block[40..48].try_into().unwrap());
        let tip = Tip { hash, height: parent.height + 1, work: parent.work + u128::from(work) };
        self.blocks.insert(hash, (tip, previous, block));
        if tip.work <= self.best().work {
            return false;
        }
        let mut branch = vec![hash];
        let mut below = previous;
        while self.best.get(self.blocks[&below].0.height as usize) != Some(&below) {
            branch.push(below);
            below = self.blocks[&below].1;
        }
        self.best.truncate(self.blocks[&below].0.height as usize + 1);
        self.best.extend(branch.into_iter().rev());
        true
    }

    /// What `submit_block` says when it does not defer.
    pub fn judge(&mut self, block: Bytes) -> Verdict {
        let (hash, previous) = (name(&block), Hash(block[..32].try_into().unwrap()));
        if self.blocks.contains_key(&hash) {
            Verdict::Known
        } else if !self.blocks.contains_key(&previous) {
            Verdict::Orphan { parent: previous }
        } else if block[48..56] != self::hash(&block[HEADER_LEN..]).0[..8] {
            Verdict::Invalid(Rejection::mutated("body"))
        } else if block[56] != 0 {
            Verdict::Invalid(Rejection::invalid("rule"))
        } else {
            Verdict::Accepted { best_changed: self.store(block) }
        }
    }
}

impl Chain for Toy {
    fn genesis(&self) -> Hash {
        self.best[0]
    }

    fn best(&self) -> Tip {
        self.blocks[self.best.last().unwrap()].0
    }

    fn position(&self, hash: &Hash) -> Option<Tip> {
        self.blocks.get(hash).map(|(tip, ..)| *tip)
    }

    fn locator(&self) -> Vec<Hash> {
        let (mut out, mut step, mut height) = (Vec::new(), 1, self.best.len() - 1);
        while height > 0 {
            out.push(self.best[height]);
            step = if out.len() >= 10 { step * 2 } else { 1 };
            height = height.saturating_sub(step);
        }
        out.push(self.best[0]);
        out
    }

    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        let on_best = |hash: &Hash| {
            let height = self.position(hash)?.height as usize;
            (self.best.get(height) == Some(hash)).then_some(height)
        };
        let start = locator.filter_map(|hash| on_best(&hash)).next().unwrap_or(0);
        let mut out = Vec::new();
        for hash in self.best.iter().skip(start + 1).take(max) {
            let mut header = self.blocks[hash].2[..HEADER_LEN].to_vec();
            header.resize(HEADER_LEN + self.padding, 0);
            out.push(header.into());
            if Some(*hash) == stop {
                break;
            }
        }
        out
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.blocks.get(hash).map(|(.., block)| block.clone())
    }

    fn check_header(&self, _: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.checked.set(self.checked.get() + 1);
        let bad = HeaderError::Invalid(Rejection::invalid("header"));
        if header.len() != HEADER_LEN || header[56] == Nature::BadHeader as u8 {
            return Err(bad);
        }
        if self.slow_clock || header[56] == Nature::Early as u8 {
            return Err(HeaderError::Early);
        }
        Ok(HeaderInfo {
            hash: hash(header),
            previous: Hash(header[..32].try_into().unwrap()),
            height: u64::from_be_bytes(header[32..40].try_into().unwrap()),
            work: u128::from(u64::from_be_bytes(header[40..48].try_into().unwrap())),
        })
    }

    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.check_header(now, block.get(..HEADER_LEN).unwrap_or(&[]))
    }

    fn block_hash(&self, block: &[u8]) -> Option<Hash> {
        block.get(..HEADER_LEN).map(hash)
    }

    fn accept_block(&mut self, _: UnixTime, block: CheckedBlock) -> Verdict {
        assert_eq!(name(block.bytes()), block.hash(), "the proof is of this block's header");
        self.submitted += 1;
        if self.ignore > 0 {
            self.ignore -= 1;
            return Verdict::Ignored("busy");
        }
        if self.defer {
            let ticket = u64::from(self.submitted);
            self.deferred.push((ticket, block.into_bytes()));
            return Verdict::Pending(ticket);
        }
        self.judge(block.into_bytes())
    }

    fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict {
        Verdict::Ignored("no pool")
    }

    fn transaction_id(&self, transaction: &[u8]) -> Option<Hash> {
        Some(hash(transaction))
    }

    fn pool_ids(&self, _: usize) -> Vec<Hash> {
        Vec::new()
    }

    fn pool_transaction(&self, _: &Hash) -> Option<Bytes> {
        None
    }

    fn gossip_id(&self, _: Kind, payload: &[u8]) -> Hash {
        hash(payload)
    }

    fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict {
        Verdict::Ignored("no gossip")
    }
}
