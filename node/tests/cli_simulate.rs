//! What `spacetime-node simulate` is asked for, and by whom: flags that cannot go together, the environment, the file, and
//! results for scripts.

mod cli_support;

use std::fs;

use cli_support::{Done, program};
use serde_json::Value;

/// A short run in which nothing goes wrong.
const CALM: [&str; 7] = ["simulate", "--nodes", "3", "--minutes", "1", "--faults", "none"];
/// No handshake is done in time: it breaks L1, for certain and soon.
const HOPELESS: [&str; 2] = ["--fault", "latency-min=20000"];

/// Whether the plan of a run has these words, and not those.
fn planned(done: &Done, with: &[&str], without: &str) {
    let plan: Vec<&str> = said(done, "plan ").split(' ').collect();
    assert!(with.iter().all(|word| plan.contains(word)), "{with:?}: {plan:?}");
    assert!(plan.iter().all(|word| !word.starts_with(&format!("{without}="))), "{without}: {plan:?}");
}

/// The value of a line of the report.
fn said<'a>(done: &'a Done, name: &str) -> &'a str {
    let line = done.stdout.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {done:?}")).trim()
}

fn refused(done: &Done, part: &str) {
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.lines().count()), (2, "", 1), "{done:?}");
    assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
}

/// The table took any flag and did nothing with it: a trace that was asked for was never written.
#[test]
fn the_table_refuses_what_it_would_ignore() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let path = file.to_str().unwrap();
    for with in [
        &["--seed", "5"][..],
        &["--seeds", "5"],
        &["--failures", path],
        &["--nodes", "5"],
        &["--minutes", "5"],
        &["--faults", "full"],
        &["--faults", "list"],
        &["--fault", "reset=8"],
        &["--without", "reset"],
        &["--scenario", "newcomer"],
        &["--trace", path],
        &["--plot", path],
        &["--shrink"],
    ] {
        let done = program(&["simulate", "--table"]).args(with).run();
        refused(&done, "'--table'");
        assert!(done.stderr.contains(&format!("'{}", with[0])), "{}", done.stderr);
        assert!(!file.exists());
    }
}

#[test]
fn the_list_of_faults_refuses_what_only_a_run_can_do() {
    for with in [&["--trace", "z"][..], &["--plot", "z"], &["--shrink"], &["--seeds", "2"]] {
        refused(&program(&["simulate", "--faults", "list"]).args(with).run(), "runs nothing: leave out ");
    }
}

/// The seed came from the clock, whatever these said.
#[test]
fn what_a_run_is_made_of_comes_from_the_environment_and_the_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    fs::write(
        &config,
        "seed = 5\nnodes = 3\nminutes = 1\nfaults = \"none\"\nfault = [\"reset=8\", \"kill=9\"]\nwithout = [\"reset\"]\n",
    )
    .unwrap();
    let filed = program(&["simulate", "--config"]).path(&config).run();
    assert_eq!((filed.code, said(&filed, "seed ")), (0, "5"), "{filed:?}");
    planned(&filed, &["kill=9"], "reset");

    let asked = program(&CALM)
        .env("SPACETIME_NODE_SEED", "6")
        .env("SPACETIME_NODE_FAULT", "reset=8,kill=9")
        .env("SPACETIME_NODE_WITHOUT", "kill,swizzle")
        .args(&["--config"])
        .path(&config)
        .run();
    assert_eq!((asked.code, said(&asked, "seed ")), (0, "6"), "{asked:?}");
    planned(&asked, &["reset=8"], "kill");
    let scenario = || program(&CALM).args(&["--seed", "1"]);
    let hash = |done: Done| said(&done, "hash ").to_owned();
    let named = hash(scenario().args(&["--scenario", "newcomer"]).run());
    assert_eq!(hash(scenario().env("SPACETIME_NODE_SCENARIO", "newcomer").run()), named);
    assert_ne!(hash(scenario().run()), named);

    let flag = program(&CALM).env("SPACETIME_NODE_SEED", "6").args(&["--seed", "7", "--config"]).path(&config).run();
    assert_eq!((flag.code, said(&flag, "seed ")), (0, "7"), "{flag:?}");
}

