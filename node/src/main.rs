//! `spacetime-node`: the operator's program around the engine.
//!
//! ```text
//! cli, settings, value    what was asked for
//! run, demo, sync         full nodes           full_node, miner, event_log, signals, limits
//! client                  questions to a node
//! http, admin_client      the administration endpoint, and questions to it
//! simulate                many nodes on a virtual network
//! inspect, bans_file      a data directory     data_dir, key, peers_file, keeper
//! security                whom to trust        known_identities, renewal, explain
//! quota                   what was sent in a period
//! service, stopping       what a service manager and a log are told of ready and of the end
//! memory                  what goes back to the system after a flood
//! failure, panics, output, logging, safe_text  what is said, and where
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "the endpoint uses what the rest of the program offers it")
)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod addresses_file;
#[cfg(feature = "http")]
mod admin_client;
mod bans_file;
mod catch_up;
mod cli;
mod client;
mod data_dir;
mod demo;
mod event_log;
mod explain;
mod failure;
mod full_node;
#[cfg(feature = "http")]
mod http;
mod inspect;
mod keeper;
mod key;
mod known_identities;
mod limits;
mod log_file;
mod log_format;
mod log_tail;
mod logging;
mod memory;
mod miner;
mod nat;
mod output;
mod panics;
mod peers_file;
mod progress;
mod quota;
mod renewal;
mod run;
mod safe_text;
mod security;
mod service;
mod settings;
mod signals;
mod simulate;
mod stopping;
mod sync;
mod tip_signal;
mod turn_watch;
mod typed_names;
mod value;

use std::process::ExitCode;

use crate::cli::Command;
use crate::failure::Failure;
use crate::settings::Asked;

/// What a flood of large frames made the process hold goes back to the system when it is over.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    panics::in_one_line();
    match std::panic::catch_unwind(do_what_was_asked) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        // The line about it is out.
        Err(_) => ExitCode::FAILURE,
    }
}

fn do_what_was_asked() -> Result<(), Failure> {
    signals::install()?;
    if std::env::args_os().nth(1).is_some_and(|first| first == simulate::WORKER) {
        return simulate::work();
    }
    match settings::read(std::env::args_os())? {
        Asked::Text(text) => output::text(text.trim_end()),
        Asked::Run(command) => dispatch(*command),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Ping(args) => client::ping(&args),
        Command::Peers(args) => client::peers(&args),
        Command::Headers(args) => client::headers(&args),
        Command::Block(args) => client::block(&args),
        Command::TxPool(args) => client::tx_pool(&args),
        Command::SendTx(args) => client::send_tx(&args),
        Command::Sync(args) => sync::sync(&args),
        Command::Chain(args) => inspect::chain(&args),
        Command::KnownPeers(args) => inspect::known_peers(&args),
        Command::Id(args) => inspect::id(&args),
        Command::Forget(args) => inspect::forget(&args),
        #[cfg(feature = "http")]
        Command::Status(args) => admin_client::status(&args),
        #[cfg(feature = "http")]
        Command::Connect(args) => admin_client::connect(&args),
        #[cfg(feature = "http")]
        Command::Disconnect(args) => admin_client::disconnect(&args),
        #[cfg(feature = "http")]
        Command::Log(args) => admin_client::log(&args),
        #[cfg(feature = "http")]
        Command::Limits(args) => admin_client::limits(&args),
        #[cfg(feature = "http")]
        Command::Stop(args) => admin_client::stop(&args),
        #[cfg(feature = "http")]
        Command::Top(args) => admin_client::top(&args),
        Command::Ban(args) => bans_file::ban(&args),
        Command::Completions(args) => completions(args.shell),
        Command::Man(args) => man(&args),
    }
}

/// Writes a page for each command.
fn man(args: &cli::ManArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("write man pages to {}", args.directory.display()), &error, failure::disk_remedy(&error))
    };
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(settings::definition(), &args.directory).map_err(failed)
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut settings::definition(), "spacetime-node", &mut text);
    output::text(String::from_utf8_lossy(&text).trim_end())
}
