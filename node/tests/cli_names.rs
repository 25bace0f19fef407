//! Nodes that an operator names: by names that lead to several addresses or to none, by two addresses of one, and by addresses at
//! which nobody can be.

#![cfg(unix)]

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls_support;

use std::fs;

use cli_support::{LoggedNode, RunningNode, program, wait_for};
use tls_support::{Office, borrowed, line};

const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// `--connect 0.0.0.0:P` was taken, and the node kept a connection to nobody without a word.
#[test]
fn an_address_at_which_nothing_can_be_dialed_is_wrong_usage_wherever_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("node.toml");
    let refused = |done: cli_support::Done, part: &str| {
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.lines().count()), (2, "", 1), "{done:?}");
        assert!(done.stderr.contains(part), "{part}: {done:?}");
    };
    for (address, part) in [
        ("0.0.0.0:7193", "127.0.0.1 for this machine"),
        ("[::]:7193", "[::1] for this machine"),
        ("127.0.0.1:0", "port 0"),
        ("239.1.2.3:7193", "multicast"),
        ("255.255.255.255:7193", "reserved"),
        ("[fe80::1]:7193", "on which interface"),
    ] {
        for flag in ["--connect", "--seed-node", "--seed"] {
            refused(program(&["run", flag, address]).run(), part);
        }
        refused(program(&["run"]).env("SPACETIME_NODE_CONNECT", address).run(), part);
        refused(program(&["ping", address]).run(), part);
        refused(program(&["sync", address]).run(), part);
        fs::write(&config, format!("seed-node = [\"{address}\"]\n")).unwrap();
        refused(program(&["run", "--config"]).path(&config).run(), part);
    }
}

/// One unknown name ended the start, and of a known one only the first address was ever tried.
#[test]
fn an_unknown_name_is_told_and_holds_up_nobody_and_a_known_one_is_all_of_its_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let there = RunningNode::start(&directory.path().join("there"), &ANY_PORT);
    let address = there.listening()[0].clone();
    let local = format!("localhost:{}", port(&address));
    let arguments = ["--no-listen", "--connect", "nobody.invalid:7193", "--connect", &local];
    let node = LoggedNode::start(&directory.path().join("here"), &arguments);
    let connected = node.says("peer connected");
    assert!(connected.contains(&format!("remote={address}")) && connected.contains("outbound=true"), "{connected}");
    let told = node.says("a node that --connect names is not reached");
    assert!(told.contains("name=nobody.invalid:7193") && told.contains("the name leads nowhere: "), "{told}");
    assert!(!node.stop().contains(&format!("name={local}")));
    let done = program(&["ping", &local, "--count", "1"]).run();
    assert_eq!(done.code, 0, "{done:?}");
}

/// `%lo` was refused, and of `%1` the interface was lost; `::ffff:127.0.0.1` was dialed as 127.0.0.1, and never in a warning.
#[test]
fn an_interface_stays_part_of_the_address_and_another_dress_does_not_hide_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was just given back: nobody listens on it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (number, name) = (format!("[fe80::1%1]:{free}"), format!("[fe80::1%lo]:{free}"));
    let mapped = format!("[::ffff:127.0.0.1]:{free}");
    let arguments =
        ["--no-listen", "--log-level", "debug", "--connect", &number, "--connect", &name, "--connect", &mapped];
    let node = LoggedNode::start(&directory.path().join("node"), &arguments);
    let told = node.says(&format!("remote=127.0.0.1:{free}"));
    assert!(told.contains("a node that --connect names is not reached: connection refused"), "{told}");
    let told = node.says(&format!("remote={number}"));
    assert!(told.contains("is not reached"), "{told}");
    let found = node.says(&format!("name={name}"));
    assert!(found.contains("fe80::1%"), "{found}");
}

/// `ping` took names and `%lo`, and `forget` and `--listen` called them wrong usage.
#[test]
fn a_name_is_taken_wherever_an_address_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    let node = RunningNode::start(&data, &["--listen", "localhost:0"]);
    let listening = node.listening();
    assert!(!listening.is_empty(), "{:?}", node.lines);
    assert!(listening.iter().all(|address| address.starts_with("127.0.0.1:") || address.starts_with("[::1]:")));
    assert_eq!(program(&["ping", &listening[0], "--count", "1"]).run().code, 0);
    node.stop_with("-TERM");
    for name in ["localhost:9", "[fe80::1%lo]:9"] {
        let done = program(&["forget", name, "--data-dir"]).path(&data).run();
        assert!(done.code == 1 && done.stderr.contains(&format!("cannot forget {name}: it is not in")), "{done:?}");
    }
    let done = program(&["run", "--listen", "[fe80::1%nowhere0]:0", "--data-dir"]).path(&data).run();
    assert!(done.code == 1 && done.stderr.contains("cannot look up [fe80::1%nowhere0]"), "{done:?}");
}

