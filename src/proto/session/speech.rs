//! How we speak with one peer: which dialect it has shown, and what follows from that for what it is sent and how fast.
//!
//! Version 2 has one dialect and no policy here. A version 1 peer's dialect is unknown until shown, and holds from then on. A later
//! revision of the C# library takes so many messages of its relay and bans whoever sends more, answers pings by pings, and knows
//! no challenges: `wire::protocol`, section 9. Who is unknown may be one of these, and gets no more than they take.

use core::time::Duration;
use std::collections::VecDeque;

use crate::proto::budget::{FLOOD_FACTOR, MessageRates};
use crate::rate::{Pace, Rate};
use crate::time::Instant;
use crate::wire::dialect::{Dialect, Meaning, ReadError};
use crate::wire::message::Message;
use crate::wire::{FrameRules, Hash, Kind};

/// What the relay of a later revision takes at once. It gets back ten a second, and we use eight of them.
const RELAY_AT_ONCE: u32 = 100;
/// Above that may go the newest tip and its acceptance, for which nothing else can stand: less than the five in a row for which it
/// bans.
const RELAY_OVERDRAWN: u32 = 2;
const RELAY: Rate = Rate::per_second(8, RELAY_AT_ONCE + RELAY_OVERDRAWN);
/// Places that transactions leave to proofs and blocks: more than a stranger's proofs use at once.
const RELAY_LEFT_BY_TRANSACTIONS: u32 = 20;
/// Pongs of ours whose echo is still to come, and for how long it is expected.
const ECHOES_MAX: usize = 256;
const ECHO_KEPT: Duration = Duration::from_secs(60);

/// What a peer is told of a block's acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Acceptances {
    /// What others say of it is passed on, be it true or not.
    AsSaid,
    /// Only blocks that we hold, our own tip among them.
    OfOurs,
    /// It has no word for them.
    Never,
}

/// How we speak with one peer.
#[derive(Clone, Debug)]
pub(in crate::proto) struct Speech {
    dialect: Dialect,
    /// It has pinged, so that it may be.
    pings: bool,
    /// What it may still be sent of what its relay counts.
    relay: Pace,
    /// More pings than these are a flood, whoever it is: no revision of the library pings so often.
    ping_flood: Option<Pace>,
    /// Nonces of pongs of ours, oldest first, each of which it answers by a ping.
    echoes: VecDeque<(i64, Instant)>,
}

impl Speech {
    /// With a peer in whose version we speak.
    pub(in crate::proto) fn new(version: u8, rates: &MessageRates) -> Self {
        Speech::of(Dialect::of_version(version), rates)
    }

    /// With one that speaks without an introduction, as parts of the later revisions do.
    pub(in crate::proto) fn unintroduced(rates: &MessageRates) -> Self {
        Speech::of(Dialect::Later, rates)
    }

    fn of(dialect: Dialect, rates: &MessageRates) -> Self {
        let ping_flood = rates.get(Kind::Ping, false).map(|rate| Pace::new(rate.times(FLOOD_FACTOR)));
        Speech {
            dialect,
            pings: false,
            relay: Pace::new(RELAY),
            ping_flood: ping_flood.filter(|_| dialect.is_version_1()),
            echoes: VecDeque::new(),
        }
    }

    /// Is version 1 in force?
    pub(in crate::proto) fn is_version_1(&self) -> bool {
        self.dialect.is_version_1()
    }

