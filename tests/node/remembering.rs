//! Whom a node once reached it finds again, after an outage and after a restart.

use std::time::Duration;

use spacetime_network::proto::Event;

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: &str = "45.1.1.1:8333";
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
