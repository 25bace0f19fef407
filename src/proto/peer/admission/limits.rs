//! How many strangers may be here, how fast they may come, and the names of what keeps one out.

use crate::address::ExemptRanges;
use crate::config::{ConfigCheck, ConfigErrors};
use crate::rate::Rate;

/// The numbers of an [`Admission`](super::Admission). `None` lifts a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Connections in all, dialed ones too, without those that are being closed. Default 128.
    pub connections_max: usize,
    /// Connections that others opened. Default 112, which leaves 16 for our own dials.
    pub inbound_max: usize,
    /// Of these, kept free for newcomers, though never more than a quarter: when all others are taken, whoever finishes a
    /// handshake takes the place of another peer, see [`evict`](crate::proto::peer::evict). Default 8.
    pub newcomers: usize,
    /// Inbound connections whose handshake is not done. Default 64.
    pub pending_max: usize,
    /// Of these, from one address (an IPv6 /64). Default 4.
    pub pending_per_ip: Option<usize>,
    /// Of these, from one /24, or /48 in IPv6. Default 16.
    pub pending_per_subnet: Option<usize>,
    /// Inbound connections from one address (an IPv6 /64), pending ones too. Default 4.
    pub inbound_per_ip: Option<usize>,
    /// Inbound connections from one /24, or /48 in IPv6, pending ones too. Default 16.
    pub inbound_per_subnet: Option<usize>,
    /// Accepted connections over time. Default 50 per second, 100 at once; the second half of these is shared by the subnets that come.
    pub rate: Option<Rate>,
    /// The same from one address. Default 1 per second, 5 at once.
    pub rate_per_ip: Option<Rate>,
    /// The same from one subnet. Default 10 per second, 20 at once.
    pub rate_per_subnet: Option<Rate>,
    /// Who is only counted in the totals. Default: this machine.
    pub exempt: ExemptRanges,
    /// From where clients may come that do not introduce themselves, as parts of the C# library do. They have places of their own,
    /// beside all others: an eighth of `inbound_max`. Default: nowhere.
    pub without_handshake: ExemptRanges,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        AdmissionConfig {
            connections_max: 128,
            inbound_max: 112,
            newcomers: 8,
            pending_max: 64,
            pending_per_ip: Some(4),
            pending_per_subnet: Some(16),
            inbound_per_ip: Some(4),
            inbound_per_subnet: Some(16),
            rate: Some(Rate::per_second(50, 100)),
            rate_per_ip: Some(Rate::per_second(1, 5)),
            rate_per_subnet: Some(Rate::per_second(10, 20)),
            exempt: ExemptRanges::default(),
            without_handshake: ExemptRanges::NONE,
        }
    }
}

impl AdmissionConfig {
    /// Checks that somebody can be admitted within these limits. A node that takes no inbound connections sets `inbound_max`
    /// to 0, and then nothing is asked of the limits for those.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        check.require(self.connections_max >= 1, "connections_max", "must be at least 1");
        check.require(self.inbound_max <= self.connections_max, "inbound_max", "must not be above connections_max");
        if self.inbound_max > 0 {
            check.require(self.pending_max >= 1, "pending_max", "must be at least 1, or nobody can begin a handshake");
        }
        for (name, limit) in [
            ("pending_per_ip", self.pending_per_ip),
            ("pending_per_subnet", self.pending_per_subnet),
            ("inbound_per_ip", self.inbound_per_ip),
            ("inbound_per_subnet", self.inbound_per_subnet),
        ] {
            check.require(limit != Some(0), name, "must be at least 1, or None for no limit");
        }
        for (name, rate) in
            [("rate", self.rate), ("rate_per_ip", self.rate_per_ip), ("rate_per_subnet", self.rate_per_subnet)]
        {
            check.part(name, rate.map_or(Ok(()), |rate| rate.validate()));
        }
        check.finish()
    }

    /// How many inbound peers may stay once their handshakes are done.
    pub fn settled_max(&self) -> usize {
        self.inbound_max.saturating_sub(self.kept_for_newcomers())
    }

    /// How many clients may be here that do not introduce themselves, on top of all other connections.
    pub fn clients_max(&self) -> usize {
        if self.without_handshake.0.is_empty() || self.inbound_max == 0 { 0 } else { (self.inbound_max / 8).max(1) }
    }

    /// How many of the inbound connections may be WebSockets: half of them. Pages have many visitors, and a network of nodes must
    /// not depend on how many.
    pub fn web_sockets_max(&self) -> usize {
        if self.inbound_max == 0 { 0 } else { (self.inbound_max / 2).max(1) }
    }

    pub(super) fn kept_for_newcomers(&self) -> usize {
        self.newcomers.min(self.inbound_max / 4)
    }
}

/// Why a stranger may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdmissionRefusal {
    /// There are too many connections.
    Connections,
    /// There are too many inbound connections.
    Inbound,
    /// There are too many unfinished handshakes.
    Pending,
    /// There are too many unfinished handshakes with this address.
    PendingPerIp,
    /// There are too many unfinished handshakes with this subnet.
    PendingPerSubnet,
    /// There are too many connections from this address.
    InboundPerIp,
    /// There are too many connections from this subnet.
    InboundPerSubnet,
    /// Connections come too fast.
    Rate,
    /// Connections come too fast from this address.
    RatePerIp,
    /// Connections come too fast from this subnet.
    RatePerSubnet,
}

impl AdmissionRefusal {
    /// All of them.
    pub const ALL: [AdmissionRefusal; 10] = [
        AdmissionRefusal::Connections,
        AdmissionRefusal::Inbound,
        AdmissionRefusal::Pending,
        AdmissionRefusal::PendingPerIp,
        AdmissionRefusal::PendingPerSubnet,
        AdmissionRefusal::InboundPerIp,
        AdmissionRefusal::InboundPerSubnet,
        AdmissionRefusal::Rate,
        AdmissionRefusal::RatePerIp,
        AdmissionRefusal::RatePerSubnet,
    ];

    /// A word for counters and logs.
    pub const fn label(self) -> &'static str {
        match self {
            AdmissionRefusal::Connections => "connections",
            AdmissionRefusal::Inbound => "inbound",
            AdmissionRefusal::Pending => "pending",
            AdmissionRefusal::PendingPerIp => "pending-per-ip",
            AdmissionRefusal::PendingPerSubnet => "pending-per-subnet",
            AdmissionRefusal::InboundPerIp => "inbound-per-ip",
            AdmissionRefusal::InboundPerSubnet => "inbound-per-subnet",
            AdmissionRefusal::Rate => "rate",
            AdmissionRefusal::RatePerIp => "rate-per-ip",
            AdmissionRefusal::RatePerSubnet => "rate-per-subnet",
        }
    }
}
