//! `spacetime-node simulate` as its users meet it: replays, traces, plans, campaigns, and the table of what policies give.

mod cli_support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cli_support::{Done, program};
use spacetime_network::sim::table::{COLUMNS, KEYS};
use spacetime_network::sim::{ATTACKERS, Faults, Options, Plan, Scenario, run};

/// A network with which no handshake is done in time: it breaks L1, for certain and soon.
const HOPELESS: [&str; 9] =
    ["simulate", "--nodes", "3", "--minutes", "1", "--faults", "none", "--fault", "latency-min=20000"];

/// What a run printed about itself that does not depend on the machine.
fn result(done: &Done) -> Vec<&str> {
    done.stdout.lines().filter(|line| !line.starts_with("time ") && !line.starts_with("memory ")).collect()
}

fn hash(done: &Done) -> String {
    let line = done.stdout.lines().find_map(|line| line.strip_prefix("hash "));
    line.and_then(|line| line.split_whitespace().next()).expect("a hash is printed").to_owned()
}

fn events(trace: &str) -> Vec<&str> {
    trace.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_seed_is_the_same_run_in_another_process_with_or_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["simulate", "--seed", "11", "--nodes", "6", "--minutes", "2", "--faults", "full"];
    let traced = |name: &str| {
        let path = folder.path().join(name);
        let done = program(&arguments).args(&["--trace"]).path(&path).run();
        assert_eq!(done.code, 0, "{done:?}");
        (done, fs::read_to_string(path).unwrap())
    };
    let ((first, first_trace), (second, second_trace)) = (traced("first"), traced("second"));
    assert_eq!(result(&first), result(&second));
    assert_eq!(first_trace, second_trace);
    assert_eq!(hash(&program(&arguments).run()), hash(&first), "the words do not change the hash");

    let chaos = Duration::from_secs(120);
    let options = Options { seed: 11, nodes: 6, chaos, faults: Faults::Full, scenario: None };
    let ours = [run(&options, None).unwrap(), run(&options, None).unwrap()];
    for report in &ours {
        assert_eq!(format!("{:016x}", report.hash), hash(&first), "the same in this process, twice");
    }
    assert_eq!(events(&first_trace).len() as u64, ours[0].lines);
    let drawn = Plan::drawn(11, Faults::Full).short_read;
    let other = format!("short-read={}", if drawn < 500 { 900 } else { 0 });
    assert_ne!(hash(&program(&arguments).args(&["--fault", &other]).run()), hash(&first));
}

#[test]
fn a_level_of_faults_is_the_plan_that_the_seed_draws() {
    for (seed, level) in [(1, Faults::None), (2, Faults::Light), (3, Faults::Full)] {
        let options = |faults| Options { seed, nodes: 4, chaos: Duration::from_secs(60), faults, scenario: None };
        let drawn = run(&options(level), None).unwrap();
        let planned = run(&options(Faults::Plan(Plan::drawn(seed, level))), None).unwrap();
        assert_eq!(drawn.hash, planned.hash);
    }
}

#[test]
fn a_trace_is_in_columns_and_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let done = program(&["simulate", "--seed", "1", "--nodes", "4", "--minutes", "1", "--faults", "full", "--trace"]);
    assert_eq!(done.path(&path).run().code, 0);
    let trace = fs::read_to_string(path).unwrap();
    let mut before = 0.0;
    for line in events(&trace) {
        let (seconds, rest) = line.split_at(12);
        let now: f64 = seconds.trim().parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(now >= before, "{line}");
        before = now;
        let (node, rest) = rest.split_at(8);
        let name = node.trim();
        assert!(name == "-" || (name.len() == 6 && name.starts_with(['n', 'x'])), "{line}");
        let word = rest.split_whitespace().next().unwrap();
        assert!(trace.contains(&format!("#                    {word:<6} ")), "{word} is not in the legend");
        assert_eq!(rest.as_bytes().get(6), Some(&b' '), "{line}");
    }
    for words in ["Handshake ", "remote-closed", "height 1 hash ", "no more faults", "mines a block"] {
        assert!(trace.contains(words), "{words}");
    }
}

#[test]
fn a_run_that_fails_says_so_at_the_end_of_its_trace_and_how_to_replay_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let done = program(&HOPELESS).args(&["--seed", "5", "--trace"]).path(&path).run();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("L1 is broken"), "{}", done.stderr);
    let command = "spacetime-node simulate --seed 5 --nodes 3 --minutes 1 --faults none --fault latency-min=20000";
    assert!(done.stderr.contains(command), "{}", done.stderr);
    let trace = fs::read_to_string(path).unwrap();
    let last = trace.lines().last().unwrap();
    assert!(last.contains(" n0000") && last.contains(" broken L1: ") && last.contains("; the rule: "), "{last}");
}

