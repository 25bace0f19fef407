//! What an idle connection with TLS costs in user memory: counted, not estimated.
//!
//! Both ends live in this process, so each pair is two connections. The limit holds for fresh connections and after a
//! burst in both directions: no buffer is kept, and nothing of the handshake. Sessions that may be resumed are counted too.
//!
//! A crypto library in C takes memory past the counter. So the process's own size is looked at as well, in pages.
#![cfg(feature = "tls")]

mod memory_support;

use std::time::Duration;

use memory_support::counting::live;
use memory_support::{PAIRS, driver, turn_until, weigh_after_a_burst};
use spacetime_network::driver::Config;
use spacetime_network::id::DialId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};

const LIMIT: usize = 6 * 1024;

fn config() -> Config {
    let mut config = Config::default();
    config.tls = Some(Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap());
    config.tls_pending = PAIRS;
    config.tls_rate.burst = 2 * PAIRS as u32;
    (config.tls_rate_per_ip, config.tls_rate_per_subnet) = (None, None);
    config
}

/// The process's resident memory in bytes, where the system says.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

#[test]
fn an_idle_connection_with_tls_costs_at_most_6_kib_fresh_and_after_a_burst() {
    rlimit::increase_nofile_limit(4 * PAIRS as u64).unwrap();
    let (mut one, mut two) = (driver(config()), driver(config()));
    let address = two.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (before, pages) = (live(), resident());

    // A few at a time: what a handshake needs for a moment would otherwise be needed for all of them at once.
    for start in (0..PAIRS as u64).step_by(5) {
        let dials = start..start + 5;
        one.with(|_, _, net| dials.clone().for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
        let open = dials.end as usize;
        turn_until(&mut one, &mut two, |one, two| one.conns.len() == open && two.conns.len() == open);
    }
    let fresh = (live() - before) / (2 * PAIRS);
    if let (Some(before), Some(after)) = (pages, resident()) {
        let each = after.saturating_sub(before) / (2 * PAIRS);
        println!("bytes of the process per idle connection: {each}");
        // Slack for the heap's own pages and for what the handshakes used meanwhile.
        assert!(each <= LIMIT * 3 / 2, "{each} bytes of the process");
    }
    println!("bytes per idle connection: {fresh} fresh");
    assert!(fresh <= LIMIT, "{fresh} bytes fresh");
    weigh_after_a_burst(&mut one, &mut two, before, LIMIT);
}
