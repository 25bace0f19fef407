//! `spacetime-node`: the operator's program around the engine.
//!
//! ```text
//! cli, settings, value    what was asked for
//! run, demo               full nodes           node_thread, observer, miner, signals
//! client/*                questions to a node  talk
//! inspect                 a data directory     data_dir, key
//! failure, output, logging                     what is said, and where
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod cli;
mod data_dir;
mod failure;
mod key;
mod logging;
mod output;
mod settings;
mod value;

use std::process::ExitCode;

use crate::cli::Command;
use crate::failure::Failure;
use crate::settings::Asked;

fn main() -> ExitCode {
    let done = match settings::read(std::env::args_os()) {
        Ok(Asked::Text(text)) => output::line(text.trim_end()),
        Ok(Asked::Run(command)) => obey(*command),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn obey(command: Command) -> Result<(), Failure> {
    match command {
        _ => Ok(()),
    }
}
