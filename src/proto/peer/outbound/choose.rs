//! The choice of the next address.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::link::{Choice, DialState, Link, Purpose};
use super::{DialContext, FEELER_RETRY, OutboundManager};
use crate::address::Group;
use crate::proto::peer::address_book::AddressBook;
use crate::rng::Rng;
use crate::time::Instant;

/// Connections must be lacking for so long before a group gets a second one: the other groups had their chance then.
const DOUBLE_AFTER: Duration = Duration::from_secs(5);

/// With few connections for so long, seeds go before the book.
const STRANDED_AFTER: Duration = Duration::from_secs(10);
/// How long an attempt at a connection keeps its place from the next one. A handshake over a bad line takes less.
const SLOW_AFTER: Duration = Duration::from_secs(2);

impl OutboundManager {
    /// Whether seeds go before the book: those who dial us are no proof that there is a network, in a book full of lies
    /// somebody is always due, and the few whom we reach may be the liars.
    pub(super) fn is_stranded(&self, now: Instant) -> bool {
        self.has_few() && self.lacking_since.is_some_and(|since| since + STRANDED_AFTER <= now)
    }

    /// Whether fewer than half of the automatic connections stand.
    pub(super) fn has_few(&self) -> bool {
        self.connected() < self.config.outbound.div_ceil(2)
    }

    /// Automatic connections, and attempts at one that were not slow so far. An attempt that is slow goes on, but keeps no place
    /// from the next one: a host that is off, or one that accepts and stays silent, would take ten seconds from it. Should both
    /// succeed, the later one is the feeler.
    pub(super) fn places_taken(&self, now: Instant) -> usize {
        let automatic = self.links.values().filter(|link| link.purpose.is_automatic());
        automatic.filter(|link| self.slow_at(link).is_none_or(|at| at > now)).count()
    }

    /// When the next attempt becomes slow.
    fn next_slow(&self, now: Instant) -> Option<Instant> {
        let automatic = self.links.values().filter(|link| link.purpose.is_automatic());
        automatic.filter_map(|link| self.slow_at(link)).filter(|at| *at > now).min()
    }

    /// From when on an attempt is slow. Never, without feelers: then there is no use for one connection too many.
    fn slow_at(&self, link: &Link) -> Option<Instant> {
        let attempt = !matches!(link.state, DialState::Ready(_));
        (attempt && self.config.feeler_every.is_some()).then(|| link.since + SLOW_AFTER)
    }

    /// Whom to dial now, or when to look again; nobody whom the operator named is due. `seed` is the seed that may be asked, or
    /// when one may.
    pub(super) fn choose<C, B>(
        &self,
        now: Instant,
        rng: &mut Rng,
        context: &DialContext<'_, C, B>,
        mut wake: Option<Instant>,
        seed: Result<SocketAddr, Option<Instant>>,
    ) -> Result<Choice, Option<Instant>>
    where
        C: Fn(&SocketAddr) -> bool,
        B: Fn(IpAddr) -> bool,
    {
        let mut later = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        let book = &*context.book;
        let busy = |address: &SocketAddr| self.by_address.contains_key(address) || (context.connected)(address);
        // A part of the world that is out of reach has its next trial later.
        self.routes.next_trial(now).into_iter().for_each(&mut later);
        let unfit = |address: &SocketAddr| {
            busy(address)
                || self.kept.contains(*address)
                || (context.banned)(address.ip())
                || self.routes.is_closed(*address, now)
        };
        if self.places_taken(now) >= self.config.outbound {
            let slow = self.next_slow(now).filter(|_| self.lacking_since.is_some());
            return self
                .choose_feeler(now, rng, book, &unfit)
                .map_err(|at| wake.into_iter().chain(at).chain(slow).min());
        }
        let crowded = |address: &SocketAddr| unfit(address) || self.is_in_used_group(address.ip());
        // A network of few groups connects all the same; who can reach as many groups as it wants connections does not double.
        let doubles_at = self.doubles_at(book);
        let doubling = doubles_at.is_some_and(|at| at <= now);
        doubles_at.filter(|at| *at > now).into_iter().for_each(&mut later);
        let seed = seed.map(|address| Choice::new(address, Purpose::Seed));
        if self.is_stranded(now) && seed.is_ok() {
            return seed;
        }
        if let Some(anchor) = self.choose_anchor(now, context, &crowded) {
            return Ok(anchor);
        }
        if self.wants_ground(now) && seed.is_ok() {
            return seed;
        }
        // A book full of lies must not keep us from those whom we know to be there, nor they us from other groups.
        if doubling
            && rng.chance(1, 2)
            && let Some(choice) = self.choose_verified(now, context, &unfit)
        {
            return Ok(choice);
        }
        if let Some(choice) = self.choose_automatic(now, rng, context, &crowded) {
            return Ok(choice);
        }
        let exclude: &dyn Fn(&SocketAddr) -> bool = if doubling { &unfit } else { &crowded };
        if doubling && let Some(choice) = self.choose_automatic(now, rng, context, exclude) {
            return Ok(choice);
        }
        let urgent_at = self.urgent_pace.ready_at(self.config.urgent_rate);
        let urgent = book.next_urgent(exclude).map(|at| at.max(urgent_at));
        book.next_attempt(exclude).into_iter().chain(urgent).for_each(&mut later);
        seed.map_err(|at| at.into_iter().chain(wake).min())
    }

