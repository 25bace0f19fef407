//! What a run counts: what was injected, turns of the loops, bytes carried.

use std::collections::BTreeMap;

/// Turns of the loops, and of these the ones that no news caused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TurnCount {
    pub(super) all: u64,
    pub(super) without_news: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By name; the kernels have counters of their own.
    injected: BTreeMap<&'static str, u64>,
    turns: TurnCount,
    bytes: u64,
}

impl Counters {
    /// Something was injected.
    pub(super) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        *self.injected.entry(what).or_default() += count;
    }

    /// Was this injected at all?
    pub(super) fn has(&self, what: &str) -> bool {
        self.injected.contains_key(what)
    }

    /// What was injected, with what was counted elsewhere.
    pub(super) fn take_injected(&mut self, elsewhere: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        elsewhere.into_iter().for_each(|(what, count)| self.add(what, count));
        core::mem::take(&mut self.injected)
    }

    /// A loop has a turn.
    pub(super) fn turn(&mut self, has_news: bool) {
        self.turns.all += 1;
        self.turns.without_news += u64::from(!has_news);
    }

    pub(super) fn turns(&self) -> TurnCount {
        self.turns
    }

    /// So many bytes are on their way.
    pub(super) fn carry(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
