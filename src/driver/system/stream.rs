//! One connection's socket.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;

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
    /// One vectored write that never raises SIGPIPE.
    #[inline]
    pub(in crate::driver) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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

/// One vectored write that never raises SIGPIPE: the embedding program may not have told the system to ignore it, and
/// the standard library's vectored write, unlike its plain one, does not say so itself.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn write(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    const MSG_NOSIGNAL: i32 = 0x4000;
    stream.try_io(|| socket2::SockRef::from(stream).send_vectored_with_flags(slices, MSG_NOSIGNAL))
}

/// One vectored write. Here the socket itself carries the option not to raise SIGPIPE.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write(mut stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    io::Write::write_vectored(&mut stream, slices)
}
