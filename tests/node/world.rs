//! A table at which nodes and strangers talk: virtual clock, lossless links, no sockets.
//!
//! The nodes are behind the adapter that carries them on real sockets; the table is its carrier, in `carrier`, and repeats
//! none of its rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::driver::node::{NodeCommand, NodeMut, NodeProtocol};
use spacetime_network::driver::{self, Admit, Begun, FrameStart};
use spacetime_network::id::{ConnId, DialId, Direction};
use spacetime_network::limits::LARGE_FRAME;
use spacetime_network::proto::peer::PeerName;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config, Event, Node, Received};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, FrameRules, Hash, Kind, Message, Parse, Payload, frame};

use crate::carrier::{Carrier, Told, is_object};
pub use crate::introduction::introduction;

/// Where the virtual wall clock starts.
const START: i64 = 1_800_000_000_000;

/// One end of a link: which party, and its name for the connection.
pub(crate) type End = (usize, ConnId);

type NodeEvent<'a> = driver::Event<'a, NodeCommand<ReferenceChain>>;

/// Everyone at the table.
pub struct World {
    pub now: Now,
    pub(crate) parties: Vec<Party>,
    pub(crate) links: BTreeMap<End, End>,
    pub(crate) rules: BTreeMap<End, &'static FrameRules>,
    pub(crate) mail: VecDeque<Mail>,
    /// What each end has received.
    pub(crate) received: BTreeMap<End, Received>,
    /// How many more blocks the queue of an end takes; those that are not listed take all.
    pub(crate) room: BTreeMap<End, usize>,
    /// Ends whose queue takes no transaction.
    pub(crate) no_room: BTreeSet<End>,
    /// Units of work that all nodes said they have done.
    pub(crate) work: u64,
    /// Blocks that each end was to send, queued or not.
    pub(crate) blocks_offered: BTreeMap<End, usize>,
    /// What the nodes told their embedders.
    pub events: Vec<(usize, Event)>,
    /// Lookups that were asked for, and by whom.
    pub lookups: Vec<(usize, PeerName)>,
    /// Further addresses of nodes.
    aliases: BTreeMap<SocketAddr, usize>,
    /// Dials to here are never answered.
    pub black_holes: Vec<SocketAddr>,
    /// Dials to here reach a stranger, who then waits in `trapped`.
    pub traps: Option<fn(&SocketAddr) -> bool>,
    pub trapped: Vec<Stranger>,
    /// On which side of a wall a node is; nodes on different sides cannot reach each other.
    pub(crate) sides: BTreeMap<usize, u64>,
    /// Nodes that closed a connection to another node for misbehaviour: who, whom, why. No test wants any.
    pub quarrels: Vec<(usize, usize, CloseReason)>,
    /// Ends whose node asked for the close: nothing may be sent there any more.
    pub(crate) left: BTreeSet<End>,
    /// Inputs so far; now and then a node is audited after one.
    fed: u64,
    /// Objects that went over a connection, in either direction, as its node sees them.
    pub(crate) passed: BTreeSet<(End, u8, Bytes)>,
    pub no_ipv6: bool,
    /// All dials fail for this reason.
    pub no_dial: Option<CloseReason>,
    /// Nodes that are started without seeds the next time.
    seedless: BTreeSet<usize>,
    /// How many milliseconds a node's wall clock is ahead of everybody's; those that are not listed are right.
    pub clocks: BTreeMap<usize, i64>,
    /// Parties that come over WebSocket.
    pub(crate) browsers: BTreeSet<usize>,
    /// Nodes that dial through a proxy.
    pub(crate) proxied: BTreeSet<usize>,
}

pub(crate) enum Mail {
    Dial(usize, DialId, SocketAddr),
    Frame(End, u8, Bytes),
    Closed(End, CloseReason),
    Opened(End, SocketAddr, Direction),
    DialFailed(usize, DialId, CloseReason),
}

pub(crate) enum Party {
    Node {
        /// Away while it handles an event.
        protocol: Option<Box<NodeProtocol<ReferenceChain, Told>>>,
        address: SocketAddr,
        next: u32,
    },
    /// Someone whose every move the test decides. A courteous one says by itself, when asked, that it has no headers, no
    /// transactions and no addresses.
    Stranger { inbox: VecDeque<(Kind, Bytes)>, closed: bool, courteous: bool },
}

