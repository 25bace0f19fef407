//! What a node says of its peers, of the network and of itself, and what its questions are answered.

#![cfg(unix)]

mod cli_support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use cli_support::{LoggedNode, RunningNode, program, wait_for};

const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// A polite shutdown read "peer reports an error", the line about the disconnect had no address, and most lines `withheld=0`.
#[test]
fn a_peer_that_stops_is_one_line_with_its_address_and_what_it_said() {
    let directory = tempfile::tempdir().unwrap();
    let there = RunningNode::start(&directory.path().join("there"), &ANY_PORT);
    let address = there.listening()[0].clone();
    let node = LoggedNode::start(&directory.path().join("here"), &["--no-listen", "--connect", &address]);
    node.says("peer connected");
    assert_eq!(there.stop_with("-TERM").code, 0);
    let gone = node.says("peer disconnected");
    assert!(gone.contains(&format!("remote={address} ")), "{gone}");
    assert!(gone.contains(r#"reason="it left, saying \"shutting down\"""#), "{gone}");
    let log = node.stop();
    assert!(!log.contains("reports an error") && !log.contains("withheld"), "{log}");
}

/// The node of another network had said so; the remedy was that it might be full, or want TLS.
#[test]
fn the_remedy_for_another_network_is_the_setting_that_differs() {
    let directory = tempfile::tempdir().unwrap();
    let there = LoggedNode::start(&directory.path().join("there"), &ANY_PORT);
    let address = there.listening()[0].clone();
    let arguments = ["--no-listen", "--reward", "9", "--connect", &address];
    let node = LoggedNode::start(&directory.path().join("here"), &arguments);
    let told = node.says("is not reached");
    assert!(told.contains("saying \"wrong network\"; compare --difficulty and --reward"), "{told}");
    assert!(!told.contains("--tls"), "{told}");
    // It is dialed again and again, and said once.
    wait_for("another dial", || there.text().matches("wrong-network").count() > 1);
    let log = node.stop();
    assert_eq!((log.matches("wrong network").count(), log.matches("reports an error").count()), (1, 0), "{log}");
}

#[test]
fn plain_text_beyond_this_machine_is_a_warning_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, warns) in [
        (&["--listen", "0.0.0.0:0"][..], true),
        (&["--listen", "127.0.0.1:0"], false),
        (&["--no-listen"], false),
        (&["--listen", "0.0.0.0:0", "--tls", "any"], false),
    ] {
        let node = LoggedNode::start(&directory.path().join("node"), arguments);
        node.says("running");
        let log = node.stop();
        assert_eq!(log.contains("listening in plain text beyond this machine"), warns, "{arguments:?}: {log}");
    }
}

