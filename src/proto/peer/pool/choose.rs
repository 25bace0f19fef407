//! The choice of the next address.

use core::net::{IpAddr, SocketAddr};

use super::{Around, Pool, Purpose};
use crate::proto::peer::address::Group;
use crate::rng::Rng;
use crate::time::Instant;

/// Known peers looked at for one dial; the book covers the rest.
const CANDIDATES_MAX: usize = 64;

/// Whom to dial.
pub(super) struct Choice {
    pub(super) address: SocketAddr,
    pub(super) purpose: Purpose,
    /// Its back-off is not over; it is dialed because connections are lacking.
    pub(super) urgent: bool,
}

impl Choice {
    fn new(address: SocketAddr, purpose: Purpose) -> Self {
        Choice { address, purpose, urgent: false }
    }
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
                return Ok(Choice::new(*address, Purpose::Kept));
            }
            later(retry.at);
        }
        if self.automatic() >= self.config.outbound {
            return Err(wake);
        }
        let unfit =
            |address: &SocketAddr| busy(address) || self.kept.contains_key(address) || (around.banned)(address.ip());
        let crowded = |address: &SocketAddr| unfit(address) || self.is_in_used_group(address.ip());
        if let Some(choice) = self.choose_automatic(now, rng, around, &crowded) {
            return Ok(choice);
        }
        // A network of few groups connects all the same; who can reach as many groups as it wants connections does not double.
        let urgent_at = self.urgent_pace.ready_at(self.config.urgent_rate);
        let (next, urgent) = if book.sound_groups() >= self.config.outbound {
            (book.next_attempt(crowded), book.next_urgent(crowded))
        } else {
            if let Some(choice) = self.choose_automatic(now, rng, around, &unfit) {
                return Ok(choice);
            }
            (book.next_attempt(unfit), book.next_urgent(unfit))
        };
        next.into_iter().chain(urgent.map(|at| at.max(urgent_at))).for_each(&mut later);
        if book.len() < self.config.addresses_wanted || !around.online {
            for (address, retry) in
                self.seeds.iter().filter(|(address, _)| !unfit(address) && !book.is_never(**address))
            {
                if retry.at <= now {
                    return Ok(Choice::new(*address, Purpose::Seed));
                }
                later(retry.at);
            }
        }
        Err(wake)
    }

    /// The best of the known peers, else one from the book, else one that may be dialed before its time.
    fn choose_automatic<C, B>(
        &self,
        now: Instant,
        rng: &mut Rng,
        around: &Around<'_, C, B>,
        exclude: &impl Fn(&SocketAddr) -> bool,
    ) -> Option<Choice> {
        let book = &*around.book;
        let known = around.peers.candidates().filter_map(|peer| peer.address).take(CANDIDATES_MAX);
        let known = known.filter(|address| !exclude(address)).find(|address| book.is_due(*address, now));
        if let Some(address) = known.or_else(|| book.pick(now, rng, exclude)) {
            return Some(Choice::new(address, Purpose::Automatic));
        }
        if !self.urgent_pace.has(self.config.urgent_rate, now) {
            return None;
        }
        let address = book.pick_urgent(now, rng, exclude)?;
        Some(Choice { urgent: true, ..Choice::new(address, Purpose::Automatic) })
    }

    /// Is there an automatic connection or dial to the group of `ip`?
    pub(super) fn is_in_used_group(&self, ip: IpAddr) -> bool {
        let Some(group) = Group::of(ip) else { return false };
        let mut automatic = self.links.values().filter(|link| link.purpose != Purpose::Kept);
        automatic.any(|link| Group::of(link.address.ip()) == Some(group))
    }
}
