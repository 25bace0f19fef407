//! `simulate`: many nodes on a virtual network, one seed or a campaign of them.

mod campaign;
mod case;
mod one;
mod plot;
mod shrink;
mod table;

use std::time::{SystemTime, UNIX_EPOCH};

use spacetime_network::sim::Plan;

use crate::cli::{FaultLevel, SimulateArgs};
use crate::failure::Failure;
use crate::output;
use crate::simulate::case::Case;

/// Does what was asked for.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    if args.faults == FaultLevel::List {
        return output::lines(classes());
    }
    if args.table {
        return table::print();
    }
    let seed = args.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros() % 1_000_000_000).unwrap_or(1)
    });
    let case = Case::of(args, seed);
    if args.shrink {
        return shrink::shrink(&case);
    }
    if args.seeds == 1 {
        return one::one(args, &case);
    }
    if args.trace.is_some() || args.plot.is_some() {
        return Err(Failure::usage("--trace and --plot are of one seed: leave out --seeds"));
    }
    campaign::campaign(args, &case)
}

/// The classes of faults, a line each.
fn classes() -> Vec<String> {
    let mut lines = vec![format!("{:<14} {:>8} {:>8} {:>8}  {:<38} what", "name", "light", "full", "most", "unit")];
    lines.extend(Plan::CLASSES.iter().map(|class| {
        let (name, light, full, most) = (class.name, class.light, class.full, class.most);
        format!("{name:<14} {light:>8} {full:>8} {most:>8}  {:<38} {}", class.unit, class.text)
    }));
    lines
}
