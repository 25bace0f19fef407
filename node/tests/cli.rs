//! The program as an operator or a script meets it: the built binary, its exit codes, its lines and its files.

mod cli_support;

use std::fs;

use cli_support::{Program, RunningNode, program, wait_for};

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let unknown_key = directory.path().join("node.toml");
    fs::write(&unknown_key, "heartbaet = \"5s\"\n").unwrap();
    let unknown_key = unknown_key.to_str().unwrap();
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["run", "--no-such-flag"],
        &["run", "--listen", "nowhere"],
        &["run", "--max-connections", "0"],
        &["run", "--tls", "maybe"],
        &["run", "--difficulty", "31"],
        &["run", "--heartbeat", "60s", "--idle-timeout", "30s", "--listen", "127.0.0.1:0"],
        &["run", "--config", unknown_key],
        &["run", "--config", "/does/not/exist.toml"],
        &["ping", "no-port"],
        &["block", "127.0.0.1:1", "abcd"],
        &["demo", "--nodes", "2"],
    ] {
        let done = program(arguments).run();
        assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{arguments:?}: {done:?}");
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
    let done = program(&["run", "--config", unknown_key]).run();
    assert!(done.stderr.contains("did you mean heartbeat?"), "{done:?}");
}

#[test]
fn help_goes_to_standard_output_and_has_an_example_for_each_command() {
    let commands = [
        "run",
        "demo",
        "ping",
        "peers",
        "headers",
        "block",
        "tx-pool",
        "send-tx",
        "sync",
        "chain",
        "known-peers",
        "id",
        "completions",
    ];
    let all = program(&["--help"]).run();
    assert_eq!(all.code, 0);
    for command in commands {
        assert!(all.stdout.contains(&format!("  {command} ")), "{command} is not in --help");
        let one = program(&[command, "--help"]).run();
        assert_eq!(one.code, 0);
        assert!(one.stdout.contains(&format!("spacetime-node {command} ")), "no example: {}", one.stdout);
    }
    assert!(program(&["run", "--help"]).run().stdout.contains("SPACETIME_NODE_LISTEN"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = program(&["completions", shell]).run();
        assert_eq!(done.code, 0);
        assert!(done.stdout.contains("known-peers"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn the_id_makes_a_private_key_once_and_stays_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let id = |extra: &[&str]| program(&["id", "--data-dir"]).path(&data).args(extra).run();

    let first = id(&[]);
    assert_eq!(first.code, 0, "{first:?}");
    let digits = first.stdout.trim_end();
    assert!(digits.len() == 64 && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{digits}");
    let key = data.join("node.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));

    assert_eq!(id(&[]).stdout, first.stdout);
    let document: serde_json::Value = serde_json::from_str(&id(&["--json"]).stdout).unwrap();
    assert_eq!(document["node_id"], digits);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = id(&[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("chmod 600") && refused.stderr.lines().count() == 1, "{refused:?}");
}

#[test]
fn a_damaged_key_stops_the_node_and_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    program(&["id", "--data-dir"]).path(directory.path()).run();
    let key = directory.path().join("node.key");
    let damaged = fs::read_to_string(&key).unwrap().replace("PRIVATE", "SECRET");
    fs::write(&key, &damaged).unwrap();
    let done = program(&["run", "--no-listen", "--data-dir"]).path(directory.path()).run();
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    assert!(done.stderr.contains("restore it from a backup"), "{done:?}");
    assert_eq!(fs::read_to_string(&key).unwrap(), damaged);
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let config = at("node.toml");
    fs::write(&config, format!("data-dir = {:?}\n", at("from-file"))).unwrap();
    let id = || program(&["id", "--config"]).path(&config);

    assert_eq!(id().run().code, 0);
    assert!(at("from-file").join("node.key").exists());
    assert_eq!(id().env("SPACETIME_NODE_DATA_DIR", at("from-environment")).run().code, 0);
    assert!(at("from-environment").join("node.key").exists());
    let flag = id().env("SPACETIME_NODE_DATA_DIR", at("unused")).args(&["--data-dir"]).path(&at("from-flag")).run();
    assert_eq!(flag.code, 0);
    assert!(at("from-flag").join("node.key").exists() && !at("unused").exists());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let done = program(&["completions", "bash"]).run_with_closed_output();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
}

#[test]
fn a_question_to_nobody_says_what_was_tried() {
    // A port that was just given back: nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let done = program(&["ping", &format!("127.0.0.1:{port}")]).run();
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains(&format!("127.0.0.1:{port}")) && done.stderr.lines().count() == 1, "{done:?}");
}

#[test]
fn looking_at_a_directory_that_is_not_there_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for command in ["chain", "known-peers"] {
        let done = program(&[command, "--data-dir"]).path(&missing).run();
        assert_eq!(done.code, 1, "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1);
    }
    assert!(!missing.exists());
}

#[cfg(unix)]
#[test]
fn a_node_says_who_and_where_it_is_and_stops_when_told() {
    for signal in ["-TERM", "-INT"] {
        let directory = tempfile::tempdir().unwrap();
        let id = program(&["id", "--data-dir"]).path(directory.path()).run().stdout;
        let node = RunningNode::start(directory.path(), &["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
        assert_eq!(node.lines[0], format!("node {}", id.trim_end()));
        assert_eq!(node.listening().len(), 2);
        assert!(node.listening().iter().all(|address| !address.ends_with(":0")));
        let done = node.stop_with(signal);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(directory.path().join("peers.json").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_directory_and_a_port_are_used_by_one_node_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(&directory.path().join("one"), &["--listen", "127.0.0.1:0"]);
    let address = node.listening()[0].clone();

    let locked = program(&["run", "--no-listen", "--data-dir"]).path(&directory.path().join("one")).run();
    assert_eq!(locked.code, 1);
    assert!(locked.stderr.contains("another process is using it") && locked.stderr.lines().count() == 1, "{locked:?}");

    let in_use = program(&["run", "--listen", &address, "--data-dir"]).path(&directory.path().join("two")).run();
    assert_eq!(in_use.code, 1);
    assert!(in_use.stderr.contains(&address) && in_use.stderr.contains("--listen"), "{in_use:?}");
    assert_eq!(node.stop_with("-TERM").code, 0);
}

#[test]
fn a_node_that_cannot_have_its_directory_or_address_says_so_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let data = directory.path().join("data");
    // An address of a network that is only for documents, so never one of this machine (RFC 5737).
    for (data, listen, part) in
        [(&file, "127.0.0.1:0", "--data-dir"), (&data, "192.0.2.1:0", "an address of this machine")]
    {
        let done = program(&["run", "--log-level", "off", "--listen", listen, "--data-dir"]).path(data).run();
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        assert!(done.stderr.contains(part) && done.stderr.lines().count() == 1, "{done:?}");
    }
}

#[cfg(unix)]
#[test]
fn two_nodes_meet_and_the_second_gets_the_chain_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let miner =
        RunningNode::start(&one, &["--listen", "127.0.0.1:0", "--mine", "--miner", "m", "--block-interval", "0.05"]);
    let address = miner.listening()[0].clone();
    let other = RunningNode::start(&two, &["--listen", "127.0.0.1:0", "--connect", &address]);
    let second = other.listening()[0].clone();
    let height = |address: &str| program(&["headers", address, "--json"]).run().json().as_array().map_or(0, Vec::len);
    wait_for("three blocks at the second node", || height(&second) >= 3);

    assert_eq!(miner.stop_with("-TERM").code, 0);
    assert_eq!(other.stop_with("-TERM").code, 0);
    let chain = |data| program(&["chain", "--verify", "--balances", "--json", "--data-dir"]).path(data).run().json();
    let (a, b) = (chain(&one), chain(&two));
    assert!(b["height"].as_u64().unwrap() >= 3, "{b}");
    assert!(a["height"].as_u64().unwrap() >= b["height"].as_u64().unwrap(), "{a} {b}");
    assert_eq!(b["balances"]["m"], 50 * b["height"].as_u64().unwrap());
    assert_eq!(b["verified"]["blocks"], b["height"].as_u64().unwrap() + 1);
    let peers = program(&["known-peers", "--json", "--data-dir"]).path(&two).run().json();
    assert!(peers.as_object().unwrap().values().any(|peer| peer["Address"] == address.as_str()), "{peers}");
}

#[cfg(unix)]
#[test]
fn a_running_node_answers_questions() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    let address = node.listening()[0].clone();
    let ask = |arguments: &[&str]| program(arguments).run();

    let ping = ask(&["ping", &address, "--count", "2", "--interval", "1ms", "--json"]).json();
    assert_eq!(ping["sent"], 2);
    assert_eq!(format!("node {}", ping["node_id"].as_str().unwrap()), node.lines[0]);
    assert_eq!(ask(&["peers", &address, "--json"]).json(), serde_json::json!([]));
    assert_eq!(ask(&["headers", &address, "--json"]).json(), serde_json::json!([]));

    let sent = ask(&["send-tx", &address, "--from", "alice", "--to", "bob", "--amount", "5", "--json"]).json();
    assert_eq!(sent["accepted"], "pool");
    let pool = ask(&["tx-pool", &address, "--json"]).json();
    assert_eq!(pool["transactions"][0]["id"], sent["id"]);
    assert_eq!(pool["transactions"][0]["transfer"]["amount"], 5);

    let nothing = "ab".repeat(32);
    let missing = ask(&["block", &address, &nothing]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("does not have it"), "{missing:?}");
    assert_eq!(node.stop_with("-TERM").code, 0);
}

/// `--from network` was sent: the node counted it as misbehaviour, and after five times the operator's address was banned for a
/// day.
#[test]
fn a_transaction_that_every_node_refuses_is_never_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let long = "n".repeat(129);
    for (from, to, part) in [
        ("network", "bob", "this name is kept for the rewards of blocks"),
        (&long, "bob", "a name has 1 to 128 bytes"),
        ("ann", &long, "a name has 1 to 128 bytes"),
    ] {
        let refused = program(&["send-tx", &address, "--from", from, "--to", to, "--amount", "5"]).run();
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
        assert!(refused.stderr.contains(part), "{refused:?}");
        assert!(listener.accept().is_err(), "nobody was even connected to");
    }
}

#[cfg(unix)]
#[test]
fn a_chain_is_downloaded_shown_and_its_blocks_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "4", "--reward", "7"];
    let node = RunningNode::start(&directory.path().join("one"), &arguments);
    let address = node.listening()[0].clone();
    let headers = || program(&["headers", &address, "--max", "5", "--json"]).run().json();
    wait_for("five blocks", || headers().as_array().is_some_and(|list| list.len() == 5));

    // The network is not the default one: sync finds out by itself.
    let copy = directory.path().join("copy");
    let synced = program(&["sync", &address, "--json", "--data-dir"]).path(&copy).run().json();
    assert!(synced["height"].as_u64().unwrap() >= 5, "{synced}");
    let chain = program(&["chain", "--json", "--data-dir"]).path(&copy).run().json();
    assert_eq!((&chain["tip"], &chain["reward"], &chain["difficulty"]), (&synced["tip"], &7.into(), &4.into()));

    let fifth = headers()[4].clone();
    let hash = fifth["hash"].as_str().unwrap();
    let block = program(&["block", &address, hash, "--json"]).run().json();
    assert_eq!((&block["hash"], &block["height"]), (&fifth["hash"], &5.into()));
    let file = directory.path().join("block.bin");
    assert_eq!(program(&["block", &address, hash, "--out"]).path(&file).run().code, 0);
    assert_eq!(fs::metadata(&file).unwrap().len(), block["bytes"].as_u64().unwrap());
    assert_eq!(node.stop_with("-TERM").code, 0);
}

#[cfg(unix)]
#[test]
fn a_damaged_peers_file_is_set_aside_and_a_damaged_chain_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("peers.json"), "{ not json").unwrap();
    let node = RunningNode::start(directory.path(), &["--no-listen"]);
    let done = node.stop_with("-TERM");
    assert_eq!(done.code, 0);
    assert!(done.stderr.contains("peers.json.damaged-"), "{done:?}");

    let chain = directory.path().join("chain/00000001.blocks");
    fs::write(&chain, "this is no store").unwrap();
    let refused = program(&["run", "--no-listen", "--data-dir"]).path(directory.path()).run();
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.contains("/chain is damaged") && refused.stderr.lines().count() == 1, "{refused:?}");
    assert_eq!(fs::read_to_string(&chain).unwrap(), "this is no store");
}

