//! One connection as it lies between two machines: packets under way in both directions, and what they owe.

use std::collections::VecDeque;

use crate::driver::SocketId;
use crate::time::Instant;

/// A pipe by slot and by number: an event for one that is gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PipeId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

/// Which end of a pipe: 0 dialed, 1 accepted.
pub(super) type Side = u8;

/// One end of a pipe.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) host: u32,
    /// The socket there; `None` before the kernel has one, and when it is closed.
    pub(super) socket: Option<SocketId>,
    /// Not yet closed.
    pub(super) open: bool,
    /// A reset is on its way here.
    pub(super) reset: bool,
}

#[derive(Debug)]
pub(super) struct Packet {
    pub(super) arrives: Instant,
    pub(super) bytes: Vec<u8>,
    pub(super) fin: bool,
}

/// One direction of a pipe: towards the end of the same number.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) flight: VecDeque<Packet>,
    /// Bytes that were ever sent.
    pub(super) carried: u64,
    /// Bytes under way.
    pub(super) flying: usize,
    /// When the line is free for the next packet, and when the last one arrives.
    pub(super) free: Instant,
    pub(super) last: Instant,
    pub(super) clogged: Instant,
    /// Packets wait for a clog or a partition to end.
    pub(super) parked: bool,
    /// The sender waits for the receiver to read.
    pub(super) starved: bool,
    /// The end of the stream is under way or has arrived.
    pub(super) ended: bool,
    /// Bytes were changed or cut off on the way: what arrives is not what was sent.
    pub(super) spoiled: bool,
    /// Frames that were queued and not yet delivered.
    pub(super) delivery: super::delivery_checker::DeliveryChecker,
    /// How long they waited for others.
    pub(super) fairness: super::fairness_checker::FairnessChecker,
}

impl Way {
    pub(super) fn new(now: Instant) -> Self {
        Way {
            flight: VecDeque::new(),
            carried: 0,
            flying: 0,
            free: now,
            last: now,
            clogged: Instant::ZERO,
            parked: false,
            starved: false,
            ended: false,
            spoiled: false,
            delivery: Default::default(),
            fairness: Default::default(),
        }
    }

    pub(super) fn push(&mut self, arrives: Instant, bytes: Vec<u8>, fin: bool) {
        self.last = arrives;
        self.flying += bytes.len();
        self.carried += bytes.len() as u64;
        self.ended |= fin;
        self.flight.push_back(Packet { arrives, bytes, fin });
    }

    /// Drops the second half of what is under way.
    pub(super) fn halve(&mut self) {
        let mut keep = self.flying / 2;
        self.spoiled = true;
        self.flight.retain_mut(|packet| {
            packet.bytes.truncate(keep);
            keep -= packet.bytes.len();
            !packet.bytes.is_empty()
        });
        self.flying /= 2;
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) serial: u32,
    pub(super) ends: [End; 2],
    pub(super) ways: [Way; 2],
}
