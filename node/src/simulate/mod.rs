//! `simulate`: many nodes on a virtual network, one seed or a campaign of them.

mod campaign;
mod case;
mod one;
mod plot;
mod shrink;
mod table;
mod worker;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use spacetime_network::sim::{self, Plan};

use crate::cli::{FaultLevel, SimulateArgs};
use crate::failure::Failure;
use crate::output;
use crate::simulate::case::Case;

pub(crate) use worker::{ARGUMENT as WORKER, work};

/// Does what was asked for.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let json = args.output.json;
    if args.faults == FaultLevel::List {
        if args.trace.is_some() || args.plot.is_some() || args.shrink || args.seeds != 1 {
            return Err(Failure::usage(
                "--faults list runs nothing: leave out --trace, --plot, --shrink and --seeds, or choose another level",
            ));
        }
        let classes: Vec<Class> = Plan::CLASSES.iter().map(Class::of).collect();
        return output::result(json, &classes, |_| lines());
    }
    if args.table {
        return table::print(json);
    }
    let seed = args.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros() % 1_000_000_000).unwrap_or(1)
    });
    if seed.checked_add(args.seeds.saturating_sub(1)).is_none() {
        return Err(Failure::usage(format!(
            "--seeds {} from --seed {seed} goes past {}, the last one: give a smaller --seed or fewer --seeds",
            args.seeds,
            u64::MAX
        )));
    }
    let case = Case::of(args, seed);
    if args.shrink {
        return shrink::shrink(&case, json);
    }
    if args.seeds == 1 {
        return one::one(args, &case);
    }
    if args.trace.is_some() || args.plot.is_some() {
        return Err(Failure::usage("--trace and --plot are of one seed: leave out --seeds"));
    }
    campaign::campaign(args, &case)
}

/// A class of faults, for scripts.
#[derive(Debug, Serialize)]
struct Class {
    name: &'static str,
    light: u64,
    full: u64,
    most: u64,
    unit: &'static str,
    text: &'static str,
}

impl Class {
    fn of(class: &sim::Class) -> Class {
        let sim::Class { name, light, full, most, unit, text, .. } = *class;
        Class { name, light, full, most, unit, text }
    }
}

/// The classes of faults and the attackers, a line each.
fn lines() -> Vec<String> {
    let mut lines = vec![format!("{:<14} {:>8} {:>8} {:>8}  {:<38} what", "name", "light", "full", "most", "unit")];
    lines.extend(Plan::CLASSES.iter().map(|class| {
        let (name, light, full, most) = (class.name, class.light, class.full, class.most);
        format!("{name:<14} {light:>8} {full:>8} {most:>8}  {:<38} {}", class.unit, class.text)
    }));
    lines.extend([String::new(), format!("{:<16} what an attacker of the class adversaries does", "name")]);
    lines.extend(sim::ATTACKERS.iter().map(|(name, text)| format!("{name:<16} {text}")));
    lines
}
