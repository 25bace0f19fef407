//! The node, what a driver knows of it, and the operations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::{ConnId, DialId, Direction, VerifiedId};
use spacetime_network::proto::peer::PeerName;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::proto::{Admit, Begun, Command, Config, Event, FrameStart, Input, Node, Output, Received};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, FrameError, FrameRules, Kind, Payload};

use crate::moody::{Mood, Moody};
use crate::say;

/// Units of work that an input may cost, and bytes of a frame for which it may cost one more.
const INPUT_WORK: usize = 20_000;
const BYTES_PER_WORK: usize = 2;

/// What a driver knows of a connection.
struct Conn {
    rules: &'static FrameRules,
    /// The node asked for the close; why.
    closing: Option<CloseReason>,
    /// The embedder was told of the peer.
    ready: bool,
    last_ping: Option<Bytes>,
}

pub struct Table {
    node: Node<Moody>,
    now: Now,
    next: u32,
    conns: BTreeMap<ConnId, Conn>,
    dials: BTreeMap<DialId, SocketAddr>,
    /// Names that are being looked up.
    lookups: BTreeSet<PeerName>,
    used_dials: BTreeSet<DialId>,
    /// The last frames, and whether a report of each was wanted.
    sent: VecDeque<(ConnId, Kind, Bytes, bool)>,
    /// Admitted, and not open yet.
    arriving: Vec<SocketAddr>,
    stopped: bool,
}

/// An address, mostly one of a few.
pub fn address(input: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip = match input.int_in_range(0..=9)? {
        0 => Ipv4Addr::LOCALHOST,
        1 => Ipv4Addr::new(10, 0, 0, input.arbitrary()?),
        2 => Ipv4Addr::from_bits(input.arbitrary()?),
        few => Ipv4Addr::new(45, few, input.int_in_range(0..=3)?, 7),
    };
    Ok(SocketAddr::new(IpAddr::V4(ip), if input.ratio(1, 8)? { input.arbitrary()? } else { 8333 }))
}

/// One of a few names.
fn name(input: &mut Unstructured<'_>) -> Result<PeerName> {
    let text = *input.choose(&["one.example:8333", "two.example:8333", "two.example:8334"])?;
    Ok(text.parse().expect("the names are names"))
}

/// What a lookup of a name may answer.
fn lookup(input: &mut Unstructured<'_>) -> Result<std::result::Result<Vec<SocketAddr>, String>> {
    if input.ratio(1, 4)? {
        return Ok(Err("nobody knows".to_owned()));
    }
    let count = input.int_in_range(0..=40)?;
    (0..count).map(|_| address(input)).collect::<Result<_>>().map(Ok)
}

