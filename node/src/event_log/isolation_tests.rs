//! The lines of a node that is alone, from its loop's deadlines to the log: on a virtual clock.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::driver::node::{NetApi, NodeCommand, NodeProtocol, Observer};
use spacetime_network::driver::{self, Admit, ConnStats, Protocol, SendOutcome};
use spacetime_network::id::{ConnId, DialId, Direction};
use spacetime_network::proto::{Config, Event, Node};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::{Extension, Handshake};
use spacetime_network::wire::{Foreign, Frame, FrameError, FrameRules, Hash, Message, Payload, Priority};

use crate::event_log::EventLog;
use crate::full_node::{LiveNode, Sink};
use crate::value::Endpoint;

const SEED: &str = "192.0.2.5:7";

/// The observer of a node that only logs.
struct Logs(EventLog);

impl Observer<ReferenceChain> for Logs {
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        Sink::on_event(&mut self.0, now, event, node);
    }

    fn turn_ended(&mut self, now: Now, node: &LiveNode) {
        Sink::turn_ended(&mut self.0, now, node);
    }

    fn deadline(&self) -> Option<Instant> {
        Sink::deadline(&self.0)
    }
}

/// Nobody is there: every dial is refused.
#[derive(Default)]
struct Nowhere(VecDeque<(DialId, SocketAddr)>);

impl NetApi for Nowhere {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, _: Duration) {
        self.0.push_back((dial, remote));
    }

    fn send_shared(&mut self, _: ConnId, _: Priority, _: u8, _: &Bytes) -> SendOutcome {
        SendOutcome::Accepted { dropped: 0 }
    }

    fn set_rules(&mut self, _: ConnId, _: &'static FrameRules) {}

    fn close(&mut self, _: ConnId, _: CloseReason, _: Duration) {}

    fn hold(&mut self, _: ConnId) {}

    fn release(&mut self, _: ConnId) {}

    fn conn_stats(&self, _: ConnId) -> Option<ConnStats> {
        None
    }

    fn spend(&mut self, _: u32) {}
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct World {
    protocol: NodeProtocol<ReferenceChain, Logs>,
    net: Nowhere,
    millis: u64,
    lines: Lines,
    /// What was said of being alone, and in which millisecond.
    said: Vec<(u64, String)>,
    /// Lines at info about one who was not let in.
    refusals: usize,
}

impl World {
    fn new(lines: Lines) -> Self {
        let mut config = Config::default();
        config.connect = vec![SEED.parse().unwrap()];
        let node = Node::new(config, ReferenceChain::memory(Params::new(1, 50).unwrap()), 7, 7).unwrap();
        let log = EventLog::new(&[Endpoint::Address(SEED.parse().unwrap())], &[], None);
        let protocol = NodeProtocol::new(node, Logs(log));
        World { protocol, net: Nowhere::default(), millis: 0, lines, said: Vec::new(), refusals: 0 }
    }

    fn now(&self) -> Now {
        let unix = UnixTime::from_secs(1_700_000_000).plus(Duration::from_millis(self.millis));
        Now { at: Instant::from_millis(self.millis), unix }
    }

    fn feed(&mut self, event: driver::Event<'_, NodeCommand<ReferenceChain>>) {
        let now = self.now();
        self.protocol.handle_over(now, event, &mut self.net);
        while let Some((dial, remote)) = self.net.0.pop_front() {
            let reason = CloseReason::Io(io::ErrorKind::ConnectionRefused);
            self.protocol.handle_over(now, driver::Event::DialFailed { dial, remote, reason }, &mut self.net);
        }
        self.protocol.handle_over(now, driver::Event::TurnEnded, &mut self.net);
        let text = String::from_utf8(std::mem::take(&mut *self.lines.0.lock().unwrap())).unwrap();
        self.refusals += text.lines().filter(|line| line.contains(" INFO ") && line.contains("not let in")).count();
        let of_interest = text.lines().filter(|line| line.contains("no peer") || line.contains("no longer alone"));
        self.said.extend(of_interest.map(|line| (self.millis, line.to_owned())));
    }

    /// Wakes when the loop would, and no more often.
    fn sleep_until(&mut self, end: u64) {
        loop {
            let due = self
                .protocol
                .deadline()
                .map_or(u64::MAX, |at| u64::try_from(at.since(Instant::ZERO).as_nanos().div_ceil(1_000_000)).unwrap());
            if due > end {
                self.millis = end;
                return;
            }
            self.millis = self.millis.max(due);
            self.feed(driver::Event::Timer);
        }
    }

    fn a_peer_comes(&mut self, conn: ConnId) {
        let remote: SocketAddr = "198.51.100.7:1234".parse().unwrap();
        let now = self.now();
        assert!(matches!(self.protocol.admit_over(now, remote, &mut self.net), Admit::Accept));
        let local = "198.51.100.1:7".parse().unwrap();
        self.feed(driver::Event::Opened { conn, remote, local, direction: Direction::Inbound, identity: None });
        let extension = Extension {
            network: Hash::ZERO,
            nonce: 99,
            listening_port: 0,
            features: 0,
            best_height: 0,
            best_hash: Hash::ZERO,
            seen: None,
        };
        let hello = Message::Handshake(Handshake {
            version: 2,
            unix_seconds: 1_700_000_000,
            node_id: "friend",
            user_agent: "stranger/1",
            extension: Some(extension),
        });
        let frame = Frame { kind: hello.kind() as u8, payload: Payload::Given(hello.to_payload().unwrap()) };
        self.feed(driver::Event::Frame { conn, frame });
    }
}

/// It came at up to 40 s, when another timer of the loop was due; a node whose seed was not pinned mined 821 blocks alone.
#[test]
fn a_node_alone_says_so_after_thirty_seconds_again_ever_more_rarely_and_when_it_is_over() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || {
        let mut world = World::new(lines);
        world.sleep_until(700_123);
        let times: Vec<u64> = world.said.iter().map(|(millis, _)| *millis).collect();
        assert_eq!(times, [30_000, 150_000, 630_000], "{:#?}", world.said);
        for ((_, line), seconds) in world.said.iter().zip([30, 150, 630]) {
            assert!(line.contains(" WARN ") && line.contains(&format!("seconds={seconds}")), "{line}");
            assert!(line.contains("192.0.2.5:7: connection refused"), "the reason is said: {line}");
        }
        world.said.clear();
        let conn = ConnId::new(1, 0);
        world.a_peer_comes(conn);
        world.sleep_until(710_000);
        let [(at, over)] = &world.said[..] else { panic!("{:#?}", world.said) };
        assert!(*at == 705_123 && over.contains("no longer alone") && over.contains("seconds=700"), "{at}: {over}");
        world.said.clear();
        world.feed(driver::Event::Closed { conn, reason: CloseReason::RemoteClosed });
        world.sleep_until(800_000);
        let times: Vec<u64> = world.said.iter().map(|(millis, _)| *millis).collect();
        assert_eq!(times, [740_000], "a new time alone begins anew");
    });
}

