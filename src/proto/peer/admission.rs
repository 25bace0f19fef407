//! May this stranger connect? Asked for each socket before anything is allocated for it.
//!
//! A node id can be claimed and a port costs nothing, so strangers are counted by what they must own: an address and its
//! neighbourhood. Three gates, cheapest first: totals, then shares per address and per [`Subnet`], then rates. A refused stranger
//! takes nothing from a bucket, so a flood from one address does not use up the rate of all; nor does one that breaks the rules
//! before it has introduced itself. When the rate of all is short it is shared by subnet.
//!
//! Addresses of the [`ExemptRanges`] pass the gates about addresses and rates, never the totals.

use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

mod answers;
mod limits;
mod shared_rate;

use self::answers::Answers;
pub use self::limits::{AdmissionConfig, AdmissionRefusal};
use self::shared_rate::SharedRate;
use crate::address::{ExemptRanges, Origin, Subnet, crowding};
use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::proto::counter::lower;
use crate::rate::BucketTable;
use crate::time::Instant;

/// Whoever arrives for less time than this gives way to larger crowds only.
const ARRIVING_SPARED: Duration = Duration::from_secs(1);

/// How many may wait for a place at most, whatever room the driver has for them.
const WAITING_MAX: usize = 1024;
/// How long one is taken for waiting of whom nobody says that he waits no more: far longer than a driver lets anybody wait.
const WAITING_KEPT: Duration = Duration::from_secs(60);

/// What an address costs us, the weightier first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboundLoad {
    /// Inbound connections from there.
    pub by_ip: usize,
    /// And from its subnet.
    pub by_subnet: usize,
    /// How long until both have paid for the connections that they had lately.
    pub owed: Duration,
}

/// The gatekeeper: counts of what is open, and what is left of the rates.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    config: AdmissionConfig,
    open: BTreeMap<ConnId, Visit>,
    /// Admitted and not yet opened, and since when: their security layer is still shaking hands.
    arriving: BTreeMap<SocketAddr, (usize, Instant)>,
    /// Who waits for a place, since when, and has paid for it to his address and subnet.
    waiting: BTreeMap<SocketAddr, Instant>,
    inbound: usize,
    pending: usize,
    /// Dials under way.
    dialing: usize,
    /// Connections that are being closed and not gone yet. They hold no place.
    leaving: usize,
    /// Open connections in the places of clients.
    clients: usize,
    /// Admitted to such a place and not yet opened, and since when.
    arriving_clients: BTreeMap<SocketAddr, Instant>,
    by_ip: BTreeMap<Origin, Count>,
    by_subnet: BTreeMap<Subnet, Count>,
    shared: SharedRate,
    ip_buckets: BucketTable<Origin>,
    subnet_buckets: BucketTable<Subnet>,
    answers: Answers,
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    inbound: bool,
    pending: bool,
    /// It has a place among the clients, and none elsewhere.
    client: bool,
    /// Of whom, if it had such a place.
    client_of: Option<Origin>,
    /// It is being closed: others may have its place, and its address and subnet still answer for it.
    leaving: bool,
    /// Who it counts for; nobody when dialed by us or exempt.
    shares: Option<(Origin, Subnet)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    inbound: usize,
    pending: usize,
}

impl Admission {
    /// A gatekeeper who has seen nobody yet.
    pub fn new(config: AdmissionConfig) -> Self {
        Admission { config, ..Default::default() }
    }

    /// May `remote` connect? If so, it has used its part of the rates; [`opened`](Self::opened) or
    /// [`arriving`](Self::arriving) is expected before the next question, for only that counts the connection. O(log n).
    ///
    /// # Errors
    ///
    /// The first gate that it did not pass.
    pub fn admit(&mut self, now: Instant, remote: SocketAddr) -> Result<(), AdmissionRefusal> {
        self.totals()?;
        self.rates(now, remote)?;
        // Behind all gates: whom one of them refuses takes nothing from any bucket.
        if self.waiting.remove(&remote).is_none() {
            self.pay(now, remote.ip());
        }
        if let Some(rate) = self.config.rate.filter(|_| !self.config.exempt.contains(remote.ip())) {
            self.shared.take(rate, Subnet::of(remote.ip()), now);
        }
        Ok(())
    }

