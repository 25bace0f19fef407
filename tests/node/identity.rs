//! A proven identity: it must be the id in the handshake, and it takes its reputation along.

use core::net::SocketAddr;

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::{ConnId, DialId, Direction, VerifiedId};
use spacetime_network::proto::{Admit, Config, Event, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, FrameError, Kind, Message, Payload};

use crate::world::introduction;

struct Door {
    node: Node<ReferenceChain>,
    now: Now,
    guests: u32,
    /// What the node asked for since the last look.
    outputs: Vec<Output>,
}

impl Door {
    fn new() -> Self {
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
        let mut config = Config::default();
        config.node_id = us().to_string();
        config.secured = true;
        let node = Node::new(config, ReferenceChain::memory(Params::new(1, 50).unwrap()), 1, 1).unwrap();
        let mut door = Door { node, now, guests: 0, outputs: Vec::new() };
        door.feed(Input::Tick);
        door
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.outputs.extend(core::iter::from_fn(|| self.node.poll_output()));
    }

    fn outputs(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.outputs)
    }

    fn open(&mut self, remote: &str, direction: Direction, identity: Option<VerifiedId>) -> ConnId {
        self.guests += 1;
        let (conn, remote): (ConnId, SocketAddr) = (ConnId::new(self.guests, 0), remote.parse().unwrap());
        self.feed(Input::Opened { conn, remote, local: None, direction, identity });
        conn
    }

    fn enter(&mut self, remote: &str, identity: Option<VerifiedId>) -> ConnId {
        self.open(remote, Direction::Inbound, identity)
    }

    fn greet(&mut self, conn: ConnId, node_id: &str) {
        self.say(conn, &introduction(node_id, 2, 0));
    }

    fn say(&mut self, conn: ConnId, message: &Message<'_>) {
        let payload = Payload::Given(message.to_payload().unwrap());
        self.feed(Input::Frame { conn, frame: Frame { kind: message.kind() as u8, payload } });
    }

    /// Why the node has asked for a close since the last look.
    fn closes(&mut self) -> Vec<(ConnId, CloseReason)> {
        self.outputs()
            .into_iter()
            .filter_map(
                |output| if let Output::Close { conn, reason, .. } = output { Some((conn, reason)) } else { None },
            )
            .collect()
    }

    fn misbehave(&mut self, remote: &str, identity: Option<VerifiedId>) {
        let conn = self.enter(remote, identity);
        self.feed(Input::BadFrame { conn, error: FrameError::Length(0) });
        self.feed(Input::Closed { conn, reason: CloseReason::Requested });
    }
}

fn id(byte: u8) -> VerifiedId {
    VerifiedId::from_bytes([byte; 32])
}

fn us() -> VerifiedId {
    id(0xaa)
}

#[test]
fn the_id_in_the_handshake_must_be_the_proven_one() {
    let mut door = Door::new();
    let liar = door.enter("10.1.0.1:1", Some(id(1)));
    door.greet(liar, &id(2).to_string());
    assert_eq!(door.closes(), [(liar, CloseReason::IdentityMismatch)]);
    let shouting = door.enter("10.1.0.2:1", Some(id(0xab)));
    door.greet(shouting, &id(0xab).to_string().to_uppercase());
    assert_eq!(door.closes(), [(shouting, CloseReason::IdentityMismatch)], "an id has one spelling");
    let honest = door.enter("10.1.0.3:1", Some(id(1)));
    door.greet(honest, &id(1).to_string());
    assert_eq!(door.closes(), []);
    assert_eq!(door.node.connected().next().unwrap().identity, Some(id(1)));
}

#[test]
fn who_claims_our_own_id_without_our_key_is_a_liar_and_not_ourselves() {
    let mut door = Door::new();
    let liar = door.enter("10.1.0.1:1", Some(id(1)));
    door.greet(liar, &us().to_string());
    assert_eq!(door.closes(), [(liar, CloseReason::IdentityMismatch)]);
    let ourselves = door.enter("10.1.0.2:1", Some(us()));
    door.greet(ourselves, &us().to_string());
    assert_eq!(door.closes(), [(ourselves, CloseReason::SelfConnection)]);
}

