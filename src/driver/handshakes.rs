//! The TLS handshakes of those who dial us: who holds a place, who is evicted, and whose turn at the processor it is.
//!
//! A place costs a stranger one connection that says nothing, so when all places are taken nobody is refused. Whoever comes from a
//! less crowded address or subnet than those who hold them takes one, and the oldest connection of the most crowded, the newcomer
//! counted in, is evicted; one that has said nothing before one that has. Whoever comes from the most crowded himself, or where
//! nobody crowds, waits in the `backlog`, until a place is free, or until one that holds a place has been silent for long. When
//! too many wait he takes a place all the same. Whoever crowds only drives out himself.
//!
//! The processor costs a stranger a hello, so the budgets are taken when the first bytes are read, never by silence. Whoever
//! comes too fast is throttled: he waits in his place, unread. Each address and each subnet has a budget, and what is left of everybody's when
//! half of it is gone is shared by the subnets: so many of them are needed to lock out one that is not among them.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::timer::{Due, Timers};
use crate::address::{Origin, Subnet, crowding};
use crate::id::ConnId;
use crate::limits::TLS_RETRY;
use crate::rate::{Bucket, BucketTable, Rate};
use crate::time::Instant;

/// What each subnet may begin while half of everybody's burst is used up.
const SHORT: Rate = Rate::per_second(1, 1);

#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Who holds a place, oldest first: by when its time is up.
    places: BTreeMap<(Instant, ConnId), Pending>,
    all: Bucket,
    by_ip: BucketTable<Origin>,
    by_subnet: BucketTable<Subnet>,
    /// What each subnet has left where everybody's budget is short.
    short: BucketTable<Subnet>,
    /// Who is throttled, oldest first: by when its time is up. May name some who are gone.
    waiters: BTreeSet<(Instant, ConnId)>,
    /// Who was evicted or throttled last.
    last_throttled: Option<SocketAddr>,
}

/// Who would be evicted for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) conn: ConnId,
    /// It comes from a larger crowd than the newcomer, who is counted in.
    pub(super) crowds_more: bool,
}

#[derive(Debug)]
struct Pending {
    remote: SocketAddr,
    /// It has said something, and the budgets were taken.
    begun: bool,
}

impl Handshakes {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The connection has a place until then.
    pub(super) fn enter(&mut self, until: Instant, id: ConnId, remote: SocketAddr) {
        let before = self.places.insert((until, id), Pending { remote, begun: false });
        debug_assert!(before.is_none(), "a connection takes one place");
    }

    /// The place is free again.
    pub(super) fn leave(&mut self, until: Instant, id: ConnId) {
        let place = self.places.remove(&(until, id));
        debug_assert!(place.is_some(), "who leaves a place had it");
    }

    /// Lets a connection wait until there may be a budget for its handshake. It has its place until then.
    pub(super) fn wait(
        &mut self,
        (until, id): (Instant, ConnId),
        remote: SocketAddr,
        now: Instant,
        timers: &mut Timers,
    ) {
        self.last_throttled = Some(remote);
        if self.waiters.is_empty() {
            timers.arm(now + TLS_RETRY, Due::Handshakes);
        }
        self.waiters.insert((until, id));
    }

    /// Those that waited, in their order: all of them ask again.
    pub(super) fn take_waiters(&mut self) -> BTreeSet<(Instant, ConnId)> {
        core::mem::take(&mut self.waiters)
    }

    /// Somebody at this address was evicted for a newcomer.
    pub(super) fn note_evicted(&mut self, remote: SocketAddr) {
        self.last_throttled = Some(remote);
    }

    /// Who was evicted or throttled last: among those who come too often, if there are any.
    pub(super) fn last_throttled(&self) -> Option<SocketAddr> {
        self.last_throttled
    }

    /// Whose place it is that the address holds.
    pub(super) fn find(&self, remote: SocketAddr) -> Option<ConnId> {
        self.places.iter().find(|(_, place)| place.remote == remote).map(|((_, id), _)| *id)
    }

    /// Who is evicted for a newcomer; `None` when nobody holds a place.
    pub(super) fn eviction_candidate(&self, newcomer: SocketAddr) -> Option<Victim> {
        let (mut by_ip, mut by_subnet) = (BTreeMap::new(), BTreeMap::new());
        for ip in self.places.values().map(|place| place.remote.ip()).chain([newcomer.ip()]) {
            *by_ip.entry(Origin::of(ip)).or_insert(0usize) += 1;
            *by_subnet.entry(Subnet::of(ip)).or_insert(0usize) += 1;
        }
        let crowd = |remote: SocketAddr| {
            let here = by_ip.get(&Origin::of(remote.ip())).copied().unwrap_or(0);
            let around = by_subnet.get(&Subnet::of(remote.ip())).copied().unwrap_or(0);
            crowding(here, around)
        };
        // Of equals the last one counts, and the oldest are first.
        let most = self.places.iter().rev().max_by_key(|(_, place)| (crowd(place.remote), !place.begun));
        most.map(|((_, id), place)| Victim { conn: *id, crowds_more: crowd(place.remote) > crowd(newcomer) })
    }

    /// Who has said nothing, of those whose time is up by `silent_until`, oldest first; then who has begun, of those whose time is
    /// up by `begun_until`.
    pub(super) fn stalled(&self, silent_until: Instant, begun_until: Instant) -> Vec<ConnId> {
        let of = |begun: bool, until: Instant| {
            let old = self.places.iter().take_while(move |((at, _), _)| *at <= until);
            old.filter(move |(_, place)| place.begun == begun).map(|((_, id), _)| *id)
        };
        of(false, silent_until).chain(of(true, begun_until)).collect()
    }

    /// May a handshake with this address cost us something now?
    pub(super) fn may_begin(&self, config: &Config, remote: SocketAddr, now: Instant) -> bool {
        let (origin, subnet) = (Origin::of(remote.ip()), Subnet::of(remote.ip()));
        let rate = config.tls_rate;
        let ample = Rate { burst: rate.burst - rate.burst / 2, ..rate };
        self.by_ip.has(origin, config.tls_rate_per_ip, now)
            && self.by_subnet.has(subnet, config.tls_rate_per_subnet, now)
            && (self.all.has(ample, now) || (self.all.has(rate, now) && self.short.has(subnet, Some(SHORT), now)))
    }

    /// It does. The connection has its place until then.
    pub(super) fn begin(&mut self, config: &Config, (until, id): (Instant, ConnId), remote: SocketAddr, now: Instant) {
        if let Some(place) = self.places.get_mut(&(until, id)) {
            place.begun = true;
        }
        let (origin, subnet) = (Origin::of(remote.ip()), Subnet::of(remote.ip()));
        self.all.take(config.tls_rate, now);
        self.by_ip.take(origin, config.tls_rate_per_ip, now);
        self.by_subnet.take(subnet, config.tls_rate_per_subnet, now);
        self.short.take(subnet, Some(SHORT), now);
    }
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