    /// `remote`, for whom there is no place at present, waits for one. It uses its part of the rates of its address and subnet by
    /// that, so that whoever comes again and again does not fill the room where others wait; and uses none when it gets the place.
    /// False where it may not: too many wait already. [`waited_in_vain`](Self::waited_in_vain) or another [`admit`](Self::admit)
    /// is expected.
    pub fn wait(&mut self, now: Instant, remote: SocketAddr) -> bool {
        if self.waiting.contains_key(&remote) {
            return true;
        }
        if self.waiting.len() >= WAITING_MAX {
            // Those of whom nothing was said any more.
            self.waiting.retain(|_, since| now.since(*since) < WAITING_KEPT);
        }
        if self.waiting.len() >= WAITING_MAX || self.rates(now, remote).is_err() {
            return false;
        }
        self.pay(now, remote.ip());
        self.waiting.insert(remote, now);
        true
    }

    /// It waits no more, and has no place.
    pub fn waited_in_vain(&mut self, remote: SocketAddr) {
        self.waiting.remove(&remote);
    }

    fn pay(&mut self, now: Instant, ip: IpAddr) {
        if !self.config.exempt.contains(ip) {
            self.ip_buckets.take(Origin::of(ip), self.config.rate_per_ip, now);
            self.subnet_buckets.take(Subnet::of(ip), self.config.rate_per_subnet, now);
        }
    }

    /// May one who was refused for a limit of his place, or a rate, be told so? Once in a while he may, so that he can tell such a
    /// node from a dead one.
    pub fn may_be_answered(&mut self, now: Instant, remote: SocketAddr) -> bool {
        self.answers.take(Origin::of(remote.ip()), now)
    }

    /// Would the address be let in, if there were places? Whoever would not has no claim that others make one for him.
    pub fn may_come(&self, now: Instant, remote: SocketAddr) -> bool {
        self.rates(now, remote).is_ok()
    }

    /// An admitted stranger broke the rules, or spoke another protocol, before he had introduced himself: his part of the rate of all is for others, and his
    /// subnet comes last while that is short. What his address and subnet have used up of their own rates stays used.
    pub fn wasted(&mut self, now: Instant, remote: SocketAddr) {
        if let Some(rate) = self.config.rate.filter(|_| !self.config.exempt.contains(remote.ip())) {
            self.shared.give_back(rate, Subnet::of(remote.ip()), now);
        }
    }

    /// May `remote` have a place among the clients that need not introduce themselves? If so, it has it, until it is
    /// [opened](Self::opened) or [released](Self::released). It pays to its address and subnet as everybody does.
    pub fn admit_client(&mut self, now: Instant, remote: SocketAddr) -> bool {
        let is_one = self.config.without_handshake.contains(remote.ip());
        if !is_one || self.clients + self.arriving_clients.len() >= self.config.clients_max() {
            return false;
        }
        if self.rates(now, remote).is_err() || self.arriving_clients.contains_key(&remote) {
            return false;
        }
        if !self.config.exempt.contains(remote.ip()) {
            let origin = Origin::of(remote.ip());
            let arriving = self.arriving_clients.keys().filter(|of| Origin::of(of.ip()) == origin).count();
            let here = self.open.values().filter(|visit| visit.client && visit.client_of == Some(origin)).count();
            // As for peers: one machine of a range does not keep the others out.
            if self.config.inbound_per_ip.is_some_and(|most| here + arriving >= most) {
                return false;
            }
        }
        self.pay(now, remote.ip());
        self.arriving_clients.insert(remote, now);
        true
    }

    /// May clients come from there, if they find a place?
    pub fn is_of_clients(&self, remote: SocketAddr) -> bool {
        self.config.without_handshake.contains(remote.ip())
    }

