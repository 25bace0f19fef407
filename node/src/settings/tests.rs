//! Where a setting comes from: flag, environment, file, default.

use super::*;
use std::collections::BTreeSet;

fn run_with(file: &str, arguments: &[&str]) -> Result<crate::cli::RunArgs, Failure> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    std::fs::write(&path, file).unwrap();
    let mut line: Vec<OsString> = vec!["spacetime-node".into(), "run".into(), "--config".into(), path.into()];
    line.extend(arguments.iter().map(OsString::from));
    match read(line)? {
        Asked::Run(command) => match *command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        },
        Asked::Text(text) => panic!("{text}"),
    }
}

fn why(result: Result<impl std::fmt::Debug, Failure>) -> String {
    match result.unwrap_err() {
        Failure::Usage(line) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flag_has_an_environment_variable_and_every_command_an_example() {
    let definition = definition();
    definition.clone().debug_assert();
    for command in definition.get_subcommands() {
        let examples = command.get_after_help().unwrap().to_string();
        assert!(examples.contains(&format!("spacetime-node {}", command.get_name())), "{}", command.get_name());
        for arg in command.get_arguments().filter(|arg| flag_name(arg).is_some()) {
            let expected = format!("SPACETIME_NODE_{}", arg.get_long().unwrap().to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), expected);
        }
    }
    let names: BTreeSet<&str> = definition.get_subcommands().map(clap::Command::get_name).collect();
    assert!(names.contains("known-peers") && names.contains("tx-pool"));
}

/// `ping ADDR --count -1` was answered with "to pass '-1' as a value, use '-- -1'", and `run --max-connections -1` without a word of
/// the flag: only some flags had been told that a number may be below zero.
#[test]
fn a_value_that_begins_with_a_dash_is_a_value_of_the_flag_before_it_whichever_that_is() {
    let definition = definition();
    let mut refused = BTreeSet::new();
    for command in definition.get_subcommands() {
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            let Some(flag) = arg.get_long().map(|name| format!("--{name}")) else { continue };
            for value in ["-1", "-1s", "-x"] {
                let line = ["spacetime-node", command.get_name(), &flag, value].map(OsString::from);
                let Err(error) = definition.clone().try_get_matches_from(with_joined_values(&definition, line)) else {
                    continue;
                };
                match error.kind() {
                    ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                        let text = flatten(&error);
                        assert!(text.starts_with(&format!("invalid value '{value}' for '{flag}")), "{text}");
                        assert!(!text.contains("-- -"), "{text}");
                        refused.insert((command.get_name(), flag.clone()));
                    }
                    // The value was taken: a name or a path may begin so.
                    ErrorKind::MissingRequiredArgument => {}
                    other => panic!("{} {flag} {value}: {other:?}: {}", command.get_name(), flatten(&error)),
                }
            }
        }
    }
    for known in [
        ("ping", "--count"),
        ("ping", "--timeout"),
        ("headers", "--max"),
        ("run", "--max-connections"),
        ("run", "--difficulty"),
        ("run", "--block-interval"),
        ("run", "--seed-node"),
        ("simulate", "--seed"),
        ("send-tx", "--amount"),
    ] {
        assert!(refused.contains(&(known.0, known.1.to_owned())), "{known:?}: {refused:?}");
    }
}

#[test]
fn what_is_no_value_is_not_joined() {
    let joined = |line: &[&str]| with_joined_values(&definition(), line.iter().map(OsString::from));
    for line in [
        &["run", "--mine", "-1"][..],
        &["run", "--data-dir", "--mine"],
        &["run", "--listen", "-h"],
        &["run", "--listen", "-"],
        &["ping", "--", "--count", "-1"],
        &["ping", "--count=1", "-1"],
    ] {
        assert_eq!(joined(line), line, "{line:?}");
    }
    assert_eq!(joined(&["run", "--seed", "-1", "-1"]), ["run", "--seed=-1", "-1"]);
}

#[test]
fn the_file_beats_defaults_and_flags_beat_the_file() {
    let file = "max-connections = 7\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nmine = true\nheartbeat = \"5s\"\n";
    let run = run_with(file, &["--heartbeat", "6s", "--listen", "127.0.0.1:3"]).unwrap();
    assert_eq!(run.max_connections, 7);
    assert_eq!(run.listen, ["127.0.0.1:3".parse().unwrap()]);
    assert!(run.mine);
    assert_eq!(run.heartbeat.as_secs(), 6);
    assert_eq!(run.outbound, 8);
    assert_eq!(run_with(file, &[]).unwrap().listen.len(), 2);
}

#[test]
fn an_unknown_key_is_refused_with_the_likely_one() {
    let line = why(run_with("max_conections = 7", &[]));
    assert!(line.contains("unknown key max_conections; did you mean max-connections?"), "{line}");
    let line = why(run_with("zzzzzzzzzzzzzzzzzzzzzzzzzz = 7", &[]));
    assert!(line.ends_with("unknown key zzzzzzzzzzzzzzzzzzzzzzzzzz"), "{line}");
}

