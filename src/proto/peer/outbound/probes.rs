//! Addresses that peers announced as their own, until we have dialed them: only what was reached is passed on to others.
//!
//! A peer that dialed us says at which port it listens. Where it is wrong (a router between, a listener for this machine only),
//! all whom we told would dial it in vain. So it is dialed back once. It answers that we are connected already, which is all
//! that we want to know.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::invariant::{Broken, Invariant};
use crate::proto::peer::retry::Backoff;
use crate::rng::Rng;
use crate::time::Instant;

/// Announced addresses that wait, at most: whoever comes when so many wait is asked for at its next handshake.
const WAITING_MAX: usize = 256;
/// How often one is dialed back before it is given up until it is announced again.
const TRIES: u32 = 3;
/// Between two of these.
const RETRY: Backoff = Backoff { first: Duration::from_secs(20), max: Duration::from_secs(120) };

/// The addresses to dial back.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    waiting: BTreeMap<SocketAddr, Probe>,
    by_time: BTreeSet<(Instant, SocketAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Instant,
    failures: u32,
}

impl Probes {
    /// This one is to be dialed back, not before that time.
    pub(super) fn add(&mut self, address: SocketAddr, at: Instant) {
        if !self.waiting.contains_key(&address) && self.waiting.len() < WAITING_MAX {
            self.put(address, Probe { at, failures: 0 });
        }
    }

    /// The next one that is due, or when one is. It stays until it is known what came of it.
    pub(super) fn next(&self, now: Instant, skip: &dyn Fn(&SocketAddr) -> bool) -> Result<SocketAddr, Option<Instant>> {
        match self.by_time.iter().find(|(_, address)| !skip(address)) {
            Some((at, address)) if *at <= now => Ok(*address),
            other => Err(other.map(|(at, _)| *at)),
        }
    }

    /// Nobody is there, or nobody who answers.
    pub(super) fn failed(&mut self, address: SocketAddr, now: Instant, rng: &mut Rng) {
        let Some(Probe { failures, .. }) = self.remove(address) else { return };
        if failures + 1 < TRIES {
            self.put(address, Probe { at: now + RETRY.delay(failures + 1, rng), failures: failures + 1 });
        }
    }

    /// Somebody is there, or whoever announced it is gone, or it is no address of a peer.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.remove(address);
    }

    pub(super) fn audit(&self) -> Result<(), Broken> {
        let (waiting, timed) = (self.waiting.len(), self.by_time.len());
        Invariant::S5.check(waiting == timed && waiting <= WAITING_MAX, || {
            format!("{waiting} announced addresses wait to be dialed back, {timed} by their times")
        })
    }

    fn remove(&mut self, address: SocketAddr) -> Option<Probe> {
        let probe = self.waiting.remove(&address)?;
        self.by_time.remove(&(probe.at, address));
        Some(probe)
    }

    fn put(&mut self, address: SocketAddr, probe: Probe) {
        self.by_time.insert((probe.at, address));
        self.waiting.insert(address, probe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_address_is_dialed_back_three_times_at_most() {
        let (mut probes, mut rng) = (Probes::default(), Rng::from_seed(1));
        let address = |n: u8| SocketAddr::from(([45, n, 0, 1], 7));
        probes.add(address(1), Instant::ZERO);
        probes.add(address(2), Instant::from_millis(5000));
        assert_eq!(probes.next(Instant::ZERO, &|_| false), Ok(address(1)));
        assert_eq!(probes.next(Instant::ZERO, &|one| *one == address(1)), Err(Some(Instant::from_millis(5000))));
        let mut now = Instant::ZERO;
        for _ in 0..TRIES {
            probes.failed(address(1), now, &mut rng);
            now = now + Duration::from_secs(200);
        }
        assert_eq!(probes.next(now, &|_| false), Ok(address(2)));
        probes.forget(address(2));
        assert_eq!((probes.next(now, &|_| false), probes.audit()), (Err(None), Ok(())));
    }

    #[test]
    fn strangers_make_only_so_many_wait() {
        let mut probes = Probes::default();
        for n in 0..1000u32 {
            probes.add(SocketAddr::from((n.to_be_bytes(), 7)), Instant::ZERO);
        }
        assert_eq!((probes.waiting.len(), probes.audit()), (WAITING_MAX, Ok(())));
    }
}
