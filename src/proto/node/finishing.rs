//! What the chain judged and read elsewhere comes back at the end of a turn: verdicts on blocks, and blocks for who asked for them.

use bytes::Bytes;
use core::time::Duration;

use crate::proto::node::Node;
use crate::proto::node::reading::Asked;
use crate::proto::sync::chain::{Chain, Finished, Verdict};
use crate::time::Now;
use crate::wire::Kind;

/// Units of work after which a turn takes no more of what was judged and read elsewhere: about a millisecond.
const FINISHING_WORK: u32 = 5_000;
/// Time between two slices of what the chain does by and by: it must not keep the loop from its peers.
const CHAIN_WORK: Duration = Duration::from_millis(1);

impl<C: Chain> Node<C> {
    /// What the chain has judged and read elsewhere since, as much of it as one turn may do. False when there was nothing.
    pub(super) fn finish_some(&mut self, now: Now) -> bool {
        let (mut is_any, mut work) = (false, 0u32);
        while work < FINISHING_WORK
            && let Some(finished) = self.chain.poll(now.unix)
        {
            is_any = true;
            match finished {
                Finished::Judged(ticket, verdict) => self.on_verdict(now, ticket, verdict),
                Finished::Read(ticket, block) => self.on_block_read(now, ticket, block),
                Finished::Returned => self.compare_pools_soon(now),
                Finished::Room => self.sync.chain_has_room(now, &mut self.chain),
            }
            let spent = self.chain.take_work();
            self.work.spend(spent as usize);
            work = work.saturating_add(spent).saturating_add(1);
        }
        is_any
    }

    /// What the chain can only go on with in a turn is a reason for one.
    pub(super) fn look_after_chain(&mut self, now: Now) {
        self.chain_due = self.chain.has_work().then(|| now.at + CHAIN_WORK);
    }

    /// The verdict on something that was pending has come.
    pub(super) fn on_verdict(&mut self, now: Now, ticket: u64, verdict: Verdict) {
        if let Some(object) = self.known.take(ticket) {
            if object.kind == Kind::NewBlock && !matches!(verdict, Verdict::Pending(_)) {
                self.sync.block_judged(&object.id);
            }
            return self.judge(now, verdict, object);
        }
        let has_moved = matches!(verdict, Verdict::Accepted { best_changed: true });
        if !self.sync.handle_verdict(now, ticket, verdict, &mut self.chain) && has_moved {
            // What waited for it was forgotten for want of room. The chain ends elsewhere all the same.
            self.tip_moved(now);
            self.announce_tip(now);
        }
    }

    /// A block that a peer asked for was read, or cannot be.
    fn on_block_read(&mut self, now: Now, ticket: u64, block: Option<Bytes>) {
        let Some(Asked { conn, hash }) = self.reading.take(ticket) else { return };
        let Some(peer) = self.sessions.asker(conn) else { return };
        let version = peer.version;
        match block {
            // The driver says when there is room for the next.
            Some(block) => self.give_block(now, conn, hash, block),
            None => {
                self.lack_block(conn, version, hash);
                self.on_writable(now, conn);
            }
        }
    }
}
