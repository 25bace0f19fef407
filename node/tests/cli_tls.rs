//! TLS as an operator meets it: each way to trust, and what the program says when somebody is refused.

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls_support;

use std::fs;
use std::process::{Command, Stdio};

use cli_support::{RunningNode, program};
use tls_support::{Office, Scene, borrowed, line, succeeded};

fn wrong_usage(arguments: &[&str]) -> String {
    let done = program(arguments).run();
    assert_eq!((done.code, done.stderr.lines().count()), (2, 1), "{done:?}");
    done.stderr
}

#[test]
fn the_right_pin_opens_every_question() {
    let scene = Scene::with(&["--tls", "any"]);
    let pin = ["--tls", "pinned", "--pin", &scene.id()];
    let ping = scene.ping(&[&pin[..], &["--json"]].concat()).json();
    assert_eq!(ping["node_id"], scene.id());
    for command in ["peers", "headers", "tx-pool"] {
        succeeded(&scene.ask(command, &pin));
    }
    let genesis = scene.ask("headers", &[&pin[..], &["--json"]].concat()).json();
    assert!(genesis.as_array().is_some());
    let to = scene.directory.path().join("copy");
    succeeded(&program(&["sync", &scene.address(), "--data-dir"]).path(&to).args(&pin).run());
}

#[test]
fn the_wrong_pin_is_refused_with_the_id_that_was_shown() {
    let scene = Scene::with(&["--tls", "any"]);
    let done = scene.ping(&["--tls", "pinned", "--pin", &"00".repeat(32)]);
    let (line, id) = (line(&done), scene.id());
    assert!(
        line.contains(&format!("its identity {id} is not pinned; if it is the right node, add --pin {id}")),
        "{line}"
    );
}

#[test]
fn a_node_that_does_not_know_us_tells_us_which_id_to_add() {
    let scene = Scene::with(&["--tls", "pinned", "--pin", &"00".repeat(32)]);
    let done = scene.ping(&["--tls", "any"]);
    let ours = program(&["id", "--data-dir"]).path(&scene.directory.path().join("ours/client")).run();
    let ours = ours.stdout.trim_end();
    assert!(
        line(&done).contains(&format!("does not trust our identity {ours}; if it pins, have --pin {ours} added there"))
    );
    let log = scene.node.stop_with("-TERM").stderr;
    assert!(log.contains(&format!("its identity {ours} is not pinned")), "{log}");
}

#[test]
fn a_node_that_pins_the_client_answers_it() {
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join("ours");
    let id = program(&["id", "--data-dir"]).path(&ours.join("client")).run();
    let node = RunningNode::start(
        &directory.path().join("node"),
        &["--listen", "127.0.0.1:0", "--tls", "pinned", "--pin", id.stdout.trim_end()],
    );
    let ping = program(&["ping", &node.listening()[0], "--count", "1", "--tls", "any", "--data-dir"]).path(&ours).run();
    succeeded(&ping);
}

#[test]
fn first_use_remembers_and_refuses_a_changed_identity_until_it_is_forgotten() {
    let scene = Scene::with(&["--tls", "first-use"]);
    succeeded(&scene.ping(&["--tls", "first-use"]));
    let (address, id, other) = (scene.address(), scene.id(), "ab".repeat(32));
    let file = fs::read_to_string(scene.remembered()).unwrap();
    assert_eq!(file, format!("{{\n  \"{address}\": \"{id}\"\n}}\n"));
    succeeded(&scene.ping(&["--tls", "first-use"]));

    fs::write(scene.remembered(), file.replace(&id, &other)).unwrap();
    let done = scene.ping(&["--tls", "first-use"]);
    let line = line(&done);
    let client = scene.remembered().parent().unwrap().to_owned();
    let expected = format!(
        "its identity was {other} and is now {id}; if its operator changed the key, run spacetime-node forget {address} \
         --data-dir {}",
        client.display()
    );
    assert!(line.contains(&expected), "{line}");
    assert!(fs::read_to_string(scene.remembered()).unwrap().contains(&other), "the old one stays");

    let forgotten = program(&["forget", &address, "--json", "--data-dir"]).path(&client).run().json();
    assert_eq!(forgotten["node_id"], other);
    succeeded(&scene.ping(&["--tls", "first-use"]));
    assert!(fs::read_to_string(scene.remembered()).unwrap().contains(&id));
}

