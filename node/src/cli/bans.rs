//! The arguments of `ban`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use spacetime_network::proto::peer::Banned;

#[cfg(feature = "http")]
use crate::cli::AdminArgs;
use crate::cli::{DataDirArg, JsonArg};
use crate::value;

#[derive(Clone, Debug, Args)]
pub(crate) struct BanArgs {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: BanAction,
    /// An address, a range or a node id, like 192.0.2.7, 2001:db8::/48 or 64 hexadecimal digits
    #[arg(value_name = "WHO")]
    pub(crate) who: Option<Banned>,
    /// With add: how long, like 24h or 30days [default: until it is removed]
    // One ban is not like another: neither a variable nor a file should say it for all.
    #[arg(long = "for", value_name = "TIME", value_parser = value::term, hide_env = true)]
    pub(crate) term: Option<Duration>,
    /// With add: why, for whoever reads the list
    #[arg(long, value_name = "TEXT", hide_env = true)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    #[cfg(feature = "http")]
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// With --http: longest wait for an answer
    #[cfg(feature = "http")]
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

/// What is done to the bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BanAction {
    /// Show them
    List,
    /// Ban somebody, or change a ban
    Add,
    /// End bans
    Remove,
}

impl BanAction {
    /// As it is given on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
