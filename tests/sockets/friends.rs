//! Many friends at one door.

use spacetime_network::wire::Kind;

use crate::introduction::introduction;
use crate::stranger::{Running, Stranger};

/// There are 64 places for those who have not said yet who they are, and six to thirteen of a hundred who greet a tenth of a second
/// after they have dialed were told that the node was full.
#[test]
fn a_hundred_friends_who_dial_at_once_and_greet_late_all_come_in_at_the_defaults() {
    let node = Running::start(|_| {});
    let mut friends: Vec<Stranger> = (0..100).map(|_| node.connect()).collect();
    // The loop has answered a later question of one who has a place: it has seen all of them.
    friends[0].say(&introduction("friend 0", 2, 0));
    assert_eq!(friends[0].hear().unwrap().0, Kind::HandshakeAck);
    for (n, friend) in friends.iter_mut().enumerate().skip(1) {
        friend.say(&introduction(&format!("friend {n}"), 2, 0));
    }
    let heard: Vec<Kind> = friends.iter_mut().skip(1).map(|friend| friend.hear().unwrap().0).collect();
    assert!(heard.iter().all(|kind| *kind == Kind::HandshakeAck), "{heard:?}");
}
