//! What attackers say: their introductions, and by role what no node would send.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Adversary, Role};
use crate::chain::{Header, Miner, Transaction};
use crate::time::{Instant, UnixTime};
use crate::wire::message::{Extension, GetHeaders, Handshake, Ping, TxPoolRequest};
use crate::wire::{Hash, Kind, Message};

/// How often an oscillator asks in a row, for one block or another thing: more than anybody may.
const IN_A_ROW: usize = 100;

/// Transactions that a pool filler sends in a second, at once when it has come, and in all: each goes to everybody and stays in
/// their books, and a run takes longer by that.
const FILL: usize = 4;
const FILL_FIRST: usize = 200;
const FILL_MAX: usize = 600;
/// The same of one who only wants to be thought well of.
const STANDING_MAX: usize = 120;

impl Adversary {
    pub(super) fn send_handshake(&mut self, key: u32, kind: Kind) {
        let node_id = match self.role {
            Role::Thief => format!("n{:05}", self.rng.below(self.targets.len() as u64)),
            Role::Squatter => format!("s{:05}-{key}", self.index),
            role if role.crowd() > 0 => format!("c{:05}-{key}", self.index),
            _ => format!("x{:05}", self.index),
        };
        let best_height =
            if matches!(self.role, Role::Liar | Role::Staller | Role::HighClaimer) { 1_000_000 } else { 0 };
        let extension = Extension {
            network: self.genesis,
            nonce: self.rng.next_u64(),
            // Where somebody of a crowd lives, nobody listens, unless it wants to be dialed.
            listening_port: if self.role.crowd() > 0 && self.listens().next().is_none() {
                0
            } else {
                self.address.port()
            },
            features: 0,
            best_height,
            best_hash: if self.role == Role::HighClaimer { Hash([key as u8; 32]) } else { Hash([9; 32]) },
            seen: None,
        };
        let handshake = Handshake {
            version: 2,
            unix_seconds: 0,
            node_id: &node_id,
            user_agent: "actor",
            extension: Some(extension),
        };
        let message = if kind == Kind::Handshake {
            Message::Handshake(handshake)
        } else {
            Message::HandshakeAck(Some(handshake))
        };
        self.say(key, &message);
    }

    pub(super) fn misbehave(&mut self, key: u32) {
        match self.role {
            Role::Mutator => {
                let Some((kind, mut payload)) = self.last_heard.clone() else { return };
                if let Some(at) = self.rng.index(payload.len()) {
                    payload[at] ^= 1 << self.rng.below(8);
                }
                self.say_bytes(key, kind, &payload);
            }
            Role::Spammer => {
                for _ in 0..20 {
                    let kind = self.rng.index(Kind::ALL.len()).and_then(|at| Kind::ALL.get(at).copied());
                    let len = self.rng.below(200) as usize;
                    let payload: Vec<u8> = (0..len).map(|_| self.rng.next_u64() as u8).collect();
                    if let Some(kind) = kind {
                        self.say_bytes(key, kind as u8, &payload);
                    }
                }
            }
            Role::Poisoner => self.poison(key),
            Role::Withholder => {
                let Some(tip) = self.tip else { return };
                let root = Hash([self.rng.next_u64() as u8; 32]);
                let header = Header { height: tip.height + 1, previous: tip.hash(), root, nonce: 0, ..tip };
                if let Some(header) = Miner::new(header).run(1 << 16) {
                    self.say(key, &Message::Headers(vec![&header.encode()]));
                }
            }
            Role::Trickle => self.trickle(key),
            Role::ZeroWindow => self.ask_without_reading(key),
            Role::Oscillator if self.bad => self.turn_on(key),
            Role::Oscillator => self.be_useful(key),
            Role::PoolFiller => self.fill(key),
            Role::BufferKeeper => self.keep_buffers(key),
            Role::HeaderThrasher => self.thrash(key),
            Role::Sibling | Role::HugeBlock => self.send_siblings(key),
            Role::SybilRestarter => self.earn_standing(key),
            Role::Silent
            | Role::Staller
            | Role::Liar
            | Role::Thief
            | Role::Flooder
            | Role::Squatter
            | Role::PendingHog
            | Role::HighClaimer
            | Role::RateSharer
            | Role::WebBreaker => {}
        }
    }

    /// Addresses where nobody is, and among them some of others: honest nodes, and a host that may be an attacker or not be there.
    pub(super) fn poison(&mut self, key: u32) {
        let [_, low, high, last] = match self.address.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let beside = SocketAddr::new(Ipv4Addr::new(45, low.wrapping_add(1), high, last).into(), self.address.port());
        let true_one = self.rng.index(self.targets.len()).and_then(|at| self.targets.get(at).copied());
        let some = true_one.into_iter().chain([beside]).filter(|_| self.rng.chance(1, 4)).collect::<Vec<_>>();
        let addresses = (0..200)
            .map(|_| {
                let bits = self.rng.next_u64();
                // A quarter of them of a family that nobody here has.
                let ip = if bits >> 62 == 0 {
                    IpAddr::V6(Ipv6Addr::from_bits(0x2a00 << 112 | u128::from(bits) << 48 | 1))
                } else {
                    IpAddr::V4(Ipv4Addr::from_bits(bits as u32 | 1 << 30))
                };
                SocketAddr::new(ip, 1 + self.rng.below(60_000) as u16)
            })
            .chain(some)
            .collect();
        self.say(key, &Message::Peers(addresses));
    }

