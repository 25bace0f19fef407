//! The choice of the next address.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::{Around, Pool, Purpose};
use crate::proto::peer::address::Group;
use crate::rng::Rng;
use crate::time::Instant;

/// Known peers looked at for one dial; the book covers the rest.
const CANDIDATES_MAX: usize = 64;
/// Connections must be lacking for so long before a group gets a second one: the other groups had their chance then.
const DOUBLE_AFTER: Duration = Duration::from_secs(5);

/// With nobody reached for so long, seeds go before the book.
const STRANDED_AFTER: Duration = Duration::from_secs(10);

/// Whom to dial.
pub(super) struct Choice {
    pub(super) address: SocketAddr,
    pub(super) purpose: Purpose,
    /// Its back-off is not over; it is dialed because connections are lacking.
    pub(super) urgent: bool,
}

impl Pool {
    /// Whom to dial now, or when to look again.
    pub(super) fn choose<C, B>(
        &self,
        now: Instant,
        rng: &mut Rng,
        around: &Around<'_, C, B>,
    ) -> Result<Choice, Option<Instant>>
    where
        C: Fn(&SocketAddr) -> bool,
        B: Fn(IpAddr) -> bool,
    {
        let mut wake: Option<Instant> = None;
        let mut later = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        let book = &*around.book;
        let busy = |address: &SocketAddr| self.by_address.contains_key(address) || (around.connected)(address);

        // The operator's word stands above a blacklist; an address that is ourselves is beyond it.
        for (address, retry) in self.kept.iter().filter(|(address, _)| !busy(address) && !book.is_never(**address)) {
            if retry.at <= now {
                return Ok(Choice { address: *address, purpose: Purpose::Kept, urgent: false });
            }
            later(retry.at);
        }
        if self.automatic() >= self.config.outbound {
            return Err(wake);
        }
        let unfit =
            |address: &SocketAddr| busy(address) || self.kept.contains_key(address) || (around.banned)(address.ip());
        let crowded = |address: &SocketAddr| unfit(address) || self.is_in_used_group(address.ip());
        // A network of few groups connects all the same; who can reach as many groups as it wants connections does not double.
        let doubling = match self.lacking_since {
            Some(since) if book.sound_groups() < self.config.outbound => {
                let doubles_at = since + DOUBLE_AFTER;
                if doubles_at > now {
                    later(doubles_at);
                }
                doubles_at <= now
            }
            _ => false,
        };
        let mut seeds = self.seeds.iter().filter(|(address, _)| !unfit(address) && !book.is_never(**address));
        // Those who dial us are no proof that there is a network, and in a book full of lies somebody is always due.
        let stranded = self.connected() == 0 && self.lacking_since.is_some_and(|since| since + STRANDED_AFTER <= now);
        if stranded && let Some((address, _)) = seeds.clone().find(|(_, retry)| retry.at <= now) {
            return Ok(Choice { address: *address, purpose: Purpose::Seed, urgent: false });
        }
        // A book full of lies must not keep us from those whom we know to be there, nor they us from other groups.
        if doubling
            && rng.chance(1, 2)
            && let Some(choice) = self.choose_verified(now, around, &unfit)
        {
            return Ok(choice);
        }
        if let Some(choice) = self.choose_automatic(now, rng, around, &crowded) {
            return Ok(choice);
        }
        let exclude: &dyn Fn(&SocketAddr) -> bool = if doubling { &unfit } else { &crowded };
        if doubling && let Some(choice) = self.choose_automatic(now, rng, around, exclude) {
            return Ok(choice);
        }
        let urgent_at = self.urgent_pace.ready_at(self.config.urgent_rate);
        let urgent = book.next_urgent(exclude).map(|at| at.max(urgent_at));
        book.next_attempt(exclude).into_iter().chain(urgent).for_each(&mut later);
        if book.len() < self.config.addresses_wanted || !around.online || stranded {
            if let Some((address, _)) = seeds.clone().find(|(_, retry)| retry.at <= now) {
                return Ok(Choice { address: *address, purpose: Purpose::Seed, urgent: false });
            }
            seeds.by_ref().for_each(|(_, retry)| later(retry.at));
        }
        Err(wake)
    }

    /// The best of the known peers, else one from the book, be it due or verified.
    fn choose_automatic<C, B>(
        &self,
        now: Instant,
        rng: &mut Rng,
        around: &Around<'_, C, B>,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        let book = &*around.book;
        let known = around.peers.candidates().filter_map(|peer| peer.address).take(CANDIDATES_MAX);
        let known = known.filter(|address| !exclude(address)).find(|address| book.is_due(*address, now));
        let choice = |address| Choice { address, purpose: Purpose::Automatic, urgent: false };
        if let Some(address) = known {
            return Some(choice(address));
        }
        // Strangers by the thousand are always due; those who are known to be there get every second dial.
        let verified_first = rng.chance(1, 2);
        let verified = if verified_first { self.choose_verified(now, around, exclude) } else { None };
        verified
            .or_else(|| book.pick(now, rng, exclude).map(choice))
            .or_else(|| if verified_first { None } else { self.choose_verified(now, around, exclude) })
    }

    /// A verified address that may be dialed because connections are lacking.
    fn choose_verified<C, B>(
        &self,
        now: Instant,
        around: &Around<'_, C, B>,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        if !self.urgent_pace.has(self.config.urgent_rate, now) {
            return None;
        }
        let address = around.book.pick_urgent(now, exclude)?;
        Some(Choice { address, purpose: Purpose::Automatic, urgent: true })
    }

    /// Is there an automatic connection or dial to the group of `ip`?
    pub(super) fn is_in_used_group(&self, ip: IpAddr) -> bool {
        let Some(group) = Group::of(ip) else { return false };
        let mut automatic = self.links.values().filter(|link| link.purpose != Purpose::Kept);
        automatic.any(|link| Group::of(link.address.ip()) == Some(group))
    }
}
