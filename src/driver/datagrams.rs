//! Small datagrams to one other machine each, and what a stop still waits for because of them.
//!
//! Such a socket is connected, so that the system drops what comes from anybody else, and tells which of our addresses leads there.
//! Nothing is queued: what cannot be sent at once is lost, as datagrams may be.

use std::io;
use std::net::SocketAddr;

use super::net::Net;
use super::{Driver, Event, Protocol};
use crate::id::DatagramId;
use crate::time::Instant;

/// Datagrams taken from one socket in one turn.
const TURN_DATAGRAMS: usize = 8;
/// What is read of one, in bytes; the rest is lost. None of the protocols that we speak has longer ones.
const DATAGRAM_MAX: usize = 1_200;

impl Net {
    /// Opens a socket for datagrams to and from `remote`, and says which of our addresses leads there. What comes is an
    /// [`Event::Datagram`].
    ///
    /// # Errors
    ///
    /// What the system says: no way leads there, no descriptor is left. `ResourceBusy` when four are open; `Unsupported` in a
    /// simulation, whose machines have streams alone, and where a proxy carries all that leaves, for none carries these.
    pub fn open_datagrams(&mut self, remote: SocketAddr) -> io::Result<(DatagramId, SocketAddr)> {
        if self.has_proxy() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (index, token) = self.mailboxes.free().ok_or(io::ErrorKind::ResourceBusy)?;
        let (socket, local) = self.system.open_datagrams(remote, token)?;
        Ok((self.mailboxes.put(index, socket), local))
    }

    /// Sends a datagram, at once or not at all.
    pub fn send_datagram(&mut self, id: DatagramId, bytes: &[u8]) {
        if let Some(mailbox) = self.mailboxes.get(id) {
            // One that is lost here is lost as on the way, and whoever sent it asks again.
            let _ = mailbox.socket.send(bytes);
        }
    }

    /// Closes a socket.
    pub fn close_datagrams(&mut self, id: DatagramId) {
        if let Some(mut closed) = self.mailboxes.take(id) {
            // Closing the descriptor does as much.
            let _ = self.system.deregister_datagrams(&mut closed.socket);
        }
    }

    /// A stop waits until then, also when no connection is left: something is still to be said by datagrams. `None` for no longer.
    pub fn delay_stop(&mut self, until: Option<Instant>) {
        self.mailboxes.stop_waits = until;
    }

    /// Is there still something that a stop waits for?
    pub(super) fn is_stop_delayed(&self) -> bool {
        self.mailboxes.stop_waits.is_some_and(|until| self.now.at < until)
    }
}

impl<P: Protocol> Driver<P> {
    /// Gives the protocol the datagrams that have come.
    pub(super) fn serve_datagrams(&mut self) {
        if !self.net.mailboxes.has_ready() {
            return;
        }
        let mut bytes = [0; DATAGRAM_MAX];
        let ids = self.net.mailboxes.ids();
        for id in ids {
            for _ in 0..TURN_DATAGRAMS {
                let Some(mailbox) = self.net.mailboxes.get(id).filter(|mailbox| mailbox.ready) else { break };
                match mailbox.socket.receive(&mut bytes) {
                    Ok(len) => {
                        let bytes = bytes.get(..len).unwrap_or_default();
                        self.protocol.handle(self.net.now, Event::Datagram { socket: id, bytes }, &mut self.net);
                    }
                    // Nobody listens at that port: told once for each that was sent. Any other error would come again at once.
                    Err(error) => mailbox.ready = error.kind() == io::ErrorKind::ConnectionRefused,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::driver::Config;
    use crate::driver::mailboxes::SOCKETS;
    use crate::time::Now;

    #[derive(Default)]
    struct Ear(Vec<Vec<u8>>);

    impl Protocol for Ear {
        type Command = ();

        fn handle(&mut self, _now: Now, event: Event<'_, ()>, _net: &mut Net) {
            if let Event::Datagram { bytes, .. } = event {
                self.0.push(bytes.to_vec());
            }
        }
    }

    #[test]
    fn datagrams_are_heard_of_the_machine_that_the_socket_leads_to_and_of_nobody_else() {
        let mut driver = Driver::new(Config::default(), Ear::default()).unwrap();
        let (far, stranger) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let remote = far.local_addr().unwrap();
        let (id, local) = driver.with(|_, _, net| net.open_datagrams(remote)).unwrap();
        driver.with(|_, _, net| net.send_datagram(id, b"question"));
        let mut bytes = [0; 100];
        assert_eq!(far.recv_from(&mut bytes).unwrap(), (8, local));
        stranger.send_to(b"noise", local).unwrap();
        for _ in 0..20 {
            far.send_to(b"answer", local).unwrap();
        }
        while driver.protocol().0.len() < 20 {
            driver.turn(None).unwrap();
        }
        assert!(driver.protocol().0.iter().all(|heard| heard == b"answer"));
        driver.with(|_, _, net| net.close_datagrams(id));
        driver.with(|_, _, net| net.send_datagram(id, b"gone"));
        // Names are not used again, places are.
        let mut last = id;
        for _ in 0..3 * SOCKETS {
            let (next, _) = driver.with(|_, _, net| net.open_datagrams(remote)).unwrap();
            assert!(next > last);
            driver.with(|_, _, net| net.close_datagrams(next));
            last = next;
        }
        for _ in 0..SOCKETS {
            driver.with(|_, _, net| net.open_datagrams(remote)).unwrap();
        }
        let full = driver.with(|_, _, net| net.open_datagrams(remote)).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::ResourceBusy);
    }

    #[test]
    fn nobody_at_the_other_end_keeps_the_loop_from_sleeping() {
        let mut driver = Driver::new(Config::default(), Ear::default()).unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (id, _) = driver.with(|_, _, net| net.open_datagrams(gone)).unwrap();
        driver.with(|_, _, net| net.send_datagram(id, b"anybody?"));
        // Its refusal comes as an error of the next read.
        driver.turn(Some(Duration::from_secs(60))).unwrap();
        driver.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(driver.next_timeout(), None);
        assert_eq!(driver.protocol().0.len(), 0);
    }

    #[test]
    fn a_stop_waits_for_what_is_still_to_be_said_and_no_longer() {
        let mut driver = Driver::new(Config::default(), Ear::default()).unwrap();
        driver.with(|_, now, net| {
            net.delay_stop(Some(now.at + Duration::from_secs(3600)));
            net.stop();
        });
        for _ in 0..3 {
            assert!(driver.turn(Some(Duration::ZERO)).unwrap());
        }
        assert!(driver.next_timeout().is_some_and(|wait| wait > Duration::from_secs(3000)), "it sleeps meanwhile");
        driver.with(|_, _, net| net.delay_stop(None));
        assert!(!driver.turn(None).unwrap());
    }
}
