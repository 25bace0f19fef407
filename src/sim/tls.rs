//! TLS in a run: who each host is, whom it trusts, and the clock by which it does.
//!
//! Keys follow from the run's seed, so node ids do too. The crypto library's own randomness does not: from run to run other
//! bytes cross the network, in equal numbers and at equal times, so that the trace is the same.

#[cfg(not(feature = "tls"))]
pub(super) use absent::Security;
#[cfg(feature = "tls")]
pub(super) use played::Security;

/// Whether this build can speak TLS.
pub(super) const OFFERED: bool = cfg!(feature = "tls");
/// How often a place in the network may get another node: so many keys of each place are trusted from the start.
pub(super) const LIVES: u32 = 4;

#[cfg(feature = "tls")]
mod played {
    use core::fmt;
    use core::time::Duration;
    use std::sync::{Arc, PoisonError};

    use rustls::pki_types::UnixTime;
    use rustls::time_provider::TimeProvider;

    use super::LIVES;
    use crate::driver;
    use crate::link::tls::identity::Identity;
    use crate::link::tls::trust::Trust;
    use crate::link::tls::{Tls, TlsOptions};
    use crate::rng::Rng;
    use crate::sim::kernel::SharedMachine;

    /// What the hosts of a run know of each other under TLS.
    pub(in crate::sim) struct Security {
        seed: u64,
        trust: Trust,
    }

    impl Security {
        /// What they know, where they speak TLS.
        pub(in crate::sim) fn of(tls: bool, seed: u64, nodes: u32) -> Option<Security> {
            tls.then(|| Security::new(seed, nodes))
        }

        /// Every host is told all keys, or trusts anybody: the seed says which.
        fn new(seed: u64, nodes: u32) -> Security {
            let mut security = Security { seed, trust: Trust::Any };
            if Rng::from_seed(seed ^ 0x0070_696e).chance(1, 2) {
                let places = (0..nodes).flat_map(|place| (0..LIVES).map(move |life| (place, life)));
                let ids = places.filter_map(|(place, life)| Some(security.identity(place, life)?.id()));
                security.trust = Trust::Pinned(ids.collect());
            }
            security
        }

        fn identity(&self, place: u32, life: u32) -> Option<Identity> {
            let mut rng = Rng::from_seed(self.seed ^ (u64::from(place) << 8 | u64::from(life)).rotate_left(20));
            let mut key = [0; 32];
            key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&rng.next_u64().to_le_bytes()));
            Identity::from_seed(&key).ok()
        }

        /// The node id of the node that lives at a place, and with what it starts its loop: the process remembers no sessions
        /// of the one before it.
        pub(in crate::sim) fn equip(
            &self,
            place: u32,
            life: u32,
            machine: &SharedMachine,
            limits: &mut driver::Config,
        ) -> Option<String> {
            let identity = self.identity(place, life)?;
            let clock = Arc::new(WallClock(Arc::clone(machine)));
            limits.tls = Tls::with_time(&identity, self.trust.clone(), TlsOptions::default(), clock).ok();
            Some(identity.id().to_string())
        }
    }

    /// The wall clock of a machine, jumps included.
    struct WallClock(SharedMachine);

    impl fmt::Debug for WallClock {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("WallClock")
        }
    }

    impl TimeProvider for WallClock {
        fn current_time(&self) -> Option<UnixTime> {
            let millis = self.0.lock().unwrap_or_else(PoisonError::into_inner).now.unix.as_millis();
            Some(UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(millis).ok()?)))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn keys_follow_from_the_seed_and_differ_by_place_and_life() {
            let id = |seed, place, life| Security::new(seed, 2).identity(place, life).unwrap().id();
            assert_eq!(id(1, 0, 0), id(1, 0, 0));
            let ids: std::collections::BTreeSet<_> =
                [(1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)].map(|(seed, place, life)| id(seed, place, life)).into();
            assert_eq!(ids.len(), 4);
        }

        #[test]
        fn some_runs_pin_every_life_of_every_place_and_some_trust_anybody() {
            let pinned = (0..20).filter(|seed| match Security::new(*seed, 3).trust {
                Trust::Pinned(ids) => {
                    assert_eq!(ids.len(), 3 * LIVES as usize);
                    true
                }
                _ => false,
            });
            assert!((5..16).contains(&pinned.count()));
        }
    }
}

#[cfg(not(feature = "tls"))]
mod absent {
    use crate::driver;
    use crate::sim::kernel::SharedMachine;

    /// A build without TLS has none of these.
    pub(in crate::sim) enum Security {}

    impl Security {
        pub(in crate::sim) fn of(_: bool, _: u64, _: u32) -> Option<Security> {
            None
        }

        pub(in crate::sim) fn equip(
            &self,
            _: u32,
            _: u32,
            _: &SharedMachine,
            _: &mut driver::Config,
        ) -> Option<String> {
            match *self {}
        }
    }
}
