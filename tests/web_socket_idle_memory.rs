//! What an idle WebSocket costs in user memory: counted, not estimated, as for plain connections in `idle_memory`.

mod memory_support;

use std::time::Duration;

use memory_support::counting::live;
use memory_support::{PAIRS, driver, turn_until, weigh_after_a_burst};
use spacetime_network::driver::Config;
use spacetime_network::id::DialId;
use spacetime_network::link::web_socket::{WebSocketOptions, WebSocketTarget};

const LIMIT: usize = 1024;

fn config() -> Config {
    let mut config = Config::default();
    config.tls_pending = PAIRS;
    config.tls_rate.burst = 2 * PAIRS as u32;
    (config.tls_rate_per_ip, config.tls_rate_per_subnet) = (None, None);
    config
}

#[test]
fn an_idle_web_socket_costs_at_most_a_kibibyte_fresh_and_after_a_burst() {
    rlimit::increase_nofile_limit(4 * PAIRS as u64).unwrap();
    let (mut one, mut two) = (driver(config()), driver(config()));
    let address = two.listen_web_socket("127.0.0.1:0".parse().unwrap(), WebSocketOptions::default()).unwrap();
    let target = WebSocketTarget::new(address.to_string(), "/").unwrap();
    let before = live();

    // A few at a time: what an upgrade needs for a moment would otherwise be needed for all of them at once.
    for start in (0..PAIRS as u64).step_by(5) {
        let dials = start..start + 5;
        one.with(|_, _, net| {
            for n in dials.clone() {
                net.dial_web_socket(DialId(n), address, Duration::from_secs(60), target.clone());
            }
        });
        let open = dials.end as usize;
        turn_until(&mut one, &mut two, |one, two| one.conns.len() == open && two.conns.len() == open);
    }
    let fresh = (live() - before) / (2 * PAIRS);
    println!("bytes per idle WebSocket: {fresh} fresh");
    assert!(fresh <= LIMIT, "{fresh} bytes fresh");
    weigh_after_a_burst(&mut one, &mut two, before, LIMIT);
}