#[test]
fn a_key_of_another_command_is_left_alone() {
    assert!(run_with("nodes = 7\ntimeout = \"1s\"", &[]).is_ok());
}

#[test]
fn a_wrong_value_names_the_file_the_line_and_the_key_on_one_line() {
    for (file, part) in [
        (
            "\nheartbeat = \"soon\"",
            "node.toml line 2: invalid value 'soon' for '--heartbeat <TIME>': expected a number with",
        ),
        ("# a\n\noutbound = -1", "node.toml line 3: invalid value '-1' for '--outbound <N>'"),
        ("mine = true\nheartbeat = [\"1s\", \"2s\"]", "node.toml line 2: heartbeat takes one value"),
        ("outbound = 1\n[run]\nmine = true", "node.toml line 2: run is a section or a table: keys stand at the top"),
        ("run.mine = true", "node.toml line 1: run is a section or a table"),
        ("listen = [[\"127.0.0.1:1\"]]", "node.toml line 1: listen must be a text"),
        ("outbound = 1\nmine = ", "node.toml line 2: not TOML: "),
        // Once it expected "any valid TOML value".
        ("mine = true\nreward = 99999999999999999999", "node.toml line 2: 99999999999999999999 is out of range"),
        ("mine = true\nmine = true", "node.toml line 2: not TOML: duplicate key"),
        ("data-dir = \"\"", "node.toml line 1: a value is required for '--data-dir <DIR>'"),
        ("data-dir = \"~bob/a\"", "node.toml line 1: invalid value '~bob/a' for '--data-dir <DIR>'"),
        ("miner = \"a\"\nmax_conections = 7", "node.toml line 2: unknown key max_conections"),
    ] {
        let line = why(run_with(file, &[]));
        assert!(line.contains(part) && !line.contains('\n'), "{line}");
    }
    // Written by an editor of another age.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    std::fs::write(&path, b"mine = true\nminer = \"J\xfcrgen\"\n").unwrap();
    let line = why(File::read(&path));
    assert!(line.contains("node.toml line 2: not UTF-8: save the file in that encoding"), "{line}");
    std::fs::write(&path, "\u{feff}mine = true\r\nminer = \"Jürgen\"\r\n").unwrap();
    assert!(File::read(&path).is_ok());
}

#[test]
fn of_flags_that_exclude_each_other_the_stronger_source_holds() {
    let run = run_with("listen = \"127.0.0.1:1\"", &["--no-listen"]).unwrap();
    assert!(run.no_listen && run.listen.is_empty());
    let run = run_with("no-listen = true", &["--listen", "127.0.0.1:1"]).unwrap();
    assert!(!run.no_listen && run.listen.len() == 1);
    let line = why(run_with("", &["--no-listen", "--listen", "127.0.0.1:1"]));
    assert!(line.contains("exclude each other"), "{line}");
}

#[test]
fn usage_errors_are_one_line() {
    for arguments in [
        &["--nonsense"][..],
        &["--listen", "nowhere"],
        &["--max-connections", "0"],
        &["--block-interval", "-1"],
        &["--tls", "maybe"],
        &["--exempt", "10.0.0.0/99"],
    ] {
        let line = why(run_with("", arguments));
        assert!(!line.contains('\n') && line.ends_with("try --help"), "{line}");
    }
}

#[test]
fn a_path_of_the_file_begins_at_home_where_it_says_so() {
    let home = std::env::home_dir().unwrap();
    let run = run_with("data-dir = \"~/node\"", &[]).unwrap();
    assert_eq!(run.data.data_dir, Some(home.join("node")));
    assert_eq!(run_with("", &["--data-dir=~/node"]).unwrap().data.data_dir, Some(home.join("node")));
    assert_eq!(run_with("", &["--data-dir", "a/~"]).unwrap().data.data_dir, Some("a/~".into()));
}

/// `block ADDR -1` was told to write `-- -1`, which is refused as well.
#[test]
fn a_number_below_zero_is_judged_by_what_has_its_place_and_one_too_many_gets_no_tip() {
    let definition = definition();
    let refused = |line: &[&str]| {
        let line = line.iter().map(OsString::from);
        flatten(&definition.clone().try_get_matches_from(with_joined_values(&definition, line)).unwrap_err())
    };
    let block = refused(&["spacetime-node", "block", "127.0.0.1:1", "-1"]);
    assert!(block.starts_with("invalid value '-1' for '<"), "{block}");
    let surplus = refused(&["spacetime-node", "headers", "127.0.0.1:1", "-5"]);
    assert_eq!(surplus, "unexpected argument '-5' found; try --help");
    let flag = refused(&["spacetime-node", "headers", "127.0.0.1:1", "-x"]);
    assert!(flag.contains("unexpected argument '-x'"), "{flag}");
}