    /// Has the connection a place among the clients?
    pub fn has_client_place(&self, conn: ConnId) -> bool {
        self.open.get(&conn).is_some_and(|visit| visit.client && !visit.leaving)
    }

    /// A client introduces itself: it leaves its place for one among the peers, if there is one. False when there is none.
    pub fn client_becomes_peer(&mut self, conn: ConnId, remote: SocketAddr) -> bool {
        if self.occupied() + self.dialing >= self.config.connections_max || self.inbound >= self.config.inbound_max {
            return false;
        }
        let shares = self.shares(remote, true);
        let Some(visit) = self.open.get_mut(&conn).filter(|visit| visit.client && !visit.leaving) else { return false };
        if let Some((origin, subnet)) = shares {
            let full = |count: Option<&Count>, most: Option<usize>| {
                most.is_some_and(|most| count.is_some_and(|count| count.inbound >= most))
            };
            if full(self.by_ip.get(&origin), self.config.inbound_per_ip)
                || full(self.by_subnet.get(&subnet), self.config.inbound_per_subnet)
            {
                return false;
            }
            self.by_ip.entry(origin).or_default().inbound += 1;
            self.by_subnet.entry(subnet).or_default().inbound += 1;
        }
        (visit.client, visit.inbound, visit.pending, visit.shares) = (false, true, false, shares);
        lower(&mut self.clients, 1);
        self.inbound += 1;
        true
    }

    /// An admitted connection is still to be opened, and others may ask meanwhile: it counts as pending from now on, until it
    /// is [opened](Self::opened) or [released](Self::released).
    pub fn arriving(&mut self, now: Instant, remote: SocketAddr) {
        self.arriving.entry(remote).or_insert((0, now)).0 += 1;
        self.inbound += 1;
        self.pending += 1;
        if let Some((origin, subnet)) = self.shares(remote, true) {
            self.by_ip.entry(origin).or_default().enter();
            self.by_subnet.entry(subnet).or_default().enter();
        }
    }

    /// An admitted connection will never be opened. Answers since when it was arriving.
    pub fn released(&mut self, remote: SocketAddr) -> Option<Instant> {
        if let Some(since) = self.arriving_clients.remove(&remote) {
            return Some(since);
        }
        let (count, since) = self.arriving.get_mut(&remote)?;
        let since = *since;
        *count -= 1;
        if *count == 0 {
            self.arriving.remove(&remote);
        }
        lower(&mut self.inbound, 1);
        lower(&mut self.pending, 1);
        if let Some((origin, subnet)) = self.shares(remote, true) {
            // Before the rest, which forgets those of whom there are none.
            self.by_ip.entry(origin).and_modify(|count| lower(&mut count.pending, 1));
            self.by_subnet.entry(subnet).and_modify(|count| lower(&mut count.pending, 1));
            leave(&mut self.by_ip, &origin);
            leave(&mut self.by_subnet, &subnet);
        }
        Some(since)
    }

    /// Who a connection counts for.
    fn shares(&self, remote: SocketAddr, inbound: bool) -> Option<(Origin, Subnet)> {
        let counted = inbound && !self.config.exempt.contains(remote.ip());
        counted.then(|| (Origin::of(remote.ip()), Subnet::of(remote.ip())))
    }

    /// A connection stands; `inbound` when the remote side dialed. Its handshake is pending. Answers since when it was
    /// arriving, if it was.
    pub fn opened(&mut self, conn: ConnId, remote: SocketAddr, inbound: bool) -> Option<Instant> {
        let client = inbound && self.arriving_clients.contains_key(&remote);
        let since = if inbound { self.released(remote) } else { None };
        self.closed(conn);
        if client {
            self.clients += 1;
            let client_of = Some(Origin::of(remote.ip()));
            let visit = Visit { inbound: false, pending: false, client, client_of, leaving: false, shares: None };
            self.open.insert(conn, visit);
            return since;
        }
        let shares = self.shares(remote, inbound);
        self.open.insert(conn, Visit { inbound, pending: inbound, client, client_of: None, leaving: false, shares });
        if inbound {
            self.inbound += 1;
            self.pending += 1;
        }
        if let Some((origin, subnet)) = shares {
            self.by_ip.entry(origin).or_default().enter();
            self.by_subnet.entry(subnet).or_default().enter();
        }
        since
    }

