//! How attackers misbehave, by name.

use core::time::Duration;

/// How one misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Role {
    /// Never says a word.
    Silent,
    /// Claims a long chain and answers nothing.
    Staller,
    /// Claims a long chain and tells headers that are none.
    Liar,
    /// Sends what it heard again, with a bit changed.
    Mutator,
    /// Sends frames of every type, faster than anybody may.
    Spammer,
    /// Tells addresses where nobody is.
    Poisoner,
    /// Introduces itself with the id of an honest node.
    Thief,
    /// Connects, and connects, and connects.
    Flooder,
    /// Announces real blocks and never gives one.
    Withholder,
    /// Keeps every place that it gets, each under another name, and is polite.
    Squatter,
    /// Writes a byte at a time, slowly, and reads little.
    Trickle,
    /// Asks for all that there is and never reads after the handshake.
    ZeroWindow,
    /// Sends transactions and challenges by the hundred, as far as its budgets allow, so that those of others wait behind them.
    PoolFiller,
    /// Behaves well until it has a good reputation, then badly for a while, again and again.
    Oscillator,
}

impl Role {
    pub(in crate::sim) const ALL: [Role; 14] = [
        Role::Silent,
        Role::Staller,
        Role::Liar,
        Role::Mutator,
        Role::Spammer,
        Role::Poisoner,
        Role::Thief,
        Role::Flooder,
        Role::Withholder,
        Role::Squatter,
        Role::Trickle,
        Role::ZeroWindow,
        Role::Oscillator,
        Role::PoolFiller,
    ];

    pub(in crate::sim) const fn name(self) -> &'static str {
        match self {
            Role::Silent => "adversary: silent",
            Role::Staller => "adversary: staller",
            Role::Liar => "adversary: liar",
            Role::Mutator => "adversary: mutator",
            Role::Spammer => "adversary: spammer",
            Role::Poisoner => "adversary: poisoner",
            Role::Thief => "adversary: thief",
            Role::Flooder => "adversary: flooder",
            Role::Withholder => "adversary: withholder",
            Role::Squatter => "adversary: squatter",
            Role::Trickle => "adversary: trickle",
            Role::ZeroWindow => "adversary: zero-window",
            Role::Oscillator => "adversary: oscillator",
            Role::PoolFiller => "adversary: pool filler",
        }
    }

    /// Time between two of its attacks.
    pub(super) fn pace(self) -> Duration {
        Duration::from_millis(match self {
            // A byte each time, so that a handshake has its ten seconds, and little else does.
            Role::Trickle => 60,
            Role::Spammer => 100,
            Role::Flooder => 300,
            _ => 1000,
        })
    }

    /// Connections that it keeps.
    pub(super) fn conns_max(self) -> usize {
        if self == Role::Trickle { 3 } else { 12 }
    }
}
