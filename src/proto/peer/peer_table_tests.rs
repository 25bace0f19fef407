//! The known-peers table, by what it promises and against a naive table.

use proptest::prelude::*;

use super::*;
use crate::time::UnixTime;

fn now(seconds: u64) -> Now {
    Now { at: Instant::from_millis(seconds * 1000), unix: UnixTime::from_secs(1_700_000_000 + seconds as i64) }
}

fn peer(id: &str, seconds: u64) -> PeerRecord {
    PeerRecord::new(id, "45.1.2.3:8333".parse().ok(), now(seconds))
}

fn ids<'a>(records: impl Iterator<Item = &'a PeerRecord>) -> Vec<&'a str> {
    records.map(|record| record.node_id.as_str()).collect()
}

fn table(names: &[&str]) -> PeerTable {
    let mut table = PeerTable::default();
    for (second, name) in names.iter().enumerate() {
        assert_eq!(table.add(peer(name, second as u64)), Added::New { evicted: None });
    }
    table
}

#[test]
fn a_success_earns_one_and_forgets_failures_a_failure_costs_two() {
    let mut table = table(&["a"]);
    assert!(table.record_failure("a") && table.record_failure("a"));
    assert_eq!((table.get("a").unwrap().score, table.get("a").unwrap().failures), (-4, 2));
    assert!(table.record_success("a"));
    assert_eq!((table.get("a").unwrap().score, table.get("a").unwrap().failures), (-3, 0));
    assert!(!table.record_success("stranger") && !table.record_failure("stranger"));
}

#[test]
fn scores_and_failures_stop_at_their_edges() {
    let mut table = table(&["good", "bad"]);
    for _ in 0..1000 {
        table.record_success("good");
        table.record_failure("bad");
    }
    assert_eq!(table.get("good").unwrap().score, 20);
    assert_eq!(table.get("bad").unwrap().score, -20);
    let edge = PeerRecord { score: i32::MIN, failures: u32::MAX, ..peer("edge", 0) };
    table.add(edge);
    table.record_failure("edge");
    assert_eq!((table.get("edge").unwrap().score, table.get("edge").unwrap().failures), (-20, u32::MAX));
    assert!(table.update_chain_length("edge", u64::MAX));
}

#[test]
fn the_blacklist_begins_at_ten_below_zero_or_five_failures_in_a_row() {
    let mut table = table(&["score", "row"]);
    for _ in 0..4 {
        table.record_failure("row");
        table.record_failure("score");
    }
    assert!(!table.should_blacklist("row"));
    table.record_failure("row");
    assert!(table.should_blacklist("row"));
    table.record_success("score");
    table.record_failure("score");
    assert!(!table.should_blacklist("score"), "score -9, one failure in a row");
    table.record_failure("score");
    assert!(table.should_blacklist("score"), "score -11, two failures in a row");
    assert!(!table.should_blacklist("stranger"));
}

#[test]
fn the_best_peers_are_free_clean_and_in_order() {
    let mut table = table(&["old", "young", "best", "connected", "bad"]);
    table.record_success("best");
    table.set_connected("connected", true, now(9));
    (0..5).for_each(|_| assert!(table.record_failure("bad")));
    assert_eq!(ids(table.best_peers(9)), ["best", "old", "young"]);
    assert_eq!(ids(table.best_peers(2)), ["best", "old"]);
    assert_eq!(table.best_peers(0).count(), 0);
    table.add(PeerRecord { score: 20, address: None, ..peer("behind a firewall", 3) });
    assert_eq!(ids(table.best_peers(9)), ["best", "old", "young"], "nobody can dial it");
    table.update_last_seen("old", now(10));
    assert_eq!(ids(table.best_peers(9)), ["best", "young", "old"]);
    assert_eq!(ids(table.connected_peers()), ["connected"]);
}

#[test]
fn five_minutes_unseen_drop_a_peer_but_not_a_connected_one() {
    let mut table = table(&["a", "b"]);
    table.set_connected("b", true, now(1));
    assert!(table.drop_stale(now(299)).is_empty());
    assert_eq!(table.drop_stale(now(300)), ["a"]);
    assert!(table.drop_stale(now(100_000)).is_empty());
    table.set_connected("b", false, now(100_000));
    assert!(table.drop_stale(now(100_299)).is_empty(), "the end of a connection is a sight of the peer");
    assert_eq!(table.drop_stale(now(100_300)), ["b"]);
}