#[test]
fn nobody_takes_the_place_of_a_proven_peer_by_claiming_its_id() {
    let mut door = Door::new();
    let host = door.enter("10.1.0.1:1", Some(id(1)));
    door.greet(host, &id(1).to_string());
    let thief = door.enter("10.2.0.1:1", Some(id(2)));
    door.greet(thief, &id(1).to_string());
    assert_eq!(door.closes(), [(thief, CloseReason::IdentityMismatch)]);
    assert_eq!(door.node.connected().map(|peer| peer.conn).collect::<Vec<_>>(), [host]);
}

/// From one address, as behind a router: what somebody without a certificate calls himself stands beside no proven name.
#[test]
fn a_claim_takes_no_proven_peers_name_and_is_in_nobodys_way() {
    let mut door = Door::new();
    let name = id(1).to_string();
    let early = door.enter("10.1.0.1:1", None);
    door.greet(early, &name);
    let proven = door.enter("10.1.0.1:2", Some(id(1)));
    door.greet(proven, &name);
    let late = door.enter("10.1.0.1:3", None);
    door.greet(late, &name);
    let closes = door.closes();
    assert!(closes.iter().all(|(conn, _)| *conn != proven), "{closes:?}");
    let listed: Vec<_> = door.node.connected().map(|peer| (peer.conn, peer.identity)).collect();
    assert!(listed.contains(&(proven, Some(id(1)))), "{listed:?}");
    let record = door.node.peers().get(&name).expect("the proven one");
    assert!(record.connected && record.seen_from == Some("10.1.0.1:2".parse().unwrap()), "{record:?}");
    assert!(door.node.peers().get("peer_10.1.0.1_1").is_some(), "known by its address");
    // When the proven peer has left, its name is still nobody's.
    door.feed(Input::Closed { conn: proven, reason: CloseReason::RemoteClosed });
    let again = door.enter("10.1.0.1:4", None);
    door.greet(again, &name);
    assert!(door.node.peers().get(&name).is_some_and(|record| !record.connected));
}

#[test]
fn a_greeting_without_an_id_gets_the_proven_one() {
    let mut door = Door::new();
    let conn = door.open("10.1.0.1:8333", Direction::Outbound(DialId(7)), Some(id(1)));
    let payload = Payload::Given(bytes::Bytes::new());
    door.feed(Input::Frame { conn, frame: Frame { kind: Kind::HandshakeAck as u8, payload } });
    let connected: Vec<Event> = door
        .outputs()
        .into_iter()
        .filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None })
        .collect();
    assert!(
        matches!(&connected[..], [Event::PeerConnected { node_id, .. }, ..] if *node_id == id(1).to_string()),
        "{connected:?}"
    );
}

#[test]
fn a_banned_identity_is_turned_away_wherever_it_comes_from() {
    let mut door = Door::new();
    for n in 1..=5 {
        door.misbehave(&format!("10.{n}.0.1:1"), Some(id(1)));
    }
    door.closes();
    let again = door.enter("10.99.0.1:1", Some(id(1)));
    assert_eq!(door.closes(), [(again, CloseReason::Blacklisted)]);
    let other = door.enter("10.99.0.1:1", Some(id(2)));
    door.greet(other, &id(2).to_string());
    assert_eq!(door.closes(), [], "its last address is not the one that is banned");
}

#[test]
fn fresh_keys_do_not_wash_an_address_clean() {
    let mut door = Door::new();
    for n in 1..=5 {
        door.misbehave("10.1.0.1:1", Some(id(n)));
    }
    door.closes();
    assert_eq!(door.node.admit(door.now, "10.1.0.1:2".parse().unwrap()), Admit::Refuse);
    assert!(matches!(door.node.poll_output(), Some(Output::Event(Event::TurnedAway { why: "blacklisted", .. }))));
    let newcomer = door.enter("10.1.0.1:2", Some(id(9)));
    assert_eq!(door.closes(), [(newcomer, CloseReason::Blacklisted)]);
}

#[test]
fn a_ban_ends_the_other_connections_of_the_identity() {
    let mut door = Door::new();
    let open = door.enter("10.50.0.1:1", Some(id(1)));
    door.greet(open, &id(1).to_string());
    for n in 1..=5 {
        door.misbehave(&format!("10.{n}.0.1:1"), Some(id(1)));
    }
    assert!(door.closes().contains(&(open, CloseReason::Blacklisted)));
}

