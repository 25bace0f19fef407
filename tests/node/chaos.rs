//! Many seeds of trouble: nodes mine, restart and lose each other among strangers that say anything in any order.
//!
//! The table checks at every step that nothing panics or spins, that one input leads to few outputs, that nothing is sent
//! after a close, twice, or back to its sender, and that no node holds anything against another one. When the trouble ends,
//! everyone must find together on the heaviest chain.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::block::HEADER_LEN;
use spacetime_network::chain::{Header, Miner, Transaction};
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Event};
use spacetime_network::rng::Rng;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{BlockAccepted, GetHeaders, GetPeers, Heartbeat, Ping, ProofSubmission};
use spacetime_network::wire::message::{Extension, Handshake, TxPoolRequest};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{Stranger, World};

/// Runs in one test: some seconds without optimisation.
const SEEDS: u64 = 16;
const STEPS: usize = 120;
/// How far a block's time may be ahead.
const TWO_HOURS: Duration = Duration::from_secs(2 * 3600);
/// How long everyone may take to find together again; the back-off of dials is what takes longest.
const HEALING: Duration = Duration::from_secs(15 * 60);

struct Chaos {
    world: World,
    rng: Rng,
    nodes: Vec<usize>,
    strangers: Vec<Stranger>,
    /// Blocks that were made, published or not, and some that only look like it.
    blocks: Vec<Bytes>,
    /// Headers without blocks, each on the one before.
    bare: Vec<Bytes>,
    count: u64,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut world = World::new();
        let count = 4 + rng.below(5);
        let nodes = (0..count)
            .map(|i| {
                let version = if rng.chance(1, 5) { 1 } else { 2 };
                world.node(&format!("node-{i}"), &format!("10.{i}.0.1:8333"), |config| {
                    config.allow_private = true;
                    config.version = version;
                    config.seeds = (0..i.min(2)).map(|s| format!("10.{s}.0.1:8333").parse().unwrap()).collect();
                })
            })
            .collect();
        // In half of the runs, nodes are slow, full or clumsy as well.
        #[cfg(feature = "sim")]
        if seed % 2 == 1 {
            for node in 0..count as usize {
                world.buggify(node, spacetime_network::buggify::Buggify::new(seed * 100 + node as u64));
            }
        }
        // Some of what the strangers tell of leads to more of them.
        world.traps = Some(|address| address.port() <= 2);
        Chaos { world, rng, nodes, strangers: Vec::new(), blocks: Vec::new(), bare: Vec::new(), count: 0 }
    }

    fn any_node(&mut self) -> usize {
        let index = self.rng.index(self.nodes.len()).unwrap();
        self.nodes[index]
    }

    fn any_hash(&mut self) -> Hash {
        match self.rng.below(4) {
            0 => Hash([self.rng.next_u64() as u8; 32]),
            1 => {
                let node = self.any_node();
                let locator = self.world.get(node).chain().locator();
                locator[self.rng.index(locator.len()).unwrap()]
            }
            _ => {
                let node = self.any_node();
                let block = self.any_block();
                let chain = self.world.get(node).chain();
                chain.check_block_header(self.world.now.unix, &block).map_or(Hash([9; 32]), |info| info.hash)
            }
        }
    }

    fn any_block(&mut self) -> Bytes {
        match self.rng.index(self.blocks.len()) {
            Some(index) if !self.rng.chance(1, 4) => self.blocks[index].clone(),
            _ => {
                let node = self.any_node();
                self.count += 1;
                let block = self.world.block_on(node, &format!("eve-{}", self.count));
                self.blocks.push(block.clone());
                block
            }
        }
    }

    /// A header with work on top of a node's tip or of the last one of its kind; nobody has its block.
    fn bare_header(&mut self) -> Bytes {
        let last = self.bare.last().filter(|_| self.rng.chance(3, 4)).cloned();
        let below = last.unwrap_or_else(|| self.any_block());
        let Some(parent) = Header::decode(&below[..HEADER_LEN]) else { return below };
        let header = Header {
            height: parent.height + 1,
            previous: parent.hash(),
            root: Hash([self.rng.next_u64() as u8; 32]),
            time: self.world.now.unix,
            ..parent
        };
        let header = Bytes::copy_from_slice(&Miner::new(header).run(u64::MAX).unwrap().encode());
        self.bare.push(header.clone());
        header
    }

    fn transaction(&mut self) -> Bytes {
        self.count += 1;
        let time = UnixTime::from_millis(1_800_000_000_000);
        let nonce = self.count;
        Transaction { sender: "ann", recipient: "bob", amount: 5, time, nonce }.encode().unwrap()
    }

    fn step(&mut self) {
        let node = self.any_node();
        match self.rng.below(20) {
            0 | 1 if self.world.next_block_ahead(node) <= TWO_HOURS => {
                self.world.mine(node);
            }
            0..=2 => {
                let transaction = self.transaction();
                self.world.command(node, Command::SubmitTransaction(transaction));
            }
            3 => self.world.cut_all(node),
            4 => self.world.restart(node),
            5 => {
                let cut = self.rng.next_u64();
                self.world.wall(|party| (cut >> (party % 64)) & 1);
            }
            6 => self.world.unwall(),
            7..=9 => self.newcomer(node),
            10 => {
                if let Some(index) = self.rng.index(self.strangers.len()) {
                    let stranger = self.strangers.swap_remove(index);
                    self.world.hang_up(stranger);
                }
            }
            11 => {
                // Some blocks are too early for a clock that goes back, none for the right one.
                let millis = self.rng.below(10_000_000) as i64 - 3_600_000;
                self.world.set_wall_clock(millis);
            }
            12 => {
                let millis = self.rng.below(60_000);
                self.world.advance(Duration::from_millis(millis));
            }
            13 | 14 => {
                let millis = self.rng.below(1_000);
                self.world.advance(Duration::from_millis(millis));
            }
            _ => self.talk(),
        }
        assert_eq!(self.world.quarrels, [], "an honest node is blamed");
    }

    fn newcomer(&mut self, node: usize) {
        if let Some(dialed) = self.world.trapped.pop() {
            self.strangers.push(dialed);
            return self.introduce(dialed, true);
        }
        let (a, b, port) = (self.rng.below(4), self.rng.below(30), 1 + self.rng.below(60_000));
        let Some(stranger) = self.world.stranger(node, &format!("77.{a}.{b}.1:{port}")) else { return };
        self.strangers.push(stranger);
        self.introduce(stranger, false);
    }

    /// Says who it is, if it does: anybody.
    fn introduce(&mut self, stranger: Stranger, dialed: bool) {
        if self.rng.chance(1, 10) {
            return;
        }
        if dialed && self.rng.chance(1, 6) {
            return self.world.say(stranger, &Message::HandshakeAck(None));
        }
        let id = match self.rng.below(3) {
            0 => format!("node-{}", self.rng.below(self.nodes.len() as u64)),
            _ => format!("eve-{}", self.rng.below(1000)),
        };
        let version = self.rng.below(5) as i32;
        let best_hash = self.any_hash();
        let extension = (self.rng.chance(3, 4)).then(|| Extension {
            network: Hash::ZERO,
            nonce: self.rng.next_u64(),
            listening_port: self.rng.below(3) as u16,
            features: self.rng.next_u64(),
            best_height: self.rng.next_u64() >> self.rng.below(64),
            best_hash,
            seen: None,
        });
        let user_agent = "chaos/1";
        let handshake = Handshake { version, unix_seconds: i64::MAX, node_id: &id, user_agent, extension };
        let message = if dialed { Message::HandshakeAck(Some(handshake)) } else { Message::Handshake(handshake) };
        self.world.say(stranger, &message);
    }

    fn talk(&mut self) {
        let Some(index) = self.rng.index(self.strangers.len()) else { return };
        let stranger = self.strangers[index];
        if self.rng.chance(1, 2) {
            self.answer(stranger);
        }
        for _ in 0..1 + self.rng.below(6) {
            self.say_anything(stranger);
        }
    }

    /// Answers what it was asked, well or badly or not at all.
    fn answer(&mut self, stranger: Stranger) {
        while let Some((kind, payload)) = self.world.hear(stranger) {
            let honest = self.rng.chance(1, 2);
            match Message::decode(kind, &payload) {
                Ok(Message::Ping(ping)) => self.world.say(stranger, &Message::Pong(ping)),
                Ok(Message::GetHeaders(_)) if honest => self.say_headers(stranger),
                Ok(Message::GetHeaders(_)) => self.world.say(stranger, &Message::Headers(vec![])),
                Ok(Message::GetBlock(hash)) if honest => {
                    let is_it = |block: &&Bytes| Header::decode(&block[..HEADER_LEN]).is_some_and(|h| h.hash() == hash);
                    let block = self.blocks.iter().find(is_it).cloned();
                    match block {
                        Some(block) => self.world.say(stranger, &Message::Block(&block)),
                        None => self.world.say(stranger, &Message::NotFound(hash)),
                    }
                }
                _ => {}
            }
        }
    }

    fn say_headers(&mut self, stranger: Stranger) {
        let headers: Vec<Bytes> = if self.rng.chance(1, 2) {
            (0..self.rng.below(5)).map(|_| self.bare_header()).collect()
        } else {
            (0..self.rng.below(3)).map(|_| self.any_block().slice(..HEADER_LEN)).collect()
        };
        self.world.say(stranger, &Message::Headers(headers.iter().map(|header| header.as_ref()).collect()));
    }

    fn say_anything(&mut self, stranger: Stranger) {
        let number = self.rng.next_u64() >> self.rng.below(64);
        let signed = number as i64;
        let flip = self.rng.chance(1, 8);
        match self.rng.below(17) {
            0 => {
                let node_id = format!("node-{}", self.rng.below(8));
                let status = Heartbeat::Status { chain_length: signed.saturating_abs(), node_id: &node_id };
                self.world.say(stranger, &Message::Heartbeat(status));
            }
            1 => self.world.say(stranger, &Message::Ping(Ping { nonce: signed, unix_millis: signed })),
            2 => self.world.say(stranger, &Message::Pong(Ping { nonce: signed, unix_millis: signed })),
            3 => self.world.say(stranger, &Message::GetPeers(GetPeers::All)),
            4 => {
                let addresses = (0..self.rng.below(20)).map(|_| {
                    let (a, b) = (self.rng.below(250), self.rng.below(250));
                    format!("88.{a}.{b}.1:{}", 1 + number % 6).parse().unwrap()
                });
                let addresses = addresses.collect();
                self.world.say(stranger, &Message::Peers(addresses));
            }
            5 => {
                let locator = self.any_hash();
                let more = flip.then(|| (0..self.rng.below(60)).map(|_| Hash([number as u8; 32])).collect());
                let max = 1 + (number % 2000) as u32;
                self.world.say(stranger, &Message::GetHeaders(GetHeaders { locator, stop: None, max, more }));
            }
            6 => self.say_headers(stranger),
            7 => {
                let hash = self.any_hash();
                self.world.say(stranger, &Message::GetBlock(hash));
            }
            8 => {
                let block = self.any_block();
                self.world.say(stranger, &Message::Block(&block));
            }
            9 => {
                let hash = self.any_hash();
                self.world.say(stranger, &Message::NotFound(hash));
            }
            10 => {
                let mut block = self.any_block().to_vec();
                if flip {
                    let at = self.rng.index(block.len()).unwrap();
                    block[at] ^= 1;
                }
                self.world.say(stranger, &Message::NewBlock(&block));
            }
            11 => {
                let transaction = self.transaction();
                self.world.say(stranger, &Message::Transaction(&transaction));
            }
            12 => {
                let request = TxPoolRequest { max: 1 + (number % 100_000) as u32, include_data: flip };
                self.world.say(stranger, &Message::TxPoolRequest(request));
            }
            13 => {
                for _ in 0..=number % 20 {
                    let text = self.rng.next_u64().to_le_bytes();
                    self.world.say(stranger, &Message::NewChallenge(&text));
                }
            }
            14 => {
                let proof = ProofSubmission { height: signed.unsigned_abs() >> 1, miner: [2; 33], proof: &[1, 2, 3] };
                self.world.say(stranger, &Message::ProofSubmission(proof));
            }
            15 => {
                let hash = self.any_hash();
                let height = signed.unsigned_abs() >> 1;
                self.world.say(stranger, &Message::BlockAccepted(BlockAccepted { hash, height }));
            }
            _ => {
                let kind = Kind::ALL[self.rng.index(Kind::ALL.len()).unwrap()];
                let length = self.rng.below(80) as usize;
                let bytes: Vec<u8> = (0..length).map(|_| self.rng.next_u64() as u8).collect();
                self.world.say_raw(stranger, kind as u8, Bytes::from(bytes));
            }
        }
    }

    /// No more trouble; everyone gets time.
    fn heal(&mut self) {
        self.world.traps = None;
        let trapped = std::mem::take(&mut self.world.trapped);
        for stranger in std::mem::take(&mut self.strangers).into_iter().chain(trapped) {
            self.world.hang_up(stranger);
        }
        self.world.unwall();
        self.world.set_wall_clock(0);
        // Where blocks are from hours when the clock was ahead, time has gone on until the next one may come.
        let ahead = self.nodes.iter().map(|node| self.world.next_block_ahead(*node)).max().unwrap();
        self.world.set_wall_clock(i64::try_from(ahead.as_millis()).unwrap());
        self.world.advance(HEALING);
        // Two branches of the same work are both right; the next block decides.
        let hash = self.world.mine(self.nodes[0]);
        self.world.advance(Duration::from_secs(60));
        assert_eq!(self.world.quarrels, []);
        let most = self.nodes.iter().map(|node| self.world.get(*node).chain().best().work).max().unwrap();
        for node in self.nodes.clone() {
            let state = self.world.get(node);
            assert_eq!(state.chain().best().work, most, "node {node} is behind");
            assert_eq!(state.chain().best().hash, hash, "node {node} is elsewhere");
            assert!(!state.sync_target().1, "node {node} still looks for something");
            let twice = state.chain().pool().ids().find(|id| state.chain().transaction_block(id).is_some());
            assert_eq!(twice, None, "node {node} holds a transaction in its pool and in its chain");
            assert!(state.connected().count() >= 2, "node {node} is lonely");
            let banned = |event: &Event| matches!(event, Event::Blacklisted { remote, .. } if remote.ip().to_string().starts_with("10."));
            assert_eq!(self.world.count(node, banned), 0);
        }
    }
}

#[test]
fn nodes_among_strangers_and_accidents_stay_friends_and_find_together() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut chaos = Chaos::new(seed);
            (0..STEPS).for_each(|_| chaos.step());
            chaos.heal();
        });
        assert!(outcome.is_ok(), "seed {seed} fails");
    }
}
