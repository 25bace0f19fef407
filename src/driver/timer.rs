//! The loop's own deadlines: a heap whose entries may be out of date.
//!
//! Moving a deadline later, which happens with every byte, touches nothing: the entry is looked at when it comes due and
//! armed again if the connection's real deadline is later. An idle connection has no entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::id::ConnId;
use crate::time::Instant;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A connection's earliest: dial, drain, linger, write stall or frame.
    Conn(ConnId),
    /// A listener may try `accept` again.
    Listener(usize),
    /// Connections that met the receive budget may read again.
    Receive,
    /// Connections that met the send budget may queue again.
    Send,
    /// Connections that wait to write may, as far as the limit of bandwidth goes.
    Upload,
    /// Connections that wait to be read may be.
    Download,
    /// Handshakes may begin for which there was no budget.
    Handshakes,
    /// Somebody waits for the place of a handshake: a silent one may have to give way.
    Backlog,
    /// Somebody waits until the protocol has a place for him.
    WaitingRoom,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Instant, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// The earliest entry that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
