//! Branches that leave our chain far below its tip: their work is counted before any of them is stored.
//!
//! Everybody may have some headers of a branch stored that is lighter than our chain as far as he told it,
//! [`SyncConfig::headers_unproven`] of them. What is longer is dropped and told twice, as `presync` says: only a branch of more
//! work than ours gets into the tree, a piece at a time, and its blocks are fetched while the rest of its headers still comes.
//! So a fork of any depth ends on the heavier chain, and memory is bounded by the limits of the tree.
//!
//! [`SyncConfig::headers_unproven`]: crate::proto::sync::SyncConfig::headers_unproven

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::chain::{Chain, CheckedHeader, Tip};
use crate::proto::sync::peer::NextHeaders;
use crate::proto::sync::presync::{DeepBranch, Presync};
use crate::proto::sync::{SyncManager, SyncOutput};
use crate::time::Now;
use crate::wire::Kind;

/// Headers that become believed in one go.
const BELIEVED_AT_ONCE: usize = 2_000;
/// A branch is counted anew over at most so many headers that others told, and then a multiple of what one may tell.
const RECOUNTED_FACTOR: usize = 4;
/// While a branch is counted it is told how far, each time so many headers have come.
const TOLD_EVERY: u64 = 100_000;

impl SyncManager {
    /// Is this branch, which ends in `last` and goes on, to be counted before more of it is stored?
    pub(super) fn is_unproven(&self, conn: ConnId, last: Tip, room: bool, best: Tip) -> bool {
        let long = self.tree.owned_by(conn) >= self.config.headers_unproven;
        last.work <= best.work && (long || !room)
    }

    /// Drops what is stored of a peer's branch, and counts its work from now on.
    pub(super) fn begin_count<C: Chain>(&mut self, conn: ConnId, last: Tip, chain: &C) {
        let most = self.config.headers_unproven.saturating_mul(RECOUNTED_FACTOR).max(self.config.headers_per_peer);
        let mut told = Vec::new();
        let mut below = last.hash;
        while let Some(header) = self.tree.header(&below).filter(|_| told.len() <= most) {
            told.push(header);
            below = header.previous();
        }
        let best = chain.best().work;
        self.retain_tips(conn, |tree, tip| tree.get(tip).is_some_and(|tip| tip.work > best));
        let salt = self.salt.wrapping_add(u64::from(conn.index()));
        let presync = chain.position(&below).map(|start| {
            let mut presync = Presync::new(salt, start);
            told.into_iter().rev().for_each(|header| {
                presync.add(header);
            });
            presync
        });
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(presync) = presync else {
            peer.end_header_sync();
            return self.tell_of_branch(conn, last.height, last.height, DeepBranch::Deferred);
        };
        peer.headers_end = None;
        peer.next_headers = Some(NextHeaders::After(presync.end().hash));
        let (fork, height) = (presync.start().height, presync.end().height);
        self.branch_told = self.branch_told.saturating_add(presync.told());
        peer.presync = Some(presync);
        self.tell_of_branch(conn, fork, height, DeepBranch::Counted);
    }

