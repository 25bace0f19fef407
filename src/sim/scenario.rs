//! Situations with a name: the classic ways in which networks of this kind break.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::adversary::Role;
use super::fault::Plan;
use crate::proto::Config;

/// A situation with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// All but one of a victim's neighbours are attackers.
    Eclipse,
    /// The network falls into two halves and grows together again.
    Partition,
    /// Everybody joins in the same moment, and knows one node.
    FlashCrowd,
    /// Nine of ten nodes die at once and start again.
    MassRestart,
    /// Most connections move nothing for most of the time.
    SlowMajority,
    /// Attackers tell headers that are none.
    HeaderSpam,
    /// A newcomer knows seven attackers and one honest node.
    OneHonest,
    /// Half of the nodes speak version 1 only.
    UpgradeSkew,
    /// A node without a block joins late, when the others hold a hundred.
    Newcomer,
    /// Attackers hold all places for inbound connections at the one node that a newcomer knows.
    FullHouse,
    /// One node, or every one, is cut off for minutes to hours.
    Outage,
}

impl Scenario {
    /// All, in the order of their names in the manual.
    pub const ALL: [Scenario; 11] = [
        Scenario::Eclipse,
        Scenario::Partition,
        Scenario::FlashCrowd,
        Scenario::MassRestart,
        Scenario::SlowMajority,
        Scenario::HeaderSpam,
        Scenario::OneHonest,
        Scenario::UpgradeSkew,
        Scenario::Newcomer,
        Scenario::FullHouse,
        Scenario::Outage,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Scenario::Eclipse => "eclipse",
            Scenario::Partition => "partition",
            Scenario::FlashCrowd => "flash-crowd",
            Scenario::MassRestart => "mass-restart",
            Scenario::SlowMajority => "slow-majority",
            Scenario::HeaderSpam => "header-spam",
            Scenario::OneHonest => "one-honest",
            Scenario::UpgradeSkew => "upgrade-skew",
            Scenario::Newcomer => "newcomer",
            Scenario::FullHouse => "full-house",
            Scenario::Outage => "outage",
        }
    }

    /// The scenario of that name.
    pub fn from_name(name: &str) -> Option<Scenario> {
        Scenario::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// How many attackers it has; `None` when that is the fault plan's matter.
    pub(super) fn adversaries(self, nodes: u32) -> Option<u32> {
        match self {
            Scenario::Eclipse => Some(19),
            Scenario::FullHouse => Some(20),
            Scenario::OneHonest => Some(7),
            Scenario::HeaderSpam => Some(nodes.div_ceil(4)),
            Scenario::Newcomer => None,
            _ => Some(0),
        }
    }

    /// Makes what a seed draws fit. Attackers do not speak TLS, so where all others do they come nowhere: a scenario that is
    /// about them is played without, unless it is asked for.
    pub fn adapt(self, plan: &mut Plan) {
        if matches!(self, Scenario::Eclipse | Scenario::FullHouse | Scenario::OneHonest | Scenario::HeaderSpam) {
            plan.tls = 0;
        }
    }

    /// How many blocks everybody but a newcomer holds from the start.
    pub(super) fn history(self) -> u64 {
        if self == Scenario::Newcomer { 100 } else { 0 }
    }

    /// Does its last node join late?
    pub(super) fn has_latecomer(self) -> bool {
        matches!(self, Scenario::Newcomer | Scenario::FullHouse)
    }

    /// What its attackers do.
    pub(super) fn role(self, number: u32) -> Option<Role> {
        match self {
            Scenario::Eclipse if number.is_multiple_of(2) => Some(Role::Staller),
            Scenario::Eclipse => Some(Role::Withholder),
            Scenario::HeaderSpam => Some(Role::Liar),
            Scenario::FullHouse if number.is_multiple_of(4) => Some(Role::Flooder),
            Scenario::FullHouse => Some(Role::Squatter),
            _ => None,
        }
    }

    /// Changes one node's settings.
    pub(super) fn configure(
        self,
        index: u32,
        nodes: u32,
        adversaries: u32,
        config: &mut Config,
        seeds: &mut BTreeSet<SocketAddr>,
        address: fn(u32) -> SocketAddr,
    ) {
        let victim = index + 1 == nodes;
        match self {
            Scenario::Eclipse | Scenario::OneHonest if victim => {
                *seeds = (nodes..nodes + adversaries).map(address).collect();
                seeds.insert(address(0));
            }
            Scenario::FullHouse if victim => *seeds = BTreeSet::from([address(0)]),
            // The honest hold seven of them at most, attackers the rest. Three are kept for newcomers, so few that the
            // unfinished handshakes of twenty attackers can hold them nearly all the time.
            Scenario::FullHouse if index == 0 => {
                (config.admission.inbound_max, config.admission.newcomers) = (32, 3);
            }
            Scenario::FlashCrowd if index > 0 => *seeds = BTreeSet::from([address(0)]),
            Scenario::UpgradeSkew if index % 2 == 1 => config.version = 1,
            _ => {}
        }
    }
}
