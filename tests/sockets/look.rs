//! What whoever watches a running node sees of it, from another thread.

use std::collections::BTreeSet;

use spacetime_network::wire::message::Ping;
use spacetime_network::wire::{Kind, Message};

use crate::stranger::{PATIENCE, Running};

/// A program that shows metrics had the loop's counters only where it turned the loop itself, and the peers only all at once.
#[test]
fn a_look_from_another_thread_sees_what_the_loop_and_the_node_count_and_the_peers_a_piece_at_a_time() {
    let node = Running::start(|_| {});
    let mut strangers: Vec<_> = (0..5).map(|n| node.greet(&format!("stranger {n}"), 2)).collect();
    strangers[0].say(&Message::Ping(Ping { nonce: 7, unix_millis: 0 }));
    assert_eq!(strangers[0].hear_kind(Kind::Pong).len(), 16);
    let half_way = node.connect();
    let look = || {
        let answer =
            node.handle.look(|look| (look.net.totals().clone(), look.node.counters().clone(), look.node.tally()));
        answer.unwrap().recv_timeout(PATIENCE).unwrap()
    };
    let (totals, counters, tally) = loop {
        let seen = look();
        if seen.2.greeting_inbound == 1 {
            break seen;
        }
    };
    assert_eq!((tally.inbound, tally.outbound, tally.closing), (5, 0, 0));
    assert_eq!(totals.turns.times.count(), totals.turns.count);
    assert!(totals.bytes_in > 0 && totals.accepted == 6, "{totals:?}");
    assert_eq!((counters.received[&Kind::Ping], counters.received_bytes[&Kind::Ping]), (1, 16));
    assert!(counters.sent_bytes[&Kind::Pong] >= 16);
    // Two, two and one, and each of them once.
    let (mut seen, mut last) = (BTreeSet::new(), None);
    for expected in [2, 2, 1, 0] {
        let piece = node.handle.look(move |look| {
            let with_bytes = |peer: spacetime_network::proto::PeerInfo| {
                let bytes = look.net.conn_stats(peer.conn).map_or(0, |stats| stats.bytes_in);
                (peer.conn, peer.node_id, bytes, look.node.score(peer.remote, peer.identity, look.now.at))
            };
            look.node.connected_after(last).take(2).map(with_bytes).collect::<Vec<_>>()
        });
        let piece = piece.unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(piece.len(), expected);
        for (conn, node_id, bytes, score) in piece {
            assert!(bytes > 0 && score == 0);
            assert!(seen.insert(node_id));
            last = Some(conn);
        }
    }
    drop(half_way);
}