/// A node that was named by two of its addresses was a warning and a redial every half a minute, for ever.
#[test]
fn a_node_that_is_named_by_two_addresses_is_one_connection_and_no_warning() {
    let directory = tempfile::tempdir().unwrap();
    let there =
        RunningNode::start(&directory.path().join("there"), &["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"]);
    let [one, two] = &there.listening()[..] else { panic!("{:?}", there.lines) };
    let arguments = ["--no-listen", "--log-level", "debug", "--connect", one, "--connect", two];
    let node = LoggedNode::start(&directory.path().join("here"), &arguments);
    node.says("peer connected");
    let twin = node.says("duplicate-connection");
    assert!(twin.contains("DEBUG") && twin.contains("already connected"), "{twin}");
    let log = node.stop();
    assert_eq!(log.matches("peer connected").count(), 1, "{log}");
    assert!(!log.contains("is not reached"), "{log}");
}

/// The certificate was compared with the address that the name server gave, which no public name has in its certificate.
#[test]
fn with_an_authority_a_node_must_have_the_name_that_was_typed() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let start = |file: &str, name: &str| {
        let flags = office.flags(file, &[name]);
        RunningNode::start(&directory.path().join(file), &[&ANY_PORT[..], &borrowed(&flags)].concat())
    };
    let (named, numbered) = (start("named", "localhost"), start("numbered", "127.0.0.1"));
    let by_name = |node: &RunningNode| format!("localhost:{}", port(&node.listening()[0]));
    let ours = office.flags("ours", &["ours"]);
    let (right, wrong) = (by_name(&named), by_name(&numbered));
    let arguments = [&["--no-listen", "--connect", &right, "--connect", &wrong][..], &borrowed(&ours)].concat();
    let node = LoggedNode::start(&directory.path().join("here"), &arguments);
    let connected = node.says("peer connected");
    assert!(connected.contains(&format!("remote={}", named.listening()[0])), "{connected}");
    let told = node.says("is not reached");
    assert!(told.contains(&format!("name={wrong}")) && told.contains("its certificate is for another name"), "{told}");
    node.stop();

    let sync = |address: &str, to: &str| {
        program(&["sync", address, "--data-dir"]).path(&directory.path().join(to)).args(&borrowed(&ours)).run()
    };
    assert_eq!(sync(&right, "copy").code, 0);
    assert!(line(&sync(&wrong, "nothing")).contains("its certificate is for another name"));
    let ask = |node: &RunningNode| program(&["ping", &by_name(node), "--count", "1"]).args(&borrowed(&ours)).run();
    assert_eq!(ask(&named).code, 0);
    assert!(line(&ask(&numbered)).contains("its certificate is for another name"));
}

/// The addresses that `run` asks for peers have a name of their own; the old one is understood where it holds addresses.
#[test]
fn the_old_name_of_seed_nodes_still_works_where_it_holds_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let there = RunningNode::start(&directory.path().join("there"), &ANY_PORT);
    let address = there.listening()[0].clone();
    let config = directory.path().join("node.toml");
    fs::write(&config, format!("seed = [\"{address}\"]\n")).unwrap();
    let meets = |name: &str, program: cli_support::Program| {
        let log = directory.path().join(name).with_extension("log");
        let mut command =
            program.args(&["--no-listen", "--data-dir"]).path(&directory.path().join(name)).into_command();
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        wait_for(name, || fs::read_to_string(&log).unwrap().contains(&format!("peer connected remote={address}")));
        child.kill().unwrap();
        child.wait().unwrap();
        let log = fs::read_to_string(&log).unwrap();
        assert_eq!(log.contains("is the old name of"), name.starts_with("old-"), "{name}: {log}");
    };
    meets("flag", program(&["run", "--seed-node", &address]));
    meets("old-flag", program(&["run", "--seed", &address]));
    meets("variable", program(&["run"]).env("SPACETIME_NODE_SEED_NODE", &address));
    meets("old-variable", program(&["run"]).env("SPACETIME_NODE_SEED", &address));
    meets("old-key", program(&["run", "--config"]).path(&config));
    fs::write(&config, format!("seed-node = \"{address}\"\nseed = 7\n")).unwrap();
    meets("key", program(&["run", "--config"]).path(&config).env("SPACETIME_NODE_SEED", "7"));
    let help = program(&["run", "--help"]).run().stdout;
    assert!(help.contains("--seed-node") && !help.contains("--seed "), "{help}");
}