#[test]
fn without_tls_an_id_is_a_claim_that_earns_and_costs_nothing() {
    let mut door = Door::new();
    for n in 1..=5 {
        let conn = door.enter(&format!("10.{n}.0.1:1"), None);
        door.greet(conn, &id(1).to_string());
        door.feed(Input::BadFrame { conn, error: FrameError::Length(0) });
        door.feed(Input::Closed { conn, reason: CloseReason::Requested });
    }
    door.closes();
    let honest = door.enter("10.99.0.1:1", None);
    door.greet(honest, &id(1).to_string());
    assert_eq!(door.closes(), []);
}

#[test]
fn whoever_breaks_tls_answers_for_it_and_whoever_speaks_something_else_does_not() {
    let (harmless, forged) = (CloseReason::Tls(TlsFault::NotTls), CloseReason::Tls(TlsFault::BadSignature));
    for (reason, admitted) in [(harmless, Admit::Accept), (forged, Admit::Refuse)] {
        let mut door = Door::new();
        for n in 0..5 {
            door.now.at = Instant::from_millis(10_000 * (n + 1));
            let remote = format!("10.1.0.1:{}", n + 1).parse().unwrap();
            assert_eq!(door.node.admit(door.now, remote), Admit::Accept);
            door.feed(Input::AdmissionReleased { remote, reason });
            let event = door.outputs().into_iter().find_map(|output| match output {
                Output::Event(event @ Event::HandshakeFailed { .. }) => Some(event),
                _ => None,
            });
            assert_eq!(event, Some(Event::HandshakeFailed { remote, outbound: false, reason, remote_error: None }));
        }
        door.now.at = Instant::from_millis(60_000);
        assert_eq!(door.node.admit(door.now, "10.1.0.1:9".parse().unwrap()), admitted, "{reason:?}");
    }
}

/// A renewed certificate with another key: whoever has been shown the old one and is not greeted yet would be greeted by
/// somebody else, and ban us for it.
#[test]
fn a_node_greets_under_a_new_id_and_leaves_only_those_that_were_shown_the_old_one() {
    let mut door = Door::new();
    let peer = door.enter("10.1.0.1:1", Some(id(1)));
    door.greet(peer, &id(1).to_string());
    let dialed = door.open("10.2.0.1:8333", Direction::Outbound(DialId(7)), Some(id(2)));
    let ungreeted = door.enter("10.3.0.1:1", Some(id(3)));
    assert_eq!(door.closes(), []);
    let task = |node: &mut Node<ReferenceChain>, now: Now| node.set_node_id(now, id(0xbb).to_string());
    task(&mut door.node, door.now);
    door.outputs.extend(core::iter::from_fn(|| door.node.poll_output()));
    assert_eq!(door.closes(), [(ungreeted, CloseReason::Done)]);
    assert_eq!(CloseReason::Done.consequence().last_error, None);
    assert_eq!(door.node.connected().map(|peer| peer.conn).collect::<Vec<_>>(), [peer]);
    // The dialed one was greeted under the old id, which it was shown; whoever comes now is under the new one.
    let their_id = id(2).to_string();
    let ack = match introduction(&their_id, 2, 0) {
        Message::Handshake(handshake) => Message::HandshakeAck(Some(handshake)),
        other => other,
    };
    door.say(dialed, &ack);
    let newcomer = door.enter("10.4.0.1:1", Some(id(4)));
    door.greet(newcomer, &id(4).to_string());
    let greeted: Vec<String> = door
        .outputs()
        .iter()
        .filter_map(|output| match output {
            Output::Send { conn, kind: Kind::HandshakeAck, payload, .. } if *conn == newcomer => {
                match Message::decode(Kind::HandshakeAck, payload) {
                    Ok(Message::HandshakeAck(Some(handshake))) => Some(handshake.node_id.to_owned()),
                    _ => None,
                }
            }
            _ => None,
        })
        .collect();
    assert_eq!(greeted, [id(0xbb).to_string()]);
    assert_eq!(door.node.connected().count(), 3);
    let ourselves = door.enter("10.5.0.1:1", Some(id(0xbb)));
    door.greet(ourselves, &id(0xbb).to_string());
    assert_eq!(door.closes(), [(ourselves, CloseReason::SelfConnection)]);
}
