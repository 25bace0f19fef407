//! One engine under test, scripted peers, a clock that jumps from event to event.

use bytes::Bytes;
use core::time::Duration;
use spacetime_network::close::CloseReason;
use spacetime_network::id::ConnId;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::sync::{DeepBranch, SyncConfig, SyncManager, SyncOutput, answer_get_headers};
use spacetime_network::rng::Rng;
use spacetime_network::source::Source;
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::Extension;
use spacetime_network::wire::{Hash, Kind, Message};
use std::collections::BTreeMap;

use crate::toy::{HEADER_LEN, Toy};

/// How a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Honest,
    /// Tells headers, never delivers a block.
    Withholds,
    /// Delivers all blocks but one of so many.
    Keeps(u8),
    /// Never answers anything.
    Silent,
    /// Says that it has no block it is asked for.
    NotFound,
    /// Delivers blocks with changed bodies.
    Mutates,
    /// Loses every so manieth answer (per cent).
    Drops(u64),
}

#[derive(Clone)]
pub struct Remote {
    pub chain: Toy,
    pub version: u8,
    pub features: u64,
    pub latency: Duration,
    /// Time between two blocks that it sends.
    pub each: Duration,
    pub habit: Habit,
}

impl Remote {
    pub fn honest(chain: &Toy) -> Self {
        Remote {
            chain: chain.clone(),
            version: 2,
            features: Extension::WAITS_WITH_ANSWERS,
            latency: Duration::from_millis(50),
            each: Duration::ZERO,
            habit: Habit::Honest,
        }
    }

    pub fn version_1(chain: &Toy) -> Self {
        Remote { version: 1, features: 0, ..Remote::honest(chain) }
    }

    pub fn with(chain: &Toy, habit: Habit) -> Self {
        Remote { habit, ..Remote::honest(chain) }
    }
}

#[derive(Clone, Debug)]
pub enum Answer {
    Headers(Vec<Bytes>),
    Block(Bytes),
    NotFound(Hash),
}

pub struct World {
    pub now: Now,
    pub sync: SyncManager,
    pub chain: Toy,
    pub remotes: BTreeMap<ConnId, Remote>,
    queue: BTreeMap<(Instant, u64), (ConnId, Answer)>,
    serial: u64,
    /// A block that takes so much longer to come than others.
    pub large: Option<(Hash, Duration)>,
    /// When the last block that a peer sends has arrived.
    free: BTreeMap<ConnId, Instant>,
    rng: Rng,
    pub closed: Vec<(ConnId, CloseReason)>,
    pub slow: Vec<ConnId>,
    pub useful: BTreeMap<ConnId, u32>,
    /// How often each block was asked for.
    pub asked: BTreeMap<Hash, u32>,
    pub asked_of: BTreeMap<ConnId, u32>,
    pub header_questions: BTreeMap<ConnId, u32>,
    pub progress: Vec<(u64, u64)>,
    /// What was said of long branches: who told it, where it leaves ours, up to where it was told, what became of it.
    pub branches: Vec<(ConnId, u64, u64, DeepBranch)>,
    /// Who told headers whose time has not come.
    pub early: Vec<ConnId>,
    pub most_held: (usize, usize),
    /// Every output with its time.
    pub trace: Vec<String>,
}

pub fn conn(n: u32) -> ConnId {
    ConnId::new(n, 0)
}

impl World {
    pub fn new(chain: Toy) -> Self {
        World::configured(chain, SyncConfig::default())
    }

    pub fn configured(chain: Toy, config: SyncConfig) -> Self {
        World {
            now: Now { at: Instant::from_millis(1000), unix: UnixTime::from_secs(1_700_000_000) },
            sync: SyncManager::new(config),
            chain,
            remotes: BTreeMap::new(),
            queue: BTreeMap::new(),
            serial: 0,
            large: None,
            free: BTreeMap::new(),
            rng: Rng::from_seed(1),
            closed: Vec::new(),
            slow: Vec::new(),
            useful: BTreeMap::new(),
            asked: BTreeMap::new(),
            asked_of: BTreeMap::new(),
            header_questions: BTreeMap::new(),
            progress: Vec::new(),
            branches: Vec::new(),
            early: Vec::new(),
            most_held: (0, 0),
            trace: Vec::new(),
        }
    }