#[test]
fn a_wall_clock_that_jumps_makes_nobody_stale_or_eternal() {
    let mut table = table(&["a"]);
    let far = UnixTime::from_secs(i64::MAX);
    assert!(table.drop_stale(Now { at: Instant::from_millis(1000), unix: far }).is_empty());
    table.update_last_seen("a", Now { at: Instant::from_millis(2000), unix: far });
    assert_eq!(table.get("a").unwrap().last_seen, far);
    assert_eq!(table.drop_stale(Now { at: Instant::from_millis(302_000), unix: UnixTime::default() }), ["a"]);
}

#[test]
fn a_full_table_gives_up_its_worst_for_one_that_is_no_worse() {
    let config = PeerTableConfig { peers_max: 3, ..Default::default() };
    let mut table = PeerTable::new(config);
    for (second, id) in ["good", "older", "newer"].into_iter().enumerate() {
        table.add(peer(id, second as u64));
    }
    table.record_success("good");
    assert_eq!(table.add(peer("x", 5)), Added::New { evicted: Some("older".into()) });
    assert_eq!(table.add(PeerRecord { score: -1, ..peer("worse", 6) }), Added::Full);
    for id in ["good", "newer", "x"] {
        table.set_connected(id, true, now(7));
    }
    assert_eq!(table.add(PeerRecord { connected: true, ..peer("y", 8) }), Added::Full);
    assert_eq!(table.len(), 3);
}

#[test]
fn an_update_keeps_the_past_and_bad_ids_are_refused() {
    let mut table = table(&["a"]);
    table.record_failure("a");
    let address = "[::ffff:1.2.3.4]:5".parse().ok();
    let update = PeerRecord { address, score: 20, user_agent: "é".repeat(200), ..peer("a", 50) };
    assert_eq!(table.add(update), Added::Updated);
    let record = table.get("a").unwrap();
    assert_eq!((record.score, record.failures, record.address), (-2, 1, "1.2.3.4:5".parse().ok()));
    assert_eq!(record.user_agent.len(), 256);
    assert_eq!(table.add(peer("", 0)), Added::BadNodeId);
    assert_eq!(table.add(peer(&"x".repeat(129), 0)), Added::BadNodeId);
    assert_eq!(table.add(peer(&"x".repeat(128), 0)), Added::New { evicted: None });
}

#[derive(Clone, Debug)]
enum Move {
    Add(u8),
    Remove(u8),
    Success(u8),
    Failure(u8),
    Seen(u8),
    Connected(u8, bool),
    Stale,
}

fn moves() -> impl Strategy<Value = Move> {
    let id = 0u8..12;
    prop_oneof![
        id.clone().prop_map(Move::Add),
        id.clone().prop_map(Move::Remove),
        id.clone().prop_map(Move::Success),
        id.clone().prop_map(Move::Failure),
        id.clone().prop_map(Move::Seen),
        (id, any::<bool>()).prop_map(|(id, on)| Move::Connected(id, on)),
        Just(Move::Stale),
    ]
}

