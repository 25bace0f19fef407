//! Certificates that are renewed under a running node.

#![cfg(unix)]

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls;

use std::fs;
use std::process::Command;

use cli_support::{Done, RunningNode, program, wait_for};
use tls::{Office, borrowed};

/// A node with a certificate of an authority, another that stays connected to it, and those who look at the certificate.
struct Renewed {
    directory: tempfile::TempDir,
    office: Office,
    client: Vec<String>,
    node: RunningNode,
    peer: RunningNode,
}

impl Renewed {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let office = Office::open(&directory.path().join("office"));
        let client = office.flags("client", &["client"]);
        let flags = office.flags("node", &["127.0.0.1", "one.example"]);
        let node = RunningNode::start(
            &directory.path().join("node"),
            &[&["--listen", "127.0.0.1:0"], &borrowed(&flags)[..]].concat(),
        );
        let address = node.listening()[0].clone();
        let flags = office.flags("peer", &["127.0.0.1"]);
        let peer = RunningNode::start(
            &directory.path().join("peer"),
            &[&["--no-listen", "--connect", &address], &borrowed(&flags)[..]].concat(),
        );
        Renewed { directory, office, client, node, peer }
    }

    fn ping(&self, name: &str) -> Done {
        program(&["ping", &self.node.listening()[0], "--count", "1", "--json", "--tls-name", name, "--data-dir"])
            .path(&self.directory.path().join("ours"))
            .args(&borrowed(&self.client))
            .run()
    }

    fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.node.id()]).status().unwrap().success());
    }
}

/// An operator who had renewed a certificate had to restart the node, or found out when it expired.
#[test]
fn a_renewed_certificate_is_taken_up_on_sighup_and_by_itself_and_connections_stay() {
    let scene = Renewed::start();
    let first = scene.ping("one.example").json()["node_id"].clone();
    assert_eq!(scene.ping("two.example").code, 1);

    // With another key, as most who sign certificates want it: the node id is another one, too.
    scene.office.flags("node", &["127.0.0.1", "two.example"]);
    scene.hang_up();
    wait_for("the certificate that SIGHUP tells of", || scene.ping("two.example").code == 0);
    let second = scene.ping("two.example").json()["node_id"].clone();
    assert!(second != first);
    assert_eq!(scene.ping("one.example").code, 1, "the former one is shown to nobody");

    // A key that is not there yet changes nothing, and is told. A pipe says when it is read.
    let key = scene.directory.path().join("office/node.key");
    let good = key.with_extension("good");
    fs::rename(&key, &good).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&key).status().unwrap().success());
    scene.hang_up();
    fs::write(&key, "half of a k").unwrap();
    fs::rename(&good, &key).unwrap();
    assert_eq!(scene.ping("two.example").json()["node_id"], second);

    scene.office.flags("node", &["127.0.0.1", "three.example"]);
    wait_for("the certificate that nobody tells of", || scene.ping("three.example").code == 0);

    let peer = scene.peer.stop_with("-TERM");
    assert_eq!(peer.stderr.matches("peer connected").count(), 1, "it stayed connected: {}", peer.stderr);
    let node = scene.node.stop_with("-TERM");
    assert_eq!((peer.code, node.code), (0, 0), "{}", node.stderr);
    assert!(node.stderr.contains("the private key cannot be read"), "{}", node.stderr);
    assert!(node.stderr.contains("the certificate of before stays in use"), "{}", node.stderr);
    assert!(node.stderr.matches("certificates read again").count() >= 2, "{}", node.stderr);
    assert!(!node.stderr.contains("identity-mismatch") && !peer.stderr.contains("banned"), "{}", peer.stderr);
}

/// What some editors and tools put before a certificate or a key hid it.
#[test]
fn a_certificate_and_its_key_are_found_behind_a_byte_order_mark_and_other_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let flags = office.flags("node", &["127.0.0.1"]);
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (file, before) in [("node.crt", ""), ("node.key", parameters), ("root.pem", parameters)] {
        let path = directory.path().join("office").join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{feff}{before}{text}")).unwrap();
    }
    let scene = tls::Scene::with(&borrowed(&flags));
    let client = office.flags("client", &["client"]);
    tls::succeeded(&scene.ping(&borrowed(&client)));
}

/// An expired certificate took the place of one that was valid, "certificates read again", and everybody refused the node from then
/// on. A node that began with one said nothing.
#[test]
fn a_certificate_whose_time_is_over_is_told_and_takes_the_place_of_none_that_is_valid() {
    let scene = Renewed::start();
    let first = scene.ping("one.example").json()["node_id"].clone();
    scene.office.expired_flags("node", &["127.0.0.1", "one.example"]);
    // A pipe says when it is read, and read again: then the first time is over.
    let key = scene.directory.path().join("office/node.key");
    let text = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&key).status().unwrap().success());
    for _ in 0..2 {
        scene.hang_up();
        fs::write(&key, &text).unwrap();
    }
    assert_eq!(scene.ping("one.example").json()["node_id"], first);
    let node = scene.node.stop_with("-TERM");
    assert!(node.stderr.contains("it is expired or not valid yet") && !node.stderr.contains("read again"), "{node:?}");

    let flags = scene.office.expired_flags("late", &["127.0.0.1"]);
    let late =
        RunningNode::start(&scene.directory.path().join("late"), &[&["--no-listen"], &borrowed(&flags)[..]].concat());
    let late = late.stop_with("-TERM");
    assert!(late.stderr.contains("renew it, or set the clock of this machine"), "{late:?}");
}
