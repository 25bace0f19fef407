//! Units of work: what an input costs, counted where it is done.
//!
//! Whoever has a loop whose length a peer can choose, or that grows with what is held, says here how many steps it took. One unit
//! is about what a look-up in a large table takes, or a hash of 64 bytes; lighter steps count by the dozen. The sum is exact
//! enough to be shared by, see [`limits::TURN_WORK`](crate::limits::TURN_WORK), and the same on every machine.

use core::sync::atomic::{AtomicU32, Ordering};

/// What one frame costs, whatever is in it: it is decoded, charged and routed.
pub(crate) const FRAME: usize = 2;
/// Steps that only move on in an ordered list, for one unit.
const LIGHT_STEPS: usize = 8;

/// An account. Reading costs too, so that it can be charged behind a shared reference. One thread counts at a time: the atomic
/// number only lets its owner be shared.
#[derive(Debug, Default)]
pub(crate) struct Work(AtomicU32);

impl Work {
    /// So many look-ups, hashes of 64 bytes or allocations.
    pub(crate) fn spend(&self, steps: usize) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.0.store(self.0.load(Ordering::Relaxed).saturating_add(steps), Ordering::Relaxed);
    }

    /// So many steps along a list, comparisons or copies of a few dozen bytes.
    pub(crate) fn spend_light(&self, steps: usize) {
        self.spend(steps / LIGHT_STEPS);
    }

    /// So many bytes hashed.
    pub(crate) fn spend_hashing(&self, bytes: usize) {
        self.spend(bytes / 64);
    }

    /// So many bytes copied or looked at once.
    pub(crate) fn spend_copying(&self, bytes: usize) {
        self.spend(bytes / 4096);
    }

    /// What was spent since it was taken.
    #[cfg(feature = "chain")]
    pub(crate) fn sum(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// All of it, once.
    pub(crate) fn take(&self) -> u32 {
        let work = self.0.load(Ordering::Relaxed);
        self.0.store(0, Ordering::Relaxed);
        work
    }
}
