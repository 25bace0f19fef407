//! What the loop counts.

use std::collections::BTreeMap;

use super::turn_times::TurnTimes;

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnStats {
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Frames delivered.
    pub frames_in: u64,
    /// Frames written to their last byte.
    pub frames_out: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Frames that wait to be written.
    pub queued_frames: usize,
    /// Frames dropped from the queue for more urgent ones.
    pub dropped_frames: u64,
    /// Frames refused because the queue or the send budget was full.
    pub refused_frames: u64,
    /// Bytes of memory held for an unfinished frame or undelivered ones.
    pub held_bytes: usize,
}

/// Counters of the whole loop. The sums survive the connections they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Frames delivered.
    pub frames_in: u64,
    /// Frames written to their last byte.
    pub frames_out: u64,
    /// Large frames that the protocol did not want when it saw how they began.
    pub frames_skipped: u64,
    /// Units of work that the protocol said it has done. See [`Net::spend`](super::Net::spend).
    pub work: u64,
    /// How long turns took.
    pub turns: TurnTimes,
    /// Connections accepted and opened.
    pub accepted: u64,
    /// Connections closed when they were accepted or had waited in vain, for any reason.
    pub refused: u64,
    /// Of these, because the loop was full.
    pub refused_limit: u64,
    /// Of these, because the protocol did not admit the address.
    pub refused_admit: u64,
    /// Connections that only drained, and were ended at once for others who needed their descriptor.
    pub drains_cut: u64,
    /// TLS handshakes that were done, of either side's dials.
    pub tls_handshakes: u64,
    /// TLS handshakes of others that had to wait because too many began lately.
    pub tls_throttled: u64,
    /// Sockets of others that had to wait for the place of a TLS handshake.
    pub tls_waited: u64,
    /// Sockets of others that had to wait until the protocol had a place for them.
    pub admit_waited: u64,
    /// TLS handshakes of others that were ended to make room for a newcomer; they are among the failures too.
    pub tls_evicted: u64,
    /// Inbound connections whose TLS handshake failed, by `CloseReason::label`. No protocol saw them.
    pub tls_failures: BTreeMap<&'static str, u64>,
    /// Errors of `accept`.
    pub accept_errors: u64,
    /// Dials started.
    pub dialed: u64,
    /// Dials that ended without a connection.
    pub dial_failures: u64,
    /// Frames dropped from queues for more urgent ones.
    pub dropped_frames: u64,
    /// Frames refused because a queue or the send budget was full.
    pub refused_frames: u64,
    /// Closes by `CloseReason::label`.
    pub closes: BTreeMap<&'static str, u64>,
}
