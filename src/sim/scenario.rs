//! Situations with a name: the classic ways in which networks of this kind break.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::adversary::Role;
use super::fault::Plan;
use crate::driver;
use crate::proto::Config;

/// Units of work that one connection may cause in a turn where attackers want much.
const FEW_UNITS: u32 = 400;

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
    /// Attackers hold silent sockets from more subnets than there are places for unfinished handshakes, where a newcomer knocks.
    PendingHogs,
    /// Attackers of many subnets keep to the rate of one address, and use up that of all, where a newcomer knocks.
    RateSharers,
    /// Attackers fill a node's memory with frames that they do not finish, while others mine large blocks.
    BufferKeepers,
    /// Attackers have branches of headers overtake each other.
    HeaderThrash,
    /// Attackers send blocks of as many transactions as there may be.
    HugeBlocks,
    /// Attackers send many blocks of one height that share their transactions.
    Siblings,
    /// Attackers of many subnets connect to a node, which then starts again.
    SybilRestart,
    /// Attackers of sixty subnets claim a long chain at a node without a block, to which one honest node connects.
    HighClaims,
}

impl Scenario {
    /// All, in the order of their names in the manual.
    pub const ALL: [Scenario; 19] = [
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
        Scenario::PendingHogs,
        Scenario::RateSharers,
        Scenario::BufferKeepers,
        Scenario::HeaderThrash,
        Scenario::HugeBlocks,
        Scenario::Siblings,
        Scenario::SybilRestart,
        Scenario::HighClaims,
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
            Scenario::PendingHogs => "pending-hogs",
            Scenario::RateSharers => "rate-sharers",
            Scenario::BufferKeepers => "buffer-keepers",
            Scenario::HeaderThrash => "header-thrash",
            Scenario::HugeBlocks => "huge-blocks",
            Scenario::Siblings => "siblings",
            Scenario::SybilRestart => "sybil-restart",
            Scenario::HighClaims => "high-claims",
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
            Scenario::PendingHogs | Scenario::HighClaims => Some(1),
            Scenario::BufferKeepers => Some(2),
            Scenario::RateSharers => Some(5),
            Scenario::HeaderThrash | Scenario::HugeBlocks | Scenario::Siblings => Some(2),
            Scenario::SybilRestart => Some(4),
            _ => Some(0),
        }
    }

    /// Makes what a seed draws fit. Attackers do not speak TLS, so where all others do they come nowhere: a scenario that is
    /// about them is played without, unless it is asked for.
    pub fn adapt(self, plan: &mut Plan) {
        if self.adversaries(4).is_some_and(|count| count > 0) {
            plan.tls = 0;
        }
        if self == Scenario::BufferKeepers {
            // Small ones need no memory for which they could have to wait.
            plan.block_size = 256;
        }
    }

    /// How many blocks everybody but a newcomer holds from the start.
    pub(super) fn history(self) -> u64 {
        match self {
            Scenario::Newcomer => 100,
            Scenario::HighClaims => 20,
            _ => 0,
        }
    }

    /// Does its last node join late?
    pub(super) fn has_latecomer(self) -> bool {
        matches!(self, Scenario::Newcomer | Scenario::HighClaims) || self.is_crowded()
    }

    /// Do attackers stand at the door of the one node that a newcomer knows?
    pub(super) fn is_crowded(self) -> bool {
        matches!(self, Scenario::FullHouse | Scenario::PendingHogs | Scenario::RateSharers)
    }

    /// Whom its attackers come for, where that is one node: the first, where a newcomer knocks or blocks arrive, or the last.
    pub(super) fn target(self, nodes: u32) -> Option<u32> {
        match self {
            Scenario::Eclipse | Scenario::OneHonest | Scenario::SybilRestart | Scenario::HighClaims => {
                Some(nodes.saturating_sub(1))
            }
            Scenario::BufferKeepers => Some(0),
            _ => self.is_crowded().then_some(0),
        }
    }

    /// What its attackers do.
    pub(super) fn role(self, number: u32) -> Option<Role> {
        match self {
            Scenario::Eclipse if number.is_multiple_of(2) => Some(Role::Staller),
            Scenario::Eclipse => Some(Role::Withholder),
            Scenario::HeaderSpam => Some(Role::Liar),
            Scenario::FullHouse if number.is_multiple_of(4) => Some(Role::Flooder),
            Scenario::FullHouse => Some(Role::Squatter),
            Scenario::PendingHogs => Some(Role::PendingHog),
            Scenario::RateSharers => Some(Role::RateSharer),
            Scenario::BufferKeepers => Some(Role::BufferKeeper),
            Scenario::HeaderThrash => Some(Role::HeaderThrasher),
            Scenario::HugeBlocks => Some(Role::HugeBlock),
            Scenario::Siblings => Some(Role::Sibling),
            Scenario::SybilRestart => Some(Role::SybilRestarter),
            Scenario::HighClaims => Some(Role::HighClaimer),
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
            _ if self.is_crowded() && victim => *seeds = BTreeSet::from([address(0)]),
            // Nobody whom it dials could save it from those who come.
            Scenario::HighClaims if victim => (config.outbound, *seeds) = (0, BTreeSet::new()),
            Scenario::HighClaims if index == 0 => config.connect = vec![address(nodes.saturating_sub(1))],
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

    /// Changes the limits of one node's loop.
    pub(super) fn limit(self, index: u32, limits: &mut driver::Config) {
        if self == Scenario::BufferKeepers && index == 0 {
            // So little that two attackers can fill it.
            limits.receive_budget = 1 << 20;
        }
        if matches!(self, Scenario::HeaderThrash | Scenario::HugeBlocks | Scenario::Siblings) {
            // So little that a few frames use it up.
            limits.turn_work = FEW_UNITS;
        }
    }
}