proptest! {
    /// The naive table is a list that is sorted when asked.
    #[test]
    fn it_agrees_with_a_table_that_sorts(moves in prop::collection::vec((moves(), 0u64..60), 1..120)) {
        let mut table = PeerTable::default();
        let mut naive: Vec<PeerRecord> = Vec::new();
        let mut second = 0;
        for (step, passed) in moves {
            second += passed;
            let (name, now) = (|id: u8| format!("p{id:02}"), now(second));
            match step {
                Move::Add(id) => {
                    let known = naive.iter().any(|r| r.node_id == name(id));
                    let added = table.add(peer(&name(id), second));
                    prop_assert_eq!(added == Added::Updated, known);
                    match naive.iter_mut().find(|r| r.node_id == name(id)) {
                        Some(r) => (r.last_seen, r.seen_at, r.connected, r.chain_length) = (now.unix, now.at, false, 0),
                        None => naive.push(peer(&name(id), second)),
                    }
                }
                Move::Remove(id) => {
                    table.remove(&name(id));
                    naive.retain(|r| r.node_id != name(id));
                }
                Move::Success(id) => {
                    table.record_success(&name(id));
                    naive.iter_mut().filter(|r| r.node_id == name(id)).for_each(|r| {
                        (r.score, r.failures) = ((r.score + 1).min(20), 0);
                    });
                }
                Move::Failure(id) => {
                    table.record_failure(&name(id));
                    naive.iter_mut().filter(|r| r.node_id == name(id)).for_each(|r| {
                        (r.score, r.failures) = ((r.score - 2).max(-20), r.failures + 1);
                    });
                }
                Move::Seen(id) => {
                    table.update_last_seen(&name(id), now);
                    let seen = naive.iter_mut().filter(|r| r.node_id == name(id));
                    seen.for_each(|r| (r.last_seen, r.seen_at) = (now.unix, now.at));
                }
                Move::Connected(id, on) => {
                    table.set_connected(&name(id), on, now);
                    let seen = naive.iter_mut().filter(|r| r.node_id == name(id));
                    seen.for_each(|r| (r.connected, r.last_seen, r.seen_at) = (on, now.unix, now.at));
                }
                Move::Stale => {
                    table.drop_stale(now);
                    naive.retain(|r| r.connected || now.at.since(r.seen_at).as_secs() < 300);
                }
            }
            naive.sort_by(|a, b| a.node_id.cmp(&b.node_id));
            prop_assert_eq!(table.known_peers().cloned().collect::<Vec<_>>(), naive.clone());
            let mut best: Vec<_> = naive.iter().filter(|r| !r.connected && r.score > -10 && r.failures < 5).collect();
            best.sort_by_key(|r| (-r.score, r.seen_at, r.node_id.clone()));
            prop_assert_eq!(table.best_peers(usize::MAX).collect::<Vec<_>>(), best);
        }
    }
}

fn reached(id: &str, address: &str, seconds: u64) -> PeerRecord {
    PeerRecord { reached: true, ..PeerRecord::new(id, address.parse().ok(), now(seconds)) }
}

fn saved(table: &PeerTable) -> Vec<&str> {
    ids(table.saved_peers())
}

/// Six minutes without a network, and a node had forgotten everybody.
#[test]
fn a_peer_that_we_reached_is_saved_for_thirty_days_after_it_was_seen_and_known_for_five_minutes() {
    let mut table = table(&["a", "never-reached"]);
    assert!(table.record_reached("a") && !table.record_reached("nobody"));
    let day = 24 * 3600;
    assert_eq!(table.drop_stale(now(400)), ["a", "never-reached"]);
    assert_eq!((table.len(), saved(&table)), (0, vec!["a"]));
    table.drop_stale(now(30 * day - 1));
    assert_eq!((saved(&table), table.remembered_addresses().count()), (vec!["a"], 1));
    table.drop_stale(now(30 * day));
    assert_eq!(saved(&table), [""; 0]);
}

#[test]
fn a_remembered_peer_that_comes_back_is_known_again_and_still_reached() {
    let mut table = table(&["a"]);
    table.record_reached("a");
    table.drop_stale(now(400));
    assert_eq!(table.add(peer("a", 500)), Added::New { evicted: None });
    assert!(table.get("a").unwrap().reached && table.remembered_addresses().next().is_none());
    table.drop_stale(now(900));
    assert_eq!(saved(&table), ["a"]);
}

/// In plain text an id is a claim.
#[test]
fn whoever_takes_a_peers_id_from_elsewhere_does_not_make_us_forget_where_we_reached_it() {
    let mut table = table(&["a"]);
    table.record_reached("a");
    let thief = PeerRecord::new("a", "66.6.6.6:6".parse().ok(), now(10));
    table.add(thief);
    assert!(!table.get("a").unwrap().reached);
    let kept: Vec<(bool, Option<SocketAddr>)> =
        table.saved_peers().map(|peer| (peer.reached, peer.address)).take(1).collect();
    assert_eq!(kept, [(true, "45.1.2.3:8333".parse().ok())]);
    assert_eq!(saved(&table), ["peer_45.1.2.3_8333", "a"], "one of them has to go without the name");
    table.forget_address("45.1.2.3:8333".parse().unwrap(), None);
    assert!(table.saved_peers().all(|peer| !peer.reached), "until somebody else is found there");
    assert_eq!(table.audit(), Ok(()));
}

#[test]
fn a_node_that_changes_its_id_has_one_place_at_its_address() {
    let mut table = PeerTable::default();
    for n in 0..100 {
        let id = format!("id-{n}");
        table.add(peer(&id, n));
        table.record_reached(&id);
        table.drop_stale(now(n + 301));
    }
    assert_eq!(table.saved_peers().filter(|peer| peer.reached).count(), 1);
}

