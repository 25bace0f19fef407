//! Where a node takes WebSockets, and what a raw peer says there first.

#![allow(dead_code, reason = "no test uses all of it")]

use std::time::{SystemTime, UNIX_EPOCH};

use spacetime_network::chain::Params;
use spacetime_network::wire::Message;
use spacetime_network::wire::message::{Extension, Handshake};

/// Where a node that said these lines takes WebSockets: the URL, and the address in it.
pub(crate) fn web_of(lines: &[String]) -> (String, String) {
    let url = lines.iter().find_map(|line| line.strip_prefix("listening-ws ")).expect("it says where").to_owned();
    let address = url.split("://").nth(1).unwrap().trim_end_matches('/').to_owned();
    (url, address)
}

/// The greeting of a peer of version 2 that listens nowhere but says a port.
pub(crate) fn greeting(port: u16) -> Vec<u8> {
    let genesis = Params::default().genesis().header.hash();
    let extension = Extension {
        network: genesis,
        nonce: 77,
        listening_port: port,
        features: 0,
        best_height: 0,
        best_hash: genesis,
        seen: None,
    };
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let handshake =
        Handshake { version: 2, unix_seconds, node_id: "raw", user_agent: "raw/1", extension: Some(extension) };
    let mut bytes = Vec::new();
    Message::Handshake(handshake).encode(&mut bytes).unwrap();
    bytes
}