#[test]
fn every_scenario_plays_by_its_name() {
    for scenario in Scenario::ALL {
        let arguments = ["simulate", "--seed", "1", "--nodes", "5", "--minutes", "1", "--faults", "none", "--scenario"];
        let done = program(&arguments).args(&[scenario.name()]).run();
        assert_eq!(done.code, 0, "{}: {done:?}", scenario.name());
    }
    let done = program(&["simulate", "--scenario", "picnic"]).run();
    assert_eq!(done.code, 2);
    assert!(Scenario::ALL.iter().all(|scenario| done.stderr.contains(scenario.name())), "{}", done.stderr);
}

#[test]
fn the_classes_of_faults_are_listed_and_a_wrong_one_is_answered_with_the_list() {
    let listed = program(&["simulate", "--faults", "list"]).run();
    assert_eq!(listed.code, 0);
    for class in Plan::CLASSES {
        assert!(listed.stdout.lines().any(|line| line.starts_with(class.name) && line.contains(class.unit)));
    }
    for (name, text) in ATTACKERS {
        assert!(listed.stdout.lines().any(|line| line.starts_with(name) && line.ends_with(text)), "{name}");
    }
    // The name that the attackers had once was refused here, though plans understood it.
    let old = program(&["simulate", "--nodes", "2", "--minutes", "1", "--seed", "1", "--faults", "none"]);
    assert_eq!(old.args(&["--fault", "actors=50"]).run().code, 0);
    for wrong in [["--fault", "rain=3"], ["--without", "rain"]] {
        let done = program(&["simulate"]).args(&wrong).run();
        assert_eq!(done.code, 2, "{done:?}");
        assert!(Plan::CLASSES.iter().all(|class| done.stderr.contains(class.name)), "{}", done.stderr);
    }
    for (wrong, why) in [("reset", "NAME=RATE"), ("reset=often", "whole number"), ("short-read=1001", "at most 1000")] {
        let done = program(&["simulate", "--fault", wrong]).run();
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
}

#[test]
fn the_plan_of_a_run_is_what_was_asked_for() {
    let base = ["simulate", "--seed", "2", "--nodes", "3", "--minutes", "1", "--faults", "full"];
    let plan = |more: &[&str]| {
        let done = program(&base).args(more).run();
        let line = done.stdout.lines().find_map(|line| line.strip_prefix("plan ")).expect("the plan is printed");
        line.trim().to_owned()
    };
    let words = |plan: Plan| plan.active().map(|(class, rate)| format!("{}={rate}", class.name)).collect::<Vec<_>>();
    let mut expected = Plan::drawn(2, Faults::Full);
    assert_eq!(plan(&[]), words(expected).join(" "));
    let (dropped, _) = expected.active().last().expect("something goes wrong");
    expected.set(dropped.name, 0).unwrap();
    expected.reset = 777;
    assert_eq!(plan(&["--fault", "reset=777", "--without", dropped.name]), words(expected).join(" "));
}

#[test]
fn the_plot_is_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plot.svg");
    let done = program(&["simulate", "--seed", "1", "--nodes", "4", "--minutes", "1", "--plot"]).path(&path).run();
    assert_eq!(done.code, 0, "{done:?}");
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("<polyline ") && svg.ends_with("</svg>\n"), "{svg}");
}

#[test]
fn files_that_are_of_one_run_are_refused_for_many() {
    for flag in ["--trace", "--plot"] {
        let done = program(&["simulate", "--seeds", "2", flag, "file"]).run();
        assert_eq!(done.code, 2, "{done:?}");
    }
}

#[test]
fn a_campaign_keeps_the_seeds_that_fail_as_commands_that_fail_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.txt");
    let done = program(&HOPELESS).args(&["--seed", "40", "--seeds", "3", "--failures"]).path(&path).run();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.starts_with("3 seeds, from 40 ") && done.stdout.contains("3 failed"), "{}", done.stdout);
    let mut commands = kept(&path);
    commands.sort();
    assert_eq!(commands.len(), 3);
    for (command, seed) in commands.iter().zip(40..) {
        assert!(command.starts_with(&format!("spacetime-node simulate --seed {seed} ")), "{command}");
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let again = program(&arguments).run();
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("L1 is broken"), "{}", again.stderr);
    }

    let calm = program(&["simulate", "--seeds", "3", "--nodes", "3", "--minutes", "1", "--seed", "1", "--failures"]);
    let nothing = folder.path().join("none.txt");
    let done = calm.path(&nothing).run();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!nothing.exists(), "there is nothing to keep");
}

/// The commands in a file of seeds that failed: whole lines only.
fn kept(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut off: {text}");
    let split = |line: &str| {
        let (command, why) = line.split_once(" # ").unwrap_or_else(|| panic!("no command: {line}"));
        assert!(why.contains(" is broken at node ") && why.contains("the rule: "), "{line}");
        command.to_owned()
    };
    text.lines().map(split).collect()
}