    pub fn connect(&mut self, n: u32, remote: Remote) -> ConnId {
        let (conn, version, best) = (conn(n), remote.version, remote.chain.best());
        let remote_features = remote.features;
        self.remotes.insert(conn, remote);
        let best = (version >= 2).then_some((best.height, best.hash));
        let address = format!("10.0.{}.1", conn.index() % 250).parse().unwrap();
        let source = Source::peer(address, false);
        self.sync.peer_ready(self.now, conn, (version, remote_features, source), best, &self.chain);
        self.drain();
        conn
    }

    pub fn disconnect(&mut self, conn: ConnId) {
        self.remotes.remove(&conn);
        self.sync.peer_gone(self.now, conn, &self.chain);
        self.drain();
    }

    pub fn announce(&mut self, conn: ConnId, height: Option<u64>, hash: Option<Hash>) {
        self.sync.peer_announced(self.now, conn, height, hash, &self.chain);
        self.drain();
    }

    /// Hands something to the engine as `conn` would send it. Answers why the engine closes that connection for it, if it does.
    pub fn deliver(&mut self, conn: ConnId, answer: Answer) -> Result<(), CloseReason> {
        let before = self.closed.len();
        match answer {
            Answer::Headers(headers) => {
                let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_ref()).collect();
                self.sync.handle_headers(self.now, conn, &headers, &self.chain)
            }
            Answer::Block(block) => self.sync.handle_block(self.now, conn, block, &mut self.chain),
            Answer::NotFound(hash) => self.sync.handle_not_found(self.now, conn, hash, &self.chain),
        }
        self.drain();
        let closed = self.closed.iter().skip(before).find(|(closed, _)| *closed == conn);
        closed.map_or(Ok(()), |(_, reason)| Err(*reason))
    }

    /// Lets time pass until nothing is left to happen, or until `seconds` have passed.
    pub fn run(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    /// Lets time pass until our chain is as good as `theirs`, two minutes at most; how much it was, to ten milliseconds.
    pub fn time_to(&mut self, theirs: &Toy) -> Duration {
        let start = self.now.at;
        while self.chain.best() != theirs.best() && self.now.at.since(start) < Duration::from_secs(120) {
            let end = self.now.at + Duration::from_millis(10);
            self.run_for(Duration::from_millis(10));
            self.advance_to(end);
        }
        self.now.at.since(start)
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.at + time;
        let mut ticks_at_once = 0;
        loop {
            let event = self.queue.keys().next().copied();
            let tick = self.sync.deadline();
            let Some(next) = event.map(|(at, _)| at).into_iter().chain(tick).min() else { break };
            if next > end {
                self.advance_to(end);
                break;
            }
            ticks_at_once = if next > self.now.at { 0 } else { ticks_at_once + 1 };
            assert!(ticks_at_once < 20_000, "the engine spins at {:?}", self.now.at);
            self.advance_to(next);
            match event {
                Some(key) if key.0 <= next => {
                    let (conn, answer) = self.queue.remove(&key).unwrap();
                    if self.remotes.contains_key(&conn) {
                        let _ = self.deliver(conn, answer);
                    }
                }
                _ => {
                    let submitted = self.chain.submitted;
                    self.sync.handle_tick(self.now, &mut self.chain);
                    self.drain();
                    let (next, moved) = (self.sync.deadline(), self.chain.submitted > submitted);
                    assert!(moved || next.is_none_or(|at| at > self.now.at), "a tick leaves its deadline");
                }
            }
        }
    }

    /// Lets exactly `seconds` pass.
    pub fn live(&mut self, seconds: u64) {
        let end = self.now.at + Duration::from_secs(seconds);
        self.run(seconds);
        self.advance_to(end);
    }

    pub fn pass(&mut self, seconds: u64) {
        self.advance_to(self.now.at + Duration::from_secs(seconds));
    }

    pub fn pass_millis(&mut self, millis: u64) {
        self.advance_to(self.now.at + Duration::from_millis(millis));
    }

    fn advance_to(&mut self, at: Instant) {
        let at = at.max(self.now.at);
        self.now.unix = self.now.unix.plus(at.since(self.now.at));
        self.now.at = at;
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.sync.poll_output() {
            self.trace.push(format!("{:?} {output:?}", self.now.at));
            match output {
                SyncOutput::Send { conn, kind, payload } => self.serve(conn, kind, &payload),
                SyncOutput::Close { conn, reason } => {
                    self.closed.push((conn, reason));
                    self.remotes.remove(&conn);
                    self.sync.peer_gone(self.now, conn, &self.chain);
                }
                SyncOutput::Accepted { hash, .. } => assert!(self.chain.position(&hash).is_some()),
                SyncOutput::Useful { conn } => *self.useful.entry(conn).or_default() += 1,
                SyncOutput::Slow { conn } => self.slow.push(conn),
                SyncOutput::Early { conn } => self.early.push(conn),
                SyncOutput::DeepBranch { conn, fork, height, news } => self.branches.push((conn, fork, height, news)),
                SyncOutput::Progress { height, target } => self.progress.push((height, target)),
            }
        }
        // It counts all headers.
        if self.trace.len().is_multiple_of(16.max(self.sync.held().0 / 8)) {
            assert_eq!(self.sync.audit(), Ok(()));
        }
        let (headers, bytes) = self.sync.held();
        self.most_held = (self.most_held.0.max(headers), self.most_held.1.max(bytes));
    }

    fn serve(&mut self, conn: ConnId, kind: Kind, payload: &[u8]) {
        let message = Message::decode(kind, payload).unwrap();
        match &message {
            Message::GetHeaders(_) => *self.header_questions.entry(conn).or_default() += 1,
            Message::GetBlock(hash) => {
                *self.asked.entry(*hash).or_default() += 1;
                *self.asked_of.entry(conn).or_default() += 1;
            }
            Message::GetBlocks(hashes) => {
                let remote = self.remotes.get(&conn).expect("asked a connection that is gone");
                assert!(remote.features & Extension::SERVES_RUNS != 0, "{conn} does not know the word");
                // Each is a question of its own, and has an answer of its own here.
                let one = |hash: &Hash| Message::GetBlock(*hash).to_payload().unwrap();
                return hashes.iter().for_each(|hash| self.serve(conn, Kind::GetBlock, &one(hash)));
            }
            other => panic!("the engine never sends {other:?}"),
        }
        let asked = if let Message::GetBlock(hash) = &message { Some(*hash) } else { None };
        let Some(remote) = self.remotes.get(&conn) else { panic!("asked a connection that is gone") };
        let answer = match (message, remote.habit) {
            (_, Habit::Silent) => None,
            (_, Habit::Drops(percent)) if self.rng.chance(percent, 100) => None,
            (Message::GetHeaders(request), _) => {
                assert!(remote.version >= 2 || request.more.is_none(), "version 1 has no locator tail");
                Some(Answer::Headers(answer_get_headers(&remote.chain, &request)))
            }
            (Message::GetBlock(_), Habit::Withholds) => None,
            (Message::GetBlock(hash), Habit::Keeps(of)) if hash.0[31] % of == 0 => None,
            (Message::GetBlock(hash), Habit::NotFound) => Some(Answer::NotFound(hash)),
            (Message::GetBlock(hash), habit) => match remote.chain.block(&hash) {
                Some(block) if habit == Habit::Mutates => {
                    Some(Answer::Block([&block[..HEADER_LEN], b"something else"].concat().into()))
                }
                Some(block) => Some(Answer::Block(block)),
                None => (remote.version >= 2).then_some(Answer::NotFound(hash)),
            },
            _ => None,
        };
        if let Some(answer) = answer {
            let mut at = self.now.at + remote.latency;
            if matches!(answer, Answer::Block(_)) {
                let free = self.free.entry(conn).or_insert(Instant::ZERO);
                at = at.max(*free) + remote.each;
                *free = at;
                if let Some((_, longer)) = self.large.filter(|(hash, _)| asked == Some(*hash)) {
                    at = at + longer;
                }
            }
            self.queue.insert((at, self.serial), (conn, answer));
            self.serial += 1;
        }
    }

    /// Seconds since the start.
    pub fn elapsed(&self) -> u64 {
        self.now.at.since(Instant::from_millis(1000)).as_secs()
    }

    pub fn headers_of(&self, chain: &Toy, from: usize, to: usize) -> Vec<Bytes> {
        (from..=to).map(|height| chain.block(&chain.at(height)).unwrap().slice(..HEADER_LEN)).collect()
    }
}
