//! An engine on a thread of its own, which says what it sees and sends frames back.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::driver::{Config, Driver, Event, Handle, Net, Protocol};
use spacetime_network::id::{ConnId, DialId, VerifiedId};
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsClients, TlsOptions};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(1 << 20);
/// Bounds a hang; nothing takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Opened(ConnId, Option<VerifiedId>),
    /// A dial or an inbound handshake failed.
    Failed(CloseReason),
    Frame(ConnId, Vec<u8>),
    Closed(CloseReason),
}

pub(crate) enum Do {
    Dial(SocketAddr),
    Send(ConnId, Vec<u8>),
    Leave(ConnId),
}

struct Echo {
    seen: Sender<Seen>,
    echoes: bool,
}

impl Protocol for Echo {
    type Command = Do;

    fn handle(&mut self, _: Now, event: Event<'_, Do>, net: &mut Net) {
        match event {
            Event::Opened { conn, identity, .. } => self.tell(Seen::Opened(conn, identity)),
            Event::DialFailed { reason, .. } | Event::AdmissionReleased { reason, .. } => {
                self.tell(Seen::Failed(reason))
            }
            Event::Closed { reason, .. } => self.tell(Seen::Closed(reason)),
            Event::Frame { conn, frame } => {
                let payload = frame.payload.to_vec();
                if self.echoes {
                    let _ = net.send(conn, Priority::Normal, frame.kind, &payload);
                }
                self.tell(Seen::Frame(conn, payload));
            }
            Event::Command(Do::Dial(address)) => net.dial(DialId(0), address, PATIENCE),
            Event::Command(Do::Send(conn, payload)) => drop(net.send(conn, Priority::Normal, 7, &payload)),
            Event::Command(Do::Leave(conn)) => net.close(conn, CloseReason::Done, PATIENCE),
            _ => {}
        }
    }
}

impl Echo {
    fn tell(&self, seen: Seen) {
        // A test that has its answer listens no more.
        let _ = self.seen.send(seen);
    }
}

pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Tls,
    handle: Handle<Do>,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// An engine that sends frames back.
    pub(crate) fn start(identity: &Identity, trust: Trust) -> Self {
        Self::with(Tls::new(identity, trust, TlsOptions::default()).unwrap(), true)
    }

    /// An engine that only listens.
    pub(crate) fn silent(identity: &Identity, trust: Trust) -> Self {
        Self::with(Tls::new(identity, trust, TlsOptions::default()).unwrap(), false)
    }

    /// One that lets those in who show nothing of themselves, and speaks TLS 1.2 with them.
    pub(crate) fn for_anybody(identity: &Identity, trust: Trust) -> Self {
        let mut options = TlsOptions::default();
        (options.clients, options.tls12) = (TlsClients::Optional, true);
        Self::with(Tls::new(identity, trust, options).unwrap(), true)
    }

    fn with(tls: Tls, echoes: bool) -> Self {
        let mut config = Config::default();
        config.rules = &RULES;
        config.tls = Some(tls.clone());
        let (sender, seen) = channel();
        let mut driver = Driver::new(config, Echo { seen: sender, echoes }).unwrap();
        let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let handle = driver.handle();
        let thread = std::thread::spawn(move || driver.run().unwrap());
        Engine { address, tls, handle, seen, thread: Some(thread) }
    }

    pub(crate) fn dial(&self, address: SocketAddr) {
        self.tell(Do::Dial(address));
    }

    pub(crate) fn tell(&self, what: Do) {
        assert!(self.handle.send(what).is_ok());
    }

    /// What it sees next.
    pub(crate) fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("nothing happened")
    }

    /// The connection that opens next, and who it is.
    pub(crate) fn opened(&self) -> (ConnId, VerifiedId) {
        match self.next() {
            Seen::Opened(conn, Some(identity)) => (conn, identity),
            other => panic!("{other:?}"),
        }
    }

    /// The TLS fault for which the next connection fails. One that we dialed may stand for a moment before the other side
    /// refuses us.
    pub(crate) fn fault(&self) -> TlsFault {
        loop {
            match self.next() {
                Seen::Failed(CloseReason::Tls(fault)) | Seen::Closed(CloseReason::Tls(fault)) => return fault,
                Seen::Opened(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}