    /// Headers came that continue a long branch. With `early` it goes on with some whose time has not come.
    pub(super) fn continue_branch<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        headers: &[CheckedHeader],
        early: bool,
        chain: &C,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(presync) = &mut peer.presync else { return };
        let before = presync.told();
        if !headers.iter().all(|header| presync.add(*header)) {
            return self.give_up_branch(conn, DeepBranch::Changed);
        }
        let told = presync.told();
        self.branch_told = self.branch_told.saturating_add(told.saturating_sub(before));
        let [counted, fetched] = &mut self.branch_furthest;
        let most = if presync.proven().is_some() { fetched } else { counted };
        *most = told.max(*most);
        if presync.proven().is_some() {
            peer.next_headers = Some(NextHeaders::After(presync.end().hash));
            return self.believe(now, conn, chain);
        }
        if presync.end().work > chain.best().work {
            let (fork, height) = (presync.start(), presync.end().height);
            presync.prove();
            peer.next_headers = Some(NextHeaders::After(fork.hash));
            self.tell_of_branch(conn, fork.height, height, DeepBranch::Proven);
        } else if early {
            self.end_branch(conn);
        } else {
            // Whatever the answer's size, the branch ends with an empty one.
            peer.next_headers = Some(NextHeaders::After(presync.end().hash));
            if before / TOLD_EVERY < told / TOLD_EVERY {
                let (fork, height) = (presync.start().height, presync.end().height);
                self.tell_of_branch(conn, fork, height, DeepBranch::Counted);
            }
        }
    }

    /// A long branch has no more headers. True when there was one.
    pub(super) fn end_branch(&mut self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let Some(presync) = &mut peer.presync else { return false };
        if presync.proven().is_some() {
            self.give_up_branch(conn, DeepBranch::Changed);
            return true;
        }
        // What was counted stays counted: when the branch grows, the count goes on.
        let (fork, height, reported) = (presync.start().height, presync.end().height, presync.report());
        peer.next_headers = None;
        if !reported {
            self.tell_of_branch(conn, fork, height, DeepBranch::Lighter);
        }
        true
    }

    /// Forgets what is known of a long branch, if there is one, says why, and asks its peer anew when the ration allows.
    pub(super) fn give_up_branch(&mut self, conn: ConnId, why: DeepBranch) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(presync) = peer.presync.take() else { return };
        peer.end_header_sync();
        self.tell_of_branch(conn, presync.start().height, presync.end().height, why);
        self.plan_header_request(conn, None);
    }

    /// Puts into the tree what may be believed by now, as far as there is room.
    pub(super) fn believe_all<C: Chain>(&mut self, now: Now, chain: &C) {
        let proven = self.peers.iter().filter(|(_, peer)| peer.presync.as_ref().is_some_and(|p| p.proven().is_some()));
        let proven: Vec<ConnId> = proven.map(|(conn, _)| *conn).collect();
        proven.into_iter().for_each(|conn| self.believe(now, conn, chain));
    }

    fn believe<C: Chain>(&mut self, now: Now, conn: ConnId, chain: &C) {
        if self.tree.len() >= self.config.headers_max {
            self.make_room(conn);
        }
        let room = self.config.headers_max.saturating_sub(self.tree.len());
        let room = room.min(self.config.headers_per_peer.saturating_sub(self.tree.owned_by(conn)));
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(presync) = &mut peer.presync else { return };
        let (headers, parent) = (presync.take_believed(room.min(BELIEVED_AT_ONCE)), presync.believed());
        if !headers.is_empty() {
            if headers.iter().any(|header| self.tree.is_invalid(&header.hash())) {
                return self.close(conn, CloseReason::Invalid(Kind::Headers));
            }
            let Some(parent) = parent.and_then(|parent| self.known(&parent.hash, chain)) else {
                return self.give_up_branch(conn, DeepBranch::Dropped);
            };
            let (last, _) = self.store_headers(now, conn, parent, &headers, chain);
            if let Some(presync) = self.peers.get_mut(&conn).and_then(|peer| peer.presync.as_mut()) {
                presync.note_believed(last);
            }
        }
        if let Some(peer) = self.peers.get_mut(&conn)
            && peer.presync.as_ref().is_some_and(Presync::is_done)
        {
            // It is a branch like others now, heavier than ours, and goes on where it was told to.
            let end = peer.presync.take().map(|branch| branch.end().height);
            if matches!(peer.next_headers, Some(NextHeaders::After(_))) {
                peer.headers_end = end;
            }
        }
    }

    pub(super) fn tell_of_branch(&mut self, conn: ConnId, fork: u64, height: u64, news: DeepBranch) {
        self.outputs.push_back(SyncOutput::DeepBranch { conn, fork, height, news });
    }
}
