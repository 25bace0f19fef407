//! One connection's socket.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;

use super::readiness::TELLS_EVERY_ARRIVAL;
use crate::driver::unsent_bound::UNSENT_MIN;

#[derive(Debug)]
pub(in crate::driver) enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "sim")]
    Virtual(super::VirtualSocket),
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.read(&mut [IoSliceMut::new(buffer)]),
        }
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read_vectored(buffers),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.read(buffers),
        }
    }
}

impl Stream {
    /// A stream of the real system. Its urgent byte is one of the stream like the others: otherwise a peer that marks one, as some
    /// libraries do by accident, would have it taken out of the middle of a frame.
    pub(super) fn tcp(stream: TcpStream) -> Self {
        let socket = socket2::SockRef::from(&stream);
        // A socket that refuses is about to fail anyway.
        let _ = socket.set_out_of_band_inline(true);
        let stream = Stream::Tcp(stream);
        stream.set_unsent_bound(UNSENT_MIN);
        stream
    }

    /// Limits what the system takes from us and cannot send yet. Below half of it, an event tells that there is room.
    pub(in crate::driver) fn set_unsent_bound(&self, bytes: u32) {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            // As above.
            Stream::Tcp(stream) => drop(socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes)),
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Stream::Tcp(_) => {
                let _ = bytes;
            }
            #[cfg(feature = "sim")]
            // A virtual line has room for what one turn writes, and no more.
            Stream::Virtual(_) => {}
        }
    }

    /// Is an event promised for all that arrives from now on, and for the room that a short write leaves behind? Elsewhere the
    /// promise is made by a call that is refused, and by nothing else.
    #[inline]
    pub(in crate::driver) fn tells_every_arrival(&self) -> bool {
        match self {
            Stream::Tcp(_) => TELLS_EVERY_ARRIVAL,
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.tells_every_arrival(),
        }
    }

    /// A vectored write that never raises SIGPIPE. One that takes less than it was offered was refused the rest, and an event
    /// tells when there is room again.
    #[inline]
    pub(in crate::driver) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.tells_every_arrival() {
            self.write_once(slices)
        } else {
            until_refused(slices, |rest| self.write_once(rest))
        }
    }

    #[inline]
    fn write_once(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => write(stream, slices),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.write(slices),
        }
    }

    /// Ends our direction behind what was written.
    pub(in crate::driver) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.shutdown(),
        }
    }

    /// Sends small frames at once. Without it the kernel holds them back for up to 40 ms.
    pub(in crate::driver) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nodelay(true),
            #[cfg(feature = "sim")]
            // A virtual network holds nothing back.
            Stream::Virtual(socket) => socket.local_addr().map(drop),
        }
    }

    /// Has the system ask, when nothing came for so long, whether the other side is still there, and end the connection if it says
    /// nothing four times.
    pub(in crate::driver) fn set_keep_alive(&self, idle: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                let keep_alive = socket2::TcpKeepalive::new().with_time(idle);
                #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
                let keep_alive = keep_alive.with_interval(idle / 4).with_retries(4);
                socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive)
            }
            #[cfg(feature = "sim")]
            // No machine of a virtual network vanishes without a word to those who write to it.
            Stream::Virtual(_) => Ok(()),
        }
    }

    pub(in crate::driver) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Stream::Tcp(stream) => stream.take_error(),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.take_error(),
        }
    }

    pub(in crate::driver) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr(),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.peer_addr(),
        }
    }

    pub(in crate::driver) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr(),
            #[cfg(feature = "sim")]
            Stream::Virtual(socket) => socket.local_addr(),
        }
    }

    /// The descriptor on a virtual system.
    #[cfg(feature = "sim")]
    pub(in crate::driver) fn socket(&self) -> Option<super::SocketId> {
        match self {
            Stream::Tcp(_) => None,
            Stream::Virtual(socket) => Some(socket.id()),
        }
    }
}

/// Writes until everything is taken or the next byte is refused.
fn until_refused(
    slices: &[IoSlice<'_>],
    mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut taken = write(slices)?;
    while (1..total).contains(&taken) {
        let mut rest = slices.to_vec();
        let mut rest = rest.as_mut_slice();
        IoSlice::advance_slices(&mut rest, taken);
        match write(rest) {
            Ok(0) => break,
            Ok(count) => taken = taken.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Refused; or failed, and then an event says so and the next write has the error again.
            Err(_) => break,
        }
    }
    Ok(taken)
}

/// One vectored write that never raises SIGPIPE: the embedding program may not have told the system to ignore it, and
/// the standard library's vectored write, unlike its plain one, does not say so itself.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn write(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    const MSG_NOSIGNAL: i32 = 0x4000;
    // The system copies the list of slices, and one needs none.
    if let [one] = slices {
        return stream.try_io(|| socket2::SockRef::from(stream).send_with_flags(one, MSG_NOSIGNAL));
    }
    stream.try_io(|| socket2::SockRef::from(stream).send_vectored_with_flags(slices, MSG_NOSIGNAL))
}

/// One vectored write. Here the socket itself carries the option not to raise SIGPIPE.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write(mut stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    io::Write::write_vectored(&mut stream, slices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_goes_on_until_it_is_refused_and_says_what_was_taken() {
        use io::ErrorKind::{BrokenPipe, Interrupted, WouldBlock};
        let all = b"some bytes in three slices";
        let slices = [IoSlice::new(&all[..4]), IoSlice::new(&all[4..10]), IoSlice::new(&all[10..])];
        for (answers, expected) in [
            (&[Ok(26)][..], Ok(26)),
            (&[Ok(3), Ok(4), Err(Interrupted), Ok(19)], Ok(26)),
            (&[Ok(5), Err(WouldBlock)], Ok(5)),
            (&[Ok(12), Ok(1), Err(BrokenPipe)], Ok(13)),
            (&[Err(WouldBlock)], Err(WouldBlock)),
        ] {
            let (mut answers, mut offered_at) = (answers.iter(), 0);
            let taken = until_refused(&slices, |rest| {
                let offered: Vec<u8> = rest.iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(offered, all[offered_at..], "what was taken is not offered again");
                let answer = *answers.next().unwrap();
                offered_at += answer.unwrap_or(0);
                answer.map_err(io::Error::from)
            });
            assert_eq!(taken.map_err(|error| error.kind()), expected);
            assert!(answers.next().is_none(), "it stopped before it was refused");
        }
    }
}
