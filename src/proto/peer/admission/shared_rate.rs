//! The rate of all, shared by the subnets that ask for it.
//!
//! First come, first served gives everything to whoever asks most often: sixty addresses that each keep to their own rate left
//! nothing for a newcomer. While less than half of the burst is left, a subnet gets the next token only when it has paid for its
//! last one, and pays twice what it would cost if all that owe something had equal parts: whoever asks steadily gets half of the
//! rate at most, with the others who do, and the other half is for who did not come lately.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::address::Subnet;
use crate::rate::{BUCKETS_MAX, Bucket, Rate};
use crate::time::Instant;

/// The longest that a subnet pays for one token, and what one pays that broke the rules before it had introduced itself.
const SHARE_MAX: Duration = Duration::from_secs(30);

/// What is left of a rate, and who had of it lately.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedRate {
    bucket: Bucket,
    /// When each subnet has paid; at most [`BUCKETS_MAX`].
    paid_at: BTreeMap<Subnet, Instant>,
    by_time: BTreeSet<(Instant, Subnet)>,
}

impl SharedRate {
    /// Is there a token for the subnet?
    pub(super) fn has(&self, rate: Rate, subnet: Subnet, now: Instant) -> bool {
        let ample = Rate { burst: rate.burst - rate.burst / 2, ..rate };
        let has_paid = self.paid_at.get(&subnet).is_none_or(|at| *at <= now);
        self.bucket.has(ample, now) || (has_paid && self.bucket.has(rate, now))
    }

    /// Takes one that is there. O(log n), but for those who have paid since.
    pub(super) fn take(&mut self, rate: Rate, subnet: Subnet, now: Instant) {
        while let Some((at, paid)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            self.by_time.remove(&(at, paid));
            self.paid_at.remove(&paid);
        }
        self.bucket.take(rate, now);
        let others = self.paid_at.len() - usize::from(self.paid_at.contains_key(&subnet));
        let parts = u32::try_from(2 * (others + 1)).unwrap_or(u32::MAX);
        let from = self.paid_at.get(&subnet).copied().unwrap_or(now).max(now);
        let at = from + rate.interval.saturating_mul(parts).min(SHARE_MAX);
        self.pays(subnet, at.min(now + SHARE_MAX));
    }

    /// The one who took a token has shown that it was no use to anybody: others may have it, and his subnet pays for long.
    pub(super) fn give_back(&mut self, rate: Rate, subnet: Subnet, now: Instant) {
        self.bucket.give_back(rate);
        self.pays(subnet, now + SHARE_MAX);
    }

    fn pays(&mut self, subnet: Subnet, at: Instant) {
        if let Some(before) = self.paid_at.insert(subnet, at) {
            self.by_time.remove(&(before, subnet));
        }
        self.by_time.insert((at, subnet));
        if self.paid_at.len() > BUCKETS_MAX
            && let Some((_, soonest)) = self.by_time.pop_first()
        {
            self.paid_at.remove(&soonest);
        }
        debug_assert_eq!(self.paid_at.len(), self.by_time.len(), "two views of the same");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(n: u32) -> Subnet {
        Subnet::of(core::net::Ipv4Addr::from_bits(0x0b00_0000 + (n << 8)).into())
    }

    /// Plays `seconds` in which so many subnets ask once a second each; how many of their questions were answered in the last
    /// half, and how many of those of a newcomer each tenth of a second, whose subnet never came before.
    fn play(askers: u32, seconds: u32) -> (u32, u32, u32) {
        let (rate, mut shared) = (Rate::per_second(50, 100), SharedRate::default());
        let (mut served, mut newcomers, mut refused) = (0, 0, 0);
        for milli in 0..seconds * 1000 {
            let now = Instant::from_millis(10_000 + u64::from(milli));
            let late = milli >= seconds * 500;
            let mut ask = |who: Subnet| {
                let has = shared.has(rate, who, now);
                if has {
                    shared.take(rate, who, now);
                }
                has
            };
            for asker in (0..askers).filter(|asker| asker * 1000 / askers == milli % 1000) {
                served += u32::from(ask(subnet(asker)) && late);
            }
            if late && milli % 100 == 50 {
                let is_in = ask(subnet(10_000 + milli));
                newcomers += u32::from(is_in);
                refused += u32::from(!is_in);
            }
        }
        (served, newcomers, refused)
    }

    #[test]
    fn however_many_ask_steadily_a_newcomer_finds_a_token() {
        for askers in [60, 300] {
            let (served, newcomers, refused) = play(askers, 20);
            assert_eq!((newcomers, refused), (100, 0), "{askers} subnets that ask once a second");
            assert!((300..=460).contains(&served), "and they have the rest: {served} of 500 to {askers}");
        }
        assert_eq!(play(20, 20), (200, 100, 0), "below the rate nobody waits");
    }

    #[test]
    fn what_was_of_no_use_is_given_back_and_its_subnet_pays_for_it() {
        let (rate, mut shared, now) = (Rate::per_second(1, 4), SharedRate::default(), Instant::from_millis(10_000));
        for n in 0..1000 {
            assert!(shared.has(rate, subnet(n), now));
            shared.take(rate, subnet(n), now);
            shared.give_back(rate, subnet(n), now);
        }
        for n in 0..4 {
            assert!(shared.has(rate, subnet(5000 + n), now), "all four are there");
            shared.take(rate, subnet(5000 + n), now);
        }
        assert!(!shared.has(rate, subnet(6000), now));
        let later = now + Duration::from_secs(2);
        assert!(!shared.has(rate, subnet(0), later) && shared.has(rate, subnet(6000), later));
        assert!(shared.has(rate, subnet(0), now + SHARE_MAX));
    }

    #[test]
    fn who_owes_is_remembered_in_bounded_memory() {
        let (rate, mut shared, now) =
            (Rate::per_second(1, 100_000), SharedRate::default(), Instant::from_millis(10_000));
        for n in 0..BUCKETS_MAX as u32 + 100 {
            shared.take(rate, subnet(n), now);
        }
        assert_eq!(shared.paid_at.len(), BUCKETS_MAX);
        shared.take(rate, subnet(0), now + SHARE_MAX + SHARE_MAX);
        assert_eq!(shared.paid_at.len(), 1, "whoever has paid is forgotten");
    }
}
