//! Ways to choose what survives a crash, for the tests of what must survive.

use crate::rng::Rng;

/// Every combination of choices, one after the other: an odometer whose wheels are as wide as the questions that are asked.
#[derive(Debug, Default)]
pub(super) struct Every {
    wheels: Vec<(u64, u64)>,
    at: usize,
}

impl Every {
    /// Answers a question of the case under way.
    pub(super) fn choose(&mut self, bound: u64) -> u64 {
        if self.at == self.wheels.len() {
            self.wheels.push((0, bound));
        }
        let (value, known) = self.wheels[self.at];
        assert_eq!(known, bound, "the same answers must lead to the same question");
        self.at += 1;
        value
    }

    /// Moves to the next case; false when all were tried.
    pub(super) fn next(&mut self) -> bool {
        // Questions beyond those of this case belong to another one.
        self.wheels.truncate(self.at);
        self.at = 0;
        while let Some((value, bound)) = self.wheels.pop() {
            if value + 1 < bound {
                self.wheels.push((value + 1, bound));
                return true;
            }
        }
        false
    }
}

/// Nothing that was not synced survives.
pub(super) fn nothing(_: u64) -> u64 {
    0
}

/// Everything survives, as when the process dies and the machine does not.
pub(super) fn everything(bound: u64) -> u64 {
    bound - 1
}

/// Whole or lost most of the time, anything else otherwise.
pub(super) fn drawn(rng: &mut Rng) -> impl FnMut(u64) -> u64 {
    |bound| match rng.below(3) {
        0 => 0,
        1 => bound - 1,
        _ => rng.below(bound),
    }
}

#[test]
fn every_combination_comes_once() {
    let mut every = Every::default();
    let mut seen = Vec::new();
    loop {
        // The second question depends on the first answer.
        let first = every.choose(3);
        let second = if first == 1 { every.choose(2) } else { 9 };
        seen.push((first, second));
        if !every.next() {
            break;
        }
    }
    assert_eq!(seen, [(0, 9), (1, 0), (1, 1), (2, 9)]);
}
