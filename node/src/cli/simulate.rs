//! Flags of the simulator.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use spacetime_network::sim::Scenario;

use crate::cli::JsonArg;
use crate::value;

#[derive(Clone, Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Decides everything that happens [default: one that the clock gives]
    // In the environment and in a file, addresses under this name are those that `run` asks for peers.
    #[arg(long, value_name = "N", value_parser = simulation_seed)]
    pub(crate) seed: Option<u64>,
    /// Runs this many seeds, from --seed upwards, and keeps those that fail in a file
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = how_many_seeds)]
    pub(crate) seeds: u64,
    /// File that seeds which fail are added to
    #[arg(long, default_value = "failed-seeds.txt", value_parser = value::path(), value_name = "FILE")]
    pub(crate) failures: PathBuf,
    /// Honest nodes
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = value::whole(2..=5_000))]
    pub(crate) nodes: u32,
    /// Simulated minutes with faults; three more follow without
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = value::whole(1..=10_000))]
    pub(crate) minutes: u32,
    /// How much goes wrong
    #[arg(long, value_enum, default_value_t = FaultLevel::Light, value_name = "LEVEL")]
    pub(crate) faults: FaultLevel,
    /// A class of faults at this rate, whatever the seed draws for it; `--faults list` names them
    #[arg(long, value_name = "NAME=RATE", value_parser = value::fault, value_delimiter = ',')]
    pub(crate) fault: Vec<(&'static str, u64)>,
    /// Leaves a class of faults out
    #[arg(long, value_name = "NAME", value_parser = value::fault_class, value_delimiter = ',')]
    pub(crate) without: Vec<&'static str>,
    /// A situation with a name, on top of the faults
    #[arg(long, value_name = "NAME", value_parser = value::scenario)]
    pub(crate) scenario: Option<Scenario>,
    /// Write what happened to this file, a line each; of one seed
    #[arg(long, value_parser = value::path(), value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Draw how fast blocks reached the nodes to this file, as SVG; of one seed
    #[arg(long, value_parser = value::path(), value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Looks for the smallest run that fails as this one does: fewer faults, nodes and minutes
    #[arg(long, conflicts_with_all = ["trace", "plot", "seeds"])]
    pub(crate) shrink: bool,
    /// Prints how fast blocks and payments spread in networks of several kinds, from fixed seeds
    // The table is the same for everybody, so it takes nothing that would change a run.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "failures", "nodes", "minutes", "faults", "fault", "without",
                                      "scenario", "trace", "plot", "shrink"])]
    pub(crate) table: bool,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

/// How many runs a campaign has.
fn how_many_seeds(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|seeds| *seeds > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}

/// What decides a simulated run.
fn simulation_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// How much goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultLevel {
    /// Nothing: the network is slow and that is all
    None,
    /// Resets, clogs, short reads and writes, restarts
    Light,
    /// Everything, attackers and corrupted bytes too
    Full,
    /// Runs nothing: prints the classes of faults, with their units and ranges, and the attackers
    List,
}