/// A stranger's connection to a node.
#[derive(Clone, Copy)]
pub struct Stranger {
    party: usize,
    conn: ConnId,
}

impl World {
    pub fn new() -> Self {
        World {
            now: Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(START) },
            parties: Vec::new(),
            links: BTreeMap::new(),
            rules: BTreeMap::new(),
            mail: VecDeque::new(),
            received: BTreeMap::new(),
            room: BTreeMap::new(),
            work: 0,
            no_room: BTreeSet::new(),
            blocks_offered: BTreeMap::new(),
            events: Vec::new(),
            lookups: Vec::new(),
            aliases: BTreeMap::new(),
            black_holes: Vec::new(),
            traps: None,
            trapped: Vec::new(),
            sides: BTreeMap::new(),
            quarrels: Vec::new(),
            left: BTreeSet::new(),
            passed: BTreeSet::new(),
            no_ipv6: false,
            no_dial: None,
            seedless: BTreeSet::new(),
            clocks: BTreeMap::new(),
            browsers: BTreeSet::new(),
            proxied: BTreeSet::new(),
            fed: 0,
        }
    }

    /// A node that listens on `address`; `change` adjusts its settings.
    pub fn node(&mut self, id: &str, address: &str, change: impl FnOnce(&mut Config)) -> usize {
        let index = self.parties.len();
        let address: SocketAddr = address.parse().unwrap();
        let mut config = Config::default();
        config.node_id = id.to_owned();
        config.listening_port = address.port();
        change(&mut config);
        let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
        let seed = 1 + index as u64;
        let node = Node::new(config, chain, seed, 0xbeef_0000 + seed).unwrap();
        let protocol = Some(Box::new(NodeProtocol::new(node, Told::default())));
        self.parties.push(Party::Node { protocol, address, next: 0 });
        self.feed(index, NodeEvent::Timer);
        index
    }

    /// The node listens here as well.
    pub fn alias(&mut self, address: &str, node: usize) {
        self.aliases.insert(address.parse().unwrap(), node);
    }

    pub fn get(&self, node: usize) -> &Node<ReferenceChain> {
        match &self.parties[node] {
            Party::Node { protocol, .. } => protocol.as_ref().expect("it handles no event").node(),
            Party::Stranger { .. } => panic!("party {node} is a stranger"),
        }
    }

    pub fn get_mut(&mut self, node: usize) -> NodeMut<'_, ReferenceChain> {
        self.protocol(node).as_mut().expect("it handles no event").node_mut()
    }

    fn protocol(&mut self, node: usize) -> &mut Option<Box<NodeProtocol<ReferenceChain, Told>>> {
        match &mut self.parties[node] {
            Party::Node { protocol, .. } => protocol,
            Party::Stranger { .. } => panic!("not a node"),
        }
    }

    /// From now on the node misbehaves now and then, in ways that are legal.
    #[cfg(feature = "sim")]
    pub fn buggify(&mut self, node: usize, buggify: spacetime_network::buggify::Buggify) {
        self.get_mut(node).set_buggify(buggify);
    }

    pub fn command(&mut self, node: usize, command: Command) {
        self.feed(node, NodeEvent::Command(NodeCommand::Do(command)));
        self.settle();
    }

    /// Mines one block on `node`'s tip from its pool and submits it there.
    pub fn mine(&mut self, node: usize) -> Hash {
        let block = self.block_on(node, "miner");
        let hash = self.get(node).chain().check_block_header(self.now.unix, &block).unwrap().hash;
        self.command(node, Command::SubmitBlock(block));
        hash
    }

    /// How far the time of the next block must be ahead of the clock, after blocks that were mined while it was ahead. Beyond two
    /// hours nobody takes such a block yet.
    pub fn next_block_ahead(&self, node: usize) -> Duration {
        let block = self.get(node).chain().template(self.now.unix, "miner", 1 << 20).unwrap();
        let ahead = block.header.time.as_millis() - self.now.unix.as_millis();
        Duration::from_millis(u64::try_from(ahead).unwrap())
    }

    /// A valid block on `node`'s tip that nobody has yet.
    pub fn block_on(&self, node: usize, miner: &str) -> Bytes {
        let mut block = self.get(node).chain().template(self.now.unix, miner, 1 << 20).unwrap();
        block.header = Miner::new(block.header).run(u64::MAX).unwrap();
        block.encode()
    }

    /// A stranger connects to `node` from `from`; `None` when it is turned away.
    pub fn stranger(&mut self, node: usize, from: &str) -> Option<Stranger> {
        let from: SocketAddr = from.parse().unwrap();
        if !self.admits(node, from) {
            self.settle();
            return None;
        }
        let party = self.parties.len();
        self.parties.push(Party::Stranger { inbox: VecDeque::new(), closed: false, courteous: false });
        let (conn, theirs) = (ConnId::new(0, 0), self.next_conn(node));
        self.link((party, conn), (node, theirs));
        self.mail.push_back(Mail::Opened((node, theirs), from, Direction::Inbound));
        self.settle();
        Some(Stranger { party, conn })
    }

    /// A stranger that has introduced itself as `id` in `version` and read the answer.
    pub fn peer(&mut self, node: usize, from: &str, id: &str, version: u8) -> Stranger {
        let stranger = self.stranger(node, from).expect("admitted");
        self.say(stranger, &introduction(id, version, 0));
        let (kind, _) = self.hear(stranger).expect("an answer to the handshake");
        assert_eq!(kind, Kind::HandshakeAck);
        let mut rest = Vec::new();
        while let Some((kind, payload)) = self.hear(stranger) {
            rest.push((kind, payload));
        }
        if let Party::Stranger { inbox, courteous, .. } = &mut self.parties[stranger.party] {
            *courteous = true;
            inbox.extend(
                rest.iter().filter(|(kind, _)| !matches!(kind, Kind::GetHeaders | Kind::TxPoolRequest)).cloned(),
            );
        }
        if rest.iter().any(|(kind, _)| *kind == Kind::GetHeaders) {
            self.say(stranger, &Message::Headers(vec![]));
        }
        stranger
    }

    pub fn say(&mut self, stranger: Stranger, message: &Message<'_>) {
        self.say_raw(stranger, message.kind() as u8, message.to_payload().unwrap());
    }

    pub fn say_raw(&mut self, stranger: Stranger, kind: u8, payload: Bytes) {
        if let Some(end) = self.links.get(&(stranger.party, stranger.conn)) {
            self.mail.push_back(Mail::Frame(*end, kind, payload));
            self.settle();
        }
    }

    pub fn hang_up(&mut self, stranger: Stranger) {
        self.cut((stranger.party, stranger.conn), CloseReason::RemoteClosed);
        self.settle();
    }

    /// The oldest frame that the stranger has not looked at.
    pub fn hear(&mut self, stranger: Stranger) -> Option<(Kind, Bytes)> {
        match &mut self.parties[stranger.party] {
            Party::Stranger { inbox, .. } => inbox.pop_front(),
            Party::Node { .. } => unreachable!(),
        }
    }

    /// Everything the stranger has not looked at, but for heartbeats and pings.
    pub fn hear_all(&mut self, stranger: Stranger) -> Vec<Kind> {
        let mut kinds = Vec::new();
        while let Some((kind, _)) = self.hear(stranger) {
            if !matches!(kind, Kind::Heartbeat | Kind::Ping) {
                kinds.push(kind);
            }
        }
        kinds
    }

    pub fn is_closed(&self, stranger: Stranger) -> bool {
        matches!(self.parties[stranger.party], Party::Stranger { closed: true, .. })
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now.at + duration;
        loop {
            let deadlines = self.parties.iter().filter_map(|party| match party {
                Party::Node { protocol, .. } => protocol.as_ref()?.node().deadline(),
                Party::Stranger { .. } => None,
            });
            let next = deadlines.min().unwrap_or(Instant::NEVER).min(end).max(self.now.at);
            let step = next.since(self.now.at);
            self.now = Now { at: next, unix: self.now.unix.plus(step) };
            let mut ticked = false;
            for index in 0..self.parties.len() {
                if self.is_node(index) && self.get(index).deadline().is_some_and(|at| at <= self.now.at) {
                    ticked = true;
                    self.feed(index, NodeEvent::Timer);
                    let deadline = self.get(index).deadline();
                    assert!(
                        deadline.is_none_or(|at| at > self.now.at),
                        "a tick leaves its deadline: a loop would spin"
                    );
                }
            }
            self.settle();
            if !ticked && self.now.at >= end {
                return;
            }
        }
    }

    pub fn count(&self, node: usize, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(index, event)| *index == node && wanted(event)).count()
    }

    /// Cuts every link of a node and forgets its queue, as a kill would.
    pub fn cut_all(&mut self, node: usize) {
        let ends: Vec<End> = self.links.keys().filter(|(party, _)| *party == node).copied().collect();
        for end in ends {
            let reason = CloseReason::Io(std::io::ErrorKind::ConnectionReset);
            self.cut(end, reason);
            self.mail.push_back(Mail::Closed(end, reason));
        }
        self.settle();
    }

    /// Kills a node and starts it anew on what its disk holds: its chain and its known peers.
    pub fn restart(&mut self, index: usize) {
        self.cut_all(index);
        let now = self.now;
        let nonce = 0xfeed_0000 + self.now.at.since(Instant::ZERO).as_nanos() as u64 + index as u64;
        let seedless = self.seedless.contains(&index);
        let mut node = self.get_mut(index);
        let mut config = node.config().clone();
        if seedless {
            config.seeds.clear();
        }
        let chain = std::mem::replace(node.chain_mut(), ReferenceChain::memory(Params::new(1, 50).unwrap()));
        let peers: Vec<_> = node.peers().saved_peers().cloned().collect();
        let node = Node::new(config, chain, nonce, nonce).unwrap();
        *self.protocol(index) = Some(Box::new(NodeProtocol::new(node, Told::default())));
        self.get_mut(index).restore_peers(now, peers);
        self.mail
            .retain(|mail| !matches!(mail, Mail::Dial(party, ..) | Mail::DialFailed(party, ..) if *party == index));
        self.feed(index, NodeEvent::Timer);
        self.settle();
    }

    /// The node listens at these addresses and no others.
    pub fn listen(&mut self, node: usize, addresses: &[&str]) {
        let listening: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.get_mut(node).set_listening(&listening);
    }

    /// At its next start the node is given no seeds.
    pub fn forget_seeds(&mut self, index: usize) {
        self.seedless.insert(index);
    }

    /// Sets everyone's wall clock to where it belongs, and `millis` further.
    pub fn set_wall_clock(&mut self, millis: i64) {
        let passed = i64::try_from(self.now.at.since(Instant::ZERO).as_millis()).unwrap();
        self.now.unix = UnixTime::from_millis(START + passed + millis);
    }

    pub(crate) fn is_node(&self, party: usize) -> bool {
        matches!(self.parties[party], Party::Node { .. })
    }

    fn feed(&mut self, index: usize, event: NodeEvent<'_>) {
        self.run(index, |protocol, now, carrier| {
            protocol.handle_over(now, event, carrier);
            // Here each event is a turn of its own.
            protocol.handle_over(now, NodeEvent::TurnEnded, carrier);
        });
        self.fed += 1;
        if self.fed.is_multiple_of(61) {
            self.audit(index);
        }
    }

    /// Does the node let a connection from this address in?
    fn admits(&mut self, index: usize, from: SocketAddr) -> bool {
        self.run(index, |protocol, now, carrier| protocol.admit_over(now, from, carrier) == Admit::Accept)
    }

    fn run<R>(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut NodeProtocol<ReferenceChain, Told>, Now, &mut Carrier<'_>) -> R,
    ) -> R {
        let mut protocol = self.protocol(index).take().expect("one event at a time");
        let most = 1_100 + 20 * protocol.node().session_count();
        let mut now = self.now;
        let ahead = self.clocks.get(&index).copied().unwrap_or(0);
        now.unix = UnixTime::from_millis(now.unix.as_millis() + ahead);
        let mut carrier = Carrier { world: self, index, calls: 0 };
        let result = work(&mut protocol, now, &mut carrier);
        let calls = carrier.calls;
        let (told, names) = protocol.observer_mut().take();
        assert!(calls + told.len() <= most, "one event leads to {calls} calls and {} events", told.len());
        self.lookups.extend(names.into_iter().map(|name| (index, name)));
        self.events.extend(told.into_iter().map(|event| (index, event)));
        *self.protocol(index) = Some(protocol);
        result
    }

    /// All of a node's tables agree, and it has nothing to do with whom it blacklisted.
    fn audit(&self, index: usize) {
        assert_eq!(self.get(index).audit(), Ok(()), "node {index}");
        assert_eq!(self.get(index).blacklisted_contacts(self.now), [], "node {index}");
    }

    /// From now on the queue of a stranger's node takes transactions for it, or none.
    pub fn take_transactions(&mut self, stranger: Stranger, takes: bool) {
        let end = self.links[&(stranger.party, stranger.conn)];
        let _ = if takes { self.no_room.remove(&end) } else { self.no_room.insert(end) };
    }

    /// The stranger's connection takes so many more blocks, and then says no. The node hears that there is room, if there is.
    pub fn take_blocks(&mut self, stranger: Stranger, room: usize) {
        let Some(end) = self.links.get(&(stranger.party, stranger.conn)).copied() else { return };
        self.room.insert(end, room);
        if room > 0 {
            self.feed(end.0, NodeEvent::Writable { conn: end.1 });
            self.settle();
        }
    }

    /// Blocks that a node had in hand for the stranger, whether its queue took them or not.
    pub fn blocks_offered(&self, stranger: Stranger) -> usize {
        let end = self.links.get(&(stranger.party, stranger.conn));
        end.and_then(|end| self.blocks_offered.get(end)).copied().unwrap_or(0)
    }

    /// So many more bytes of a frame that is not complete come from the stranger.
    pub fn trickle(&mut self, stranger: Stranger, bytes: u64) {
        if let Some(end) = self.links.get(&(stranger.party, stranger.conn)).copied() {
            self.received.entry(end).or_default().bytes += bytes;
        }
    }

    /// The stranger takes so many more bytes of a frame that does not end with them.
    pub fn takes(&mut self, stranger: Stranger, bytes: u64) {
        if let Some(end) = self.links.get(&(stranger.party, stranger.conn)).copied() {
            self.received.entry(end).or_default().sent_bytes += bytes;
        }
    }

    /// The stranger takes the rest of the frame.
    pub fn takes_the_rest(&mut self, stranger: Stranger) {
        if let Some(end) = self.links.get(&(stranger.party, stranger.conn)).copied() {
            self.received.entry(end).or_default().sent_frames += 1;
        }
    }

    fn dial(&mut self, from: usize, dial: DialId, address: SocketAddr) {
        if self.black_holes.contains(&address) {
            return;
        }
        let no_way = CloseReason::Io(std::io::ErrorKind::AddrNotAvailable);
        if let Some(reason) = self.no_dial.or((self.no_ipv6 && address.is_ipv6()).then_some(no_way)) {
            return self.mail.push_back(Mail::DialFailed(from, dial, reason));
        }
        let to = self.parties.iter().position(|party| matches!(party, Party::Node { address: a, .. } if *a == address));
        let to = to.or_else(|| self.aliases.get(&address).copied());
        // The dialing side is seen under its own address with an ephemeral port.
        let seen_as = match &self.parties[from] {
            Party::Node { address, next, .. } => SocketAddr::new(address.ip(), 40_000 + *next as u16),
            Party::Stranger { .. } => unreachable!(),
        };
        match to {
            Some(to) if self.sides.get(&from) == self.sides.get(&to) && self.admits(to, seen_as) => {
                let (ours, theirs) = (self.next_conn(from), self.next_conn(to));
                self.link((from, ours), (to, theirs));
                self.mail.push_back(Mail::Opened((from, ours), address, Direction::Outbound(dial)));
                self.mail.push_back(Mail::Opened((to, theirs), seen_as, Direction::Inbound));
            }
            None if self.traps.is_some_and(|is_trap| is_trap(&address)) => {
                let party = self.parties.len();
                self.parties.push(Party::Stranger { inbox: VecDeque::new(), closed: false, courteous: false });
                let (ours, theirs) = (self.next_conn(from), ConnId::new(0, 0));
                self.link((from, ours), (party, theirs));
                self.mail.push_back(Mail::Opened((from, ours), address, Direction::Outbound(dial)));
                self.trapped.push(Stranger { party, conn: theirs });
            }
            _ => {
                let reason = CloseReason::Io(std::io::ErrorKind::ConnectionRefused);
                self.mail.push_back(Mail::DialFailed(from, dial, reason));
            }
        }
    }

    fn next_conn(&mut self, party: usize) -> ConnId {
        match &mut self.parties[party] {
            Party::Node { next, .. } => {
                *next += 1;
                ConnId::new(*next, 0)
            }
            Party::Stranger { .. } => ConnId::new(0, 0),
        }
    }

    fn link(&mut self, a: End, b: End) {
        self.links.insert(a, b);
        self.links.insert(b, a);
    }

    /// The other end sees the stream end.
    pub(crate) fn cut(&mut self, end: End, reason: CloseReason) {
        if let Some(other) = self.links.remove(&end) {
            self.links.remove(&other);
            let reason = if reason == CloseReason::RemoteClosed { reason } else { CloseReason::RemoteClosed };
            self.mail.push_back(Mail::Closed(other, reason));
        }
    }

    pub(crate) fn settle(&mut self) {
        let mut steps = 0;
        while let Some(mail) = self.mail.pop_front() {
            steps += 1;
            assert!(steps < 1_000_000, "the conversation does not end");
            match mail {
                Mail::Frame(end, kind, payload) => self.deliver(end, kind, payload),
                Mail::Dial(from, dial, address) => self.dial(from, dial, address),
                Mail::Closed((party, conn), reason) => match &mut self.parties[party] {
                    Party::Node { .. } => self.feed(party, NodeEvent::Closed { conn, reason }),
                    Party::Stranger { closed, .. } => *closed = true,
                },
                Mail::Opened((party, conn), remote, direction) => {
                    let local = match &self.parties[party] {
                        Party::Node { address, .. } => SocketAddr::new(address.ip(), 1),
                        Party::Stranger { .. } => unreachable!(),
                    };
                    self.feed(party, NodeEvent::Opened { conn, remote, local, direction, identity: None });
                }
                Mail::DialFailed(party, dial, reason) => {
                    let remote = "0.0.0.0:0".parse().unwrap();
                    self.feed(party, NodeEvent::DialFailed { dial, remote, reason });
                }
            }
        }
    }

    fn deliver(&mut self, end: End, kind: u8, payload: Bytes) {
        let (party, conn) = end;
        if let Party::Stranger { inbox, courteous, .. } = &mut self.parties[party] {
            let answer = match Kind::from_byte(kind) {
                Some(Kind::GetHeaders) => Some(Message::Headers(vec![])),
                Some(Kind::TxPoolRequest) => Some(Message::TxPool(vec![])),
                Some(Kind::GetPeers) => Some(Message::Peers(vec![])),
                _ => None,
            };
            if let Some(answer) = answer.filter(|_| *courteous) {
                if let Some(back) = self.links.get(&end) {
                    self.mail.push_back(Mail::Frame(*back, answer.kind() as u8, answer.to_payload().unwrap()));
                }
                return;
            }
            inbox.push_back((Kind::from_byte(kind).unwrap(), payload));
            return;
        }
        if let Some(kind) = Kind::from_byte(kind).filter(|kind| is_object(*kind)) {
            self.passed.insert((end, kind as u8, payload.clone()));
        }
        let rules = self.rules.get(&end).copied().unwrap_or(FrameRules::greeting());
        let len = payload.len() as u32;
        let received = self.received.entry(end).or_default();
        received.bytes += 5 + u64::from(len);
        // As the driver judges it, by the header alone.
        let header = frame::header(kind, payload.len()).unwrap();
        if let Parse::Never(error) = frame::parse(&header, rules) {
            return self.feed(party, NodeEvent::BadFrame { conn, error });
        }
        let start = FrameStart { conn, kind, len: payload.len(), head: &payload };
        if payload.len() > LARGE_FRAME
            && self.run(party, |protocol, now, _| protocol.begun_over(now, start).0) == Begun::Skip
        {
            return self.feed(party, NodeEvent::TurnEnded);
        }
        self.received.entry(end).or_default().frames += 1;
        let frame = Frame { kind, payload: Payload::Given(payload) };
        self.feed(party, NodeEvent::Frame { conn, frame });
    }
}
