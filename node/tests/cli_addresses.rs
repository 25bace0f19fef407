//! What a node knows of others outlives it, however it ends.

mod cli_support;

use std::fs;
use std::path::Path;

use cli_support::{LoggedNode, wait_for};

fn knows(data: &Path, address: &str) -> bool {
    ["addresses.json", "peers.json"]
        .iter()
        .all(|name| fs::read_to_string(data.join(name)).is_ok_and(|text| text.contains(address)))
}

/// Addresses were forgotten at every stop, and a node that was killed in its first half minute had saved nothing at all.
#[test]
fn a_node_that_was_killed_finds_its_peer_again_without_a_seed() {
    let directory = tempfile::tempdir().unwrap();
    let peer = LoggedNode::start(&directory.path().join("peer"), &["--listen", "127.0.0.1:0"]);
    let address = peer.listening()[0].clone();
    let data = directory.path().join("data");
    let first = LoggedNode::start(&data, &["--listen", "127.0.0.1:0", "--seed-node", &address]);
    first.says("peer connected");
    wait_for("the peer in the files", || knows(&data, &address));
    // By force, as it is dropped.
    drop(first);
    for damaged in [None, Some("peers.json"), Some("addresses.json")] {
        if let Some(name) = damaged {
            // Either file is enough.
            fs::write(data.join(name), "{").unwrap();
        }
        let again = LoggedNode::start(&data, &["--listen", "127.0.0.1:0"]);
        again.says("peer connected");
        wait_for("the peer in the files again", || knows(&data, &address));
        if damaged.is_some() {
            again.says("damaged");
        }
    }
}

#[cfg(unix)]
#[test]
fn the_file_is_the_owners_alone_and_saved_at_the_end() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = cli_support::RunningNode::start(&data, &["--listen", "127.0.0.1:0"]);
    assert_eq!(node.stop_with("-TERM").code, 0);
    let mode = fs::metadata(data.join("addresses.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
