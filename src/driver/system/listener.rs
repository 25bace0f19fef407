//! A socket that connections come from.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol as Transport, Socket, Type};

use super::Stream;
use crate::driver::config::Config;

#[derive(Debug)]
pub(in crate::driver) enum Acceptor {
    Tcp(TcpListener),
    #[cfg(feature = "sim")]
    Virtual(super::VirtualSocket),
}

/// Whose a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum PortUse {
    /// One listener's.
    Alone,
    /// That of all who ask for it so: the system shares the connections among them.
    Shared,
}

/// Lets others listen on the same port.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Elsewhere the last who comes gets all connections, or any gets any number of them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Acceptor {
    /// A socket of the real system.
    pub(super) fn bind(address: SocketAddr, config: &Config, port: PortUse) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Transport::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!config.dual_stack)?;
        }
        // On Unix: bind although old connections of this port still linger. Elsewhere the option means something else.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if port == PortUse::Shared {
            share_port(&socket)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(config.backlog)?;
        Ok(Acceptor::Tcp(TcpListener::from_std(socket.into())))
    }

    pub(in crate::driver) fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Acceptor::Tcp(listener) => listener.accept().map(|(stream, remote)| (Stream::tcp(stream), remote)),
            #[cfg(feature = "sim")]
            Acceptor::Virtual(socket) => socket.accept().map(|(socket, remote)| (Stream::Virtual(socket), remote)),
        }
    }

    pub(in crate::driver) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Acceptor::Tcp(listener) => listener.local_addr(),
            #[cfg(feature = "sim")]
            Acceptor::Virtual(socket) => socket.local_addr(),
        }
    }
}
