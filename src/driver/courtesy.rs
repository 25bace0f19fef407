//! How often a loop that looks for work offers its core to others.
//!
//! To offer it after each look keeps the threads of one core going, and costs most of a microsecond even where nobody takes it: a
//! sixth of what a short round trip takes. Who wants the core shows by keeping it for a while. So after an offer that nobody took
//! some looks make none, and whoever comes meanwhile waits for those few microseconds.

use core::time::Duration;

use crate::limits::{LOOKS_ALONE, YIELD_ALONE};

/// Whether to offer the core at the next look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Courtesy {
    /// Looks that make no offer.
    skip: u32,
}

impl Courtesy {
    /// One more look has found nothing: is the core to be offered?
    #[inline]
    pub(super) fn is_due(&mut self) -> bool {
        match self.skip.checked_sub(1) {
            Some(left) => {
                self.skip = left;
                false
            }
            None => true,
        }
    }

    /// It was offered, and ours again after so long.
    #[inline]
    pub(super) fn came_back_after(&mut self, away: Duration) {
        self.skip = if away < YIELD_ALONE { LOOKS_ALONE } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many looks make an offer that takes so long.
    fn offers(looks: u32, away: Duration) -> u32 {
        let mut courtesy = Courtesy::default();
        let mut offers = 0;
        for _ in 0..looks {
            if courtesy.is_due() {
                offers += 1;
                courtesy.came_back_after(away);
            }
        }
        offers
    }

    #[test]
    fn a_core_that_somebody_takes_is_offered_at_each_look_and_one_that_nobody_wants_at_one_of_sixteen() {
        assert_eq!(offers(160, YIELD_ALONE), 160);
        assert_eq!(offers(160, Duration::ZERO), 160 / (LOOKS_ALONE + 1));
    }

    #[test]
    fn whoever_takes_it_once_is_offered_it_again_at_the_next_look() {
        let mut courtesy = Courtesy::default();
        assert!(courtesy.is_due());
        courtesy.came_back_after(Duration::ZERO);
        assert!((0..LOOKS_ALONE).all(|_| !courtesy.is_due()));
        assert!(courtesy.is_due());
        courtesy.came_back_after(Duration::from_millis(1));
        assert!(courtesy.is_due());
    }
}