#[test]
fn a_wrong_value_of_the_environment_or_the_file_is_refused() {
    for (name, value) in [("SEED", "soon"), ("FAULT", "rain=3"), ("WITHOUT", "rain"), ("SCENARIO", "picnic")] {
        refused(&program(&CALM).env(&format!("SPACETIME_NODE_{name}"), value).run(), value.split('=').next().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    fs::write(&config, "seed = -1\n").unwrap();
    refused(&program(&["simulate", "--config"]).path(&config).run(), "a seed is a whole number");
}

/// One file and one environment serve all commands, and a seed is another thing to `run`.
#[test]
fn seeds_of_run_and_of_simulate_share_a_name_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    fs::write(&config, "seed = [\"192.0.2.1:8333\", \"192.0.2.2:8333\"]\n").unwrap();
    let run = program(&CALM).env("SPACETIME_NODE_SEED", "192.0.2.1:8333,192.0.2.2:8333").args(&["--config"]);
    let done = run.path(&config).run();
    assert_eq!(done.code, 0, "{done:?}");
    refused(&program(&CALM).args(&["--seed", "192.0.2.1:8333"]).run(), "a seed is a whole number");

    fs::write(&config, "seed = 5\n").unwrap();
    let node = program(&["run", "--config"]).path(&config).env("SPACETIME_NODE_SEED", "5");
    refused(&node.args(&["--difficulty", "99"]).run(), "99");
    refused(&program(&["run", "--seed", "5"]).run(), "expected ip:port");
}

#[test]
fn seeds_do_not_run_past_the_last_one() {
    let last = u64::MAX.to_string();
    let folder = tempfile::tempdir().unwrap();
    let from = |seeds: &str| {
        let campaign = program(&CALM).args(&["--seed", &last, "--seeds", seeds, "--failures"]);
        campaign.path(&folder.path().join("failed")).run()
    };
    refused(&from("5"), "give a smaller --seed or fewer --seeds");
    let one = from("1");
    assert_eq!((one.code, said(&one, "seed ")), (0, last.as_str()), "{one:?}");
}

#[test]
fn a_number_below_zero_is_answered_with_what_is_expected() {
    refused(&program(&["simulate", "--seed", "-1"]).run(), "a seed is a whole number from 0 to 18446744073709551615");
    refused(&program(&["simulate", "--seeds", "-1"]).run(), "expected a whole number from 1");
    for flag in ["--nodes", "--minutes"] {
        refused(&program(&["simulate", flag, "-1"]).run(), "expected a whole number from ");
    }
}

/// It came out at the first failure, which may be hours away.
#[test]
fn a_file_of_failures_that_cannot_be_written_stops_a_campaign_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("failed.txt");
    let done = program(&CALM).args(&["--seed", "1", "--seeds", "2", "--failures"]).path(&path).run();
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.lines().count()), (1, "", 1), "{done:?}");
    assert!(done.stderr.contains("failed.txt") && done.stderr.contains("--failures"), "{}", done.stderr);

    let kept = folder.path().join("kept.txt");
    fs::write(&kept, "of another day\n").unwrap();
    let done = program(&CALM).args(&["--seed", "1", "--seeds", "2", "--failures"]).path(&kept).run();
    assert_eq!((done.code, fs::read_to_string(&kept).unwrap().as_str()), (0, "of another day\n"), "{done:?}");
}

