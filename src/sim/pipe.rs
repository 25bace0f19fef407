//! One connection as it lies between two machines: packets under way in both directions, and what they owe.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;

use slab::Slab;

use super::delivery_checker::DeliveryChecker;
use super::fairness_checker::{FairnessChecker, Starved};
use crate::driver::SocketId;
use crate::rng::Rng;
use crate::time::Instant;

/// A pipe by slot and by number: an event for one that is gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PipeId {
    pub(super) index: u32,
    serial: u32,
}

impl PipeId {
    /// For tests of what only passes an id on.
    #[cfg(test)]
    pub(super) fn numbered(number: u32) -> PipeId {
        PipeId { index: number, serial: number }
    }

    /// A port for the end that dialed, as a kernel would choose one.
    pub(super) fn port(self) -> u16 {
        32_768 + (self.serial % 28_000) as u16
    }
}

/// Which end of a pipe: 0 dialed, 1 accepted.
pub(super) type Side = u8;

/// The other end.
pub(super) fn opposite(side: Side) -> Side {
    1 - side
}

/// One end of a pipe.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) host: u32,
    /// Which of its addresses it dialed from.
    pub(super) ip: Option<IpAddr>,
    /// The port that was dialed, of the end that was.
    pub(super) port: u16,
    /// The socket there; `None` before the kernel has one, and when it is closed.
    pub(super) socket: Option<SocketId>,
    /// Not yet closed.
    pub(super) open: bool,
    /// A reset is on its way here.
    reset: bool,
}

impl End {
    pub(super) fn new(host: u32, socket: Option<SocketId>) -> End {
        End { host, ip: None, port: 0, socket, open: true, reset: false }
    }

    /// The same, from this address.
    pub(super) fn at(self, ip: IpAddr) -> End {
        End { ip: Some(ip), ..self }
    }

    /// The same, dialed at this port.
    pub(super) fn dialed(self, port: u16) -> End {
        End { port, ..self }
    }

    /// The kernel has closed it, or has lost its power.
    pub(super) fn close(&mut self) {
        (self.open, self.socket) = (false, None);
    }

    /// A reset is sent here. False when nobody is there to get it, or one is on its way.
    pub(super) fn begin_reset(&mut self) -> bool {
        self.open && !core::mem::replace(&mut self.reset, true)
    }
}

#[derive(Debug)]
pub(super) struct Packet {
    arrives: Instant,
    pub(super) bytes: Vec<u8>,
    /// The stream ends behind it.
    pub(super) fin: bool,
}

/// Packets that are due at an end.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) packets: Vec<Packet>,
    /// When more come of which nobody was told, for they were sent while nothing passed.
    pub(super) later: Vec<Instant>,
}

/// One direction of a pipe: towards the end of the same number.
#[derive(Debug)]
pub(super) struct Way {
    flight: VecDeque<Packet>,
    /// Bytes that were ever sent.
    carried: u64,
    /// Bytes under way.
    flying: usize,
    /// When the line is free for the next packet, and when the last one arrives.
    free: Instant,
    last: Instant,
    clogged: Instant,
    /// Packets wait for a clog or a partition to end.
    parked: bool,
    /// The sender waits for the receiver to read.
    sender_waits: bool,
    /// The end of the stream is under way or has arrived.
    ended: bool,
    /// Bytes were changed or cut off on the way: what arrives is not what was sent.
    spoiled: bool,
    /// Frames that were queued and not yet delivered, and how long they waited for others.
    delivery: DeliveryChecker,
    fairness: FairnessChecker,
}

impl Way {
    fn new(now: Instant) -> Self {
        Way {
            flight: VecDeque::new(),
            carried: 0,
            flying: 0,
            free: now,
            last: now,
            clogged: Instant::ZERO,
            parked: false,
            sender_waits: false,
            ended: false,
            spoiled: false,
            delivery: DeliveryChecker::default(),
            fairness: FairnessChecker::default(),
        }
    }

    /// Bytes that were ever sent.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Bytes under way.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// From now on what arrives is not what was sent.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Nothing arrives before that.
    pub(super) fn hold_until(&mut self, at: Instant) {
        self.last = at;
    }

