//! Sockets that wait for a place among the TLS handshakes: the kernel's backlog, continued where it is known who waits.
//!
//! A hundred friends who dial at the same moment are no attack, and need not drive each other out: as long as nobody crowds more
//! than they do, the later ones wait until the earlier ones have shaken hands. Left in the kernel's own backlog they would keep
//! everybody behind them waiting as well. Here somebody from another address passes them, as he passes a crowd of attackers.
//!
//! Whoever waits costs a descriptor and no more: nothing is read, the protocol was not asked, no event comes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::door::Door;
use super::system::Stream;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    stream: Stream,
    remote: SocketAddr,
    door: Door,
    /// By when it has given up.
    until: Instant,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Somebody waits behind the others, until then at most.
    pub(super) fn push(&mut self, stream: Stream, remote: SocketAddr, door: Door, until: Instant) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.until <= until), "who comes later waits behind");
        self.waiting.push_back(Waiting { stream, remote, door, until });
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(Stream, SocketAddr, Door)> {
        self.waiting.pop_front().map(|first| (first.stream, first.remote, first.door))
    }

    /// Those whose time is up by now.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<(Stream, Door)> {
        let count = self.waiting.iter().take_while(|waiting| waiting.until <= now).count();
        self.waiting.drain(..count).map(|waiting| (waiting.stream, waiting.door)).collect()
    }

    /// Closes all of them.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_come_is_the_first_in_and_the_first_to_give_up() {
        let mut backlog = Backlog::default();
        for n in 1..=4_u16 {
            let nowhere = mio::net::TcpStream::connect("127.0.0.1:9".parse().unwrap()).unwrap();
            let remote = SocketAddr::from(([127, 0, 0, 1], n));
            backlog.push(Stream::Tcp(nowhere), remote, Door::Frames, Instant::from_millis(u64::from(n) * 10));
        }
        assert_eq!(backlog.pop().unwrap().1.port(), 1);
        assert_eq!(backlog.give_up(Instant::from_millis(30)).len(), 2);
        assert_eq!((backlog.len(), backlog.pop().unwrap().1.port()), (1, 4));
        assert!(backlog.pop().is_none() && backlog.is_empty());
    }
}
