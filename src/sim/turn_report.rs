//! What a host's auditor wrote down in a turn, told to the run: checked against what others did, timed, traced.

use super::auditor::Note;
use super::host::Host;
use super::pipe::{PipeId, Side, opposite};
use super::simulation::SimState;
use super::trace::{NOBODY, What};
use crate::invariant::Invariant;
use crate::wire::Hash;

impl Host {
    pub(super) fn report(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let auditor = &mut driver.protocol_mut().auditor;
        let index = self.index;
        sim.check.take(index, &mut auditor.tally);
        let mut notes = core::mem::take(&mut auditor.notes);
        for note in notes.drain(..) {
            match note {
                Note::Line(what, a, b) => sim.note(index, what, a, b),
                Note::Opened(pipe, side, conn) => {
                    let other = sim.pipes.get(pipe).map_or(NOBODY, |pipe| pipe.end(opposite(side)).host);
                    sim.note(index, What::Open, u64::from(conn.index()), u64::from(other));
                }
                Note::FrameQueued(pipe, side, rank, hash, len) => {
                    if let Some(pipe) = sim.pipes.get_mut(pipe) {
                        pipe.way_mut(opposite(side)).frame_queued(rank, hash, len);
                    }
                }
                Note::FramesDropped(pipe, side) => {
                    if let Some(pipe) = sim.pipes.get_mut(pipe) {
                        pipe.way_mut(opposite(side)).frames_dropped();
                    }
                }
                Note::FrameDelivered(pipe, side, hash) => check_delivery(sim, pipe, side, index, hash),
                Note::FrameSkipped(pipe, side, rank) => {
                    if let Some(pipe) = sim.pipes.get_mut(pipe) {
                        pipe.way_mut(side).frame_skipped(rank);
                    }
                }
                Note::Closed(conn, reason) => sim.trace.close(sim.schedule.now(), index, conn.index(), reason),
                Note::Payment(id) => sim.timing.payment_received(index, self.joined, &id, sim.schedule.now()),
                Note::Block(hash) => sim.timing.block_received(index, self.joined, &hash, sim.schedule.now()),
                Note::Tip(work, height, hash) => {
                    sim.timing.tip_reached(index, height, sim.schedule.now());
                    sim.note(index, What::Tip, height, first_bytes(&hash));
                    let before = core::mem::replace(&mut self.work, work);
                    sim.check
                        .that(Invariant::S12, index, work >= before, || format!("work fell from {before} to {work}"));
                    sim.best_chain.reached(work);
                }
                Note::Judged(ip, reason) => {
                    let fair = reason.is_none() || sim.has_corrupted() || !sim.machines.is_honest_ip(ip);
                    sim.check.that(Invariant::S9, index, fair, || format!("honest {ip} is blamed: {reason:?}"));
                }
                Note::Banned(remote) => {
                    let who = sim.machines.by_ip(remote.ip());
                    sim.note(index, What::Banned, who.map_or(u64::MAX, u64::from), 0);
                    let fair = !who.is_some_and(|who| sim.machines.is_honest(who)) || sim.has_corrupted();
                    sim.check.that(Invariant::S9, index, fair, || format!("honest node {who:?} is blacklisted"));
                }
            }
        }
        auditor.notes = notes;
    }
}

/// A frame came out of a connection between honest nodes: it must be the next one of a queue, and nobody may starve for it.
fn check_delivery(sim: &mut SimState<'_>, id: PipeId, side: Side, host: u32, hash: u64) {
    let Some(pipe) = sim.pipes.get_mut(id) else { return };
    // Under TLS a stream that was changed ends there: it never yields another frame.
    let spoiled = pipe.way(side).is_spoiled() && !sim.tls;
    if spoiled || !sim.machines.is_honest(pipe.end(opposite(side)).host) {
        return;
    }
    let (in_order, starved) = pipe.way_mut(side).frame_delivered(hash);
    sim.check.that(Invariant::S2, host, in_order, || "a frame that was not sent, or not in this order".to_owned());
    sim.check.that(Invariant::S15, host, starved.is_none(), || format!("more passed a frame than may: {starved:?}"));
}

fn first_bytes(hash: &Hash) -> u64 {
    hash.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
