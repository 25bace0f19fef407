//! What is kept of a long branch while nobody knows yet what it is worth: its work and a few bits.
//!
//! A branch that leaves our chain far below its tip is lighter than ours for many headers, and whoever tells it may have no more
//! to tell. So it is told twice. The first time its work is counted, and of every so many headers one bit is kept: a hash with
//! a salt that nobody else knows. Once the work exceeds our chain's, the same headers are fetched again and compared with the
//! bits; one is believed when enough bits above it agreed. A branch that is not the counted one gets so far once in 65,536
//! tries, and each try costs its teller more work than our whole chain has.

use core::hash::Hasher;
use std::collections::VecDeque;
use std::hash::DefaultHasher;

use crate::proto::sync::chain::{CheckedHeader, Tip};
use crate::wire::Hash;

/// Headers between two bits, at first.
const PERIOD: u64 = 128;
/// Bits that must agree above a header before it is believed.
const BITS_AHEAD: u64 = 16;
/// Bits of one branch, in 16 KiB. When there are more, every second one goes, and the distance between them doubles.
const BITS_MAX: usize = 1 << 17;

/// What becomes of a long branch that is lighter than our chain as far as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeepBranch {
    /// Its work is being counted; none of it is kept. Said at the beginning, and again every 100,000 headers.
    Counted,
    /// It has more work than our chain: it is fetched again, and followed.
    Proven,
    /// It ends, and has no more work than our chain.
    Lighter,
    /// It has more work, but is not told again as it was the first time.
    Changed,
    /// It stands on headers of another peer that are not stored yet, too many to count again.
    Deferred,
    /// What was fetched of it was dropped meanwhile: its blocks were withheld or invalid, or others needed the room.
    Dropped,
}

/// One bit for every so many headers.
#[derive(Debug)]
struct Commitments {
    salt: u64,
    period: u64,
    /// Which of each period's headers has the bit.
    offset: u64,
    words: Vec<u64>,
    len: usize,
    most: usize,
}

impl Commitments {
    fn new(salt: u64, period: u64, most: usize) -> Self {
        Commitments { salt, period, offset: salt % period.max(1), words: Vec::new(), len: 0, most }
    }

    /// SipHash, which is made for keys that others may not guess.
    fn bit(&self, hash: &Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.salt);
        hasher.write(&hash.0);
        hasher.finish() & 1 == 1
    }

    fn is_due(&self, index: u64) -> bool {
        index % self.period == self.offset
    }

    fn get(&self, at: usize) -> Option<bool> {
        let word = self.words.get(at / 64).filter(|_| at < self.len)?;
        Some(word >> (at % 64) & 1 == 1)
    }

    fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(bit) << (self.len % 64);
            self.len = self.len.saturating_add(1);
        }
    }

    /// The branch's header at `index`, counted from its first.
    fn add(&mut self, index: u64, hash: &Hash) {
        if !self.is_due(index) {
            return;
        }
        self.push(self.bit(hash));
        if self.len >= self.most {
            let kept: Vec<bool> = (0..self.len).step_by(2).filter_map(|at| self.get(at)).collect();
            (self.words, self.len) = (Vec::new(), 0);
            kept.into_iter().for_each(|bit| self.push(bit));
            self.period = self.period.saturating_mul(2);
        }
    }

    /// False when another header stood there the first time. What was not counted cannot be compared.
    fn agrees(&self, index: u64, hash: &Hash) -> bool {
        let at = usize::try_from(index / self.period).unwrap_or(usize::MAX);
        !self.is_due(index) || self.get(at).is_none_or(|bit| bit == self.bit(hash))
    }
}

/// A long branch of one peer.
#[derive(Debug)]
pub(super) struct Presync {
    bits: Commitments,
    /// The block of our chain that it stands on.
    start: Tip,
    /// Its last header as far as it was told, this time.
    end: Tip,
    /// Headers told, this time.
    told: u64,
    /// That it is lighter was said: once for each branch.
    reported: bool,
    fetching: Option<Fetching>,
}

/// The second time.
#[derive(Debug)]
struct Fetching {
    /// Where its work exceeded our chain's.
    target: Tip,
    /// The last header that is believed.
    believed: Tip,
    /// Those above it.
    ahead: VecDeque<CheckedHeader>,
}

impl Presync {
    /// A branch that stands on `start` and of which nothing was told.
    pub(super) fn new(salt: u64, start: Tip) -> Self {
        let bits = Commitments::new(salt, PERIOD, BITS_MAX);
        Presync { bits, start, end: start, told: 0, reported: false, fetching: None }
    }

    /// The block of our chain that it stands on.
    pub(super) fn start(&self) -> Tip {
        self.start
    }

    /// Its last header as far as it was told: the next one hangs from it.
    pub(super) fn end(&self) -> Tip {
        self.end
    }

    /// How many of its headers were told, this time.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Takes the next header. False when another one stood there the first time.
    pub(super) fn add(&mut self, header: CheckedHeader) -> bool {
        let (index, hash) = (self.told, header.hash());
        match &mut self.fetching {
            None => self.bits.add(index, &hash),
            Some(_) if !self.bits.agrees(index, &hash) => return false,
            Some(fetching) => fetching.ahead.push_back(header),
        }
        self.told = self.told.saturating_add(1);
        self.end = Tip { hash, height: header.height(), work: self.end.work.saturating_add(header.work()) };
        true
    }

    /// Its work exceeds our chain's: from now on it is told again.
    pub(super) fn prove(&mut self) {
        debug_assert!(self.fetching.is_none(), "a branch is proven once");
        self.fetching = Some(Fetching { target: self.end, believed: self.start, ahead: VecDeque::new() });
        (self.end, self.told) = (self.start, 0);
    }

