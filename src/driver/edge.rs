//! One read of a socket, and what it says about the next: the rule of edge-triggered readiness.
//!
//! The selector tells once that a socket has become readable. From then on it is ours to remember, until a read shows that the
//! socket is drained; forgetting too early loses the connection's next bytes for good, forgetting too late costs a read that
//! brings nothing. Plain frames, TLS records, handshakes and what is thrown away all read through here.

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
/// A read that does not fill its room has emptied the socket, and what comes later is a new edge: that saves the second read,
/// which would only say so. After the peer's end was signalled there is no later edge, so then the socket is read until it says
/// so itself. A signal's interruption is no answer, and the read is made again.
#[inline]
pub(super) fn read_some(
    conn: &mut Conn,
    totals: &mut Totals,
    room: usize,
    mut read: impl FnMut(&mut Stream) -> io::Result<usize>,
) -> Received {
    debug_assert!(room > 0, "a read without room looks like the end of the stream");
    loop {
        return match read(&mut conn.stream) {
            Ok(0) => Received::End,
            Ok(count) => {
                debug_assert!(count <= room, "{count} bytes in a room of {room}");
                conn.counters.bytes_in += count as u64;
                totals.bytes_in += count as u64;
                let drained = count < room && !conn.flags.ended;
                if drained {
                    conn.flags.readable = false;
                }
                Received::Bytes { count, drained }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.flags.readable = false;
                Received::Nothing
            }
            Err(error) => Received::Failed(CloseReason::Io(error.kind())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::conn::ConnState;
    use crate::wire::FrameRules;

    /// One read of a socket that was told to be readable, and whether it still counts as that afterwards.
    fn read(ended: bool, answers: &[Result<usize, io::ErrorKind>]) -> (Received, bool) {
        let nowhere = mio::net::TcpStream::connect("127.0.0.1:9".parse().unwrap()).unwrap();
        let mut conn = Conn::new(Stream::Tcp(nowhere), ConnState::Connecting, FrameRules::greeting());
        (conn.flags.readable, conn.flags.ended) = (true, ended);
        let (mut totals, mut answers) = (Totals::default(), answers.iter());
        let received = read_some(&mut conn, &mut totals, 100, |_| answers.next().unwrap().map_err(io::Error::from));
        assert!(answers.next().is_none(), "every answer was asked for");
        let count = if let Received::Bytes { count, .. } = received { count as u64 } else { 0 };
        assert_eq!((conn.counters.bytes_in, totals.bytes_in), (count, count));
        (received, conn.flags.readable)
    }

    #[test]
    fn a_read_that_fills_its_room_leaves_the_socket_readable_and_a_short_one_drains_it() {
        assert_eq!(read(false, &[Ok(100)]), (Received::Bytes { count: 100, drained: false }, true));
        assert_eq!(read(false, &[Ok(99)]), (Received::Bytes { count: 99, drained: true }, false));
    }

    #[test]
    fn after_the_peers_end_a_short_read_promises_no_new_edge() {
        assert_eq!(read(true, &[Ok(99)]), (Received::Bytes { count: 99, drained: false }, true));
        assert_eq!(read(true, &[Ok(0)]), (Received::End, true));
    }

    #[test]
    fn nothing_yet_waits_for_an_edge_and_an_interruption_is_no_answer() {
        use io::ErrorKind::{ConnectionReset, Interrupted, WouldBlock};
        assert_eq!(read(false, &[Err(Interrupted), Err(Interrupted), Err(WouldBlock)]), (Received::Nothing, false));
        let reset = Received::Failed(CloseReason::Io(ConnectionReset));
        assert_eq!(read(false, &[Err(Interrupted), Err(ConnectionReset)]), (reset, true));
    }
}
