//! One node of this chain over its inputs and outputs, and peers that say what the test wants, on a virtual clock.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use spacetime_example::chain::SpacetimeChain;
use spacetime_example::format::Block;
use spacetime_network::close::CloseReason;
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::{Admit, Command, Config, Event, Input, Node, Output, Received};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::{Extension, Handshake};
use spacetime_network::wire::{Frame, Hash, Kind, Message, Payload};

/// See the module.
pub struct Talk {
    pub node: Node<SpacetimeChain>,
    pub now: Now,
    /// What the node said, to whom.
    pub said: VecDeque<(ConnId, Kind, Bytes)>,
    pub closed: BTreeMap<ConnId, CloseReason>,
    pub events: Vec<Event>,
    received: BTreeMap<ConnId, Received>,
    /// Peers that answer questions with these blocks.
    servers: BTreeMap<ConnId, Server>,
    next: u32,
    /// Servers answer one question after the other.
    is_answering: bool,
}

/// What is given for a block, if anything.
pub type Gives = Box<dyn Fn(&Block) -> Option<Bytes>>;

/// What a peer has, and what it gives.
pub struct Server {
    pub blocks: Vec<Block>,
    /// It tells the headers of all of them.
    pub gives: Gives,
    /// Blocks that it was asked for.
    pub asked: usize,
    pub asked_headers: usize,
}

impl Server {
    pub fn honest(blocks: Vec<Block>) -> Self {
        Server { blocks, gives: Box::new(|block| Some(block.encode().into())), asked: 0, asked_headers: 0 }
    }
}

impl Talk {
    pub fn new(chain: SpacetimeChain, unix: i64, seed: u64) -> Self {
        let mut config = Config::default();
        config.node_id = "node".to_owned();
        let node = Node::new(config, chain, seed, seed).unwrap();
        let now = Now { at: Instant::from_millis(1_000), unix: UnixTime::from_secs(unix) };
        let (said, received, servers) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Talk {
            node,
            now,
            said,
            closed: BTreeMap::new(),
            events: Vec::new(),
            received,
            servers,
            next: 0,
            is_answering: false,
        }
    }

    /// A peer from an address of its own that has introduced itself.
    pub fn peer(&mut self) -> ConnId {
        let conn = self.peer_with(0, Hash::ZERO);
        assert!(!self.closed.contains_key(&conn), "the greeting is taken");
        conn
    }

    pub fn peer_with(&mut self, best_height: u64, best_hash: Hash) -> ConnId {
        self.next += 1;
        let (number, conn) = (self.next, ConnId::new(self.next, 0));
        let remote = format!("10.{}.{}.1:4000", number / 200, number % 200).parse().unwrap();
        assert_eq!(self.node.admit(self.now, remote), Admit::Accept);
        self.drain();
        let (local, identity) = (None, None);
        self.feed(Input::Opened { conn, remote, local, direction: Direction::Inbound, identity });
        let name = format!("peer {number}");
        let (network, nonce) = (Hash::ZERO, u64::from(number) + 1_000);
        let extension = Extension { network, nonce, listening_port: 0, features: 0, best_height, best_hash };
        let handshake = Handshake {
            version: 2,
            unix_seconds: self.now.unix.as_secs(),
            node_id: &name,
            user_agent: "test",
            extension: Some(extension),
        };
        self.say(conn, &Message::Handshake(handshake));
        conn
    }

    /// A peer that tells of its blocks and serves them.
    pub fn server(&mut self, server: Server) -> ConnId {
        let last = server.blocks.last().unwrap();
        let (height, hash) = (last.header.height.unsigned_abs(), Hash(last.header.hash()));
        self.next += 1;
        let conn = ConnId::new(self.next, 0);
        self.next -= 1;
        self.servers.insert(conn, server);
        assert_eq!(self.peer_with(height, hash), conn);
        conn
    }

    pub fn served(&self, conn: ConnId) -> &Server {
        &self.servers[&conn]
    }