#[test]
fn neither_those_who_were_only_heard_of_nor_a_crowd_of_one_network_displace_whom_we_reached() {
    let mut table = PeerTable::new(PeerTableConfig { peers_max: 50, ..PeerTableConfig::default() });
    for n in 0..20 {
        let id = format!("friend-{n:02}");
        table.add(reached(&id, &format!("{}.1.1.1:7", 20 + n), 1));
    }
    for n in 0..5_000u32 {
        let address = format!("66.{}.{}.{}:7", n / 2500, n / 10 % 250, n % 10);
        let good =
            PeerRecord { score: 20, connected: true, ..PeerRecord::new(format!("x{n}"), address.parse().ok(), now(2)) };
        table.add(good);
        table.set_connected(&format!("x{n}"), false, now(2));
    }
    let friends = |table: &PeerTable| table.saved_peers().filter(|peer| peer.node_id.starts_with("friend")).count();
    assert_eq!(friends(&table), 20, "strangers by the thousand");
    for n in 0..5_000u32 {
        let address = format!("66.{}.{}.{}:7", n / 2500, n / 10 % 250, n % 10);
        table.add(reached(&format!("y{n}"), &address, 3));
        table.drop_stale(now(1000 + u64::from(n)));
    }
    assert_eq!(friends(&table), 20, "and those who let themselves be reached");
    assert_eq!(table.saved_peers().count(), 20 + 2 * 64);
    assert_eq!(table.audit(), Ok(()));
}

#[test]
fn of_too_many_the_longest_unseen_is_forgotten_first() {
    let mut table = PeerTable::default();
    for n in 0..REMEMBERED_MAX as u64 + 5 {
        table.add(reached(&format!("p{n:04}"), &format!("{}.{}.1.1:7", 20 + n / 200, n % 200), n));
    }
    table.drop_stale(now(100_000));
    assert_eq!(table.saved_peers().count(), REMEMBERED_MAX);
    assert!(!saved(&table).contains(&"p0004") && saved(&table).contains(&"p0005"));
}

#[test]
fn anchors_are_saved_first_and_nobody_who_comes_and_goes_takes_the_place_of_one_that_stays() {
    let mut table = PeerTable::default();
    let ready = |table: &mut PeerTable, id: &str, address: &str, seen: u64| {
        table.add(PeerRecord { connected: true, ..PeerRecord::new(id, address.parse().ok(), now(seen)) });
    };
    for n in 0..6 {
        ready(&mut table, &format!("z{n}"), &format!("{}.1.1.1:7", 20 + n), 1);
        table.record_reached(&format!("z{n}"));
        assert!(table.set_anchor(&format!("z{n}")));
    }
    for n in 0..100 {
        let id = format!("a{n}");
        ready(&mut table, &id, &format!("66.{n}.1.1:7"), 2 + n);
        assert!(!table.set_anchor(&id), "nobody is an anchor who only came");
        table.record_reached(&id);
        table.set_anchor(&id);
        table.set_connected(&id, false, now(2 + n));
    }
    let first: Vec<&str> = saved(&table).into_iter().take(8).collect();
    assert_eq!(
        first,
        ["z0", "z1", "z2", "z3", "z4", "z5", "a98", "a99"],
        "before all others, whatever they are called"
    );
    assert_eq!(ids(table.anchors().into_iter()), ["a99", "a98"], "those that are not connected are to be dialed");
    table.end_anchor("a99");
    table.forget_address("66.98.1.1:7".parse().unwrap(), None);
    assert!(table.anchors().is_empty());
}

#[test]
fn who_is_connected_is_saved_before_those_who_only_came() {
    let mut table = PeerTable::default();
    table.add(PeerRecord::new("a", "45.1.1.1:7".parse().ok(), now(1)));
    table.add(PeerRecord { connected: true, ..PeerRecord::new("b", "45.2.1.1:7".parse().ok(), now(1)) });
    table.add(reached("c", "45.3.1.1:7", 1));
    assert_eq!(saved(&table), ["c", "b", "a"]);
}

#[test]
fn what_a_file_holds_is_too_old_by_its_own_time_and_not_by_the_clock_of_the_start() {
    let day = 24 * 3600;
    let mut records =
        [reached("old", "45.1.2.3:7", 0), reached("young", "45.2.2.3:7", day), reached("last", "45.3.2.3:7", 30 * day)];
    expire_saved(&mut records);
    assert_eq!(records.map(|record| record.reached), [false, true, true]);
}
