//! Who was late, by connection, and beyond it by address and subnet: a new connection is no new leaf.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::source::{Place, Source};
use crate::time::Instant;

/// How long one who was late for the first time is asked after all others.
const PENALTY: Duration = Duration::from_secs(2);
/// It doubles with each time, so often.
const LEVEL_MAX: u32 = 6;
/// Blocks delivered in a row that make up for one time.
const AMENDS: u32 = 64;
/// How long it is remembered how often somebody was late.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Addresses and subnets that are remembered; whose time is up first is forgotten.
const RECORDS_MAX: usize = 256;

/// How often somebody held up others, and until when it is asked last for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lateness {
    level: u32,
    until: Instant,
    /// Blocks delivered since.
    delivered: u32,
}

impl Lateness {
    /// Is it asked after all others?
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.until > now
    }

    pub(super) fn was_late(&self) -> bool {
        self.level > 0
    }

    /// How much more patience it gets: who is slow is not released again and again.
    pub(super) fn factor(&self) -> u32 {
        1 << self.level.min(LEVEL_MAX)
    }

    /// It held up others.
    fn late(&mut self, now: Instant) {
        self.until = now + PENALTY.saturating_mul(self.factor());
        self.level = self.level.saturating_add(1).min(LEVEL_MAX);
        self.delivered = 0;
    }

    /// It has delivered: it is asked as others are, and what was before is made up for by and by.
    pub(super) fn delivered(&mut self) {
        self.until = Instant::ZERO;
        if self.level > 0 {
            self.delivered = self.delivered.saturating_add(1);
            if self.delivered >= AMENDS {
                (self.level, self.delivered) = (self.level.saturating_sub(1), 0);
            }
        }
    }
}

/// What is remembered of addresses, and of the subnets of those who came to us.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_place: BTreeMap<Place, Lateness>,
}

impl Records {
    /// What is known of one who has just connected.
    pub(super) fn of(&self, now: Instant, source: Source) -> Lateness {
        let known = Self::places(source).filter_map(|place| self.by_place.get(&place));
        let known = known.filter(|lateness| lateness.until + REMEMBERED > now);
        known.max_by_key(|lateness| (lateness.until, lateness.level)).copied().unwrap_or_default()
    }

    /// A peer held up others.
    pub(super) fn late(&mut self, now: Instant, source: Source, lateness: &mut Lateness) {
        lateness.late(now);
        for place in Self::places(source) {
            if !self.by_place.contains_key(&place) && self.by_place.len() >= RECORDS_MAX {
                let first = self.by_place.iter().min_by_key(|(place, record)| (record.until, **place));
                if let Some(place) = first.map(|(place, _)| *place) {
                    self.by_place.remove(&place);
                }
            }
            self.by_place.insert(place, *lateness);
        }
    }

    fn places(source: Source) -> impl Iterator<Item = Place> {
        let [_, subnet, address] = source.path();
        let is_stranger = matches!(source, Source::Stranger(_));
        [Some(address), is_stranger.then_some(subnet)].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(last: u8) -> Source {
        Source::peer([10, 0, 0, last].into(), false)
    }

    #[test]
    fn who_was_late_is_late_on_a_new_connection_and_from_next_door_but_not_for_ever() {
        let (mut records, now) = (Records::default(), Instant::from_millis(5_000));
        let mut lateness = records.of(now, stranger(1));
        assert_eq!(lateness, Lateness::default());
        records.late(now, stranger(1), &mut lateness);
        for source in [stranger(1), stranger(2)] {
            let known = records.of(now, source);
            assert!(known.is_late(now) && known.factor() == 2 && !known.is_late(now + PENALTY));
        }
        let elsewhere = Source::peer([10, 9, 0, 1].into(), false);
        let chosen = Source::peer([10, 0, 0, 1].into(), true);
        assert!(!records.of(now, elsewhere).was_late() && !records.of(now, chosen).was_late());
        assert!(!records.of(now + PENALTY + REMEMBERED, stranger(1)).was_late());
    }

    #[test]
    fn deliveries_make_up_for_lateness() {
        let (mut records, now) = (Records::default(), Instant::from_millis(5_000));
        let mut lateness = Lateness::default();
        (0..20).for_each(|_| records.late(now, stranger(1), &mut lateness));
        assert_eq!(lateness.factor(), 64);
        lateness.delivered();
        assert!(!lateness.is_late(now) && lateness.factor() == 64);
        (0..6 * AMENDS).for_each(|_| lateness.delivered());
        assert!(!lateness.was_late());
    }

    #[test]
    fn a_crowd_does_not_make_it_grow() {
        let mut records = Records::default();
        for n in 0..1_000u32 {
            let [high, low, ..] = (n as u16).to_be_bytes();
            let now = Instant::from_millis(5_000 + u64::from(n));
            records.late(now, Source::peer([10, high, low, 1].into(), false), &mut Lateness::default());
        }
        assert_eq!(records.by_place.len(), RECORDS_MAX);
    }
}