    pub fn say(&mut self, conn: ConnId, message: &Message<'_>) {
        let payload = message.to_payload().unwrap();
        let received = self.received.entry(conn).or_default();
        received.frames += 1;
        received.bytes += 5 + payload.len() as u64;
        self.feed(Input::Frame { conn, frame: Frame { kind: message.kind() as u8, payload: Payload::Given(payload) } });
        self.answer();
        self.feed(Input::TurnEnded);
    }

    /// Lets time pass, with what is due in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
            self.go_to(due.max(self.now.at));
            self.feed(Input::Tick);
            self.feed(Input::TurnEnded);
            self.answer();
        }
        self.go_to(end);
    }

    fn go_to(&mut self, at: Instant) {
        self.now.unix = self.now.unix.plus(at.since(self.now.at));
        self.now.at = at;
    }

    /// What the node has said to one, of one kind.
    pub fn heard(&self, conn: ConnId, kind: Kind) -> usize {
        self.said.iter().filter(|(to, said, _)| (*to, *said) == (conn, kind)).count()
    }

    pub fn height(&self) -> u64 {
        self.node.chain().ledger().best().height
    }

    pub fn submit(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.feed(Input::Command(Command::SubmitBlock(block.encode().into())));
            self.feed(Input::TurnEnded);
        }
        self.answer();
    }

    /// Has the servers answer what they were asked, and pings answered by everybody.
    fn answer(&mut self) {
        if self.is_answering {
            return;
        }
        self.is_answering = true;
        let mut at = 0;
        while at < self.said.len() {
            let (conn, kind, payload) = self.said[at].clone();
            let is_question = matches!(kind, Kind::GetHeaders | Kind::GetBlock | Kind::Ping);
            let is_taken = is_question && (kind == Kind::Ping || self.servers.contains_key(&conn));
            if !is_taken || self.closed.contains_key(&conn) {
                at += 1;
                continue;
            }
            self.said.remove(at);
            match Message::decode(kind, &payload).unwrap() {
                Message::Ping(ping) => self.say(conn, &Message::Pong(ping)),
                Message::GetHeaders(question) => {
                    let server = self.servers.get_mut(&conn).unwrap();
                    server.asked_headers += 1;
                    let known = |block: &Block| {
                        let hash = Hash(block.header.hash());
                        hash == question.locator || question.more.iter().flatten().any(|known| *known == hash)
                    };
                    let from = server.blocks.iter().rposition(known).map_or(0, |at| at + 1);
                    let headers = server.blocks[from..].iter().take(2000).map(|block| block.header.encode());
                    let headers: Vec<Vec<u8>> = headers.collect();
                    self.say(conn, &Message::Headers(headers.iter().map(Vec::as_slice).collect()));
                }
                Message::GetBlock(hash) => {
                    let server = self.servers.get_mut(&conn).unwrap();
                    server.asked += 1;
                    let block = server.blocks.iter().find(|block| block.header.hash() == hash.0).unwrap();
                    if let Some(bytes) = (server.gives)(block) {
                        self.say(conn, &Message::Block(&bytes));
                    }
                }
                _ => unreachable!("it was a question"),
            }
            at = 0;
        }
        self.is_answering = false;
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        let mut answers = self.drain();
        while let Some(answer) = answers.pop_front() {
            self.node.handle(self.now, answer);
            answers.extend(self.drain());
        }
    }

    fn drain(&mut self) -> VecDeque<Input<'static>> {
        let mut answers = VecDeque::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { conn, kind, payload, report, .. } => {
                    self.said.push_back((conn, kind, payload));
                    if report {
                        answers.push_back(Input::SendAccepted { conn });
                    }
                }
                Output::CountReceived { conn } => {
                    let received = self.received.get(&conn).copied().unwrap_or_default();
                    answers.push_back(Input::Received { conn, received });
                }
                Output::Close { conn, reason, .. } => {
                    self.closed.insert(conn, reason);
                    answers.push_back(Input::Closed { conn, reason });
                }
                Output::Event(event) => self.events.push(event),
                Output::Dial { dial, .. } => {
                    answers.push_back(Input::DialFailed { dial, reason: CloseReason::DialTimeout });
                }
                _ => {}
            }
        }
        answers
    }
}
