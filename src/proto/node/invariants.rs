//! What holds between two inputs, looked at after each one in builds with debug assertions: the tables agree.
//!
//! A session is named in several places (its timer, its peer's id, the gatekeeper, relay, sync), and each of them forgets it
//! by a line of its own. This page is what notices a forgotten line.

use crate::proto::node::{Node, Timer};
use crate::proto::session::Stage;
use crate::proto::sync::chain::Chain;

impl<C: Chain> Node<C> {
    pub(super) fn check(&self) {
        let mut ready = 0;
        for session in self.sessions.values() {
            let timed = self.timers.contains(&(session.timer, Timer::Session(session.conn)));
            debug_assert_eq!(timed, !session.is_closing(), "a live session has a timer, a closing one has none");
            if let Stage::Ready(peer) = &session.stage {
                ready += 1;
                debug_assert_eq!(self.by_id.get(&peer.node_id), Some(&session.conn), "one connection for each id");
            }
        }
        debug_assert_eq!(self.by_id.len(), ready);
        debug_assert_eq!(self.sync.peer_count(), ready, "the sync engine knows whoever is ready");
        debug_assert_eq!(self.relay.peer_count(), ready, "and so does the relay");
        let sessions = self.timers.iter().filter(|(_, timer)| matches!(timer, Timer::Session(_))).count();
        debug_assert_eq!(sessions, self.sessions.values().filter(|s| !s.is_closing()).count());
        let housekeeping = self.timers.iter().filter(|(_, timer)| *timer == Timer::Housekeeping).count();
        debug_assert_eq!(housekeeping, 1, "there is always a next round of housekeeping");
        debug_assert_eq!(self.pending_bytes, self.bytes_under_judgement());
        debug_assert_eq!(self.admission.connections(), self.sessions.len(), "every connection is counted once");
        debug_assert_eq!(self.pool.dialing(), self.dials.len(), "a dial under way has a place in the pool");
    }
}
