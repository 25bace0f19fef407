//! Whether a router at home is asked for a port, and how.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::value;

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct NatArgs {
    /// Have the router forward the port of --listen: auto asks in every way, but only where a connection of ours leaves from a private
    /// address, and never for a listener on loopback or with --external; none asks nobody
    #[arg(long, value_enum, default_value_t = NatMode::Auto, value_name = "HOW", help_heading = "Network")]
    pub(crate) nat: NatMode,
    /// Seconds for which the router is asked to forward it; it is asked again at half of that
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = value::whole(4..=604_800),
          help_heading = "Network")]
    pub(crate) nat_lease: u32,
}

/// How a router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NatMode {
    /// Not at all
    None,
    /// By PCP, then NAT-PMP, then UPnP, where there is a router to ask
    Auto,
    /// By the Port Control Protocol, RFC 6887
    Pcp,
    /// By NAT-PMP, RFC 6886
    Natpmp,
    /// By UPnP's Internet Gateway Device
    Upnp,
}

impl NatArgs {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.nat_lease.into())
    }
}