#[cfg(unix)]
#[test]
fn a_campaign_that_is_told_to_stop_says_what_it_did_and_leaves_its_file_whole() {
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.txt");
    let mut command =
        program(&HOPELESS).args(&["--seed", "1", "--seeds", "10000000", "--failures"]).path(&path).into_command();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    cli_support::wait_for("a seed that fails", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
    #[cfg(target_os = "linux")]
    let workers = workers_of(child.id());
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let failed = kept(&path).len();
    assert!(failed > 0 && said.contains(" of 10000000, stopped by a signal"), "{said}");
    assert!(said.trim_end().ends_with(&format!(" {failed} failed")), "{failed} lines, but: {said}");
    #[cfg(target_os = "linux")]
    {
        assert!(!workers.is_empty());
        cli_support::wait_for("the workers to leave", || !workers.iter().any(is_running));
    }
}

/// The processes that a campaign has started and that have not ended.
#[cfg(target_os = "linux")]
fn workers_of(campaign: u32) -> Vec<u32> {
    let mut workers = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().map_while(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if parent == Some(&campaign.to_string()) && state != Some("Z") {
            workers.push(pid);
        }
    }
    workers
}

#[cfg(target_os = "linux")]
fn is_running(pid: &u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A panic while another one unwinds ends a process. It ended whole campaigns, and nobody knew over which seed.
#[cfg(target_os = "linux")]
#[test]
fn a_seed_whose_process_ends_is_named_and_the_campaign_goes_on() {
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.txt");
    let calm = ["simulate", "--nodes", "8", "--minutes", "5", "--faults", "none", "--seed", "70", "--seeds", "6"];
    let mut command = program(&calm).args(&["--failures"]).path(&path).into_command();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut workers = Vec::new();
    cli_support::wait_for("a worker", || {
        workers = workers_of(child.id());
        !workers.is_empty()
    });
    let sent = Command::new("kill").args(["-ABRT", &workers[0].to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.starts_with("6 seeds, from 70 "), "{output:?}");
    assert!(said.contains(" 1 failed"), "{said}");
    let line = fs::read_to_string(&path).unwrap();
    let (command, why) = line.trim_end().split_once(" # ").unwrap();
    assert_eq!(why, "the process that played it has ended: signal 6, SIGABRT");
    // It was not the seed's fault.
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    assert_eq!(program(&arguments).run().code, 0);
    cli_support::wait_for("the workers to leave", || !workers.iter().any(is_running));
}

#[test]
fn a_failure_is_shrunk_to_the_smallest_run_that_fails_in_the_same_way() {
    let wide = ["simulate", "--seed", "9", "--nodes", "6", "--minutes", "3", "--faults", "full", "--shrink"];
    let done = program(&wide).args(&["--fault", "latency-min=20000", "--without", "part"]).run();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("breaks    L1\n"), "{}", done.stdout);
    assert!(done.stdout.contains("plan      latency-min=20000\n"), "{}", done.stdout);
    let command = done.stdout.lines().last().unwrap();
    assert!(command.contains("--nodes 2 --minutes 1 "), "{command}");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    assert!(program(&arguments).run().stderr.contains("L1 is broken"));

    let fine = program(&["simulate", "--seed", "1", "--nodes", "3", "--minutes", "1", "--faults", "none", "--shrink"]);
    let done = fine.run();
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("every invariant holds"), "{}", done.stderr);
}

/// A change of what the node does shows here. Look at the cells: when they are what the change is meant to give, write the
/// table anew with the command in its second line. Without optimization it takes minutes: `.ci/run campaign` compares it too.
#[cfg_attr(debug_assertions, ignore = "is compared by `.ci/run campaign`, from an optimized build")]
#[test]
fn the_policies_give_what_the_table_in_the_repository_says() {
    let done = program(&["simulate", "--table"]).run();
    assert_eq!(done.code, 0, "{done:?}");
    let kept = include_str!("snapshots/network.txt");
    let (then, now) = (cells(kept), cells(&done.stdout));
    let mut changes = Vec::new();
    for (old, new) in then.iter().zip(&now) {
        for ((column, old_cell), new_cell) in COLUMNS.iter().zip(old).zip(new) {
            if old_cell != new_cell {
                changes.push(format!("{}: {column} is {new_cell}, was {old_cell}", old[..KEYS].join(" ")));
            }
        }
    }
    if then.len() != now.len() {
        changes.push(format!("{} rows, were {}", now.len(), then.len()));
    }
    let renew = kept.lines().find_map(|line| line.strip_prefix("# Renew: ")).expect("the file says how to renew it");
    assert!(changes.is_empty(), "\n{}\nIf that is meant: {renew}\n", changes.join("\n"));
    assert_eq!(kept, done.stdout, "the cells are the same, but not the text around them: {renew}");
}

fn cells(table: &str) -> Vec<Vec<&str>> {
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.len() > 1 && rows.iter().all(|row| row.len() == COLUMNS.len()), "{table}");
    rows
}