/// A chain that was replaced by a longer one was "new tip" and nothing else, however many blocks were undone.
#[test]
fn a_deep_reorganisation_is_a_warning_with_its_depth_and_both_tips() {
    let directory = tempfile::tempdir().unwrap();
    let (short, long) = (directory.path().join("short"), directory.path().join("long"));
    let mining = ["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "2"];
    let headers = |node: &RunningNode| {
        program(&["headers", &node.listening()[0], "--json"]).run().json().as_array().map_or(0, Vec::len)
    };
    let mine = |data, name, blocks| {
        let node = RunningNode::start(data, &[&mining[..], &["--miner", name]].concat());
        wait_for("blocks", || headers(&node) >= blocks);
        assert_eq!(node.stop_with("-TERM").code, 0);
        program(&["chain", "--json", "--data-dir"]).path(data).run().json()
    };
    let left = mine(&short, "short", 8);
    let wanted = left["height"].as_u64().unwrap() + 8;
    let best = mine(&long, "long", usize::try_from(wanted).unwrap().min(2000));
    assert!(best["height"].as_u64() > left["height"].as_u64());
    let there = RunningNode::start(&long, &ANY_PORT);
    let node = LoggedNode::start(&short, &["--no-listen", "--connect", &there.listening()[0]]);
    let told = node.says("a deep reorganisation");
    for part in
        ["WARN".to_owned(), format!("depth={}", left["height"]), format!("old_hash={}", left["tip"].as_str().unwrap())]
    {
        assert!(told.contains(&part), "{part}: {told}");
    }
    assert!(told.contains("new_hash=") && told.contains("new_height="), "{told}");
}

/// A question that keeps its connection.
struct Holder(Child);

impl Holder {
    fn ping(address: &str, arguments: &[&str]) -> Self {
        let mut command = program(&["ping", address, "--count", "100000"]).args(arguments).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains(" ms"), "{first}");
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A question wrote two lines into the node's log, and wanted a home that it can write even where it trusts anybody.
#[test]
fn a_health_check_is_quiet_and_needs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = LoggedNode::start(&directory.path().join("node"), &["--listen", "127.0.0.1:0", "--tls", "any"]);
    let address = node.listening()[0].clone();
    let nowhere = directory.path().join("nowhere");
    for _ in 0..2 {
        let ping = program(&["ping", &address, "--count", "1", "--tls", "any"]);
        let done = ping.env("HOME", "/proc/none").env("XDG_DATA_HOME", nowhere.as_os_str()).run();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    }
    assert!(!nowhere.exists());
    let log = node.stop();
    assert!(!log.contains("peer "), "{log}");
}

/// A full node closed the door without a word: to a health check it was dead, and its own log did not know.
#[test]
fn a_full_node_tells_who_comes_and_its_operator() {
    let directory = tempfile::tempdir().unwrap();
    let under_tls = "it is there, and has no place for this address at present";
    for (name, tls, word) in
        [("plain", &[][..], "it is full: try again later"), ("secure", &["--tls", "any"], under_tls)]
    {
        let arguments = [&["--listen", "127.0.0.1:0", "--max-connections", "1", "--outbound", "0"], tls].concat();
        let node = LoggedNode::start(&directory.path().join(name), &arguments);
        let address = node.listening()[0].clone();
        let holder = Holder::ping(&address, tls);
        for _ in 0..5 {
            let done = program(&["ping", &address, "--count", "1"]).args(tls).run();
            assert_eq!((done.code, done.stdout.as_str()), (3, ""), "{name}: {done:?}");
            assert!(done.stderr.contains(word), "{done:?}");
        }
        let told = node.says("full: connections were turned away");
        assert!(told.contains("WARN") && told.contains("connections=") && told.contains("127.0.0.1"), "{told}");
        drop(holder);
        wait_for("a place", || program(&["ping", &address, "--count", "1"]).args(tls).run().code == 0);
    }
}

/// A fifth connection from one address, or a sixth question within a second, met a reset: "check the address and the network between"
/// and exit code 1, as of a dead machine.
#[test]
fn a_node_that_has_too_many_of_an_address_says_so_and_is_not_taken_for_dead() {
    let directory = tempfile::tempdir().unwrap();
    for (name, tls) in [("plain", &[][..]), ("secure", &["--tls", "any"])] {
        // To this machine too the usual limits apply.
        let arguments = [&["--listen", "127.0.0.1:0", "--exempt", "none", "--handshake-timeout", "10m"], tls].concat();
        let node = LoggedNode::start(&directory.path().join(name), &arguments);
        let address = node.listening()[0].clone();
        let held: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
        let refused = program(&["ping", &address, "--count", "1"]).args(tls).run();
        assert_eq!((refused.code, refused.stdout.as_str()), (3, ""), "{name}: {refused:?}");
        if tls.is_empty() {
            assert!(refused.stderr.contains("too many connections from this address"), "{refused:?}");
        }
        let told = node.says("connections were turned away");
        assert!(told.contains("pending-per-ip 1"), "{told}");
        drop(held);
    }
}

/// Asked for what follows an unknown block, it printed nothing and succeeded, as it does behind the last one.
#[test]
fn headers_after_an_unknown_block_are_an_error_and_after_the_last_one_none() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    let unknown = "ab".repeat(32);
    let ask =
        |node: &RunningNode, from: &str| program(&["headers", &node.listening()[0], "--json", "--from", from]).run();
    let refused = |node: &RunningNode| {
        let done = ask(node, &unknown);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        assert!(done.stderr.contains(&format!("block {unknown} is not on the node's best chain")), "{done:?}");
    };
    let node = RunningNode::start(&data, &ANY_PORT);
    refused(&node);
    node.stop_with("-TERM");
    let genesis = program(&["chain", "--json", "--data-dir"]).path(&data).run().json()["genesis"].clone();

    let node = RunningNode::start(&data, &[&ANY_PORT[..], &["--mine", "--block-interval", "0"]].concat());
    let all = || program(&["headers", &node.listening()[0], "--json"]).run().json();
    wait_for("three blocks", || all().as_array().unwrap().len() >= 3);
    refused(&node);
    node.stop_with("-TERM");
    let node = RunningNode::start(&data, &ANY_PORT);
    let all = program(&["headers", &node.listening()[0], "--json"]).run().json();
    let hashes: Vec<&str> = all.as_array().unwrap().iter().map(|header| header["hash"].as_str().unwrap()).collect();
    assert_eq!(ask(&node, genesis.as_str().unwrap()).json(), all);
    assert_eq!(ask(&node, hashes[0]).json()[0]["hash"], hashes[1]);
    if hashes.len() < 2000 {
        assert_eq!(ask(&node, hashes[hashes.len() - 1]).json(), serde_json::json!([]));
    }
}

/// `-1` was taken for an unknown flag, with a tip that misled; and a payment of what nobody has was taken without a word.
#[test]
fn an_amount_is_a_whole_number_and_nobody_asks_whether_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(&directory.path().join("node"), &ANY_PORT);
    let send = |amount: &str| {
        program(&["send-tx", &node.listening()[0], "--from", "ann", "--to", "bob", "--amount", amount, "--json"]).run()
    };
    let refused = send("-1");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("an amount is a whole number from 0 to 18446744073709551615"), "{refused:?}");
    let taken = send("5");
    assert_eq!(taken.json()["accepted"], "pool");
    assert!(taken.stderr.contains("ann may be below zero now"), "{taken:?}");
}

/// What a running node has saved last was shown as if it were so now.
#[test]
fn peers_beside_a_running_node_are_those_of_its_last_save() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    let node = RunningNode::start(&data, &ANY_PORT);
    wait_for("a save", || data.join("peers.json").exists());
    let known = || program(&["known-peers", "--json", "--data-dir"]).path(&data).run();
    let beside = known();
    assert_eq!((beside.code, beside.json()), (0, serde_json::json!({})), "{beside:?}");
    assert!(beside.stderr.contains("a node is running on") && beside.stderr.contains("saved"), "{beside:?}");
    node.stop_with("-TERM");
    assert_eq!(known().stderr, "");
}

/// A node with an address of its own announces it unasked, and that was taken for its answer: the operator was shown nothing else.
#[test]
fn what_a_node_announces_of_itself_is_not_its_answer_to_who_asks_for_its_peers() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--external", "127.0.0.9:7", "--allow-private"];
    let node = RunningNode::start(&directory.path().join("one"), &arguments);
    let address = node.listening()[0].clone();
    let peers = || program(&["peers", &address, "--json"]).run().json();
    assert_eq!(peers(), serde_json::json!([]));
    assert_eq!(node.stop_with("-TERM").code, 0);
}
