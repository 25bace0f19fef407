//! The simulator as a test: many seeds, every scenario, and the proof that a seed is a run.

use std::time::Duration;

use spacetime_network::sim::{ATTACKERS, Faults, Invariant, Options, Plan, Report, Scenario, run};

fn options(seed: u64, faults: Faults) -> Options {
    Options { seed, nodes: 8, chaos: Duration::from_secs(120), faults, scenario: None }
}

fn play(options: &Options) -> Report {
    let report = run(options, None).unwrap();
    if let Some(failure) = &report.failure {
        panic!("{options:?}\n{failure}");
    }
    report
}

/// Plays the seeds, and one in a hundred of them again: it must be the same run.
fn sweep(seeds: std::ops::Range<u64>, faults: Faults) {
    let mut failures = Vec::new();
    for seed in seeds {
        let replay = format!("--seed {seed} --nodes 8 --minutes 2 --faults {faults:?}").to_lowercase();
        let report = run(&options(seed, faults), None).unwrap();
        if seed % 100 == 0 && run(&options(seed, faults), None).unwrap().hash != report.hash {
            failures.push(format!("{replay}: another run the second time"));
        }
        failures.extend(report.failure.map(|failure| format!("{replay}: {failure}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn a_network_without_faults_keeps_every_invariant() {
    sweep(0..20, Faults::None);
}

#[test]
fn a_network_with_everyday_faults_keeps_every_invariant() {
    sweep(1000..1075, Faults::Light);
}

#[test]
fn a_network_with_every_fault_and_attackers_keeps_every_invariant() {
    sweep(2000..2050, Faults::Full);
}

/// As many seeds again: the two halves run side by side. Four hundred more are played by `.ci/run campaign`, optimized.
#[test]
fn more_networks_with_every_fault_and_attackers_keep_every_invariant() {
    sweep(2050..2100, Faults::Full);
}

/// What broke once and was mended, where no smaller test tells it:
///
/// - 300043, S2: a burst of payments went out as news and again with the pool, and the check took one for the other.
/// - 421263, L4: the newcomer was to reach the block of a node that had left for good and had told nobody of it.
/// - 440020, L1: two nodes knew only each other from the start, and could not hear of anybody else.
/// - 440911, L6: of a node that impostors had cut off nothing is asked; but it mined the last block, and all had to have that.
/// - 804951, S6: the alert that a spoiled TLS record calls for was in no books until it was written.
/// - 460160, L1: whoever knows one node, and has an impostor for it, was to have two connections.
/// - 910408, L12: what a pushed block made two nodes abandon waited at them alone.
/// - 910579, L12: an attacker told of blocks that never came, and nobody compared pools while waiting for them.
/// - 911159, L1: the only node that another one knew left for good, while that one ran and had met nobody yet.
#[test]
fn seeds_that_failed_keep_every_invariant() {
    for seed in [300_043, 421_263, 440_020, 440_911, 460_160, 804_951, 910_408, 910_579, 911_159] {
        play(&options(seed, Faults::Full));
    }
}

/// What broke once in a network of 24 nodes and was mended. More of them, and of 100, are played by `.ci/run campaign`.
///
/// - 77264, L8: a feeler came just before the look and was sent half a megabyte of a pool that it had.
#[test]
fn a_larger_network_keeps_every_invariant() {
    play(&Options { nodes: 24, chaos: Duration::from_secs(300), ..options(77_264, Faults::Full) });
}

/// The seed's plan, with these rates besides.
fn with(seed: u64, faults: Faults, rates: &[(&str, u64)]) -> Options {
    let mut plan = Plan::drawn(seed, faults);
    for (name, rate) in rates {
        plan.set(name, *rate).unwrap();
    }
    options(seed, Faults::Plan(plan))
}

/// Seed 9 is one in which a peer was closed for its slow handshake two seconds after it had come out of TLS: ten after its
/// connection, as it should be, but the check did not count the time of TLS.
#[cfg(feature = "tls")]
#[test]
fn nodes_that_speak_tls_keep_every_invariant() {
    for seed in [9, 10, 11, 12, 13, 48] {
        play(&with(seed, Faults::Full, &[("tls", 1), ("churn", 60)]));
    }
}

/// Every run has other keys in its key exchange, so other bytes, but as many of them.
#[cfg(feature = "tls")]
#[test]
fn the_randomness_of_tls_does_not_move_a_run() {
    // Attackers speak no TLS, and would fill one of the two alone.
    let plain = play(&with(10, Faults::Full, &[("tls", 0), ("adversaries", 0)]));
    for corruption in [0, 1_000_000] {
        let secure = with(10, Faults::Full, &[("tls", 1), ("corruption", corruption), ("adversaries", 0)]);
        let (first, again) = (play(&secure), play(&secure));
        assert_eq!((first.hash, first.lines, first.bytes), (again.hash, again.lines, again.bytes));
        assert!(first.bytes > plain.bytes / 2 && first.hash != plain.hash);
        assert_eq!(corruption > 0, first.injected.contains_key("corrupted byte"));
    }
}

#[test]
fn a_network_with_a_heavy_load_keeps_every_invariant() {
    let load = [
        ("block-interval", 10),
        ("block-size", 1024),
        ("forks", 500),
        ("payments", 2000),
        ("bursts", 30),
        ("challenges", 500),
        ("churn", 120),
    ];
    let mut injected = std::collections::BTreeMap::new();
    let (mut heavy, mut usual) = (0, 0);
    for seed in 4000..4004 {
        let report = play(&with(seed, Faults::Light, &load));
        heavy += report.bytes;
        usual += play(&with(seed, Faults::Light, &load.map(|(name, _)| (name, 0)))).bytes;
        for (what, count) in report.injected {
            *injected.entry(what).or_insert(0) += count;
        }
    }
    for what in ["fork", "burst of payments", "challenge, proof or acceptance", "leave", "join"] {
        assert!(injected.contains_key(what), "{what} never came up: {injected:?}");
    }
    assert!(heavy > 4 * usual, "{heavy} bytes carried, {usual} without the load");
}

#[test]
fn every_scenario_ends_well() {
    for scenario in Scenario::ALL {
        let report = play(&Options { scenario: Some(scenario), ..options(1, Faults::None) });
        assert!(report.height > 0, "{}", scenario.name());
        assert_eq!(Scenario::from_name(scenario.name()), Some(scenario));
    }
}

/// They were played in a quiet network alone, and with faults ten of thirty full houses failed: most by checks that blamed the
/// house for a power cut.
#[test]
fn every_scenario_ends_well_with_everyday_faults() {
    for scenario in Scenario::ALL {
        for seed in 1..=3 {
            play(&Options { scenario: Some(scenario), ..options(seed, Faults::Light) });
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let first = run(&options(7, Faults::Full), None).unwrap();
    let mut file = Vec::new();
    let again = run(&options(7, Faults::Full), Some(&mut file)).unwrap();
    assert_eq!((first.hash, first.lines, first.events), (again.hash, again.lines, again.events));
    let lines = String::from_utf8(file).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(lines as u64, again.lines, "a line each, besides the legend");
    assert_ne!(run(&options(8, Faults::Full), None).unwrap().hash, first.hash);
}

#[test]
fn every_invariant_is_really_checked() {
    // Each run has its share: attackers, a full house, an outage.
    let mut checks = std::collections::BTreeMap::new();
    let scenarios = [
        None,
        Some(Scenario::Eclipse),
        Some(Scenario::FullHouse),
        Some(Scenario::Outage),
        Some(Scenario::BufferKeepers),
        Some(Scenario::SybilRestart),
    ];
    for scenario in scenarios {
        let faults = if scenario.is_none() { Faults::Light } else { Faults::None };
        for (invariant, count) in play(&Options { scenario, ..options(1, faults) }).checks {
            *checks.entry(invariant).or_insert(0) += count;
        }
    }
    for (invariant, count) in checks {
        assert!(count > 0, "{} was never checked", invariant.name());
    }
}

#[test]
fn a_newcomer_finds_the_house_full_and_gets_a_place() {
    for seed in 4000..4004 {
        let report = play(&Options { scenario: Some(Scenario::FullHouse), ..options(seed, Faults::None) });
        assert!(report.injected.contains_key("full house"), "seed {seed}: {:?}", report.injected);
    }
}

/// 70 silent sockets from 70 subnets kept all newcomers out, and so did 300 addresses that kept to one connection a second.
#[test]
fn a_newcomer_gets_in_past_silent_sockets_and_past_those_who_use_up_the_rate() {
    for scenario in [Scenario::PendingHogs, Scenario::RateSharers] {
        for seed in 4000..4003 {
            let report = play(&Options { scenario: Some(scenario), ..options(seed, Faults::None) });
            let crowd = report.injected.contains_key("crowd at the door");
            assert!(crowd, "{} with seed {seed}: {:?}", scenario.name(), report.injected);
        }
    }
}

/// With ten frames of 16 MiB begun and not finished, an honest block took 44.6 s.
#[test]
fn a_large_block_arrives_although_attackers_fill_the_memory_with_frames_that_they_do_not_finish() {
    for seed in 4000..4003 {
        let report = play(&Options { scenario: Some(Scenario::BufferKeepers), ..options(seed, Faults::None) });
        assert!(report.injected.contains_key("unfinished frame"), "{:?}", report.injected);
        let (_, looks) = report.checks.iter().find(|(rule, _)| *rule == Invariant::L14).unwrap();
        assert!(*looks > 500 && report.bytes > 8 << 20, "{looks} looks, {} bytes", report.bytes);
    }
}

/// Forty strangers that had dialed in and brought free transactions had all outbound connections after a restart.
#[test]
fn who_starts_again_among_sybils_dials_those_whom_it_had_reached() {
    for seed in 4000..4004 {
        let report = play(&Options { scenario: Some(Scenario::SybilRestart), ..options(seed, Faults::None) });
        for what in ["restart among sybils", "standing earned"] {
            assert!(report.injected.contains_key(what), "{what}: {:?}", report.injected);
        }
    }
}

/// Sixty claims of a long chain had two seconds each, two at a time, before the one node was asked that had one: 62 s.
#[test]
fn a_sync_begins_soon_among_sixty_high_claims() {
    for seed in 4000..4003 {
        let report = play(&Options { scenario: Some(Scenario::HighClaims), ..options(seed, Faults::None) });
        let took = report.caught_up.expect("it has the chain");
        assert!(took < Duration::from_secs(15), "seed {seed}: {took:?}");
    }
}

#[test]
fn every_attacker_is_really_played() {
    let mut missing: std::collections::BTreeSet<String> =
        ATTACKERS.iter().map(|(name, _)| format!("adversary: {name}")).collect();
    missing.extend(
        ["overtaking branch", "huge block", "siblings", "unfinished frame", "standing earned"].map(String::from),
    );
    let mut plan = Plan::default();
    plan.set("adversaries", 100).unwrap();
    plan.set("web-breakers", 50).unwrap();
    // There are as many as nodes, so that not every run ends well.
    for seed in 0..60 {
        let few = Options { nodes: 4, chaos: Duration::from_secs(40), ..options(seed, Faults::Plan(plan)) };
        for what in run(&few, None).unwrap().injected.keys() {
            missing.remove(*what);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("these never came up: {missing:?}");
}

#[test]
fn after_an_outage_of_any_length_everybody_is_back_and_nobody_is_blamed() {
    let mut met = std::collections::BTreeSet::new();
    // Twenty minutes of one and of all, two hours of all, twelve minutes.
    for seed in 1..=4 {
        let outage = Options { nodes: 4, scenario: Some(Scenario::Outage), ..options(seed, Faults::None) };
        let report = play(&outage);
        met.extend(report.injected.into_keys());
    }
    for outage in ["outage of one", "outage of all"] {
        assert!(met.contains(outage), "{outage}: {met:?}");
    }
}

#[test]
fn every_fault_is_really_injected() {
    let mut missing = std::collections::BTreeSet::from([
        // Of system calls.
        "accept error",
        "connect error",
        "full backlog",
        "deferred events",
        "interrupted wait",
        "out of descriptors",
        "read error",
        "reordered events",
        "short read",
        "short write",
        "spurious event",
        "stale event",
        "write error",
        // Of disks.
        "disk bit flip",
        "disk full",
        "disk read error",
        "disk stale file",
        "disk write error",
        "kill during save",
        // Of engines that are clumsy on purpose: of the node, then of the loop.
        "delay-save",
        "evict-now",
        "few-headers",
        "relay-later",
        "timeout-now",
        "worst-sync-peer",
        "one-frame",
        "read-one-byte",
        "send-refused",
        "write-one-byte",
        // Of processes, machines and clocks.
        "freeze",
        "kill",
        "late turn",
        "power cut",
        "small limits",
        "stalled clock",
        "stop",
        "wall jump",
        // Of what the network is used for.
        "burst of payments",
        "challenge, proof or acceptance",
        "fork",
        "join",
        "leave",
        // Of the network; corrupted bytes are counted by the MiB, more than these runs carry.
        "black hole",
        "clog",
        "cut short",
        "lost packet",
        "one-way partition",
        "partition",
        "reset",
        "swizzle-clog",
    ]);
    // The rarest come up once in a few runs. A backlog is full in one of five with small limits, which few seeds draw: every fourth
    // has them in any case.
    for seed in 3000..3080 {
        let rates: &[(&str, u64)] = if seed % 4 == 0 { &[("small-limits", 1)] } else { &[] };
        for fault in play(&with(seed, Faults::Full, rates)).injected.keys() {
            missing.remove(fault);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("these never came up: {missing:?}");
}
