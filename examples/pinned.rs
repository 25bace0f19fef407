//! Two nodes over TLS that trust each other's identities and nobody else's, on a protocol of their own.
//!
//! Each has an Ed25519 key; its id is the hash of the public half. Both give the other's id as a pin, so neither an eavesdropper nor
//! somebody in between learns or changes anything, and a stranger is refused before the protocol hears of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
use spacetime_network::id::{DialId, VerifiedId};
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::time::Now;

/// Reports who came, and who did not get in.
struct Door(Sender<Result<Option<VerifiedId>, CloseReason>>);

impl Protocol for Door {
    type Command = SocketAddr;

    fn handle(&mut self, _: Now, event: Event<'_, SocketAddr>, net: &mut Net) {
        match event {
            Event::Command(address) => net.dial(DialId(1), address, Duration::from_secs(10)),
            Event::Opened { identity, .. } => drop(self.0.send(Ok(identity))),
            Event::DialFailed { reason, .. } | Event::AdmissionReleased { reason, .. } => {
                let _ = self.0.send(Err(reason));
            }
            _ => {}
        }
    }
}

type Reports = Receiver<Result<Option<VerifiedId>, CloseReason>>;

fn node(identity: &Identity, pin: VerifiedId) -> Result<(Driver<Door>, Reports), Box<dyn Error>> {
    let trust = Trust::Pinned(BTreeSet::from([pin]));
    let mut config = Config::default();
    config.tls = Some(Tls::new(identity, trust, TlsOptions::default())?);
    let (sender, reports) = channel();
    Ok((Driver::new(config, Door(sender))?, reports))
}

fn main() -> Result<(), Box<dyn Error>> {
    // A node keeps its key: `Identity::generate_pkcs8`, a private file, `Identity::from_pkcs8`.
    let (alice, bob, mallory) = (Identity::generate()?, Identity::generate()?, Identity::generate()?);
    let (mut at_bob, bobs) = node(&bob, alice.id())?;
    let address = at_bob.listen("127.0.0.1:0".parse()?)?;
    let stop = at_bob.handle();
    let bob_runs = std::thread::spawn(move || at_bob.run());

    for (visitor, welcome) in [(&alice, true), (&mallory, false)] {
        let (mut at_visitor, visits) = node(visitor, bob.id())?;
        let handle = at_visitor.handle();
        let runs = std::thread::spawn(move || at_visitor.run());
        handle.send(address).map_err(|_| "the visitor has stopped")?;
        let seen = bobs.recv_timeout(Duration::from_secs(10))?;
        if welcome {
            assert_eq!(visits.recv_timeout(Duration::from_secs(10))?, Ok(Some(bob.id())));
            assert_eq!(seen, Ok(Some(visitor.id())));
            println!("{} is let in", visitor.id());
        } else {
            assert_eq!(seen, Err(CloseReason::Tls(TlsFault::UnknownIdentity)));
            println!("{} is refused", visitor.id());
        }
        handle.stop();
        runs.join().map_err(|_| "the visitor failed")??;
    }
    stop.stop();
    bob_runs.join().map_err(|_| "bob failed")??;
    Ok(())
}
