//! Whom a node once reached it finds again, after an outage and after a restart.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::{Command, Event};
use spacetime_network::time::UnixTime;

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: &str = "45.1.1.1:8333";
const ALICE_HERE: &str = "44.1.1.1:8333";
const BOB: &str = "46.1.1.1:8333";

/// Two nodes, one away for six minutes: the other one's `peers.json` was `{}`, and after a restart it dialed nobody.
#[test]
fn a_node_that_was_restarted_after_an_outage_dials_whom_it_knew_before() {
    for outage in [6 * MINUTE, 26 * 60 * MINUTE] {
        let mut world = World::new();
        let bob = world.node("bob", BOB, |c| c.outbound = 0);
        let alice = world.node("alice", ALICE, |c| c.seeds = vec![BOB.parse().unwrap()]);
        world.advance(MINUTE);
        assert_eq!(world.get(alice).connected().count(), 1);
        // From here on nobody tells it.
        world.forget_seeds(alice);
        world.wall(|party| party as u64);
        world.advance(outage);
        assert_eq!(world.get(alice).peers().known_peers().count(), 0, "it is no longer a live peer");
        assert_eq!(world.get(alice).peers().saved_peers().count(), 1, "and it is saved");
        world.restart(alice);
        world.advance(10 * MINUTE);
        // A second start before anybody answers loses nothing either.
        world.restart(alice);
        world.unwall();
        world.advance(2 * MINUTE);
        assert_eq!(world.get(alice).connected().count(), 1, "after {outage:?}");
        let found = |event: &Event| matches!(event, Event::PeerConnected { outbound: true, .. });
        assert!(world.count(alice, found) >= 2 && world.count(bob, found) == 0, "it was found, and did not come");
    }
}

/// The other way round: it was Bob who dialed. His announced address was dialed back, he answered that the two are connected
/// already, and that counted for nothing: a node whose peers all dial it forgot every one of them in an outage.
#[test]
fn a_peer_that_dialed_us_and_was_found_where_it_listens_is_remembered_too() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.seeds = vec![ALICE.parse().unwrap()]);
    world.advance(2 * MINUTE);
    let inbound = |event: &Event| matches!(event, Event::PeerConnected { outbound: false, .. });
    assert_eq!((world.count(alice, inbound), world.get(alice).connected().count()), (1, 1), "bob dialed");
    world.forget_seeds(bob);
    world.wall(|party| party as u64);
    world.advance(6 * MINUTE);
    assert_eq!(world.get(alice).peers().saved_peers().count(), 1);
    world.restart(alice);
    world.restart(bob);
    world.unwall();
    world.advance(2 * MINUTE);
    assert_eq!(world.get(alice).connected().count(), 1);
}

/// The `n`-th payment of somebody, which costs nothing.
fn payment(of: &str, n: u64) -> Bytes {
    let transfer = Transaction { sender: of, recipient: "nobody", amount: 1, time: UnixTime::from_millis(0), nonce: n };
    transfer.encode().unwrap()
}

/// Forty strangers dialed in, announced where they listen and sent 25 free transactions each. After a restart all eight connections
/// of the node went to them, though it had been connected to honest nodes and knew twelve seeds.
#[test]
fn strangers_who_came_and_earned_a_good_name_are_not_dialed_first_after_a_restart() {
    let mut world = World::new();
    let honest: Vec<SocketAddr> = (0..12u8).map(|n| SocketAddr::from(([45, n, 1, 1], 8333))).collect();
    for at in &honest {
        world.node(&format!("honest {at}"), &at.to_string(), |c| c.outbound = 0);
    }
    let alice = world.node("alice", ALICE_HERE, |c| c.seeds.clone_from(&honest));
    world.advance(MINUTE);
    let dialed = |world: &World| -> Vec<SocketAddr> {
        let outbound = world.get(alice).connected().filter(|peer| peer.outbound);
        outbound.map(|peer| peer.remote).filter(|remote| honest.contains(remote)).collect()
    };
    assert!(dialed(&world).len() >= 8);
    let mut strangers = Vec::new();
    for n in 0..40u8 {
        let at = format!("66.{n}.1.1:8333");
        let stranger = world.node(&format!("stranger {n}"), &at, |c| {
            (c.outbound, c.connect) = (0, vec![ALICE_HERE.parse().unwrap()]);
        });
        world.advance(Duration::from_secs(2));
        for nonce in 0..25 {
            world.command(stranger, Command::SubmitTransaction(payment(&at, nonce)));
        }
        strangers.push(stranger);
    }
    world.advance(5 * MINUTE);
    let peers = world.get(alice).peers();
    let of_strangers = |id: &str| id.starts_with("stranger");
    assert!(peers.known_peers().any(|peer| of_strangers(&peer.node_id) && peer.score > 0));
    let anchors: Vec<_> = peers.known_peers().filter(|peer| peer.anchor).collect();
    assert!(anchors.len() >= 8 && anchors.iter().all(|peer| !of_strangers(&peer.node_id)));
    world.restart(alice);
    world.advance(Duration::from_secs(3));
    assert!(dialed(&world).len() >= 7, "{:?}", dialed(&world));
}