/// A node that dialed with TLS was turned away for 45 s, and the one that did it said that nobody had connected.
#[test]
fn a_node_that_turns_others_away_says_whom_and_not_that_nobody_came() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || {
        let mut world = World::new(lines);
        for n in 1..=3 {
            world.sleep_until(u64::from(n) * 5_000);
            let remote: SocketAddr = "198.51.100.7:1234".parse().unwrap();
            let now = world.now();
            assert!(matches!(world.protocol.admit_over(now, remote, &mut world.net), Admit::Accept));
            let (local, conn) = ("198.51.100.1:7".parse().unwrap(), ConnId::new(n, 0));
            world.feed(driver::Event::Opened { conn, remote, local, direction: Direction::Inbound, identity: None });
            let reason = CloseReason::Frame(FrameError::Foreign(Foreign::TlsHello));
            world.feed(driver::Event::Closed { conn, reason });
        }
        world.sleep_until(31_000);
        let [(30_000, line)] = &world.said[..] else { panic!("{:#?}", world.said) };
        assert!(line.contains("3 tried to connect and were not let in: 3 for TLS, where we want plain text"), "{line}");
        assert!(line.contains("192.0.2.5:7: connection refused") && !line.contains("nobody"), "{line}");
        assert_eq!(world.refusals, 1, "and one line at once, for the first of them");
    });
}