impl Table {
    pub fn new(input: &mut Unstructured<'_>) -> Self {
        let mut config = Config::default();
        config.node_id = "peer-0".to_owned();
        config.listening_port = 8333;
        let settings = input.arbitrary::<u8>().unwrap_or(0);
        config.version = 1 + (settings & 1);
        config.outbound = usize::from(settings >> 1 & 7);
        config.allow_private = settings & 16 != 0;
        if settings & 32 != 0 {
            config.admission.connections_max = 6;
            config.admission.inbound_max = 4;
        }
        if settings & 64 != 0 {
            config.seeds = vec![SocketAddr::new(Ipv4Addr::new(45, 3, 0, 7).into(), 8333)];
        }
        let node = Node::new(config, Moody::new(), u64::from(settings), 1).expect("settings that work");
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(say::START) };
        let mut table = Table {
            node,
            now,
            next: 0,
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
            lookups: BTreeSet::new(),
            used_dials: BTreeSet::new(),
            sent: VecDeque::new(),
            arriving: Vec::new(),
            stopped: false,
        };
        table.feed(Input::Tick);
        table
    }

    /// One operation.
    pub fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=19)? {
            0 | 1 => self.caller(input)?,
            2 => self.dial_ends(input)?,
            3..=7 => self.say(input)?,
            8 => self.introduce(input)?,
            9 => {
                // Anything that a frame can carry.
                let Some(conn) = self.live(input)? else { return Ok(()) };
                let (kind, len) = (input.arbitrary::<u8>()?, input.int_in_range(0..=200)?);
                let payload = Bytes::copy_from_slice(input.bytes(len.min(input.len()))?);
                self.deliver(conn, kind, payload);
            }
            10 => {
                let Some(conn) = self.live(input)? else { return Ok(()) };
                let error = *input.choose(&[FrameError::Length(0), FrameError::UnknownType(0xee)])?;
                self.feed(Input::BadFrame { conn, error });
                assert!(self.conns[&conn].closing.is_some(), "a stream that makes no sense is closed");
            }
            11 => {
                // Whether it was asked for or not.
                if let Some(conn) = self.any(input)? {
                    let (bytes, sent_bytes) = (input.arbitrary()?, input.arbitrary()?);
                    let (frames, sent_frames) = (input.int_in_range(0..=2)?, input.int_in_range(0..=2)?);
                    let received = Received { bytes, frames, sent_bytes, sent_frames };
                    self.feed(Input::Received { conn, received });
                }
            }
            12 => {
                // The queue was full for one of the last frames, or took it.
                let at = input.choose_index(self.sent.len().max(1))?;
                if let Some((conn, kind, payload, report)) = self.sent.remove(at)
                    && self.conns.contains_key(&conn)
                {
                    if report && input.arbitrary()? {
                        self.feed(Input::SendAccepted { conn });
                    } else {
                        let refused = if input.arbitrary()? {
                            Input::SendRefused { conn, kind, payload }
                        } else {
                            Input::SendTooLarge { conn, kind, payload }
                        };
                        self.feed(refused);
                    }
                }
            }
            13 => {
                if let Some(conn) = self.any(input)? {
                    self.feed(if input.arbitrary()? { Input::Writable { conn } } else { Input::HalfClosed { conn } });
                }
            }
            14 => self.close(input)?,
            15 => {
                // To the next deadline.
                let wait = self.node.deadline().map_or(Duration::ZERO, |at| at.since(self.now.at));
                self.pass(wait);
            }
            16 => {
                let wait = *input.choose(&[1u64, 50, 1_000, 10_000, 95_000, 400_000, 90_000_000])?;
                self.pass(Duration::from_millis(wait));
            }
            17 => {
                let jump = i64::from(input.arbitrary::<i32>()?);
                self.now.unix = UnixTime::from_millis(self.now.unix.as_millis().saturating_add(jump));
            }
            18 => self.command(input)?,
            _ => {
                self.node.chain_mut().mood = *input.choose(&[Mood::Prompt, Mood::Slow, Mood::Busy])?;
                self.feed(Input::TurnEnded);
            }
        }
        Ok(())
    }

    /// Everybody hangs up: nothing may be left.
    pub fn leave(&mut self) {
        let all: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in all {
            self.gone(conn, CloseReason::RemoteClosed);
        }
        assert_eq!(self.node.session_count(), 0);
        assert_eq!(self.node.connected().count(), 0);
    }

    fn caller(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let remote = address(input)?;
        let mut answer = self.admit(remote);
        if let Admit::Evict(other) = answer {
            let at = self.arriving.iter().position(|arriving| *arriving == other);
            let at = at.expect("who gives way was admitted and is not open");
            self.arriving.swap_remove(at);
            self.feed(Input::AdmissionReleased { remote: other, reason: CloseReason::LimitReached });
            answer = self.admit(remote);
        }
        match answer {
            Admit::Accept => self.arriving.push(remote),
            // It waits in vain: a later question is another caller's.
            Admit::Wait(_) => self.feed(Input::WaitedInVain { remote }),
            _ => {}
        }
        // Under TLS others come in between.
        if input.ratio(3, 4)? { self.arrive(input) } else { Ok(()) }
    }

    fn admit(&mut self, remote: SocketAddr) -> Admit {
        let answer = self.node.admit(self.now, remote);
        self.drain("a question");
        answer
    }

    /// One of those who were admitted is opened, or fails.
    fn arrive(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = input.choose_index(self.arriving.len().max(1))?;
        if at < self.arriving.len() {
            let remote = self.arriving.swap_remove(at);
            if input.ratio(7, 8)? {
                let identity = say::identity(input)?;
                self.opened(remote, Direction::Inbound, identity);
            } else {
                let reason = *input.choose(&[
                    CloseReason::Tls(TlsFault::BadSignature),
                    CloseReason::Tls(TlsFault::Cut),
                    CloseReason::Io(io::ErrorKind::ConnectionReset),
                ])?;
                self.feed(Input::AdmissionReleased { remote, reason });
            }
        }
        Ok(())
    }

    fn dial_ends(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = input.choose_index(self.dials.len().max(1))?;
        let Some(dial) = self.dials.keys().nth(at).copied() else { return Ok(()) };
        let Some(remote) = self.dials.remove(&dial) else { return Ok(()) };
        if input.ratio(3, 4)? {
            let identity = say::identity(input)?;
            self.opened(remote, Direction::Outbound(dial), identity);
        } else {
            let refused = CloseReason::Io(io::ErrorKind::ConnectionRefused);
            let reason = *input.choose(&[refused, CloseReason::DialTimeout, CloseReason::LimitReached])?;
            self.feed(Input::DialFailed { dial, reason });
        }
        Ok(())
    }

    fn opened(&mut self, remote: SocketAddr, direction: Direction, identity: Option<VerifiedId>) {
        self.next += 1;
        let conn = ConnId::new(self.next % 64, self.next / 64);
        let rules = FrameRules::greeting();
        self.conns.insert(conn, Conn { rules, closing: None, ready: false, last_ping: None });
        self.feed(Input::Opened { conn, remote, local: None, direction, identity });
    }

    fn introduce(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(conn) = self.live(input)? else { return Ok(()) };
        let kind = if input.arbitrary()? { Kind::Handshake } else { Kind::HandshakeAck };
        if let Some(payload) = say::handshake(input, kind)? {
            self.deliver(conn, kind as u8, payload);
        }
        Ok(())
    }

    fn say(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(conn) = self.live(input)? else { return Ok(()) };
        let ping = self.conns[&conn].last_ping.clone();
        if let Some((kind, payload)) = say::message(input, ping.as_ref())? {
            self.deliver(conn, kind as u8, payload);
        }
        Ok(())
    }

    /// A frame, if the connection's rules let it pass; otherwise what the driver makes of it.
    fn deliver(&mut self, conn: ConnId, kind: u8, payload: Bytes) {
        let len = payload.len() as u32;
        match self.conns[&conn].rules.max_payload(kind) {
            None => self.feed(Input::BadFrame { conn, error: FrameError::UnknownType(kind) }),
            Some(max) if len > max => self.feed(Input::BadFrame { conn, error: FrameError::Oversize { kind, len } }),
            // A driver shows the front of large frames alone; here every other block is one.
            Some(_)
                if kind == Kind::NewBlock as u8 && payload.len() % 2 == 1 && self.is_skipped(conn, kind, &payload) => {}
            Some(_) => self.feed(Input::Frame { conn, frame: Frame { kind, payload: Payload::Given(payload) } }),
        }
    }

    fn is_skipped(&mut self, conn: ConnId, kind: u8, payload: &Bytes) -> bool {
        self.node.take_work();
        let start = FrameStart { conn, kind, len: payload.len(), head: payload };
        let begun = self.node.frame_begun(self.now, start);
        self.drain("the front of a frame");
        let spent = self.node.take_work() as usize;
        assert!(spent <= INPUT_WORK, "{spent} units of work for the front of a frame");
        begun == Begun::Skip
    }

    fn close(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(conn) = self.any(input)? else { return Ok(()) };
        let reset = CloseReason::Io(io::ErrorKind::ConnectionReset);
        let reasons = [CloseReason::RemoteClosed, reset, CloseReason::TruncatedFrame, CloseReason::WriteTimeout];
        let reason = *input.choose(&reasons)?;
        self.gone(conn, reason);
        Ok(())
    }

    /// The connection is gone: for the reason that the node gave, if it gave one.
    fn gone(&mut self, conn: ConnId, reason: CloseReason) {
        let reason = self.conns[&conn].closing.unwrap_or(reason);
        self.feed(Input::Closed { conn, reason });
        let known = self.conns.remove(&conn);
        assert!(known.is_some_and(|conn| !conn.ready), "the embedder was not told that a peer is gone");
    }

    fn pass(&mut self, wait: Duration) {
        self.now = Now { at: self.now.at + wait, unix: self.now.unix.plus(wait) };
        let mut ticks = 0;
        while self.node.deadline().is_some_and(|at| at <= self.now.at) {
            self.feed(Input::Tick);
            ticks += 1;
            assert!(ticks < 100, "ticks do not move the deadline {:?}", self.node.deadline());
        }
    }

    fn command(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let command = match input.int_in_range(0..=15)? {
            0 => Command::Connect(address(input)?),
            1 => Command::Disconnect(address(input)?),
            2 => Command::AddSeed(address(input)?),
            3 | 4 => Command::SubmitTransaction(say::transaction(input.int_in_range(0..=30)?)),
            5 => {
                let (side, height) = (input.int_in_range(0..=1)?, input.int_in_range(0..=39)?);
                Command::SubmitBlock(say::blocks()[side][height].clone())
            }
            6 => {
                let len = input.int_in_range(0..=60)?;
                let payload = Bytes::copy_from_slice(input.bytes(len.min(input.len()))?);
                Command::Gossip(*input.choose(Kind::ALL)?, payload)
            }
            7 => Command::Verdict(input.int_in_range(0..=40)?, Verdict::Known),
            8 if input.ratio(1, 8)? => {
                self.stopped = true;
                Command::Stop
            }
            9 => {
                let commands: [fn(PeerName) -> Command; 3] =
                    [Command::ConnectName, Command::DisconnectName, Command::AddSeedName];
                input.choose(&commands)?(name(input)?)
            }
            10 => {
                // Asked or not.
                let name = name(input)?;
                self.lookups.remove(&name);
                Command::Resolved(name, lookup(input)?)
            }
            11 | 12 => {
                let at = input.choose_index(self.lookups.len().max(1))?;
                let Some(name) = self.lookups.iter().nth(at).cloned() else { return Ok(()) };
                self.lookups.remove(&name);
                Command::Resolved(name, lookup(input)?)
            }
            _ => {
                let tickets = self.node.chain().tickets();
                let Some(ticket) = tickets.get(input.choose_index(tickets.len().max(1))?) else { return Ok(()) };
                let Some(verdict) = self.node.chain_mut().verdict(*ticket) else { return Ok(()) };
                Command::Verdict(*ticket, verdict)
            }
        };
        self.feed(Input::Command(command));
        Ok(())
    }

    /// A connection that may still be read from.
    fn live(&self, input: &mut Unstructured<'_>) -> Result<Option<ConnId>> {
        let live: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.closing.is_none()).map(|(id, _)| *id).collect();
        Ok(live.get(input.choose_index(live.len().max(1))?).copied())
    }

    fn any(&self, input: &mut Unstructured<'_>) -> Result<Option<ConnId>> {
        let at = input.choose_index(self.conns.len().max(1))?;
        Ok(self.conns.keys().nth(at).copied())
    }

    /// One input in, all outputs out; then everything must agree.
    fn feed(&mut self, input: Input<'_>) {
        let (now, text) = (self.now, format!("{input:?}"));
        let work = self.node.chain().best().work;
        let allowed = match &input {
            Input::Frame { frame, .. } => INPUT_WORK.saturating_add(frame.payload.len() / BYTES_PER_WORK),
            _ => INPUT_WORK,
        };
        self.node.take_work();
        self.node.handle(now, input);
        self.drain(&text);
        let spent = self.node.take_work() as usize;
        assert!(spent <= allowed, "{spent} units of work, {allowed} are allowed, for {text}");
        assert_eq!(self.node.chain().best().work.max(work), self.node.chain().best().work, "the chain lost work");
        let gone = usize::from(text.starts_with("Closed"));
        assert_eq!(self.node.session_count() + gone, self.conns.len(), "a session for each connection");
        assert_eq!(self.node.audit(), Ok(()), "after {text}");
    }

    /// All outputs out, each of them looked at.
    fn drain(&mut self, text: &str) {
        let most = 1_100 + 20 * self.node.session_count();
        let mut count = 0;
        while let Some(output) = self.node.poll_output() {
            count += 1;
            assert!(count <= most, "{count} outputs follow from {text}");
            self.look(output);
        }
    }

    fn look(&mut self, output: Output) {
        match output {
            Output::Dial { dial, address, timeout } => {
                assert!(!self.stopped, "a dial after the stop");
                assert!(timeout > Duration::ZERO);
                assert!(self.used_dials.insert(dial), "dial {dial:?} twice");
                assert!(!self.dials.values().any(|other| *other == address), "two dials to {address}");
                self.dials.insert(dial, address);
            }
            Output::Resolve { name } => {
                assert!(!self.stopped, "a lookup after the stop");
                assert!(self.lookups.insert(name), "a name is asked for once until it is answered");
            }
            Output::Send { conn, kind, payload, report, .. } => {
                let found = self.conns.get_mut(&conn).expect("something is sent to a connection that is there");
                assert!(found.closing.is_none(), "a {} after the close", kind.name());
                assert!(payload.len() <= kind.max_payload() as usize, "a {} that is too long", kind.name());
                if kind == Kind::Ping {
                    found.last_ping = Some(payload.clone());
                }
                self.sent.push_back((conn, kind, payload, report));
                if self.sent.len() > 32 {
                    self.sent.pop_front();
                }
            }
            Output::Rules { conn, rules } => {
                let found = self.conns.get_mut(&conn).expect("rules for a connection that is there");
                assert!(found.closing.is_none(), "rules after the close");
                found.rules = rules;
            }
            Output::CountReceived { conn } => {
                let found = self.conns.get(&conn).expect("a question about a connection that is there");
                assert!(found.closing.is_none(), "a question after the close");
            }
            Output::Close { conn, reason, drain, .. } => {
                // Only who said its last word itself is left with nothing to read.
                assert!(drain > Duration::ZERO || reason == CloseReason::RemoteClosed, "{reason:?} without a word");
                let found = self.conns.get_mut(&conn).expect("a close of a connection that is there");
                assert_eq!(found.closing.replace(reason), None, "a connection is closed once");
            }
            Output::Event(Event::PeerConnected { conn, node_id, .. }) => {
                assert_ne!(node_id, "peer-0", "a connection to itself");
                let found = self.conns.get_mut(&conn).expect("a peer has a connection");
                assert!(!found.ready, "a peer is announced once");
                found.ready = true;
            }
            Output::Event(Event::PeerDisconnected { conn, .. }) => {
                let found = self.conns.get_mut(&conn).expect("a peer has a connection");
                assert!(core::mem::take(&mut found.ready), "a peer leaves once");
            }
            Output::Hold { conn } | Output::Release { conn } => {
                let found = self.conns.get(&conn).expect("a word about a connection that is there");
                assert!(found.closing.is_none(), "a hold after the close");
            }
            Output::Event(_) | Output::SavePeers | Output::SaveBans => {}
        }
    }
}
