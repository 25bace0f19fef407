//! One read of a socket, and what it says about the next: the rule of edge-triggered readiness.
//!
//! The selector tells once that a socket has become readable. From then on it is ours to remember, until a read shows that the
//! socket is drained; forgetting too early loses the connection's next bytes for good, forgetting too late costs a read that
//! brings nothing. Plain frames, TLS records, handshakes and what is thrown away all read through here.
//!
//! Only `WouldBlock` shows that everywhere. A read that does not fill its room shows it as well where three things hold, and then
//! the second read is saved, which would only say so:
//!
//! - the system [tells of every arrival](Stream::tells_every_arrival), whether or not a call was refused before;
//! - the peer's end was not signalled, for behind that nothing arrives;
//! - no urgent data was signalled, for a read ends at the urgent mark, whatever lies behind it and whether or not the urgent byte
//!   is read in line. Urgent data that no event has told of yet came after the last wait, and so is an arrival that the next one
//!   tells of.

use std::io;

use super::conn::Conn;
use super::stats::Totals;
use super::system::Stream;
use crate::close::CloseReason;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes, at least one. When the socket is `drained`, more are told as a new edge.
    Bytes { count: usize, drained: bool },
    /// Nothing now; more are told as a new edge.
    Nothing,
    /// The end of the stream.
    End,
    /// The socket failed.
    Failed(CloseReason),
}

/// Reads once, by `read`, which has room for so many bytes, and counts what came.
///
/// A signal's interruption is no answer, and the read is made again.
#[inline]
pub(super) fn read_some(
    conn: &mut Conn,
    totals: &mut Totals,
    room: usize,
    mut read: impl FnMut(&mut Stream) -> io::Result<usize>,
) -> Received {
    debug_assert!(room > 0, "a read without room looks like the end of the stream");
    loop {
        totals.reads += 1;
        return match read(&mut conn.stream) {
            Ok(0) => Received::End,
            Ok(count) => {
                debug_assert!(count <= room, "{count} bytes in a room of {room}");
                conn.counters.bytes_in += count as u64;
                totals.bytes_in += count as u64;
                let drained = count < room && conn.is_drained_by_a_short_read();
                if drained {
                    conn.flags.readable = false;
                }
                Received::Bytes { count, drained }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (conn.flags.readable, conn.flags.urgent) = (false, false);
                Received::Nothing
            }
            Err(error) => Received::Failed(CloseReason::Io(error.kind())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::conn::{ConnState, Flags};
    use crate::driver::system::TELLS_EVERY_ARRIVAL;
    use crate::wire::FrameRules;

    /// What was told of the socket beside that it is readable.
    const PLAIN: Flags = Flags { readable: true, ..NOTHING };
    const ENDED: Flags = Flags { ended: true, ..PLAIN };
    const URGENT: Flags = Flags { urgent: true, ..PLAIN };
    const NOTHING: Flags = Flags {
        readable: false,
        writable: false,
        ended: false,
        urgent: false,
        finished: false,
        paused: false,
        throttled: false,
        backpressure: false,
    };

    /// One read of a socket that was told to be readable, and whether it still counts as that afterwards.
    fn read(flags: Flags, answers: &[Result<usize, io::ErrorKind>]) -> (Received, bool) {
        let nowhere = mio::net::TcpStream::connect("127.0.0.1:9".parse().unwrap()).unwrap();
        let mut conn = Conn::new(Stream::Tcp(nowhere), ConnState::Connecting, FrameRules::greeting());
        conn.flags = flags;
        let (mut totals, mut answers) = (Totals::default(), answers.iter());
        let received = read_some(&mut conn, &mut totals, 100, |_| answers.next().unwrap().map_err(io::Error::from));
        assert!(answers.next().is_none(), "every answer was asked for");
        let count = if let Received::Bytes { count, .. } = received { count as u64 } else { 0 };
        assert_eq!((conn.counters.bytes_in, totals.bytes_in), (count, count));
        assert!(conn.flags.readable || !conn.flags.urgent, "behind a drained socket there is no mark");
        (received, conn.flags.readable)
    }

    /// With the selectors that look again only after a call was refused, the connection was never read again.
    #[test]
    fn a_short_read_drains_the_socket_only_where_the_system_tells_of_every_arrival() {
        let drained = TELLS_EVERY_ARRIVAL;
        assert_eq!(read(PLAIN, &[Ok(100)]), (Received::Bytes { count: 100, drained: false }, true));
        assert_eq!(read(PLAIN, &[Ok(99)]), (Received::Bytes { count: 99, drained }, !drained));
    }

    #[test]
    fn after_the_peers_end_a_short_read_promises_no_new_edge() {
        assert_eq!(read(ENDED, &[Ok(99)]), (Received::Bytes { count: 99, drained: false }, true));
        assert_eq!(read(ENDED, &[Ok(0)]), (Received::End, true));
    }

    #[test]
    fn a_read_that_may_have_ended_at_an_urgent_mark_drains_nothing_until_one_is_refused() {
        assert_eq!(read(URGENT, &[Ok(99)]), (Received::Bytes { count: 99, drained: false }, true));
        assert_eq!(read(URGENT, &[Err(io::ErrorKind::WouldBlock)]), (Received::Nothing, false));
    }

    #[test]
    fn nothing_yet_waits_for_an_edge_and_an_interruption_is_no_answer() {
        use io::ErrorKind::{ConnectionReset, Interrupted, WouldBlock};
        assert_eq!(read(PLAIN, &[Err(Interrupted), Err(Interrupted), Err(WouldBlock)]), (Received::Nothing, false));
        let reset = Received::Failed(CloseReason::Io(ConnectionReset));
        assert_eq!(read(PLAIN, &[Err(Interrupted), Err(ConnectionReset)]), (reset, true));
    }
}
