//! Any bytes as what a router says over UPnP: nobody is ever led to another machine, and nothing is longer than what came.
//!
//! Input: the answer, as it comes over a connection or in a datagram.

#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};

use libfuzzer_sys::fuzz_target;
use spacetime_network::nat::upnp::{control, entry, external_address, is_whole, location, outcome, parse_response};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fuzz_target!(|input: &[u8]| {
    if let Some((host, path)) = location(ROUTER, ROUTER, input) {
        assert!(*host.ip() == ROUTER && is_path(&path));
    }
    assert_eq!(location(ROUTER, Ipv4Addr::LOCALHOST, input), None);
    let _ = is_whole(input);
    let body = match parse_response(input) {
        Some(response) => {
            assert!(response.body.len() <= input.len() * 3);
            let _ = outcome(&response);
            response.body
        }
        None => String::from_utf8_lossy(input).into_owned(),
    };
    let host = SocketAddrV4::new(ROUTER, 5000);
    if let Some(found) = control(host, &body) {
        assert!(*found.host.ip() == ROUTER && is_path(&found.path), "{found:?}");
    }
    let _ = (entry(&body), external_address(&body));
});
