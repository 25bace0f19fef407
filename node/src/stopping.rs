//! A stop that takes its time says each second what it waits for.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::full_node::Traffic;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// How far a stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Connections take what is queued for them.
    #[default]
    Connections,
    /// A save of the peers that is under way.
    Peers,
    /// The identities that first use remembers.
    Identities,
    /// Blocks that are not durable yet.
    Chain,
}

/// Where the stop is, for the thread that tells of it.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Stage>);

impl Progress {
    /// It has come to this.
    pub(crate) fn at(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells of it from now on, until the process ends.
pub(crate) fn tell(progress: Arc<Progress>, traffic: Arc<Traffic>) {
    let teller = move || {
        loop {
            thread::sleep(EVERY);
            let (connections, bytes) = traffic.open();
            tracing::info!("stopping: waits for {}", waits_for(progress.stage(), connections, bytes));
        }
    };
    // Without that thread nothing is told, and nothing else changes.
    let _ = thread::Builder::new().name("stop-teller".to_owned()).spawn(teller);
}

fn waits_for(stage: Stage, connections: u64, bytes: u64) -> String {
    match stage {
        Stage::Connections => format!("{connections} connections to take {bytes} bytes and to close"),
        Stage::Peers => "the file of known peers".to_owned(),
        Stage::Identities => "the file of known identities".to_owned(),
        Stage::Chain => "the disk, to make the last blocks durable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_says_what_it_waits_for() {
        let progress = Progress::default();
        assert_eq!(waits_for(progress.stage(), 2, 300), "2 connections to take 300 bytes and to close");
        progress.at(Stage::Chain);
        assert!(waits_for(progress.stage(), 0, 0).contains("durable"));
    }
}
