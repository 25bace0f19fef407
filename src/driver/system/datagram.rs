//! A connected socket for datagrams, of the real system: virtual machines have none.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::System;

#[derive(Debug)]
pub(in crate::driver) struct DatagramSocket(UdpSocket);

impl DatagramSocket {
    pub(in crate::driver) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    pub(in crate::driver) fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.recv(bytes)
    }
}

impl System {
    /// Opens one to `remote`, whose arrivals are told under this token. Answers our address on the way there.
    pub(in crate::driver) fn open_datagrams(
        &self,
        remote: SocketAddr,
        token: usize,
    ) -> io::Result<(DatagramSocket, SocketAddr)> {
        match self {
            System::Os(registry) => open(registry, remote, token),
            #[cfg(feature = "sim")]
            System::Virtual(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(in crate::driver) fn deregister_datagrams(&self, socket: &mut DatagramSocket) -> io::Result<()> {
        match self {
            System::Os(registry) => registry.deregister(&mut socket.0),
            #[cfg(feature = "sim")]
            System::Virtual(_) => Ok(()),
        }
    }
}

fn open(registry: &Registry, remote: SocketAddr, token: usize) -> io::Result<(DatagramSocket, SocketAddr)> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let mut socket = UdpSocket::bind(any)?;
    socket.connect(remote)?;
    let local = socket.local_addr()?;
    registry.register(&mut socket, Token(token), Interest::READABLE)?;
    Ok((DatagramSocket(socket), local))
}