fn document(done: &Done) -> Value {
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn a_run_is_one_json_object() {
    let text = program(&CALM).args(&["--seed", "4"]).run();
    let done = program(&CALM).args(&["--seed", "4", "--json"]).run();
    let run = document(&done);
    assert_eq!(done.code, 0, "{done:?}");
    let hash = format!("{} of {} lines", run["hash"].as_str().unwrap(), run["lines"]);
    assert_eq!(said(&text, "hash "), hash);
    assert_eq!(said(&text, "nodes "), format!("{} honest, {} others", run["nodes"], run["adversaries"]));
    assert_eq!(said(&text, "carried "), format!("{} bytes; the highest block is {}", run["bytes"], run["height"]));
    assert!(said(&text, "time ").ends_with(&format!(" {} events", run["events"])));
    assert!(run["simulated_seconds"].as_f64().unwrap() >= 60.0, "{run}");
    assert!(run["injected"].is_object() && run["checks"]["S1"].as_u64().unwrap() > 0, "{run}");
    assert_eq!((&run["seed"], &run["failure"]), (&4.into(), &Value::Null));

    let done = program(&CALM).args(&HOPELESS).args(&["--seed", "4", "--json"]).run();
    let run = document(&done);
    assert_eq!((done.code, &run["failure"]["invariant"]), (1, &"L1".into()), "{done:?}");
    assert!(done.stderr.contains("L1 is broken"), "{}", done.stderr);
}

#[test]
fn a_campaign_is_one_json_object_with_the_seeds_that_fail() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.txt");
    let campaign = |more: &[&str]| {
        let done = program(&CALM).args(&["--seed", "40", "--seeds", "3", "--json"]).args(more).args(&["--failures"]);
        done.path(&path).run()
    };
    let done = campaign(&[]);
    let found = document(&done);
    assert_eq!((done.code, &found["seeds"], &found["played"]), (0, &3.into(), &3.into()), "{done:?}");
    assert_eq!((&found["failed"], &found["stopped"]), (&Value::Array(Vec::new()), &false.into()));

    let done = campaign(&HOPELESS);
    let found = document(&done);
    let failed = found["failed"].as_array().unwrap();
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(failed.iter().map(|one| one["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [40, 41, 42]);
    let kept = fs::read_to_string(&path).unwrap();
    for one in failed {
        assert_eq!(one["invariant"], "L1");
        assert!(kept.contains(&format!("{} # {}\n", one["command"].as_str().unwrap(), one["found"].as_str().unwrap())));
    }
}

#[test]
fn what_runs_nothing_or_many_times_is_json_too() {
    let listed = program(&["simulate", "--faults", "list", "--json"]).run().json();
    assert!(listed.as_array().unwrap().iter().any(|class| class["name"] == "reset" && class["most"].is_u64()));
    let shrunk = program(&CALM).args(&HOPELESS).args(&["--seed", "4", "--shrink", "--json"]).run().json();
    assert_eq!((&shrunk["breaks"], &shrunk["plan"]["latency-min"]), (&"L1".into(), &20_000.into()));
}

/// Where the environment asks for a rate, the smallest run said nothing of the rate that it does without, so that its command
/// was another run.
#[test]
fn the_smallest_run_is_the_same_where_the_environment_asks_for_more() {
    let asked = |command: &[&str]| program(command).env("SPACETIME_NODE_FAULT", "latency-min=20000,reset=800");
    let done = asked(&CALM).args(&["--seed", "4", "--shrink", "--json"]).run();
    let command = done.json()["command"].as_str().unwrap().to_owned();
    let again = asked(&command.split_whitespace().skip(1).collect::<Vec<_>>()).run();
    assert_eq!((again.code, said(&again, "plan ")), (1, "latency-min=20000"), "{again:?}");
    assert!(command.contains(" --without reset"), "{command}");
}

/// The line of the README about `--shrink` ended with 1 as it was printed, and the program was used before it was installed.
#[test]
fn what_the_readme_says_of_shrink_works_and_installing_comes_first() {
    let readme = include_str!("../../README.md");
    let line =
        readme.lines().find(|line| line.starts_with("spacetime-node simulate") && line.contains("--shrink")).unwrap();
    let command = line.split('#').next().unwrap().split_whitespace().skip(1).collect::<Vec<_>>();
    let done = program(&command).run();
    assert_eq!((done.code, said(&done, "breaks ")), (0, "L1"), "{done:?}");
    let at = |text: &str| readme.find(text).unwrap();
    assert!(at("cargo install --path node") < at("\nspacetime-node "));
}
