//! Carrying out what the sync engine decided.

use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::sync::SyncOutput;
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::Kind;

impl<C: Chain> Node<C> {
    /// Carries out what the sync engine decided.
    pub(super) fn drain_sync(&mut self, now: Now) {
        let mut tip_moved = false;
        while let Some(output) = self.sync.poll_output() {
            match output {
                // A ban on the way here may have closed the connection.
                SyncOutput::Send { conn, .. } if self.sessions.peer(conn).is_none() => {}
                SyncOutput::Send { conn, kind, payload } => self.send_payload(conn, kind, payload),
                SyncOutput::Close { conn, reason } => self.close(now, conn, reason),
                SyncOutput::Accepted { hash, from, best_changed } => {
                    self.note_contribution(now, from, Kind::Block);
                    self.known.accept(now.at, hash, Some(from));
                    self.emit(Event::BlockAccepted { hash, from: Some(from) });
                    tip_moved |= best_changed;
                }
                SyncOutput::Useful { conn } => self.record_success(now, conn),
                SyncOutput::Slow { conn } => self.record_slowness(conn),
                SyncOutput::Early { conn } => self.note_early(now, conn),
                SyncOutput::DeepBranch { conn, fork, height, news } => {
                    self.emit(Event::DeepBranch { conn, fork, height, news });
                }
                SyncOutput::Progress { height, target } => self.emit(Event::Sync { height, target }),
            }
        }
        if tip_moved {
            self.tip_moved(now);
            if !self.sync.is_syncing() {
                self.announce_tip(now);
            }
        }
    }
}
