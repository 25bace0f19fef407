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
    /// Calls that read from a connection's socket, those included that found nothing.
    pub reads: u64,
    /// Calls that wrote to a connection's socket, those included that were refused.
    pub writes: u64,
    /// Bytes that left later than their socket would have taken them, because of a limit of [`Bandwidth`](super::Bandwidth).
    pub upload_held_back: u64,
    /// How often a connection that had something to read waited for such a limit.
    pub download_held_back: u64,
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
    /// Dials of ours that failed in TLS, by `CloseReason::label`.
    pub tls_dial_failures: BTreeMap<&'static str, u64>,
    /// Upgrades to WebSocket that were done, of either side's dials.
    pub web_sockets: u64,
    /// Inbound connections whose upgrade to WebSocket failed, by `CloseReason::label`. No protocol saw them.
    pub web_socket_failures: BTreeMap<&'static str, u64>,
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

impl Totals {
    /// Adds what another loop has counted.
    pub(super) fn add(&mut self, other: &Totals) {
        // Taken apart, so that nothing that is counted can be forgotten here.
        let Totals {
            bytes_in,
            bytes_out,
            reads,
            writes,
            upload_held_back,
            download_held_back,
            frames_in,
            frames_out,
            frames_skipped,
            work,
            turns,
            accepted,
            refused,
            refused_limit,
            refused_admit,
            drains_cut,
            tls_handshakes,
            tls_throttled,
            tls_waited,
            admit_waited,
            tls_evicted,
            tls_failures,
            tls_dial_failures,
            web_sockets,
            web_socket_failures,
            accept_errors,
            dialed,
            dial_failures,
            dropped_frames,
            refused_frames,
            closes,
        } = other;
        for (sum, count) in [
            (&mut self.bytes_in, bytes_in),
            (&mut self.bytes_out, bytes_out),
            (&mut self.reads, reads),
            (&mut self.writes, writes),
            (&mut self.upload_held_back, upload_held_back),
            (&mut self.download_held_back, download_held_back),
            (&mut self.frames_in, frames_in),
            (&mut self.frames_out, frames_out),
            (&mut self.frames_skipped, frames_skipped),
            (&mut self.work, work),
            (&mut self.accepted, accepted),
            (&mut self.refused, refused),
            (&mut self.refused_limit, refused_limit),
            (&mut self.refused_admit, refused_admit),
            (&mut self.drains_cut, drains_cut),
            (&mut self.tls_handshakes, tls_handshakes),
            (&mut self.tls_throttled, tls_throttled),
            (&mut self.tls_waited, tls_waited),
            (&mut self.admit_waited, admit_waited),
            (&mut self.tls_evicted, tls_evicted),
            (&mut self.web_sockets, web_sockets),
            (&mut self.accept_errors, accept_errors),
            (&mut self.dialed, dialed),
            (&mut self.dial_failures, dial_failures),
            (&mut self.dropped_frames, dropped_frames),
            (&mut self.refused_frames, refused_frames),
        ] {
            *sum = sum.saturating_add(*count);
        }
        self.turns.add(turns);
        for (sums, counts) in [
            (&mut self.tls_failures, tls_failures),
            (&mut self.tls_dial_failures, tls_dial_failures),
            (&mut self.web_socket_failures, web_socket_failures),
            (&mut self.closes, closes),
        ] {
            for (label, count) in counts {
                let sum = sums.entry(label).or_insert(0);
                *sum = sum.saturating_add(*count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_two_loops_add_up_by_their_labels() {
        let mut one = Totals { reads: 3, accepted: 1, ..Totals::default() };
        one.closes.insert("done", 2);
        let mut two = Totals { reads: 4, refused: 5, ..Totals::default() };
        two.closes.extend([("done", 1), ("lost", 7)]);
        one.add(&two);
        assert_eq!((one.reads, one.accepted, one.refused), (7, 1, 5));
        assert_eq!(one.closes, BTreeMap::from([("done", 3), ("lost", 7)]));
    }
}
