//! Carrying out what the sync engine decided, and letting nobody send blocks but those whom it asked.

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::event::{Event, Output};
use crate::proto::node::Node;
use crate::proto::sync::SyncOutput;
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::{FrameError, Kind};

impl<C: Chain> Node<C> {
    /// Carries out what the sync engine decided.
    pub(super) fn drain_sync(&mut self, now: Now) {
        let mut tip_moved = false;
        while let Some(output) = self.sync.poll_output() {
            match output {
                // A ban on the way here may have closed the connection.
                SyncOutput::Send { conn, .. } if self.sessions.peer(conn).is_none() => {}
                SyncOutput::Send { conn, kind, payload } => {
                    self.send_payload(conn, kind, payload);
                    self.expect_blocks(conn);
                }
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

    /// Has a peer's frames judged by rules with a Block in them as long as it was asked for one: any other is refused by its header,
    /// before memory is held for it.
    pub(super) fn expect_blocks(&mut self, conn: ConnId) {
        let may = self.sync.may_send_block(conn);
        let Some(peer) = self.sessions.peer_mut(conn).filter(|peer| peer.may_send_block != may) else { return };
        peer.may_send_block = may;
        let rules = peer.rules();
        self.outputs.push_back(Output::Rules { conn, rules });
    }

    /// Bytes that can be no frame. That of a block is one, but nobody asked for it.
    pub(super) fn on_bad_frame(&mut self, now: Now, conn: ConnId, error: FrameError) {
        let peer = self.sessions.peer(conn);
        let is_block = peer.is_some() && error == FrameError::UnknownType(Kind::Block as u8)
            || peer.is_some_and(|peer| peer.serves_runs) && error == FrameError::UnknownType(Kind::Blocks as u8);
        let reason = if is_block { CloseReason::UnrequestedBlock } else { CloseReason::Frame(error) };
        self.close(now, conn, reason);
    }
}