    /// Does the sender wait for the receiver to read?
    pub(super) fn set_sender_waits(&mut self, waits: bool) {
        self.sender_waits = waits;
    }

    /// The receiver has read. True when the sender waited for that.
    pub(super) fn take_sender_waits(&mut self) -> bool {
        core::mem::take(&mut self.sender_waits)
    }

    /// A packet is sent: it takes `transfer` once the line is free and `latency` behind that, and overtakes none. Answers when
    /// it arrives, unless nothing passes now.
    pub(super) fn send(
        &mut self,
        now: Instant,
        transfer: Duration,
        latency: Duration,
        bytes: Vec<u8>,
        fin: bool,
    ) -> Option<Instant> {
        self.free = self.free.max(now) + transfer;
        let arrives = (self.free + latency).max(self.last);
        self.push(arrives, bytes, fin);
        (!self.parked).then_some(arrives)
    }

    fn push(&mut self, arrives: Instant, bytes: Vec<u8>, fin: bool) {
        self.last = arrives;
        self.flying += bytes.len();
        self.carried += bytes.len() as u64;
        self.ended |= fin;
        self.flight.push_back(Packet { arrives, bytes, fin });
    }

    /// Nothing passes until then, at least.
    pub(super) fn clog(&mut self, until: Instant) {
        self.clogged = self.clogged.max(until);
    }

    /// Drops the second half of what is under way, and ends the stream behind the first. Answers when that end arrives; `None`
    /// when the stream had its end.
    pub(super) fn cut_short(&mut self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let mut keep = self.flying / 2;
        self.spoiled = true;
        self.flight.retain_mut(|packet| {
            packet.bytes.truncate(keep);
            keep -= packet.bytes.len();
            !packet.bytes.is_empty()
        });
        self.flying /= 2;
        let at = self.last;
        self.push(at, Vec::new(), true);
        Some(at)
    }

    /// What is due by now. Where the way is cut or clogged it waits there, and `None` comes.
    pub(super) fn arrivals(&mut self, now: Instant, is_cut: bool) -> Option<Arrivals> {
        if is_cut || self.clogged > now {
            self.parked = true;
            return None;
        }
        let was_parked = core::mem::take(&mut self.parked);
        let mut arrivals = Arrivals::default();
        while self.flight.front().is_some_and(|packet| packet.arrives <= now) {
            let Some(packet) = self.flight.pop_front() else { break };
            self.flying -= packet.bytes.len();
            arrivals.packets.push(packet);
        }
        if was_parked {
            arrivals.later = self.flight.iter().map(|packet| packet.arrives).collect();
        }
        Some(arrivals)
    }

    /// The sender's node has queued a frame of so many bytes, header included, in the queue of this rank.
    pub(super) fn frame_queued(&mut self, rank: usize, hash: u64, len: u64) {
        self.delivery.queued(rank, hash);
        self.fairness.queued(rank, hash, len);
    }

    /// The sender's queue has dropped frames: some never come.
    pub(super) fn frames_dropped(&mut self) {
        self.delivery.frames_dropped();
        self.fairness.give_up();
    }

    /// The receiver's node has got a frame. Was it the next one of a queue, and has another one waited for too long?
    pub(super) fn frame_delivered(&mut self, hash: u64) -> (bool, Option<Starved>) {
        (self.delivery.delivered(hash), self.fairness.delivered(hash))
    }

    /// The receiver's node has seen the front of a frame of this rank, and wants no more of it.
    pub(super) fn frame_skipped(&mut self, rank: usize) {
        self.delivery.skipped(rank);
        self.fairness.give_up();
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    serial: u32,
    ends: [End; 2],
    ways: [Way; 2],
}

impl Pipe {
    pub(super) fn end(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The direction towards an end.
    pub(super) fn way(&self, to: Side) -> &Way {
        &self.ways[to as usize]
    }

    pub(super) fn way_mut(&mut self, to: Side) -> &mut Way {
        &mut self.ways[to as usize]
    }
}

/// All connections and dials.
#[derive(Default)]
pub(super) struct Pipes {
    slots: Slab<Pipe>,
    serial: u32,
}

impl Pipes {
    /// One more, from the end that dials to the one that is dialed.
    pub(super) fn open(&mut self, ends: [End; 2], now: Instant) -> PipeId {
        self.serial = self.serial.wrapping_add(1);
        let ways = [Way::new(now), Way::new(now)];
        let index = self.slots.insert(Pipe { serial: self.serial, ends, ways });
        id(index, self.serial)
    }