    /// Which frames it may send, as far as its dialect decides.
    pub(in crate::proto) fn rules(&self) -> &'static FrameRules {
        self.dialect.rules()
    }

    /// Reads a frame of its.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(in crate::proto) fn read<'a>(&self, byte: u8, payload: &'a [u8]) -> Result<Meaning<'a>, ReadError> {
        self.dialect.read(byte, payload)
    }

    /// It said this. True when we know by that how it speaks, and did not before.
    pub(in crate::proto) fn note(&mut self, message: &Message<'_>) -> bool {
        self.pings |= matches!(message, Message::Ping(_));
        let after = self.dialect.after(message);
        core::mem::replace(&mut self.dialect, after) != after
    }

    /// Under which type byte it reads a message; `None` when it must not be sent.
    pub(in crate::proto) fn type_byte(&self, kind: Kind, payload: &[u8]) -> Option<u8> {
        self.dialect.type_byte(kind, payload)
    }

    /// May an object of this kind wait for it, although it cannot be sent yet: its dialect may still show that it knows the kind?
    pub(in crate::proto) fn may_come_to_know(&self, kind: Kind) -> bool {
        self.dialect == Dialect::Unknown && matches!(kind, Kind::NewChallenge | Kind::ProofSubmission)
    }

    /// Does it know a kind that is passed on, and is this one fit for it?
    pub(in crate::proto) fn takes(&self, kind: Kind, payload: &[u8], holds: impl FnOnce(&Hash) -> bool) -> bool {
        if self.type_byte(kind, payload).is_none() {
            return false;
        }
        match (kind, self.acceptances()) {
            (Kind::BlockAccepted, Acceptances::OfOurs) => {
                let accepted = Message::decode(kind, payload);
                matches!(accepted, Ok(Message::BlockAccepted(accepted)) if holds(&accepted.hash))
            }
            _ => true,
        }
    }

    /// What it is told of acceptances.
    pub(in crate::proto) fn acceptances(&self) -> Acceptances {
        match self.dialect {
            Dialect::Current => Acceptances::AsSaid,
            Dialect::Later => Acceptances::OfOurs,
            Dialect::Unknown | Dialect::First => Acceptances::Never,
        }
    }

    /// May it be asked by a ping whether it lives?
    pub(in crate::proto) fn may_be_pinged(&self) -> bool {
        match self.dialect {
            Dialect::Current => true,
            Dialect::Later => self.pings,
            Dialect::Unknown | Dialect::First => false,
        }
    }

    /// When its relay takes one more of a kind. It is not charged: other paces may still keep it back.
    pub(in crate::proto) fn ready_at(&self, kind: Kind) -> Instant {
        let left = match kind {
            Kind::Transaction => RELAY_LEFT_BY_TRANSACTIONS + RELAY_OVERDRAWN,
            Kind::ProofSubmission => RELAY_OVERDRAWN,
            // Whoever pushes a block or accepts one means the newest tip.
            Kind::NewBlock | Kind::BlockAccepted => 0,
            _ => return Instant::ZERO,
        };
        if self.is_rationed() { self.relay.ready_for(left.saturating_add(1)) } else { Instant::ZERO }
    }

    /// One of a kind leaves.
    pub(in crate::proto) fn sent(&mut self, now: Instant, kind: Kind) {
        if self.is_rationed() && is_relayed(kind) {
            let taken = self.relay.take(now);
            debug_assert!(taken, "what leaves has found a place");
        }
    }

    fn is_rationed(&self) -> bool {
        matches!(self.dialect, Dialect::Unknown | Dialect::Later)
    }

    /// Does a ping of its only echo a pong of ours? Then it costs nothing, and is not answered: it would go on for ever.
    pub(in crate::proto) fn takes_echo(&mut self, now: Instant, nonce: i64) -> bool {
        while self.echoes.front().is_some_and(|(_, at)| now.since(*at) >= ECHO_KEPT) {
            self.echoes.pop_front();
        }
        let at = self.echoes.iter().position(|(of, _)| *of == nonce);
        at.is_some_and(|at| self.echoes.remove(at).is_some())
    }

    /// A ping of its is answered.
    pub(in crate::proto) fn answered_ping(&mut self, now: Instant, nonce: i64) {
        if !self.is_version_1() {
            return;
        }
        if self.echoes.len() >= ECHOES_MAX {
            self.echoes.pop_front();
        }
        self.echoes.push_back((nonce, now));
    }

    /// Is one more ping more than any revision of the library sends?
    pub(in crate::proto) fn is_ping_flood(&mut self, now: Instant) -> bool {
        self.ping_flood.as_mut().is_some_and(|pace| !pace.take(now))
    }
}

/// Reads a frame of whom it is not known yet which version he speaks: all greet alike.
///
/// # Errors
///
/// What is wrong with it.
pub(in crate::proto) fn read_greeting(byte: u8, payload: &[u8]) -> Result<Meaning<'_>, ReadError> {
    Dialect::Current.read(byte, payload)
}

/// The same of one who need not introduce himself: if he does not, he is of a later revision.
///
/// # Errors
///
/// What is wrong with it.
pub(in crate::proto) fn read_unintroduced(byte: u8, payload: &[u8]) -> Result<Meaning<'_>, ReadError> {
    Dialect::Later.read(byte, payload)
}

/// What the relay of a later revision counts.
const fn is_relayed(kind: Kind) -> bool {
    matches!(kind, Kind::Transaction | Kind::ProofSubmission | Kind::NewBlock | Kind::BlockAccepted)
}