    /// The connection's handshake is done.
    pub fn ready(&mut self, conn: ConnId) {
        let Some(visit) = self.open.get_mut(&conn).filter(|visit| visit.pending) else { return };
        visit.pending = false;
        let shares = visit.shares;
        lower(&mut self.pending, 1);
        if let Some((origin, subnet)) = shares {
            self.by_ip.entry(origin).and_modify(|count| lower(&mut count.pending, 1));
            self.by_subnet.entry(subnet).and_modify(|count| lower(&mut count.pending, 1));
        }
    }

    /// The connection is gone. A name that is not open changes nothing.
    pub fn closed(&mut self, conn: ConnId) {
        self.ready(conn);
        let Some(visit) = self.open.remove(&conn) else { return };
        if visit.leaving {
            lower(&mut self.leaving, 1);
        } else if visit.client {
            lower(&mut self.clients, 1);
        } else if visit.inbound {
            lower(&mut self.inbound, 1);
        }
        if let Some((origin, subnet)) = visit.shares {
            leave(&mut self.by_ip, &origin);
            leave(&mut self.by_subnet, &subnet);
        }
    }

    /// The connection is being closed, and its place is free at once: a stranger's last word is no reason to keep another out.
    /// Its address and subnet answer for it until it is gone, so that nobody has more connections than his share by having them
    /// closed. The driver sees to it that all descriptors together stay within their limit, see
    /// [`Output::Close`](crate::proto::event::Output::Close).
    pub fn leave(&mut self, conn: ConnId) {
        self.ready(conn);
        let Some(visit) = self.open.get_mut(&conn).filter(|visit| !visit.leaving) else { return };
        visit.leaving = true;
        self.leaving += 1;
        if visit.client {
            lower(&mut self.clients, 1);
        } else if visit.inbound {
            lower(&mut self.inbound, 1);
        }
    }

    /// What an address costs us at present; `None` for those who are exempt.
    pub fn load(&self, now: Instant, remote: SocketAddr) -> Option<InboundLoad> {
        let (origin, subnet) = self.shares(remote, true)?;
        Some(InboundLoad {
            by_ip: self.by_ip.get(&origin).map_or(0, |count| count.inbound),
            by_subnet: self.by_subnet.get(&subnet).map_or(0, |count| count.inbound),
            owed: self.ip_buckets.owed(origin, now).max(self.subnet_buckets.owed(subnet, now)),
        })
    }

    /// The load of an address from which one more connection comes.
    pub fn with_one_more(&self, load: InboundLoad) -> InboundLoad {
        let rates = [self.config.rate_per_ip, self.config.rate_per_subnet];
        let knock = rates.into_iter().flatten().map(|rate| rate.interval).max().unwrap_or_default();
        InboundLoad {
            by_ip: load.by_ip.saturating_add(1),
            by_subnet: load.by_subnet.saturating_add(1),
            owed: load.owed.saturating_add(knock),
        }
    }

    /// So many dials are under way: their places are kept for them.
    pub fn keep_for_dials(&mut self, dialing: usize) {
        self.dialing = dialing;
    }

    /// How many more connections we may open ourselves, `dialing` being on their way already.
    pub fn room_to_dial(&self, dialing: usize) -> usize {
        self.config.connections_max.saturating_sub(self.occupied()).saturating_sub(dialing)
    }

    /// How many inbound peers may stay once their handshakes are done.
    pub fn settled_max(&self) -> usize {
        self.config.settled_max()
    }

