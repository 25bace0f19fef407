//! A seed and a fault plan, and a short run of a few nodes: whatever happens, no invariant breaks.
//!
//! Input: eight bytes of seed, one for the number of nodes, then one for each class of faults, in the order of the plan's
//! classes: from 0, never, to 255, as often as the simulator ever draws it.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use spacetime_network::sim::{Faults, Options, Plan, run};

fuzz_target!(|input: &[u8]| {
    let Some((seed, rest)) = input.split_first_chunk::<8>() else { return };
    let Some((nodes, rates)) = rest.split_first() else { return };
    let mut plan = Plan::default();
    for (class, byte) in Plan::CLASSES.iter().zip(rates) {
        plan.set(class.name, (class.full * u64::from(*byte)).div_ceil(255)).expect("the draws are within the range");
    }
    if plan.small_limits > 0 {
        // As in what is drawn: nodes with three places for others are easy to surround.
        plan.adversaries = 0;
    }
    let options = Options {
        seed: u64::from_le_bytes(*seed),
        nodes: 3 + u32::from(*nodes) % 3,
        chaos: Duration::from_secs(60),
        faults: Faults::Plan(plan),
        scenario: None,
    };
    let report = run(&options, None).expect("there is no trace to write");
    if let Some(failure) = report.failure {
        let rates: Vec<String> = plan.active().map(|(class, rate)| format!(" --fault {}={rate}", class.name)).collect();
        let (seed, nodes) = (options.seed, options.nodes);
        panic!("{failure}\nsimulate --seed {seed} --nodes {nodes} --minutes 1 --faults none{}", rates.concat());
    }
});
