//! Which announced address is dialed back next, beside whom we want to be connected with.

use core::net::{IpAddr, SocketAddr};

use super::OutboundManager;
use super::link::Purpose;
use crate::address::canonical;
use crate::rate::Rate;
use crate::time::Instant;

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
        let probing = self.links.values().filter(|link| link.purpose == Purpose::Probe).count();
        if probing >= PROBES_AT_ONCE {
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

    /// A peer announced that it listens at `address`: it is to be dialed back, not before that time, and others are
    /// [told of it](Self::take_reached) when somebody was there.
    pub fn probe(&mut self, address: SocketAddr, at: Instant) {
        self.probes.add(canonical(address), at);
        self.nudge();
    }

    /// The announced addresses at which somebody was found since the last call.
    pub fn take_reached(&mut self) -> Vec<SocketAddr> {
        self.probes.take_reached()
    }
}