    /// Is there no place for one more inbound connection, because all of theirs are taken, or because all of both directions are?
    pub fn is_full(&self) -> bool {
        self.inbound >= self.config.inbound_max || self.occupied() + self.dialing >= self.config.connections_max
    }

    /// Which of those that arrive gives its place to a newcomer for whom there is none, if nothing else is held against him:
    /// the oldest of the most crowded address or subnet, open connections counted in, when it is more crowded than the
    /// newcomer's will be, or as crowded and no longer new.
    pub fn eviction_candidate(&self, now: Instant, newcomer: SocketAddr) -> Option<SocketAddr> {
        if self.totals().is_ok() || self.rates(now, newcomer).is_err() {
            return None;
        }
        let (mut by_ip, mut by_subnet) = (BTreeMap::new(), BTreeMap::new());
        for (remote, (count, _)) in &self.arriving {
            *by_ip.entry(Origin::of(remote.ip())).or_insert(0) += count;
            *by_subnet.entry(Subnet::of(remote.ip())).or_insert(0) += count;
        }
        // The tables do not know those who are exempt.
        let crowd = |remote: &SocketAddr, more: usize| {
            let (origin, subnet) = (Origin::of(remote.ip()), Subnet::of(remote.ip()));
            let here = self.by_ip.get(&origin).map_or(0, |count| count.inbound);
            let around = self.by_subnet.get(&subnet).map_or(0, |count| count.inbound);
            let here = by_ip.get(&origin).copied().unwrap_or(0).max(here).saturating_add(more);
            let around = by_subnet.get(&subnet).copied().unwrap_or(0).max(around).saturating_add(more);
            crowding(here, around)
        };
        let arriving = self.arriving.iter().map(|(remote, (_, since))| (crowd(remote, 0), Reverse(*since), remote));
        let (most, Reverse(since), victim) = arriving.max()?;
        let own = crowd(&newcomer, 1);
        let gives_way = most > own || (most == own && now.since(since) >= ARRIVING_SPARED);
        gives_way.then_some(*victim)
    }

    /// Who is exempt.
    pub fn exempt(&self) -> &ExemptRanges {
        &self.config.exempt
    }

    /// Open connections, those included that are being closed.
    pub fn connections(&self) -> usize {
        self.open.len()
    }

    /// Open connections and those that arrive, without those that are being closed.
    fn occupied(&self) -> usize {
        self.open.len().saturating_sub(self.leaving + self.clients)
            + self.arriving.values().map(|(count, _)| count).sum::<usize>()
    }

    /// Connections, open or arriving, that the remote side dialed.
    pub fn inbound(&self) -> usize {
        self.inbound
    }

