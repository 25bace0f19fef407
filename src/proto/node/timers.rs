//! What is due when no input came for it: sessions, housekeeping, saving, and what the sync waits for.

use core::time::Duration;

use crate::id::Direction;
use crate::proto::event::{Event, Output};
use crate::proto::node::sessions::Due;
use crate::proto::node::{Node, moment};
use crate::proto::sync::chain::Chain;
use crate::time::Now;

/// Time between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// The address book forgets an address that fails for hours. After this it hears again of those that we once reached.
const REMEMBER: Duration = Duration::from_secs(3600);

/// Time between two saves for peers that were reached.
const SAVE_SOON: Duration = Duration::from_secs(5);
/// Time between two saves for bans of the rules, which strangers can cause.
const SAVE_BANS: Duration = Duration::from_secs(5);

impl<C: Chain> Node<C> {
    pub(super) fn on_tick(&mut self, now: Now) {
        if self.rounds.housekeeping.begins(now.at, HOUSEKEEPING) {
            self.keep_house(now);
        }
        if self.rounds.save.begins(now.at, self.config.save_interval) && !buggify!(self, DelaySave) {
            self.rounds.is_unsaved = false;
            self.outputs.push_back(Output::SavePeers);
        }
        self.save_unsaved(now);
        if self.bans_changed && self.rounds.bans.begins(now.at, SAVE_BANS) {
            self.save_bans();
        }
        while let Some(due) = self.sessions.pop_due(now.at) {
            match due {
                Due::Count(conn) => self.outputs.push_back(Output::CountReceived { conn }),
                Due::Judge(conn) => self.judge_liveness(now, conn),
                Due::Pace(conn) => {
                    self.tell_owed_tip(now, conn);
                    self.send_waiting(now, conn);
                    self.say_waiting(now, conn);
                    self.pass_on_waiting(now, conn);
                    self.on_writable(now, conn);
                    self.tell_client(now, conn);
                    self.compare_pools(now, conn);
                }
            }
        }
        self.end_tick(now);
    }

    /// A peer that we chose was reached: a restart begins with it, also after an end by force.
    pub(super) fn save_soon(&mut self, now: Now) {
        self.rounds.is_unsaved = true;
        self.save_unsaved(now);
    }

    fn save_unsaved(&mut self, now: Now) {
        if self.rounds.is_unsaved && self.rounds.soon.begins(now.at, SAVE_SOON) {
            self.rounds.is_unsaved = false;
            self.outputs.push_back(Output::SavePeers);
        }
    }

    /// What comes last in a tick, after the answers to its questions: who has been silent for too long is closed for that, and
    /// not for the sync's question that he left open.
    pub(super) fn end_tick(&mut self, now: Now) {
        if !self.sessions.is_waiting() {
            self.sync.handle_tick(now, &mut self.chain);
        }
    }

    fn keep_house(&mut self, now: Now) {
        // A feeler may have become one of the connections that we keep.
        for (session, peer) in self.sessions.ready() {
            if let Direction::Outbound(dial) = session.direction()
                && self.outbound.is_chosen(dial)
                && self.peers.get(&peer.known_as).is_some_and(|record| !record.anchor)
            {
                self.peers.set_anchor(&peer.known_as);
            }
        }
        for (session, peer) in self.sessions.ready() {
            self.peers.update_last_seen(&peer.known_as, moment(now, session.last_received()));
            if let Some(address) = peer.address {
                self.book.connected(address, now);
            }
        }
        self.peers.drop_stale(now);
        self.chain.keep_house(now.unix);
        self.known.expire(now.at);
        self.give_up_unheard(now);
        if self.rounds.remembered.begins(now.at, REMEMBER) {
            for address in self.peers.remembered_addresses() {
                if self.book.get(address).is_none() {
                    self.book.hear(address, None, now);
                }
            }
        }
        // A blacklisting that is over says nothing, and makes an address fit to be dialed.
        self.outbound.nudge();
        self.seek_addresses(now);
        self.compare_clocks(now);
        self.tell_dropped();
    }

    /// What waited for the pace of a peer and found no room any more would be missed without a word.
    fn tell_dropped(&mut self) {
        let count = self.counters.relay_dropped.saturating_sub(self.told_dropped);
        if count > 0 {
            self.told_dropped = self.counters.relay_dropped;
            self.emit(Event::RelayDropped { count });
        }
    }
}
