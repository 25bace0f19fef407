//! Clients that others wrote, as WebSocket peers of a running node: Python's `websockets` and the `ws` of Node.js, in plain text and in
//! TLS. Each is left out with a word where it is not installed; with `FOREIGN_CLIENTS_REQUIRED=1` that is a failure.

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls;
#[path = "cli_support/web.rs"]
mod web;

use std::path::Path;
use std::process::Command;

use cli_support::RunningNode;
use spacetime_network::wire::Message;
use spacetime_network::wire::message::Ping;
use tls::{Office, borrowed};
use web::{greeting, web_of};

/// Where a script ends whose library is not there.
const NOT_INSTALLED: i32 = 3;

/// The frames that a client says, and the script that says them to a node, in plain text and in TLS.
fn talks(interpreters: &[&str], script: &str) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut ping = Vec::new();
    Message::Ping(Ping { nonce: 0x0102_0304_0506_0708, unix_millis: 0 }).encode(&mut ping).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let mut secured = office.flags("node", &["127.0.0.1"]);
    // They have no certificates.
    secured.extend(["--tls-clients", "optional"].map(str::to_owned));
    let root = directory.path().join("office/root.pem");
    let common = ["--listen", "127.0.0.1:0", "--listen-ws", "127.0.0.1:0"];
    for (name, flags, authority) in [("plain", &[][..], None), ("secured", &secured[..], Some(&root))] {
        let node = RunningNode::start(&directory.path().join(name), &[&common[..], &borrowed(flags)].concat());
        let (url, _) = web_of(&node.lines);
        let mut skipped = true;
        for interpreter in interpreters {
            let mut command = Command::new(interpreter);
            command.arg(&script).args([&url, &hex(&greeting(0)), &hex(&ping)]).args(authority);
            // Where Debian puts packages of Node.js, for an interpreter that is not Debian's.
            let Ok(done) = command.env("NODE_PATH", "/usr/share/nodejs").output() else { continue };
            if done.status.code() == Some(NOT_INSTALLED) {
                continue;
            }
            assert!(done.status.success(), "{interpreter}, {name}: {}", String::from_utf8_lossy(&done.stderr));
            skipped = false;
            break;
        }
        assert!(!skipped || std::env::var_os("FOREIGN_CLIENTS_REQUIRED").is_none(), "{script:?} has no library here");
        if skipped {
            return eprintln!("skipped: what {script:?} needs is not installed");
        }
        assert_eq!(node.stop_with("-TERM").code, 0);
    }
}

#[test]
fn the_websockets_of_python_is_a_peer_in_plain_text_and_in_tls() {
    talks(&["python3", "/usr/bin/python3"], "websockets_client.py");
}

#[test]
fn the_ws_of_node_js_is_a_peer_in_plain_text_and_in_tls() {
    talks(&["node"], "ws_client.cjs");
}
