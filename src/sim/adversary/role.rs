//! How attackers misbehave, by name.

use core::time::Duration;

macro_rules! roles {
    ($($role:ident = $name:literal: $text:literal;)*) => {
        /// How one misbehaves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(in crate::sim) enum Role {
            $(#[doc = $text] $role,)*
        }

        impl Role {
            pub(in crate::sim) const ALL: &'static [Role] = &[$(Role::$role,)*];

            /// By what name one is counted in a run.
            pub(in crate::sim) const fn name(self) -> &'static str {
                match self { $(Role::$role => concat!("adversary: ", $name),)* }
            }
        }

        /// The attackers of the classes `adversaries` and `web-breakers`: the name of each, and what it does.
        pub const ATTACKERS: &[(&str, &str)] = &[$(($name, $text),)*];
    };
}

roles! {
    Silent = "silent": "never says a word";
    Staller = "staller": "claims a long chain and answers nothing";
    Liar = "liar": "claims a long chain and tells headers that are none";
    Mutator = "mutator": "sends what it heard again, with a bit changed";
    Spammer = "spammer": "sends frames of every type, faster than anybody may";
    Poisoner = "poisoner": "tells addresses where nobody is";
    Thief = "thief": "introduces itself with the id of an honest node";
    Flooder = "flooder": "connects, and connects, and connects";
    Withholder = "withholder": "announces real blocks and never gives one";
    Squatter = "squatter": "keeps every place that it gets, each under another name, and is polite";
    Trickle = "trickle": "writes a byte at a time, slowly, and reads little";
    ZeroWindow = "zero-window": "asks for all that there is and never reads after the handshake";
    Oscillator = "oscillator": "behaves well until it has a good reputation, then badly for a while, again and again";
    PoolFiller = "pool filler": "sends transactions and challenges by the hundred, as far as its budgets allow, so that those of others wait";
    PendingHog = "pending hog": "holds sockets from many subnets and says nothing on any of them";
    RateSharer = "rate sharer": "comes from many subnets, from each exactly as often as one may, and goes again";
    BufferKeeper = "buffer keeper": "sends beginnings of the largest frames and never their ends, and small transactions behind large ones";
    HeaderThrasher = "header thrasher": "tells branches of headers that overtake each other by two, over several connections";
    HugeBlock = "huge block": "sends blocks of as many transactions as there may be, the same ones under new headers";
    Sibling = "sibling": "sends many blocks of one height that share their transactions";
    SybilRestarter = "sybil restarter": "dials in from many subnets, says where it listens and looks useful, to be dialed after a restart";
    HighClaimer = "high claimer": "claims a long chain from many subnets and answers nothing";
    // The last: it comes by a class of its own.
    WebBreaker = "web breaker": "breaks WebSocket in every way, where nodes take it";
}

impl Role {
    /// Those that the class `adversaries` draws from.
    pub(in crate::sim) const DRAWN: &'static [Role] = Role::ALL.split_at(Role::ALL.len() - 1).0;

    /// Time between two of its attacks.
    pub(super) fn pace(self) -> Duration {
        Duration::from_millis(match self {
            // A byte each time, so that a handshake has its ten seconds, and little else does.
            Role::Trickle => 60,
            // Whoever is closed comes again at once, and those who share a rate come one after the other.
            Role::Spammer | Role::PendingHog | Role::RateSharer => 100,
            Role::Flooder => 300,
            _ => 1000,
        })
    }

    /// Connections that it keeps.
    pub(super) fn conns_max(self) -> usize {
        if self == Role::Trickle { 3 } else { 12 }
    }

    /// Subnets that it comes from, each with an address and a connection; 0 for one that has its own address alone.
    pub(in crate::sim) const fn crowd(self) -> u32 {
        match self {
            // More than there are places for unfinished handshakes.
            Role::PendingHog => 70,
            // More in a second than a node lets in.
            Role::RateSharer => 60,
            Role::BufferKeeper => 10,
            Role::SybilRestarter => 12,
            Role::HighClaimer => 60,
            _ => 0,
        }
    }

    /// Never says a word.
    pub(super) const fn is_silent(self) -> bool {
        matches!(self, Role::Silent | Role::PendingHog | Role::RateSharer)
    }

    /// Leaves questions for headers and blocks open.
    pub(super) const fn answers_nothing(self) -> bool {
        matches!(self, Role::Staller | Role::Withholder | Role::HighClaimer)
    }

    /// Wake-ups in a second that it causes beside those for a connection that is idle, and whether that is for each connection of
    /// the network: by what goes round.
    pub(in crate::sim) const fn wakes(self) -> (u64, bool) {
        match self {
            // Who fills pools goes on, and what he sends goes round at the relay's pace.
            Role::PoolFiller => (20, true),
            Role::PendingHog | Role::RateSharer | Role::HighClaimer => (6 * self.crowd() as u64, false),
            Role::BufferKeeper => (10, true),
            Role::HeaderThrasher | Role::HugeBlock | Role::Sibling | Role::SybilRestarter => (2, true),
            _ => (0, false),
        }
    }
}
