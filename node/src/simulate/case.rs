//! What a run is made of, as the program was asked for it, and the command that asks for it again.

use std::panic;
use std::time::Duration;

use spacetime_network::sim::{Faults, Options, Plan, Report, Scenario, run};

use crate::cli::{FaultLevel, SimulateArgs};
use crate::failure::Failure;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) nodes: u32,
    pub(super) minutes: u32,
    pub(super) level: FaultLevel,
    /// Rates that were asked for, whatever the seed draws.
    pub(super) faults: Vec<(&'static str, u64)>,
    /// Classes that are left out.
    pub(super) without: Vec<&'static str>,
    pub(super) scenario: Option<Scenario>,
}

impl Case {
    pub(super) fn of(args: &SimulateArgs, seed: u64) -> Case {
        Case {
            seed,
            nodes: args.nodes,
            minutes: args.minutes,
            level: args.faults,
            faults: args.fault.clone(),
            without: args.without.clone(),
            scenario: args.scenario,
        }
    }

    pub(super) fn with_seed(&self, seed: u64) -> Case {
        Case { seed, ..self.clone() }
    }

    /// What goes wrong: what the seed draws, with the rates that were asked for.
    pub(super) fn plan(&self) -> Plan {
        let level = match self.level {
            FaultLevel::None | FaultLevel::List => Faults::None,
            FaultLevel::Light => Faults::Light,
            FaultLevel::Full => Faults::Full,
        };
        let mut plan = level.plan(self.seed);
        if let Some(scenario) = self.scenario {
            scenario.adapt(&mut plan);
        }
        let left_out = self.without.iter().map(|name| (*name, 0));
        for (name, rate) in self.faults.iter().copied().chain(left_out) {
            // The command line has refused what a plan does not take.
            let _ = plan.set(name, rate);
        }
        plan
    }

    pub(super) fn options(&self) -> Options {
        let chaos = Duration::from_secs(u64::from(self.minutes) * 60);
        Options {
            seed: self.seed,
            nodes: self.nodes,
            chaos,
            faults: Faults::Plan(self.plan()),
            scenario: self.scenario,
        }
    }

    /// The command that plays it.
    pub(super) fn command(&self) -> String {
        let level = format!("{:?}", self.level).to_lowercase();
        let mut command = format!(
            "spacetime-node simulate --seed {} --nodes {} --minutes {} --faults {level}",
            self.seed, self.nodes, self.minutes
        );
        for (name, rate) in &self.faults {
            command += &format!(" --fault {name}={rate}");
        }
        for name in &self.without {
            command += &format!(" --without {name}");
        }
        if let Some(scenario) = self.scenario {
            command += &format!(" --scenario {}", scenario.name());
        }
        command
    }

    /// Plays it without a trace. A panic is a failure like any other: its seed must not be lost.
    pub(super) fn play(&self) -> Result<Report, Failure> {
        let failed =
            |why: &str| Failure::new("run the simulation", why, format!("report this with: {}", self.command()));
        match panic::catch_unwind(|| run(&self.options(), None)) {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(_) => Err(failed("it panicked")),
        }
    }

    /// Plays it and answers what it breaks, if anything.
    pub(super) fn broken(&self) -> Option<Broken> {
        match self.play() {
            Ok(report) => report
                .failure
                .map(|failure| Broken { rule: failure.invariant.name().to_owned(), found: failure.to_string() }),
            Err(failure) => Some(Broken { rule: "S1".to_owned(), found: failure.to_string() }),
        }
    }
}

/// What a run breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The name of the invariant; a panic breaks S1.
    pub(super) rule: String,
    /// When, where and what.
    pub(super) found: String,
}