    /// Where its work exceeded our chain's, once that is known.
    pub(super) fn proven(&self) -> Option<Tip> {
        self.fetching.as_ref().map(|fetching| fetching.target)
    }

    /// The last header that is believed, of a proven branch.
    pub(super) fn believed(&self) -> Option<Tip> {
        self.fetching.as_ref().map(|fetching| fetching.believed)
    }

    /// Has the word that it is lighter been said? It has, from now on.
    pub(super) fn report(&mut self) -> bool {
        core::mem::replace(&mut self.reported, true)
    }

    /// Whether there is room for another answer.
    pub(super) fn wants_more(&self) -> bool {
        let waits =
            |fetching: &Fetching| self.is_proven_again(fetching) || fetching.ahead.len() as u64 > self.lookahead();
        !self.fetching.as_ref().is_some_and(waits)
    }

    /// Headers held of it beside the tree.
    pub(super) fn held(&self) -> usize {
        self.fetching.as_ref().map_or(0, |fetching| fetching.ahead.len())
    }

    /// The most headers held of it beside the tree, when an answer has at most so many.
    pub(super) fn held_max(&self, answer: usize) -> usize {
        usize::try_from(self.lookahead()).unwrap_or(usize::MAX).saturating_add(answer)
    }

    /// As much work as was proven is here: whether it is the same work does not matter any more.
    fn is_proven_again(&self, fetching: &Fetching) -> bool {
        self.end.work >= fetching.target.work
    }

    fn lookahead(&self) -> u64 {
        self.bits.period.saturating_mul(BITS_AHEAD)
    }

    /// Takes out the next headers that are to be believed, at most so many.
    pub(super) fn take_believed(&mut self, most: usize) -> Vec<CheckedHeader> {
        let all = self.fetching.as_ref().is_some_and(|fetching| self.is_proven_again(fetching));
        let kept = if all { 0 } else { usize::try_from(self.lookahead()).unwrap_or(usize::MAX) };
        let Some(fetching) = &mut self.fetching else { return Vec::new() };
        let count = fetching.ahead.len().saturating_sub(kept).min(most);
        fetching.ahead.drain(..count).collect()
    }

    /// What was taken out is in the tree now, up to here.
    pub(super) fn note_believed(&mut self, tip: Tip) {
        if let Some(fetching) = &mut self.fetching {
            fetching.believed = tip;
        }
    }

    /// Is all of it believed, up to where it is heavier than our chain was?
    pub(super) fn is_done(&self) -> bool {
        self.fetching
            .as_ref()
            .is_some_and(|fetching| fetching.ahead.is_empty() && fetching.believed.work >= fetching.target.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sync::chain::HeaderInfo;

    fn hash(branch: u64, number: u64) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..8].copy_from_slice(&number.to_le_bytes());
        hash.0[8..16].copy_from_slice(&branch.to_le_bytes());
        hash
    }

    fn header(branch: u64, number: u64) -> CheckedHeader {
        let (previous, height) = (hash(branch, number - 1), number);
        CheckedHeader::unchecked(HeaderInfo { hash: hash(branch, number), previous, height, work: 1 })
    }

    fn counted(salt: u64, headers: u64) -> Presync {
        let mut presync = Presync::new(salt, Tip { hash: hash(0, 0), height: 0, work: 0 });
        assert!((1..=headers).all(|number| presync.add(header(0, number))));
        assert_eq!((presync.end().work, presync.held()), (u128::from(headers), 0));
        presync.prove();
        presync
    }

    #[test]
    fn the_counted_branch_is_believed_whole_and_never_more_than_the_lookahead_is_held() {
        let mut presync = counted(7, 10_000);
        let mut believed = 0;
        for number in 1..=10_000 {
            assert!(presync.add(header(0, number)));
            let taken = presync.take_believed(usize::MAX);
            assert!(presync.held() as u64 <= PERIOD * BITS_AHEAD);
            for header in taken {
                believed += 1;
                presync.note_believed(Tip { hash: header.hash(), height: believed, work: u128::from(believed) });
            }
            assert_eq!(presync.is_done(), number == 10_000);
        }
        assert_eq!(believed, 10_000);
    }

    #[test]
    fn of_another_branch_nothing_is_believed_whatever_the_salt() {
        for salt in 0..200 {
            let mut presync = counted(salt, 20_000);
            let shared = 5_000;
            assert!((1..=shared).all(|number| presync.add(header(0, number))));
            let mut believed = presync.take_believed(usize::MAX).len() as u64;
            for number in shared + 1..=20_000 {
                if !presync.add(header(1, number)) {
                    break;
                }
                believed += presync.take_believed(usize::MAX).len() as u64;
            }
            assert!(believed <= shared, "{believed} with salt {salt}");
        }
    }

    #[test]
    fn bits_beyond_the_most_are_thinned_out_and_still_tell_branches_apart() {
        let mut bits = Commitments::new(5, 2, 64);
        (0..10_000).for_each(|index| bits.add(index, &hash(0, index)));
        assert!(bits.len < 64 && bits.words.len() <= 2 && bits.period >= 256, "{bits:?}");
        assert!((0..10_000).all(|index| bits.agrees(index, &hash(0, index))));
        assert!(!(0..10_000).all(|index| bits.agrees(index, &hash(1, index))));
        assert!(bits.agrees(1 << 40, &hash(1, 1 << 40)), "what was not counted cannot be compared");
    }
}
