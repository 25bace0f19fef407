//! Lines that were cut and strangers at the wrong door: no reason to ban anybody.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::admit::Admit;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::close::{Blame, CloseReason};
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::{Config, Event, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Foreign, Frame, FrameError, FrameRules, Kind, Parse, Payload, frame};

use crate::world::introduction;

/// A node and what it told its embedder.
struct House {
    node: Node<ReferenceChain>,
    now: Now,
    next: u32,
    events: Vec<Event>,
    closed: Vec<(CloseReason, Option<String>)>,
}

impl House {
    fn new() -> Self {
        let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
        let node = Node::new(Config::default(), chain, 1, 2).unwrap();
        House { node, now, next: 0, events: Vec::new(), closed: Vec::new() }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Close { reason, last_error, .. } => {
                    let text = last_error.map(|payload| String::from_utf8(payload.to_vec()).unwrap());
                    self.closed.push((reason, text));
                }
                _ => {}
            }
        }
    }

    /// A stranger connects; false when it is turned away.
    fn comes(&mut self, from: &str) -> Option<ConnId> {
        self.now.at = self.now.at + Duration::from_secs(2);
        let remote: SocketAddr = from.parse().unwrap();
        if self.node.admit(self.now, remote) != Admit::Accept {
            return None;
        }
        self.next += 1;
        let conn = ConnId::new(self.next, 0);
        self.feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
        Some(conn)
    }

    fn introduces_itself(&mut self, conn: ConnId) {
        let payload = introduction("stranger", 2, 0).to_payload().unwrap();
        let frame = Frame { kind: Kind::Handshake as u8, payload: Payload::Given(payload) };
        self.feed(Input::Frame { conn, frame });
    }

    fn is_banned(&self, from: &str) -> bool {
        self.node.is_blacklisted(self.now, from.parse().unwrap())
    }
}

/// A line that broke five times in the middle of a frame, on a train, got its owner banned for a day: the end of a stream was
/// held against the peer, who had no part in it.
#[test]
fn a_line_that_is_cut_in_the_middle_of_a_frame_again_and_again_bans_nobody() {
    let mut house = House::new();
    for round in 0..20 {
        let conn = house.comes("10.8.0.1:1000").expect("nothing was done that a ban is for");
        house.introduces_itself(conn);
        house.feed(Input::Closed { conn, reason: CloseReason::TruncatedFrame });
        assert!(!house.is_banned("10.8.0.1:1000"), "round {round}");
    }
    let known = house.node.peers().get("stranger").unwrap();
    assert!(known.failures > 0, "it is a failure all the same: others are dialed first");
}

/// A node with TLS that dialed one without, or five health checks of a load balancer: banned for a day, and the operator who
/// had mended his setting was still refused.
#[test]
fn a_stranger_at_the_wrong_door_is_turned_away_again_and_again_and_never_banned() {
    for foreign in Foreign::ALL.iter().copied() {
        let mut house = House::new();
        for _ in 0..20 {
            let conn = house.comes("10.8.0.1:1000").expect("a mistake is no attack");
            house.feed(Input::BadFrame { conn, error: FrameError::Foreign(foreign) });
            let (reason, text) = house.closed.pop().expect("closed at once");
            assert_eq!(reason, CloseReason::Frame(FrameError::Foreign(foreign)));
            // Whoever writes a node of his own may have got the first frame wrong.
            let word = (foreign == Foreign::Unknown).then_some("not a frame of this protocol");
            assert_eq!(text.as_deref(), word, "no frame for one who is known not to read it");
            house.feed(Input::Closed { conn, reason });
        }
        assert!(!house.is_banned("10.8.0.1:1000"));
        // The setting is mended: it comes in.
        let conn = house.comes("10.8.0.1:1000").unwrap();
        house.introduces_itself(conn);
        assert!(matches!(house.events.last(), Some(Event::PeerConnected { .. })), "{:?}", house.events.last());
    }
}

/// Only a few protocols were known by name. A load balancer that sends a PROXY header, a mail server, a scanner that tries one
/// protocol after the other: the fifth connection was a ban, which for a load balancer is a ban of all who come through it.
#[test]
fn whoever_never_spoke_our_protocol_is_never_banned_for_what_it_speaks() {
    for bytes in [
        &b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"get / http/1.1\r\n",
        b"PROPFIND / HTTP/1.1\r\n",
        b"EHLO example.org\r\n",
        b"{\"jsonrpc\":\"2.0\"}",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x03\0\0\x13\x0e\xe0\0\0",
        b"\x80\x2e\x01\0\x02\0\x15\0",
        b"\xfb\xc0\xb6\xdbversion",
        b"\xfd\xd2\xc8\xf1version",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut house = House::new();
        for round in 0..20 {
            let conn = house.comes("10.8.0.1:1000").unwrap_or_else(|| panic!("{round}: {:?}", bytes.escape_ascii()));
            let Parse::Never(error) = frame::parse(bytes, FrameRules::greeting()) else { panic!("{bytes:?}") };
            house.feed(Input::BadFrame { conn, error });
            let (reason, _) = house.closed.pop().unwrap();
            assert_eq!(reason.blame(), Blame::Incompatible, "{reason:?}");
            house.feed(Input::Closed { conn, reason });
        }
        assert!(!house.is_banned("10.8.0.1:1000"));
    }
    let proxy = FrameError::Foreign(Foreign::ProxyHeader).to_string();
    assert!(proxy.contains("switch send-proxy off"), "{proxy}");
}

/// A frame of ours that has no place before the handshake, or is too large for it, comes from one who knows our protocol.
#[test]
fn whoever_breaks_our_protocol_with_its_first_frame_is_banned_for_it() {
    for (kind, len) in [(Kind::Ping, 16), (Kind::Block, 1000), (Kind::Handshake, 1025)] {
        let mut house = House::new();
        while let Some(conn) = house.comes("10.8.0.1:1000") {
            let header = frame::header(kind as u8, len).unwrap();
            let Parse::Never(error) = frame::parse(&header, FrameRules::greeting()) else { panic!("{kind:?}") };
            house.feed(Input::BadFrame { conn, error });
            let (reason, _) = house.closed.pop().unwrap();
            house.feed(Input::Closed { conn, reason });
        }
        assert!(house.is_banned("10.8.0.1:1000"), "{kind:?}");
    }
}

/// The excuse is for those who never were anything else. A peer that has introduced itself and then sends such bytes breaks the
/// protocol as with any others: the rules after the handshake know no strangers.
#[test]
fn a_peer_that_turns_into_a_web_client_is_banned_as_for_any_other_bytes() {
    let mut house = House::new();
    for _ in 0..5 {
        let Some(conn) = house.comes("10.8.0.1:1000") else { break };
        house.introduces_itself(conn);
        house.feed(Input::BadFrame { conn, error: FrameError::Length(u32::from_le_bytes(*b"GET ")) });
        let (reason, text) = house.closed.pop().unwrap();
        assert_eq!(text.as_deref(), Some("bad frame length"));
        house.feed(Input::Closed { conn, reason });
    }
    assert!(house.is_banned("10.8.0.1:1000"));
}