    /// Whenever the last frame is out, the next one: a short one, or one so long that nobody should wait for its end.
    fn trickle(&mut self, key: u32) {
        if self.conns.get(&key).is_none_or(|conn| !conn.out.is_empty()) {
            return;
        }
        self.attacks.push("trickled frame");
        if self.rng.chance(1, 8) {
            self.pay(key, 1000);
        } else {
            self.ping(key);
        }
    }

    /// Answers pile up at whoever gives them.
    fn ask_without_reading(&mut self, key: u32) {
        if let Some(hash) = self.wanted {
            for _ in 0..8 {
                self.say(key, &Message::GetBlock(hash));
            }
        }
        self.ask_for_headers(key);
        self.ping(key);
        if self.rng.chance(1, 20) {
            self.say(key, &Message::TxPoolRequest(TxPoolRequest { max: 50_000, include_data: true }));
        }
    }

    /// Something useful now and then: that is how a reputation is made.
    fn be_useful(&mut self, key: u32) {
        if self.rng.chance(1, 40) {
            self.pay(key, 8);
        }
    }

    /// A few transactions that cost nothing, so that it looks like a good peer.
    fn earn_standing(&mut self, key: u32) {
        if self.filled < STANDING_MAX && self.rng.chance(1, 4) {
            self.filled += 1;
            self.pay(key, 8);
            self.attacks.push("standing earned");
        }
    }

    /// All that it may send within a second, of what is passed on; at first what the answer to a question for its pool may bring.
    fn fill(&mut self, key: u32) {
        let first = self.conns.get_mut(&key).is_some_and(|conn| !core::mem::replace(&mut conn.filled, true));
        let count = if first { FILL_FIRST } else { FILL }.min(FILL_MAX.saturating_sub(self.filled));
        self.filled += count;
        (0..count).for_each(|_| self.pay(key, 8));
        if first {
            self.attacks.push("filled pool");
        }
        if first || self.rng.chance(1, 4) {
            let word = self.rng.next_u64().to_le_bytes();
            self.say(key, &Message::NewChallenge(&word));
        }
    }

    /// Breaks the rules by which it lived until now.
    fn turn_on(&mut self, key: u32) {
        match (self.rng.below(16), self.wanted) {
            (0..8, Some(hash)) => (0..IN_A_ROW).for_each(|_| self.say(key, &Message::GetBlock(hash))),
            (8..11, _) => (0..IN_A_ROW).for_each(|_| self.ping(key)),
            (11..14, _) => (0..IN_A_ROW).for_each(|_| self.ask_for_headers(key)),
            (14, _) => self.say_bytes(key, Kind::Block as u8, &[7; 200]),
            _ => self.say_bytes(key, Kind::Transaction as u8, &[7; 200]),
        }
    }

    /// Good for half a minute or more, bad for some seconds.
    pub(super) fn oscillate(&mut self, now: Instant) {
        if self.role != Role::Oscillator || self.changes > now {
            return;
        }
        let (first, bad) = (self.changes == Instant::ZERO, self.bad);
        self.bad = !first && !bad;
        if self.bad {
            self.attacks.push("oscillator turns bad");
        }
        let seconds = if self.bad { 3 + self.rng.below(8) } else { 20 + self.rng.below(40) };
        self.changes = now + Duration::from_secs(seconds);
    }

    fn ask_for_headers(&mut self, key: u32) {
        let question = GetHeaders { locator: self.genesis, max: 2000, stop: None, more: None };
        self.say(key, &Message::GetHeaders(question));
    }

    fn ping(&mut self, key: u32) {
        let nonce = self.rng.next_u64() as i64;
        self.say(key, &Message::Ping(Ping { nonce, unix_millis: 0 }));
    }

    /// A transfer that any node takes, to a name of so many bytes.
    pub(super) fn pay(&mut self, key: u32, len: usize) {
        let nonce = self.rng.next_u64();
        self.transfer(key, &"x".repeat(len), nonce);
    }

    /// A transfer to this name: with the same number, the same one.
    pub(super) fn transfer(&mut self, key: u32, recipient: &str, nonce: u64) {
        let sender = format!("x{:05}", self.index);
        let transfer = Transaction { sender: &sender, recipient, amount: 1, time: UnixTime::from_millis(0), nonce };
        if let Ok(bytes) = transfer.encode() {
            self.say_bytes(key, Kind::Transaction as u8, &bytes);
        }
    }
}