/// The chain was one file, of another library, in the first versions. It is the only copy of somebody's chain.
#[test]
fn the_chain_of_an_earlier_version_is_refused_with_a_word_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let chain = directory.path().join("chain.redb");
    fs::write(&chain, "redb, and what was in it").unwrap();
    for command in [&["run", "--no-listen", "--data-dir"][..], &["chain", "--data-dir"]] {
        let refused = program(command).path(directory.path()).run();
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
        assert!(refused.stderr.contains("chain.redb: an earlier version wrote it"), "{refused:?}");
        assert!(refused.stderr.contains("move it away") && refused.stderr.lines().count() == 1, "{refused:?}");
        assert!(!directory.path().join("chain").exists());
    }
    assert_eq!(fs::read_to_string(&chain).unwrap(), "redb, and what was in it");
}

#[cfg(unix)]
#[test]
fn the_demo_ends_with_one_chain_on_every_node() {
    let directory = tempfile::tempdir().unwrap();
    let transactions = directory.path().join("transactions.csv");
    fs::write(&transactions, "sender,recipient,amount\nalice,bob,5\nbob,carol,2\n").unwrap();
    let kept = directory.path().join("kept");
    let demo: Program =
        program(&["demo", "--nodes", "3", "--blocks", "4", "--json", "--transactions"]).path(&transactions);
    let report = demo.args(&["--keep"]).path(&kept).run().json();
    assert_eq!((&report["nodes"], &report["transactions"]), (&3.into(), &2.into()));
    for index in 0..3 {
        let data = kept.join(format!("node-{index}"));
        let chain = program(&["chain", "--verify", "--balances", "--json", "--data-dir"]).path(&data).run().json();
        assert_eq!((&chain["tip"], &chain["height"]), (&report["tip"], &report["height"]));
        assert_eq!((&chain["balances"]["alice"], &chain["balances"]["bob"]), (&(-5).into(), &3.into()));
    }
}

#[test]
fn a_simulation_leaves_the_addresses_that_run_calls_seeds_alone() {
    let file = tempfile::tempdir().unwrap();
    let config = file.path().join("node.toml");
    std::fs::write(&config, "seed = [\"192.0.2.1:8333\"]\n").unwrap();
    let mut command =
        program(&["simulate", "--nodes", "2", "--minutes", "1", "--faults", "none", "--seed", "3", "--config"])
            .path(&config)
            .into_command();
    let done = command.env("SPACETIME_NODE_SEED", "192.0.2.1:8333").output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.contains('3') && text.contains("hash"), "{text}");
    // The same seed again, in a process of its own: the same hash.
    let again = program(&["simulate", "--nodes", "2", "--minutes", "1", "--faults", "none", "--seed", "3"]).run();
    let hash = |text: &str| text.lines().find(|line| line.contains("hash")).map(str::to_owned);
    assert_eq!(hash(&again.stdout), hash(&text));
}
