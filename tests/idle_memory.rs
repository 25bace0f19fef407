//! What an idle connection costs in user memory: counted, not estimated.
//!
//! Both ends live in this process, so each pair is two connections. The limit holds for fresh connections and after a
//! burst in both directions: no buffer is kept.

mod memory_support;

use std::time::Duration;

use memory_support::counting::live;
use memory_support::{PAIRS, driver, turn_until, weigh_after_a_burst};
use spacetime_network::driver::Config;
use spacetime_network::id::DialId;

const LIMIT: usize = 400;

#[test]
fn an_idle_connection_costs_at_most_400_bytes_fresh_and_after_a_burst() {
    rlimit::increase_nofile_limit(4 * PAIRS as u64).unwrap();
    let (mut one, mut two) = (driver(Config::default()), driver(Config::default()));
    let address = two.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let before = live();

    one.with(|_, _, net| (0..PAIRS as u64).for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
    turn_until(&mut one, &mut two, |one, two| one.conns.len() == PAIRS && two.conns.len() == PAIRS);
    let fresh = (live() - before) / (2 * PAIRS);
    println!("bytes per idle connection: {fresh} fresh");
    assert!(fresh <= LIMIT, "{fresh} bytes fresh");
    weigh_after_a_burst(&mut one, &mut two, before, LIMIT);
}