    /// From when on a group may get a second connection, if it may.
    pub(super) fn doubles_at(&self, book: &AddressBook) -> Option<Instant> {
        let since = self.lacking_since.filter(|_| book.sound_groups() < self.config.outbound)?;
        Some(since + DOUBLE_AFTER)
    }

    /// Where the next feeler goes, or when to look again. Every second one goes to whoever is known to be there and was left
    /// alone for longest, for those can lead out of a part of the network; the others try what strangers told, so that there
    /// are ever more of the former. It may go to any group: it stands for a while only.
    fn choose_feeler(
        &self,
        now: Instant,
        rng: &mut Rng,
        book: &AddressBook,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Result<Choice, Option<Instant>> {
        let Some(at) = self.feeler_at else { return Err(None) };
        if self.feelers().any(|(_, link)| !matches!(link.state, DialState::Ready(_))) {
            return Err(None);
        }
        if at > now {
            return Err(Some(at));
        }
        let verified = |_: &mut Rng| book.pick_urgent(now, exclude);
        let any = |rng: &mut Rng| book.pick_unproven(now, rng, exclude);
        let found =
            if rng.chance(1, 2) { verified(rng).or_else(|| any(rng)) } else { any(rng).or_else(|| verified(rng)) };
        let choice = |address| Choice::new(address, Purpose::Feeler);
        let wake = || {
            book.next_attempt(exclude)
                .into_iter()
                .chain(book.next_urgent(exclude))
                .min()
                .map(|at| at.max(now + FEELER_RETRY))
        };
        found.map(choice).ok_or_else(wake)
    }

    /// One from the book, be it due or verified.
    fn choose_automatic<C, B>(
        &self,
        now: Instant,
        rng: &mut Rng,
        context: &DialContext<'_, C, B>,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        let book = &*context.book;
        let choice = |address| Choice::new(address, Purpose::Automatic);
        // Strangers by the thousand are always due; those who are known to be there get every second dial.
        let verified_first = rng.chance(1, 2);
        let verified = if verified_first { self.choose_verified(now, context, exclude) } else { None };
        verified
            .or_else(|| book.pick(now, rng, exclude).map(choice))
            .or_else(|| if verified_first { None } else { self.choose_verified(now, context, exclude) })
    }

    /// A verified address that may be dialed because connections are lacking.
    fn choose_verified<C, B>(
        &self,
        now: Instant,
        context: &DialContext<'_, C, B>,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        if !self.urgent_pace.has(self.config.urgent_rate, now) {
            return None;
        }
        let address = context.book.pick_urgent(now, exclude)?;
        Some(Choice { urgent: true, ..Choice::new(address, Purpose::Automatic) })
    }

    /// An anchor that is due.
    fn choose_anchor<C, B>(
        &self,
        now: Instant,
        context: &DialContext<'_, C, B>,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        let mut anchors = context.peers.anchors().into_iter().filter_map(|peer| peer.address);
        let address = anchors.find(|address| !exclude(address) && context.book.is_due(*address, now))?;
        Some(Choice { anchor: true, ..Choice::new(address, Purpose::Automatic) })
    }

    /// Nobody was reached in this run whom we know by more than the word of strangers, and nobody such is being dialed.
    pub(super) fn wants_ground(&self, now: Instant) -> bool {
        let is_tried = |link: &Link| link.is_grounded && self.slow_at(link).is_none_or(|at| at > now);
        !self.is_grounded && !self.links.values().any(is_tried)
    }

    /// Is there an automatic connection or dial to the group of `ip`?
    pub(super) fn is_in_used_group(&self, ip: IpAddr) -> bool {
        let Some(group) = Group::of(ip) else { return false };
        let mut automatic = self.links.values().filter(|link| link.purpose.is_automatic());
        automatic.any(|link| Group::of(link.address.ip()) == Some(group))
    }
}