    pub(super) fn get(&self, id: PipeId) -> Option<&Pipe> {
        self.slots.get(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    pub(super) fn get_mut(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.slots.get_mut(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    /// Nobody is at either end any more.
    pub(super) fn remove(&mut self, id: PipeId) {
        if self.get(id).is_some() {
            self.slots.remove(id.index as usize);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PipeId, &Pipe)> {
        self.slots.iter().map(|(index, pipe)| (id(index, pipe.serial), pipe))
    }

    /// A connection at random, for a fault; `None` when there is none.
    pub(super) fn any(&self, rng: &mut Rng) -> Option<PipeId> {
        let slots = self.slots.capacity();
        for _ in 0..8 {
            let index = rng.index(slots)?;
            if let Some(pipe) = self.slots.get(index).filter(|pipe| pipe.ends[1].socket.is_some()) {
                return Some(id(index, pipe.serial));
            }
        }
        None
    }
}

fn id(index: usize, serial: u32) -> PipeId {
    PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(10);

    fn pipes() -> (Pipes, PipeId) {
        let mut pipes = Pipes::default();
        let id = pipes.open([End::new(0, Some(3)), End::new(1, None)], NOW);
        (pipes, id)
    }

    #[test]
    fn the_id_of_a_pipe_that_is_gone_finds_nobody_though_its_slot_is_used_again() {
        let (mut pipes, first) = pipes();
        pipes.remove(first);
        let second = pipes.open([End::new(0, None), End::new(1, None)], NOW);
        assert_eq!(second.index, first.index);
        assert!(pipes.get(first).is_none() && pipes.get(second).is_some());
        pipes.remove(first);
        assert_eq!(pipes.count(), 1, "what is gone takes nothing along");
    }

    #[test]
    fn packets_arrive_in_order_and_wait_where_nothing_passes() {
        let (mut pipes, id) = pipes();
        let way = pipes.get_mut(id).unwrap().way_mut(1);
        let millis = Duration::from_millis;
        let slow = way.send(NOW, millis(1), millis(50), vec![1; 10], false).unwrap();
        assert_eq!(slow, NOW + millis(51));
        assert_eq!(way.send(NOW, millis(1), millis(5), vec![2; 10], true), Some(slow), "it overtakes none");
        assert!(way.has_ended() && way.flying() == 20);
        assert!(way.arrivals(slow, true).is_none() && way.is_parked());
        assert_eq!(way.send(NOW, millis(1), millis(90), vec![3], false), None, "nobody is told while nothing passes");
        let arrivals = way.arrivals(slow, false).unwrap();
        assert_eq!(arrivals.packets.iter().map(|packet| packet.bytes.len()).collect::<Vec<_>>(), [10, 10]);
        assert_eq!((arrivals.later.len(), way.flying()), (1, 1));
    }

    #[test]
    fn a_stream_that_is_cut_short_ends_behind_the_first_half_once() {
        let (mut pipes, id) = pipes();
        let way = pipes.get_mut(id).unwrap().way_mut(0);
        let zero = Duration::ZERO;
        way.send(NOW, zero, zero, vec![1; 6], false);
        way.send(NOW, zero, zero, vec![2; 6], false);
        assert_eq!((way.cut_short(), way.cut_short()), (Some(NOW), None));
        let packets = way.arrivals(NOW, false).unwrap().packets;
        assert_eq!(
            packets.iter().map(|packet| (packet.bytes.len(), packet.fin)).collect::<Vec<_>>(),
            [(6, false), (0, true)]
        );
        assert!(way.is_spoiled());
    }
}
