//! Drivers with identities, and a wire between them that a test holds in its hand.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use spacetime_network::driver::{Config, Driver};
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};

use crate::party::{Party, config, party};

pub(crate) fn tls(trust: Trust) -> Tls {
    Tls::new(&Identity::generate().unwrap(), trust, TlsOptions::default()).unwrap()
}

pub(crate) fn secured(trust: Trust) -> Config {
    let mut config = config();
    config.tls = Some(tls(trust));
    config
}

/// A party that trusts everybody, and its id.
pub(crate) fn node() -> (Driver<Party>, VerifiedId) {
    let config = secured(Trust::Any);
    let id = config.tls.as_ref().unwrap().id();
    (party(config), id)
}

/// Nothing is under way and nothing is held.
pub(crate) fn assert_nothing_left(driver: &Driver<Party>) {
    assert_eq!((driver.net().connections(), driver.net().memory()), (0, (0, 0)));
}

/// A wire that passes on only what the test lets through.
pub(crate) struct Wire {
    listener: TcpListener,
    to: SocketAddr,
    near: Option<TcpStream>,
    far: Option<TcpStream>,
    /// Bytes passed towards the listener and back.
    pub(crate) passed: [usize; 2],
    /// How many more bytes may pass towards the dialer.
    pub(crate) credit: usize,
}

impl Wire {
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Wire { listener, to, near: None, far: None, passed: [0; 2], credit: usize::MAX }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Passes on what there is.
    pub(crate) fn pump(&mut self) {
        if self.near.is_none()
            && let Ok((near, _)) = self.listener.accept()
        {
            let far = TcpStream::connect(self.to).unwrap();
            near.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            (self.near, self.far) = (Some(near), Some(far));
        }
        let (Some(near), Some(far)) = (&mut self.near, &mut self.far) else { return };
        self.passed[0] += pass(near, far, usize::MAX);
        let back = pass(far, near, self.credit);
        self.passed[1] += back;
        self.credit -= back;
    }

    /// Ends the stream towards the dialer without a word of TLS.
    pub(crate) fn cut(&mut self) {
        self.near.as_ref().unwrap().shutdown(Shutdown::Write).unwrap();
    }
}

/// Passes at most `most` bytes on. What cannot be written is waited for: the other end is a driver's socket buffer.
fn pass(from: &mut TcpStream, to: &mut TcpStream, most: usize) -> usize {
    let mut buffer = [0; 4096];
    let room = buffer.len().min(most);
    let mut passed = 0;
    while passed < most {
        match from.peek(&mut buffer[..room]) {
            Ok(count @ 1..) => match to.write(&buffer[..count.min(most - passed)]) {
                Ok(written) => {
                    from.read_exact(&mut buffer[..written]).unwrap();
                    passed += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => break,
            },
            _ => break,
        }
    }
    passed
}
