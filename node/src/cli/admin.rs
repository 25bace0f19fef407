//! Flags of the administration endpoint, and the commands that ask one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::{JsonArg, LogLevel};
use crate::failure::Failure;
use crate::http::HttpPlan;
use crate::http::address::HttpAddress;
use crate::value::{self, Endpoint};

/// Where a node answers its operator.
#[derive(Clone, Debug, Args)]
pub(crate) struct HttpArgs {
    /// Answer the operator over HTTP: metrics, an API and a live view at ip:port, at a port of this machine alone, or at
    /// unix:PATH [default: nowhere]
    #[arg(long, value_name = "ADDR", help_heading = "Administration")]
    pub(crate) http: Option<HttpAddress>,
    /// Answer only who shows the secret in this file's first line; needed where other machines can ask
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "Administration")]
    pub(crate) http_token: Option<PathBuf>,
    /// Answer under this name too, as behind a proxy; addresses and localhost always do; may be given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Administration")]
    pub(crate) http_host: Vec<String>,
}

impl HttpArgs {
    /// What they ask for together.
    pub(crate) fn plan(&self) -> Result<Option<HttpPlan>, Failure> {
        let Some(address) = self.http.clone() else {
            return match (&self.http_token, self.http_host.is_empty()) {
                (None, true) => Ok(None),
                _ => Err(Failure::usage("--http-token and --http-host are for --http ADDR, which was not given")),
            };
        };
        Ok(Some(HttpPlan { address, token: self.http_token.clone(), names: self.http_host.clone() }))
    }
}

/// The endpoint to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    /// The node's administration endpoint, as it was given to run: ip:port, a port of this machine, or unix:PATH
    #[arg(long, value_name = "ADDR", help_heading = "Administration")]
    pub(crate) http: Option<HttpAddress>,
    /// File whose first line is the secret that it wants
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "Administration")]
    pub(crate) http_token: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Time between two questions
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) interval: Duration,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReachArgs {
    /// The other node: ip:port or name:port
    #[arg(value_name = "ADDR")]
    pub(crate) address: Endpoint,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AdminLogArgs {
    /// Log lines of this weight and above from now on [default: show the last lines]
    #[arg(value_enum, value_name = "LEVEL")]
    pub(crate) level: Option<LogLevel>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

/// A limit as it is to be from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewLimit {
    /// None.
    Lifted,
    /// So many bytes a second.
    To(u64),
}

impl NewLimit {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(NewLimit::Lifted) } else { value::byte_rate(text).map(NewLimit::To) }
    }

    /// Bytes a second; `None` for none.
    pub(crate) fn rate(self) -> Option<u64> {
        match self {
            NewLimit::Lifted => None,
            NewLimit::To(rate) => Some(rate),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LimitsArgs {
    /// Send at most so much in a second from now on, like 1MiB, 500kB or 8Mbit, or none
    #[arg(long, value_name = "RATE", value_parser = NewLimit::parse, help_heading = "Bandwidth")]
    pub(crate) max_upload: Option<NewLimit>,
    /// Receive at most so much in a second, in the same units
    #[arg(long, value_name = "RATE", value_parser = NewLimit::parse, help_heading = "Bandwidth")]
    pub(crate) max_download: Option<NewLimit>,
    /// Send at most so much in a second to each single peer, in the same units
    #[arg(long, value_name = "RATE", value_parser = NewLimit::parse, help_heading = "Bandwidth")]
    pub(crate) max_upload_per_peer: Option<NewLimit>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Longest wait for an answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}
