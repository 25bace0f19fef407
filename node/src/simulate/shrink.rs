//! From a run that fails to the smallest that fails in the same way: fewer classes of faults, fewer nodes, less time.

use std::collections::BTreeMap;

use serde::Serialize;
use spacetime_network::sim::Plan;

use crate::failure::Failure;
use crate::output;
use crate::simulate::case::Case;
use crate::simulate::worker::Player;

/// Looks for the smallest run that breaks the same invariant, and prints its command.
pub(super) fn shrink(case: &Case, json: bool) -> Result<(), Failure> {
    // In a process of its own, for the failure may be the end of the process.
    let mut player = Player::default();
    let Some(broken) = player.broken(case)? else {
        return Err(Failure::new(
            format!("shrink seed {}", case.seed),
            "every invariant holds",
            "give the seed and the options of a run that fails",
        ));
    };
    output::note(&broken.found);
    let mut runs = 1u32;
    let smallest = smaller(case, |candidate| {
        runs = runs.saturating_add(1);
        let found = player.broken(candidate).unwrap_or_default();
        let fails = found.is_some_and(|found| found.rule == broken.rule);
        if fails {
            output::note(format!("still fails: {}", candidate.command()));
        }
        fails
    });
    let plan = smallest.plan();
    let found = Smallest {
        breaks: broken.rule,
        plan: plan.active().map(|(class, rate)| (class.name, rate)).collect(),
        runs,
        command: smallest.command(),
    };
    output::result(json, &found, |found| {
        let left: Vec<String> = plan.active().map(|(class, rate)| format!("{}={rate}", class.name)).collect();
        vec![
            format!("breaks    {}", found.breaks),
            format!("plan      {}", left.join(" ")),
            format!("runs      {}", found.runs),
            found.command.clone(),
        ]
    })
}

/// What was found.
#[derive(Debug, Serialize)]
struct Smallest {
    breaks: String,
    plan: BTreeMap<&'static str, u64>,
    runs: u32,
    command: String,
}

/// Drops what is not needed for `fails` to stay true.
fn smaller(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    // Dropping one class can make another one needless, so until nothing changes.
    loop {
        let before = best.clone();
        for class in Plan::CLASSES {
            if best.plan().get(class.name) == Some(0) {
                continue;
            }
            let mut candidate = best.clone();
            candidate.faults.retain(|(name, _)| *name != class.name);
            // Said even where the plan is without it already: the environment may ask for the rate again.
            if candidate.faults.len() < best.faults.len() || candidate.plan().get(class.name) != Some(0) {
                candidate.without.push(class.name);
            }
            if fails(&candidate) {
                best = candidate;
            }
        }
        best.minutes = least(best.minutes, 1, |minutes| fails(&Case { minutes, ..best.clone() }));
        best.nodes = least(best.nodes, 2, |nodes| fails(&Case { nodes, ..best.clone() }));
        if best == before {
            return best;
        }
    }
}

/// A small number, not below `floor`, for which `fails` is true: by halves, then one by one.
fn least(from: u32, floor: u32, mut fails: impl FnMut(u32) -> bool) -> u32 {
    let mut best = from;
    for step in [|number: u32| number / 2, |number: u32| number - 1] {
        while best > floor && fails(step(best).max(floor)) {
            best = step(best).max(floor);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::FaultLevel;

    fn case() -> Case {
        let (faults, without) = (vec![("kill", 7), ("reset", 9)], vec!["swizzle"]);
        Case { seed: 3, nodes: 20, minutes: 30, level: FaultLevel::Full, faults, without, scenario: None }
    }

    #[test]
    fn what_the_failure_does_not_need_is_dropped() {
        let fails = |case: &Case| case.plan().kill > 0 && case.plan().latency_mean > 0 && case.nodes >= 5;
        let smallest = smaller(&case(), fails);
        let plan = smallest.plan();
        assert_eq!(plan.active().map(|(class, _)| class.name).collect::<Vec<_>>(), ["latency-mean", "kill"]);
        assert_eq!((smallest.nodes, smallest.minutes, plan.kill), (5, 1, 7));
        assert!(smallest.command().contains("--fault kill=7") && !smallest.command().contains("reset="));
    }

    #[test]
    fn classes_that_replace_each_other_are_dropped_until_one_is_left() {
        let fails = |case: &Case| {
            let plan = case.plan();
            plan.kill > 0 || (plan.reset > 0 && case.minutes >= 10)
        };
        let smallest = smaller(&case(), fails);
        assert!(fails(&smallest));
        assert_eq!(smallest.plan().active().count(), 1);
    }

    #[test]
    fn a_case_that_needs_everything_stays_as_it_is() {
        assert_eq!(smaller(&case(), |smaller| *smaller == case()), case());
    }
}
