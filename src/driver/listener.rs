//! A listener, and when it rests.
//!
//! Errors of `accept` are of two kinds. Those of the connection that was waiting (it is gone already, or a firewall says
//! no) are counted and the next one is taken. Those of our own resources would come again at once, for ever: the
//! listener rests, longer each time, and then tries by itself, since no new edge comes for connections that wait.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use super::door::Door;
use super::errno::is_resource;
use super::system::{Acceptor, Stream};
use crate::limits::{ACCEPT_PAUSE, ACCEPT_PAUSE_MAX};

/// The token of the waker.
pub(super) const WAKER: usize = usize::MAX;

/// The token of a listener. Connections count from 0 up, listeners from below the waker down.
pub(super) fn listener_token(index: usize) -> usize {
    WAKER - 1 - index
}

/// Which listener has the token, if it is one's: the index is beyond all listeners for a connection's.
pub(super) fn listener_index(token: usize) -> usize {
    (WAKER - 1).wrapping_sub(token)
}

#[derive(Debug)]
pub(super) struct Listener {
    socket: Acceptor,
    /// By which way those come who come here.
    door: Door,
    /// Connections may be waiting.
    ready: bool,
    /// Resting until its timer.
    resting: bool,
    /// How long the next rest is.
    pause: Duration,
}

impl Listener {
    pub(super) fn new(socket: Acceptor, door: Door) -> Self {
        Listener { socket, door, ready: true, resting: false, pause: ACCEPT_PAUSE }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Is it worth an `accept`?
    pub(super) fn is_waiting(&self) -> bool {
        self.ready && !self.resting
    }

    /// An edge: connections wait.
    pub(super) fn note_readiness(&mut self) {
        self.ready = true;
    }

    /// The rest is over.
    pub(super) fn wake(&mut self) {
        self.resting = false;
    }

    /// Takes a connection that waits. `WouldBlock` means that there is none, and that more are told as a new edge.
    pub(super) fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        debug_assert!(self.is_waiting(), "a listener that rests is not asked");
        let accepted = self.socket.accept();
        match &accepted {
            Ok(_) => self.pause = ACCEPT_PAUSE,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
            Err(_) => {}
        }
        accepted
    }

    /// `accept` failed: how long the listener rests for it, if it does.
    pub(super) fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        // An error of the listener itself would come again at once as well.
        let of_listener = matches!(error.kind(), io::ErrorKind::InvalidInput) || error.raw_os_error() == Some(EBADF);
        if !is_resource(error) && !of_listener {
            return None;
        }
        self.resting = true;
        let pause = self.pause;
        self.pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
        Some(pause)
    }
}

const EBADF: i32 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::errno::EMFILE;

    #[test]
    fn a_listener_rests_longer_each_time_for_what_would_come_again_and_never_for_a_peer_that_left() {
        let socket = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut listener = Listener::new(Acceptor::Tcp(socket), Door::Frames);
        assert_eq!(listener.failed(&io::ErrorKind::ConnectionAborted.into()), None);
        assert!(listener.is_waiting());
        let exhausted = io::Error::from_raw_os_error(EMFILE);
        let mut pause = ACCEPT_PAUSE;
        for _ in 0..10 {
            assert_eq!(listener.failed(&exhausted), Some(pause));
            assert!(!listener.is_waiting());
            listener.wake();
            pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
        }
        // Nobody waits: that is no failure, and an edge tells when somebody does.
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!listener.is_waiting());
        listener.note_readiness();
        assert!(listener.is_waiting());
    }

    #[test]
    fn tokens_of_listeners_and_of_connections_are_told_apart() {
        for index in 0..4 {
            assert_eq!(listener_index(listener_token(index)), index);
        }
        for conn in [0, 1, u32::MAX as usize / 2] {
            assert!(listener_index(conn) > 1 << 20, "{conn}");
        }
    }
}
