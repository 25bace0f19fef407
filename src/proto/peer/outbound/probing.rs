//! Looks whether somebody is there, beside whom we want to be connected with: where peers announced to listen, and where others
//! said that somebody does. What a look, or any dial, finds for the first time may be told to others.

use core::net::{IpAddr, SocketAddr};

use super::link::{DialState, Link, Purpose};
use super::{AddressBook, DialContext, OutboundManager};
use crate::address::{Scope, canonical};
use crate::close::{CloseReason, TlsFault};
use crate::id::DialId;
use crate::proto::peer::peer_key::PeerKey;
use crate::rate::Rate;
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// Announced addresses that are dialed back: as many as a busy node has new peers, and no more than others notice.
const PROBE_RATE: Rate = Rate::per_second(1, 8);
/// Of these on their way at once: the rest of the dials is for whom we want.
const PROBES_AT_ONCE: usize = 2;

impl OutboundManager {
    /// The announced address to dial back now, or when one is due.
    pub(super) fn choose_probe(
        &mut self,
        now: Instant,
        banned: &dyn Fn(IpAddr) -> bool,
    ) -> Result<SocketAddr, Option<Instant>> {
        if self.looking(Purpose::Probe) >= PROBES_AT_ONCE {
            return Err(None);
        }
        let skip = |address: &SocketAddr| {
            self.by_address.contains_key(address) || banned(address.ip()) || self.routes.is_closed(*address, now)
        };
        let paced = self.probe_pace.ready_at(PROBE_RATE);
        let address = self.probes.next(now, &skip).map_err(|at| at.map(|at| at.max(paced)))?;
        if !self.probe_pace.take(PROBE_RATE, now) {
            return Err(Some(paced));
        }
        Ok(address)
    }

    /// The address to look at now because others said that somebody is there, or when one is due; one at once. Who is connected
    /// is left alone: he announces where he listens, or was dialed there.
    pub(super) fn choose_news<C, B>(
        &mut self,
        now: Instant,
        context: &DialContext<'_, C, B>,
    ) -> Result<SocketAddr, Option<Instant>>
    where
        C: Fn(&SocketAddr) -> bool,
        B: Fn(IpAddr) -> bool,
    {
        if self.looking(Purpose::News) > 0 {
            return Err(None);
        }
        let OutboundManager { news, by_address, routes, .. } = self;
        let skip = |address: &SocketAddr| {
            let known = context.book.get(*address).is_some_and(|entry| !entry.is_found());
            by_address.contains_key(address)
                || (context.connected)(address)
                || (context.banned)(address.ip())
                || routes.is_closed(*address, now)
                || !known
        };
        news.take(now, &skip)
    }

    /// A peer announced that it listens at `address`: it is to be dialed back, not before that time, and others are
    /// [told of it](Self::take_found) when somebody was there.
    pub fn probe(&mut self, address: SocketAddr, at: Instant) {
        let address = canonical(address);
        self.news.forget(address);
        self.probes.add(address, at);
        self.nudge();
    }

    /// `teller` says, unasked, that somebody is at `address`, which is new and in the book: it is to be dialed soon, not before `at`, if `teller`
    /// and others did not make us dial too many lately. With `allow_private`, local addresses are told without that bound.
    pub fn hear_of(&mut self, address: SocketAddr, teller: IpAddr, allow_private: bool, (now, at): (Instant, Instant)) {
        let address = canonical(address);
        let local = allow_private && Scope::of(address.ip()) != Scope::Global;
        self.news.add(address, (teller, local), now, at);
        self.nudge();
    }

    /// The addresses at which a dial of ours found somebody for the first time, since the last call: others may be told of them.
    /// With each the peer that is there, when the dial ended because it is connected already and that is known.
    pub fn take_found(&mut self) -> Vec<(SocketAddr, Option<PeerKey>)> {
        core::mem::take(&mut self.found)
    }

    /// Whoever the dial has led to speaks our protocol, and has no place for us.
    pub fn is_full(&mut self, dial: DialId) {
        if let Some(link) = self.links.get_mut(&dial) {
            link.is_full = true;
        }
    }

    /// Is this dial only to see whether somebody is there?
    pub fn is_look(&self, dial: DialId) -> bool {
        self.links.get(&dial).is_some_and(|link| link.purpose.is_look())
    }

    /// It is known whether somebody is there, or it does not matter any more.
    pub(super) fn looked_at(&mut self, address: SocketAddr) {
        self.probes.forget(address);
        self.news.forget(address);
    }

    /// What a look has shown that did not end in a handshake.
    pub(super) fn look_ended(
        &mut self,
        link: Link,
        reason: CloseReason,
        now: Now,
        online: bool,
        book: &mut AddressBook,
        rng: &mut Rng,
    ) {
        let address = link.address;
        if matches!(link.state, DialState::Ready(_)) {
            return;
        }
        let announced = link.purpose == Purpose::Probe;
        // Whoever is connected says so. One without a place for us is there as well: of a peer that is connected we know by that
        // that the address is right; from others' words it would send even more to somebody who is full.
        let is_there = match reason {
            CloseReason::DuplicateConnection => true,
            CloseReason::Tls(TlsFault::TurnedAway) => announced,
            CloseReason::RemoteClosed => announced && link.is_full,
            _ => false,
        };
        if is_there {
            let is_first = book.get(address).is_some_and(|entry| !entry.is_found());
            book.answered(address, now);
            self.looked_at(address);
            if is_first {
                self.found.push((address, link.duplicate_of));
            }
        } else if announced {
            // It says no more than that others are not to be told; a dial of our own is another matter.
            self.probes.failed(address, now.at, rng);
        } else {
            book.failed(address, now, online, rng);
        }
    }

    fn looking(&self, purpose: Purpose) -> usize {
        self.links.values().filter(|link| link.purpose == purpose).count()
    }
}
