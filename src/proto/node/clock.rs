//! Warnings about clocks: ours against those of the peers that we dialed, and headers from the future.

use crate::id::ConnId;
use crate::proto::clock::{Change, Difference};
use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::sync::chain::Chain;
use crate::time::Now;

impl<C: Chain> Node<C> {
    /// Compares our clock with those of the peers that we dialed, and says when it is off, and when it is right again.
    pub(super) fn compare_clocks(&mut self, now: Now) {
        let Some(difference) = self.clock_difference(now) else { return };
        let Difference { millis, peers } = difference;
        match self.clocks.judge(now.at, difference) {
            Some(Change::Off) => self.emit(Event::ClockOff { millis, peers }),
            Some(Change::Right) => self.emit(Event::ClockRight { millis, peers }),
            None => {}
        }
    }

    /// A peer sent a header or a block that the chain calls too far ahead of our clock. Told once, and once more when the chain
    /// has moved since.
    pub(super) fn note_early(&mut self, now: Now, conn: ConnId) {
        if !self.clocks.tells_early(now.at, self.chain.best().hash) {
            return;
        }
        let clock = self.clock_difference(now).map(|difference| difference.millis);
        self.emit(Event::HeadersTooEarly { conn, clock });
    }

    fn clock_difference(&self, now: Now) -> Option<Difference> {
        let dialed = self.sessions.ready().filter(|(session, _)| session.is_outbound());
        Difference::of(now, dialed.filter_map(|(_, peer)| peer.clock))
    }
}
