//! What the loop asks of an operating system, and nothing else: streams, listeners, readiness, the clocks.
//!
//! There are two systems: the real one, and with feature `sim` a virtual one, a [`Kernel`] that somebody plays. The same
//! loop runs on both, so that every fault of a system call meets the code that must survive it. Without the feature each
//! of these types is the real thing alone; with it, telling which one costs a branch for each call.

mod clock;
mod datagram;
mod listener;
mod poller;
mod readiness;
mod stream;
#[cfg(feature = "sim")]
mod virtual_kernel;

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::config::Config;

pub(super) use clock::Clock;
pub(super) use datagram::DatagramSocket;
pub(super) use listener::{Acceptor, PortUse};
pub(super) use poller::{Poller, Waker};
pub(crate) use readiness::Readiness;
#[cfg(test)]
pub(super) use readiness::TELLS_EVERY_ARRIVAL;
pub(super) use stream::Stream;
#[cfg(feature = "sim")]
pub(crate) use virtual_kernel::{Kernel, SharedKernel, SocketId};
#[cfg(feature = "sim")]
use virtual_kernel::{VirtualSocket, lock};

/// What a stream is watched for: where the system can say so, also for urgent data.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Where sockets come from, and the selector that watches them.
pub(super) enum System {
    Os(Registry),
    #[cfg(feature = "sim")]
    Virtual(SharedKernel),
}

impl System {
    /// Starts to connect; the socket is writable when that has ended.
    pub(super) fn connect(&self, remote: SocketAddr) -> io::Result<Stream> {
        match self {
            System::Os(_) => TcpStream::connect(remote).map(Stream::tcp),
            #[cfg(feature = "sim")]
            System::Virtual(kernel) => {
                let socket = lock(kernel).connect(remote)?;
                Ok(Stream::Virtual(VirtualSocket::new(kernel, socket)))
            }
        }
    }

    /// Randomness for what must not be foreseen and need not be repeated: a virtual system's is the same each time.
    pub(super) fn seed(&self) -> u64 {
        match self {
            System::Os(_) => {
                // Without randomness, masks can be foreseen, and users per destination: the first matter to caches between a browser and
                // us, the second to a proxy, which sees the destinations anyway.
                let mut seed = [0; 8];
                let _ = getrandom::fill(&mut seed);
                u64::from_le_bytes(seed)
            }
            #[cfg(feature = "sim")]
            System::Virtual(_) => 0,
        }
    }

    /// Binds and listens.
    pub(super) fn listen(&self, address: SocketAddr, config: &Config, port: PortUse) -> io::Result<Acceptor> {
        match self {
            System::Os(_) => Acceptor::bind(address, config, port),
            #[cfg(feature = "sim")]
            System::Virtual(_) if port == PortUse::Shared => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "sim")]
            System::Virtual(kernel) => {
                let socket = lock(kernel).listen(address, config.backlog)?;
                Ok(Acceptor::Virtual(VirtualSocket::new(kernel, socket)))
            }
        }
    }

    /// The stream's readiness is told under this token from now on, and what it is ready for already at once.
    pub(super) fn register(&self, stream: &mut Stream, token: usize) -> io::Result<()> {
        match (self, stream) {
            (System::Os(registry), Stream::Tcp(stream)) => registry.register(stream, Token(token), STREAM_INTEREST),
            #[cfg(feature = "sim")]
            (System::Virtual(_), Stream::Virtual(socket)) => socket.register(token),
            #[cfg(feature = "sim")]
            _ => Err(of_another_system()),
        }
    }

    /// As [`System::register`], for connections that wait.
    pub(super) fn register_acceptor(&self, acceptor: &mut Acceptor, token: usize) -> io::Result<()> {
        match (self, acceptor) {
            (System::Os(registry), Acceptor::Tcp(listener)) => {
                registry.register(listener, Token(token), Interest::READABLE)
            }
            #[cfg(feature = "sim")]
            (System::Virtual(_), Acceptor::Virtual(socket)) => socket.register(token),
            #[cfg(feature = "sim")]
            _ => Err(of_another_system()),
        }
    }

    /// Its readiness is told no more.
    pub(super) fn deregister(&self, stream: &mut Stream) -> io::Result<()> {
        match (self, stream) {
            (System::Os(registry), Stream::Tcp(stream)) => registry.deregister(stream),
            #[cfg(feature = "sim")]
            (System::Virtual(_), Stream::Virtual(socket)) => socket.deregister(),
            #[cfg(feature = "sim")]
            _ => Err(of_another_system()),
        }
    }
}

#[cfg(feature = "sim")]
fn of_another_system() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a socket of another system")
}
