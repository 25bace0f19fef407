//! Settings from the environment and from the file, as the built program reads them.

mod cli_support;

use std::collections::BTreeSet;

use cli_support::program;

/// Every variable that some command's help names.
fn variables() -> BTreeSet<String> {
    let help = program(&["--help"]).run().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut found = BTreeSet::new();
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let help = program(&[command, "--help"]).run().stdout;
        let parts = help.split("[env: ").skip(1);
        found.extend(parts.filter_map(|part| part.split(['=', ']']).next()).map(str::to_owned));
    }
    found
}

/// Scripts and container files set variables to nothing where they mean nothing: each was a wrong usage of a flag that
/// nobody had given.
#[test]
fn an_empty_variable_counts_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let variables = variables();
    assert!(variables.len() > 40 && variables.contains("SPACETIME_NODE_MAX_CONNECTIONS"), "{variables:?}");
    let with_all_empty = |arguments: &[&str]| {
        let program = program(arguments).env("HOME", directory.path()).env("XDG_DATA_HOME", "");
        variables.iter().fold(program, |program, name| program.env(name, "")).run()
    };
    for (arguments, code, part) in [
        (&["id"][..], 0, ""),
        (&["known-peers"], 0, ""),
        (&["simulate", "--faults", "list"], 0, ""),
        (&["ping", "127.0.0.1:1", "--timeout", "1s"], 1, "talk to 127.0.0.1:1"),
        (&["run", "--tls", "pinned"], 2, "trusts nobody without --pin"),
        (&["demo", "--nodes", "2"], 2, "--nodes"),
    ] {
        let done = with_all_empty(arguments);
        assert!(done.code == code && done.stderr.contains(part), "{arguments:?}: {done:?}");
        assert!(done.code != 0 || done.stderr.is_empty(), "{arguments:?}: {done:?}");
    }
    assert!(directory.path().join(".local/share/spacetime-node/node.key").exists());
}

#[test]
fn a_misspelled_variable_is_a_warning_with_the_likely_name() {
    let directory = tempfile::tempdir().unwrap();
    let done = program(&["id", "--data-dir"])
        .path(directory.path())
        .env("SPACETIME_NODE_LISTN", "127.0.0.1:1")
        .env("SPACETIME_NODE_SERVICE_HOST", "10.0.0.1")
        .env("SPACETIME_NODE_PORT_8333_TCP", "tcp://10.0.0.1:8333")
        .run();
    assert_eq!(done.code, 0, "{done:?}");
    let warning = "warning: the environment variable SPACETIME_NODE_LISTN is no setting and does nothing; did you mean \
                   SPACETIME_NODE_LISTEN?\n";
    assert_eq!(done.stderr, warning);
}

fn not_text() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(b"J\xfcrgen".to_vec())
}

#[test]
fn a_wrong_value_says_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    let run = |text: &[u8]| {
        std::fs::write(&file, text).unwrap();
        program(&["run", "--config"]).path(&file).run()
    };
    for (text, part) in [
        (&b"mine = true\n\n[run]\noutbound = 3\n"[..], "node.toml line 3: run is a section or a table"),
        (b"mine = true\nminer = \"J\xfcrgen\"\n", "node.toml line 2: not UTF-8"),
        (b"\xff\xfem\0i\0n\0e\0", "node.toml line 1: not UTF-8"),
        (b"outbound = \"many\"\n", "node.toml line 1: invalid value 'many' for '--outbound <N>'"),
    ] {
        let done = run(text);
        assert_eq!((done.code, done.stderr.lines().count()), (2, 1), "{done:?}");
        assert!(done.stderr.contains(part), "{done:?}");
    }
    let done = program(&["run"]).env("SPACETIME_NODE_LISTEN", "nowhere").run();
    assert!(done.code == 2 && done.stderr.contains("SPACETIME_NODE_LISTEN: invalid value 'nowhere'"), "{done:?}");
    // Nobody was told which of all variables it was.
    let done = program(&["run"]).env("SPACETIME_NODE_MINER", not_text()).run();
    assert!(done.code == 2 && done.stderr.contains("variable SPACETIME_NODE_MINER is not UTF-8"), "{done:?}");
    let done = program(&["run", "--listen", "nowhere"]).env("SPACETIME_NODE_LISTEN", "127.0.0.1:1").run();
    assert!(done.code == 2 && done.stderr.starts_with("error: invalid value 'nowhere'"), "{done:?}");
}

/// `~/node` in a file was a directory named `~` where the program was started.
#[test]
fn the_home_directory_is_understood_where_no_shell_has_looked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "data-dir = \"~/of-file\"\n").unwrap();
    let at_home = |arguments: &[&str]| program(arguments).env("HOME", directory.path());
    assert_eq!(at_home(&["id", "--config"]).path(&file).run().code, 0);
    assert_eq!(at_home(&["id"]).env("SPACETIME_NODE_DATA_DIR", "~/of-variable").run().code, 0);
    assert_eq!(at_home(&["id", "--data-dir=~/of-flag"]).run().code, 0);
    for name in ["of-file", "of-variable", "of-flag"] {
        assert!(directory.path().join(name).join("node.key").exists(), "{name}");
    }
    let done = at_home(&["id"]).env("SPACETIME_NODE_DATA_DIR", "~other/data").run();
    assert!(
        done.code == 2 && done.stderr.contains("SPACETIME_NODE_DATA_DIR: ") && done.stderr.contains("in full"),
        "{done:?}"
    );
}