    /// Inbound connections whose handshake is not done, those that arrive included.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Counts everything anew, and compares with the limits. They hold for callers that ask [`admit`](Self::admit) first.
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let config = &self.config;
        let arriving: usize = self.arriving.values().map(|(count, _)| count).sum();
        let inbound = arriving + self.open.values().filter(|visit| visit.inbound && !visit.leaving).count();
        let leaving = self.open.values().filter(|visit| visit.leaving).count();
        let pending = arriving + self.open.values().filter(|visit| visit.pending).count();
        let clients = self.open.values().filter(|visit| visit.client && !visit.leaving).count();
        let (held, most) = (clients + self.arriving_clients.len(), config.clients_max());
        Invariant::S5.check(held <= most, || format!("{held} clients without a handshake, {most} at most"))?;
        let others = self.open.len() - leaving - clients;
        for (what, count, kept, most) in [
            ("clients", clients, self.clients, most),
            ("connections", others + arriving, self.occupied(), config.connections_max),
            ("inbound connections", inbound, self.inbound, config.inbound_max),
            ("unfinished handshakes", pending, self.pending, config.pending_max),
            ("connections on their way out", leaving, self.leaving, self.open.len()),
        ] {
            Invariant::S5.check(count == kept && count <= most, || {
                format!("{count} {what}, {kept} by the counter, {most} at most")
            })?;
        }
        let (mut by_ip, mut by_subnet) = (BTreeMap::new(), BTreeMap::new());
        let mut enter = |(origin, subnet), count, pending| {
            for counted in [by_ip.entry(origin).or_insert(Count::default()), by_subnet.entry(subnet).or_default()] {
                counted.inbound += count;
                counted.pending += if pending { count } else { 0 };
            }
        };
        for (remote, (count, _)) in &self.arriving {
            self.shares(*remote, true).into_iter().for_each(|shares| enter(shares, *count, true));
        }
        for visit in self.open.values() {
            visit.shares.into_iter().for_each(|shares| enter(shares, 1, visit.pending));
        }
        let counted = by_ip == self.by_ip && by_subnet == self.by_subnet;
        Invariant::S5.check(counted, || "the counts by address or subnet are wrong".to_owned())?;
        let over = |count: &Count, inbound: Option<usize>, pending: Option<usize>| {
            inbound.is_some_and(|most| count.inbound > most) || pending.is_some_and(|most| count.pending > most)
        };
        for (origin, count) in &by_ip {
            let within = !over(count, config.inbound_per_ip, config.pending_per_ip);
            Invariant::S5.check(within, || format!("too many connections from {origin}: {count:?}"))?;
        }
        for (subnet, count) in &by_subnet {
            let within = !over(count, config.inbound_per_subnet, config.pending_per_subnet);
            Invariant::S5.check(within, || format!("too many connections from {subnet:?}: {count:?}"))?;
        }
        Ok(())
    }

    fn totals(&self) -> Result<(), AdmissionRefusal> {
        let config = &self.config;
        below(self.occupied() + self.dialing, config.connections_max, AdmissionRefusal::Connections)?;
        below(self.inbound, config.inbound_max, AdmissionRefusal::Inbound)?;
        below(self.pending, config.pending_max, AdmissionRefusal::Pending)
    }

    /// The gates about addresses and rates, which the exempt pass.
    fn rates(&self, now: Instant, remote: SocketAddr) -> Result<(), AdmissionRefusal> {
        let (config, ip) = (&self.config, remote.ip());
        if config.exempt.contains(ip) {
            return Ok(());
        }
        let within = |count, max: Option<usize>, refusal| below(count, max.unwrap_or(usize::MAX), refusal);
        let (origin, subnet) = (Origin::of(ip), Subnet::of(ip));
        let here = self.by_ip.get(&origin).copied().unwrap_or_default();
        let around = self.by_subnet.get(&subnet).copied().unwrap_or_default();
        within(here.pending, config.pending_per_ip, AdmissionRefusal::PendingPerIp)?;
        within(around.pending, config.pending_per_subnet, AdmissionRefusal::PendingPerSubnet)?;
        within(here.inbound, config.inbound_per_ip, AdmissionRefusal::InboundPerIp)?;
        within(around.inbound, config.inbound_per_subnet, AdmissionRefusal::InboundPerSubnet)?;

        let has = |has: bool, refusal| if has { Ok(()) } else { Err(refusal) };
        if !self.waiting.contains_key(&remote) {
            has(self.ip_buckets.has(origin, config.rate_per_ip, now), AdmissionRefusal::RatePerIp)?;
            has(self.subnet_buckets.has(subnet, config.rate_per_subnet, now), AdmissionRefusal::RatePerSubnet)?;
        }
        has(config.rate.is_none_or(|rate| self.shared.has(rate, subnet, now)), AdmissionRefusal::Rate)
    }
}

fn below(count: usize, max: usize, refusal: AdmissionRefusal) -> Result<(), AdmissionRefusal> {
    if count < max { Ok(()) } else { Err(refusal) }
}

impl Count {
    fn enter(&mut self) {
        self.inbound += 1;
        self.pending += 1;
    }
}

fn leave<K: Ord>(counts: &mut BTreeMap<K, Count>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        lower(&mut count.inbound, 1);
        if count.inbound == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
