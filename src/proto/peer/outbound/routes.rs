//! Which parts of the world this machine has no way to: IPv6 that is switched off, a network that is down.
//!
//! An address that cannot be dialed for want of a way costs nothing but a system call, and says nothing about who listens there; but
//! thousands of such addresses are told by those who have the way. So when dials of one *part* (a family, near or far) fail for
//! that reason again and again, that part is left alone but for a trial now and then. One that gets through ends it.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;

use crate::address::Scope;
use crate::close::CloseReason;
use crate::proto::peer::retry::Backoff;
use crate::rng::Rng;
use crate::time::Instant;

/// Dials in a row that find no way before a part counts as out of reach.
const CLOSED_AFTER: u32 = 4;
/// Between two trials.
const TRIAL: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(600) };
/// The longest of these times while nobody is connected: then the whole network may have been down, and is back.
const OFFLINE_TRIAL_MAX: Duration = Duration::from_secs(10);

/// A part of the world: IPv6 or not, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressFamily {
    /// IPv6, else IPv4.
    pub is_ipv6: bool,
    /// This machine, the local network or the internet: many a machine has IPv6 as far as itself.
    pub scope: Scope,
}

impl AddressFamily {
    /// The part that an address is in.
    pub fn of(address: SocketAddr) -> Self {
        AddressFamily { is_ipv6: address.is_ipv6(), scope: Scope::of(address.ip()) }
    }
}

impl fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.is_ipv6 { 6 } else { 4 };
        let of = match self.scope {
            Scope::Loopback => "this machine",
            Scope::Private => "the local network",
            Scope::Global | Scope::Unusable => "the internet",
        };
        write!(f, "IPv{version} addresses of {of}")
    }
}

/// A part of the world became unreachable, or can be reached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// Which part.
    pub family: AddressFamily,
    /// Why it cannot be reached; `None` when it can.
    pub closed: Option<CloseReason>,
}

/// What is known of the ways to each part.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    parts: BTreeMap<AddressFamily, Part>,
    changes: Vec<RouteChange>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    /// Dials in a row that found no way.
    failures: u32,
    /// No trial before.
    at: Instant,
}

impl Part {
    fn is_closed(self) -> bool {
        self.failures >= CLOSED_AFTER
    }
}

impl Routes {
    /// Is the address in a part that is out of reach, and not due for a trial?
    pub(super) fn is_closed(&self, address: SocketAddr, now: Instant) -> bool {
        self.parts.get(&AddressFamily::of(address)).is_some_and(|part| part.is_closed() && part.at > now)
    }

    /// When the next trial is due, of those in the future.
    pub(super) fn next_trial(&self, now: Instant) -> Option<Instant> {
        self.parts.values().filter(|part| part.is_closed() && part.at > now).map(|part| part.at).min()
    }

    /// A dial begins. If it is a trial, the next one waits.
    pub(super) fn tried(&mut self, address: SocketAddr, now: Instant, online: bool, rng: &mut Rng) {
        if let Some(part) = self.parts.get_mut(&AddressFamily::of(address)).filter(|part| part.is_closed()) {
            part.at = now + delay(part.failures, online, rng);
        }
    }

    /// A dial was answered: there is a way.
    pub(super) fn reached(&mut self, address: SocketAddr) {
        let family = AddressFamily::of(address);
        if self.parts.remove(&family).is_some_and(Part::is_closed) {
            self.changes.push(RouteChange { family, closed: None });
        }
    }

    /// A dial has failed. True when that is because its part is out of reach.
    pub(super) fn failed(
        &mut self,
        address: SocketAddr,
        reason: CloseReason,
        now: Instant,
        online: bool,
        rng: &mut Rng,
    ) -> bool {
        match reason {
            reason if is_no_way(reason) => {
                let family = AddressFamily::of(address);
                let part = self.parts.entry(family).or_insert(Part { failures: 0, at: now });
                part.failures = part.failures.saturating_add(1);
                part.at = now + delay(part.failures, online, rng);
                if part.failures == CLOSED_AFTER {
                    self.changes.push(RouteChange { family, closed: Some(reason) });
                }
                part.is_closed()
            }
            // We ended it ourselves, before it could show anything.
            CloseReason::LocalResource(_) | CloseReason::LimitReached | CloseReason::Shutdown => false,
            _ => {
                self.reached(address);
                false
            }
        }
    }

    /// What changed, to be told; oldest first.
    pub(super) fn take_changes(&mut self) -> Vec<RouteChange> {
        core::mem::take(&mut self.changes)
    }
}

/// Did the system find no way to the address, whoever is there?
fn is_no_way(reason: CloseReason) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkDown, NetworkUnreachable, Unsupported};
    matches!(reason, CloseReason::Io(AddrNotAvailable | NetworkDown | NetworkUnreachable | Unsupported))
}

fn delay(failures: u32, online: bool, rng: &mut Rng) -> Duration {
    let trial = TRIAL.delay(failures.saturating_sub(CLOSED_AFTER).saturating_add(1), rng);
    if online { trial } else { trial.min(OFFLINE_TRIAL_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_cannot_be_reached_is_tried_rarely_and_one_connection_opens_it() {
        let (mut routes, mut rng) = (Routes::default(), Rng::from_seed(1));
        let far: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
        let (near, other): (SocketAddr, SocketAddr) = ("[::1]:7".parse().unwrap(), "45.1.1.1:7".parse().unwrap());
        let no_way = CloseReason::Io(io::ErrorKind::AddrNotAvailable);
        let mut dials = 0;
        for second in 0..3600 {
            let now = Instant::from_millis(second * 1000);
            if !routes.is_closed(far, now) {
                dials += 1;
                routes.tried(far, now, true, &mut rng);
                routes.failed(far, no_way, now, true, &mut rng);
            }
            assert!(!routes.is_closed(near, now) && !routes.is_closed(other, now));
        }
        assert!((10..=20).contains(&dials), "{dials} in an hour");
        let family = AddressFamily::of(far);
        assert_eq!(routes.take_changes(), [RouteChange { family, closed: Some(no_way) }], "told once");
        routes.reached(far);
        assert_eq!(routes.take_changes(), [RouteChange { family, closed: None }]);
        assert_eq!(routes.next_trial(Instant::ZERO), None);
    }

    #[test]
    fn a_host_that_refuses_shows_that_there_is_a_way_and_our_own_limits_show_nothing() {
        let (mut routes, mut rng) = (Routes::default(), Rng::from_seed(1));
        let (far, now): (SocketAddr, Instant) = ("45.1.1.1:7".parse().unwrap(), Instant::ZERO);
        let no_way = CloseReason::Io(io::ErrorKind::NetworkUnreachable);
        for between in [CloseReason::Io(io::ErrorKind::ConnectionRefused), CloseReason::LimitReached] {
            for reason in [no_way, no_way, no_way, between, no_way] {
                routes.failed(far, reason, now, true, &mut rng);
            }
        }
        assert!(routes.is_closed(far, now), "three before our limit, and two");
        assert_eq!(routes.take_changes().len(), 1);
        let soon = Instant::from_millis(11_000);
        for _ in 0..9 {
            routes.failed(far, no_way, now, false, &mut rng);
        }
        assert!(!routes.is_closed(far, soon), "while nobody is connected, all may be down and come back");
    }
}