#[test]
fn a_running_node_remembers_whom_it_dialed() {
    let scene = Scene::with(&["--tls", "any"]);
    let data = scene.directory.path().join("second");
    let arguments = ["--no-listen", "--tls", "first-use", "--connect", &scene.address()];
    let file = data.join("known_identities.json");
    let first_log = scene.directory.path().join("log");
    let mut command = program(&["run", "--data-dir"]).path(&data).args(&arguments).into_command();
    let mut second = command.stdout(Stdio::null()).stderr(fs::File::create(&first_log).unwrap()).spawn().unwrap();
    // It is remembered when its key is proven, and a peer when it has greeted.
    cli_support::wait_for("an identity to be remembered", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains(&scene.id()))
            && fs::read_to_string(&first_log).unwrap().contains("peer connected")
    });
    assert!(Command::new("kill").args(["-TERM", &second.id().to_string()]).status().unwrap().success());
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let peers: serde_json::Value = serde_json::from_slice(&fs::read(data.join("peers.json")).unwrap()).unwrap();
    assert_eq!(peers[&scene.id()]["NodeId"], scene.id(), "{peers}");

    fs::write(&file, fs::read_to_string(&file).unwrap().replace(&scene.id(), &"cd".repeat(32))).unwrap();
    let log = data.join("log");
    let mut command = program(&["run", "--data-dir"]).path(&data).args(&arguments).into_command();
    let mut child = command.stdout(fs::File::create(data.join("out")).unwrap());
    child = child.stderr(fs::File::create(&log).unwrap());
    let mut child = child.spawn().unwrap();
    cli_support::wait_for("the refusal in the log", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("its identity was cdcd"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fs::read_to_string(&log).unwrap().contains("WARN"));
}

#[test]
fn each_side_is_told_when_the_other_does_not_speak_tls() {
    let plain = Scene::with(&[]);
    let done = plain.ping(&["--tls", "any"]);
    assert!(line(&done).ends_with("it does not speak TLS; switch TLS on there or off here"), "{done:?}");
    let secure = Scene::with(&["--tls", "any"]);
    let done = secure.ping(&[]);
    assert!(line(&done).contains("TLS"), "{done:?}");
}

#[test]
fn an_authority_vouches_for_both_sides_and_for_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let client = office.flags("client", &["client"]);
    let scene = Scene::with(&borrowed(&office.flags("node", &["127.0.0.1"])));
    succeeded(&scene.ping(&borrowed(&client)));
    let named = [borrowed(&client), vec!["--tls-name", "node.example"]].concat();
    assert!(line(&scene.ping(&named)).contains("its certificate is for another name"));

    let elsewhere = Office::open(&directory.path().join("elsewhere"));
    let done = scene.ping(&borrowed(&elsewhere.flags("client", &["client"])));
    assert!(line(&done).contains("signed by no trusted authority"), "{done:?}");
    let done = scene.ping(&["--tls", "any"]);
    assert!(line(&done).contains("key exchange or kind of key in common"), "{done:?}");
}

#[test]
fn a_name_that_was_asked_for_must_be_the_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let client = office.flags("client", &["client"]);
    let scene = Scene::with(&borrowed(&office.flags("node", &["localhost"])));
    let ping = |address: &str| {
        let ours = directory.path().join("ours");
        program(&["ping", address, "--count", "1", "--data-dir"]).path(&ours).args(&borrowed(&client)).run()
    };
    let by_name = scene.address().replace("127.0.0.1", "localhost");
    succeeded(&ping(&by_name));
    assert!(line(&ping(&scene.address())).contains("its certificate is for another name"));
}

#[test]
fn flags_that_need_each_other_say_so() {
    let id = "00".repeat(32);
    let address = "127.0.0.1:1";
    for (arguments, part) in [
        (vec!["--tls", "pinned"], "without --pin"),
        (vec!["--pin", &id], "--pin does nothing without --tls pinned"),
        (vec!["--tls", "any", "--pin", &id], "--pin does nothing without --tls pinned"),
        (vec!["--tls", "ca", "--ca", "root.pem"], "--tls-cert"),
        (vec!["--ca", "root.pem"], "without --tls ca"),
        (vec!["--tls", "any", "--tls-name", "a"], "without --tls ca"),
        (vec!["--tls", "pinned", "--pin", "abc"], "64 hexadecimal digits"),
        (vec!["--tls", "maybe"], "first-use"),
    ] {
        for command in [&["ping", address][..], &["sync", address], &["run"]] {
            let directory = tempfile::tempdir().unwrap();
            let data = directory.path().to_str().unwrap();
            let text = wrong_usage(&[command, &["--data-dir", data], &arguments].concat());
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_key_of_our_own_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let flags = office.flags("node", &["127.0.0.1"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(flags.last().unwrap(), fs::Permissions::from_mode(0o644)).unwrap();
        let data = directory.path().join("data");
        let done = program(&["run", "--data-dir"]).path(&data).args(&borrowed(&flags)).run();
        assert!(line(&done).contains("chmod 600"), "{done:?}");
    }
    let missing: Vec<&str> =
        flags.iter().map(|flag| if flag.ends_with(".crt") { "/no/such.crt" } else { flag.as_str() }).collect();
    let done = program(&["ping", "127.0.0.1:1", "--data-dir"]).path(directory.path()).args(&missing).run();
    assert!(line(&done).contains("cannot read /no/such.crt"), "{done:?}");
}

#[test]
fn the_demo_ends_with_nodes_that_trust_only_each_other() {
    let done = program(&["demo", "--nodes", "3", "--blocks", "4", "--tls", "pinned", "--json"]).run();
    assert_eq!(done.json()["nodes"], 3);
}
