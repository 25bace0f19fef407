//! Reputation by what it promises, and against a judge that remembers everything.

use core::net::{IpAddr, Ipv6Addr};
use proptest::prelude::*;

use super::*;
use crate::proto::peer::ban::{Ban, Banned, BannedBy, Lifted};

const MINUTE: u64 = 60_000;

fn origin(text: &str) -> Origin {
    Origin::of(text.parse().unwrap())
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

#[test]
fn the_fifth_failure_in_a_row_blacklists_for_a_day() {
    let mut reputation = Reputation::default();
    let who = origin("1.2.3.4");
    assert_eq!((0..5).map(|n| reputation.record_violation(who, "test", at(n))).filter(|banned| *banned).count(), 1);
    assert!(reputation.is_blacklisted(who, at(24 * 60 * MINUTE)));
    assert!(!reputation.is_blacklisted(who, at(24 * 60 * MINUTE + 5)));
    assert!(!reputation.record_violation(who, "test", at(25 * 60 * MINUTE)), "the time is served");
    assert_eq!(reputation.bans(at(25 * 60 * MINUTE)).count(), 0);
}

#[test]
fn good_deeds_do_not_buy_violations() {
    let mut reputation = Reputation::default();
    let who = origin("2001:db8::1");
    for n in 1..=10u64 {
        for good in 0..2 {
            reputation.record_success(who, at(n * 5 * MINUTE + good * 2 * MINUTE));
        }
        assert_eq!(reputation.record_violation(who, "test", at(n * 5 * MINUTE + 4 * MINUTE)), n == 10, "violation {n}");
    }
    assert!(reputation.is_blacklisted(origin("2001:db8::ffff"), at(60 * MINUTE)), "the /64 is one origin");
}

#[test]
fn rare_violations_of_a_useful_peer_are_forgotten() {
    let mut reputation = Reputation::default();
    let who = origin("1.2.3.4");
    for n in 0..100u64 {
        reputation.record_success(who, at(n * 10 * MINUTE));
        assert!(!reputation.record_violation(who, "test", at(n * 10 * MINUTE + 1)), "violation {n}");
    }
}

#[test]
fn farming_earns_a_point_a_minute_and_never_more_than_twenty() {
    let mut reputation = Reputation::default();
    let who = origin("1.2.3.4");
    for n in 0..59 {
        reputation.record_success(who, at(n * 1000));
    }
    assert_eq!(reputation.score(who, at(59_000)), 1);
    for n in 1..1000 {
        reputation.record_success(who, at(n * MINUTE));
    }
    assert!(reputation.score(who, at(1000 * MINUTE)) <= 20);
    let banned = (0..10).filter(|n| reputation.record_violation(who, "test", at(1000 * MINUTE + n))).count();
    assert_eq!(banned, 1);
}

#[test]
fn a_score_halves_in_ten_minutes() {
    let mut reputation = Reputation::default();
    let who = origin("1.2.3.4");
    for n in 0..4 {
        reputation.record_violation(who, "test", at(n));
    }
    assert_eq!(reputation.score(who, at(3)), -8);
    assert_eq!(reputation.score(who, at(10 * MINUTE)), -4);
    assert_eq!(reputation.score(who, at(20 * MINUTE)), -2);
    assert_eq!(reputation.score(who, at(100 * MINUTE)), 0);
}

#[test]
fn a_flood_of_origins_displaces_neither_bans_nor_memory() {
    let mut reputation = Reputation::new(ReputationConfig { entries_max: 100, ..Default::default() });
    let villain = origin("9.9.9.9");
    (0..5).for_each(|n| assert_eq!(reputation.record_violation(villain, "test", at(n)), n == 4));
    for n in 0..10_000u128 {
        let ip = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (n << 64)));
        reputation.record_violation(Origin::of(ip), "test", at(10 + n as u64));
        assert!(reputation.len() <= 100 && reputation.order.len() == reputation.len());
    }
    let now = at(20_000);
    assert!(reputation.is_blacklisted(villain, now));
    let bans: Vec<_> = reputation.bans(now).map(|ban| (ban.who, ban.by, ban.reason)).collect();
    assert_eq!(bans, [(Banned::from(villain), BannedBy::Rules, "test".into())]);
    assert!(reputation.unban(villain, now) && !reputation.is_blacklisted(villain, now));
}

#[test]
fn a_ban_is_restored_with_the_time_that_remained() {
    let mut reputation = Reputation::default();
    (0..5).for_each(|n| assert_eq!(reputation.record_violation(origin("1.1.1.1"), "test", at(0)), n == 4));
    let saved: Vec<Ban> = reputation.bans(at(23 * 60 * MINUTE)).collect();
    let mut restored = Reputation::default();
    for ban in saved {
        restored.restore_ban(ban.who.origin().unwrap(), ban.remaining.unwrap(), ban.reason, at(0));
    }
    assert!(restored.is_blacklisted(origin("1.1.1.1"), at(60 * MINUTE - 1)));
    assert!(!restored.is_blacklisted(origin("1.1.1.1"), at(60 * MINUTE)));
    // A file that says more than the rules ever give.
    restored.restore_ban(origin("2.2.2.2"), Duration::MAX, "".into(), at(0));
    assert!(!restored.is_blacklisted(origin("2.2.2.2"), at(24 * 60 * MINUTE)));
}

#[test]
fn lifting_a_range_forgets_all_that_was_done_in_it() {
    let mut reputation = Reputation::default();
    for who in ["1.2.3.4", "1.2.3.5", "1.2.4.1"] {
        (0..5).for_each(|n| assert_eq!(reputation.record_violation(origin(who), "test", at(0)), n == 4));
    }
    let lifted = reputation.lift("1.2.3.0/24".parse().unwrap(), at(1));
    assert_eq!(lifted, Lifted { lifted: 2, still: None });
    assert_eq!((reputation.score(origin("1.2.3.4"), at(1)), reputation.bans(at(1)).count()), (0, 1));
    // A part of a /64 is not let in while the /64 is banned.
    (0..5).for_each(|n| assert_eq!(reputation.record_violation(origin("2001:db8::1"), "test", at(0)), n == 4));
    let lifted = reputation.lift("2001:db8::1/128".parse().unwrap(), at(1));
    assert_eq!(lifted, Lifted { lifted: 0, still: Some("2001:db8::/64".parse().unwrap()) });
}

proptest! {
    /// The naive judge keeps every deed and computes the score with real numbers.
    #[test]
    fn it_agrees_with_a_judge_that_remembers_everything(
        deeds in prop::collection::vec((any::<bool>(), 0u64..400_000), 1..60)
    ) {
        let mut reputation = Reputation::default();
        let who = origin("1.2.3.4");
        let (mut millis, mut score, mut row) = (0u64, 0f64, 0u32);
        let (mut violations, mut rewarded) = (Vec::new(), None::<u64>);
        for (good, passed) in deeds {
            millis += passed;
            score *= (-(passed as f64) / 600_000.0).exp2();
            let banned = if good {
                row = 0;
                if rewarded.is_none_or(|then| millis - then >= MINUTE) {
                    rewarded = Some(millis);
                    score += 1.0;
                }
                reputation.record_success(who, at(millis));
                false
            } else {
                violations.push(millis);
                (score, row) = (score - 2.0, row + 1);
                reputation.record_violation(who, "test", at(millis))
            };
            score = score.clamp(-20.0, 20.0);
            let recent = violations.iter().filter(|then| millis - **then < 60 * MINUTE).count();
            // A score at the very edge may round either way.
            let edge = (score + 9.5).abs() < 1e-3;
            if !edge {
                prop_assert_eq!(banned, !good && (row >= 5 || recent >= 10 || score <= -9.5), "{} {}", score, row);
            }
            if banned || edge { break; }
        }
    }
}

/// 10,000 bans filled the table, and of whoever came then nothing was remembered, so that he was never banned.
#[test]
fn a_table_full_of_bans_still_learns_whom_to_ban_next_and_forgets_the_ban_that_ends_first() {
    let most = 1000;
    let mut reputation = Reputation::new(ReputationConfig { entries_max: most, ..Default::default() });
    let far = |n: u64| Origin::of(IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(n) << 80))));
    let banned =
        |reputation: &mut Reputation, who, millis| (0..5).any(|_| reputation.record_violation(who, "test", at(millis)));
    for n in 0..3 * most as u64 {
        assert!(banned(&mut reputation, far(n), 1000 + n), "origin {n} is not banned");
        assert_eq!((reputation.len() <= most, reputation.audit()), (true, Ok(())));
    }
    let now = at(10_000);
    let last = 3 * most as u64;
    assert!((last - 700..last).all(|n| reputation.is_blacklisted(far(n), now)), "the newest are in force");
    assert!(!reputation.is_blacklisted(far(0), now), "the oldest made room");
    (0..2 * most as u64).for_each(|n| assert!(banned(&mut reputation, far(10_000 + n), 10_001 + n / 100)));
    // A flood of those who did little pushes out no ban that is new.
    (0..5_000).for_each(|n| assert!(!reputation.record_violation(far(100_000 + n), "test", at(10_600))));
    assert!((11_500..12_000).all(|n| reputation.is_blacklisted(far(n), at(10_600))));
    assert_eq!(reputation.audit(), Ok(()));
}

/// Each /64 of a /48 had a ban of its own, and whoever has a /48 has 65,536 of them.
#[test]
fn many_bans_in_a_subnet_become_one_of_the_subnet() {
    for (address, outside) in [("2001:db8:1:{}::1", "2001:db8:2::1"), ("1.2.3.{}", "1.2.4.1")] {
        let mut reputation = Reputation::default();
        let who = |n: usize| origin(&address.replace("{}", &n.to_string()));
        for n in 1..=BANS_PER_SUBNET {
            assert!(!reputation.is_blacklisted(who(200), at(60_000)), "{n} bans are no ban of all");
            let violations = (0..5).filter(|_| reputation.record_violation(who(n), "test", at(n as u64 * 1000)));
            assert_eq!(violations.count(), 1);
        }
        let end = BANS_PER_SUBNET as u64 * 1000 + 24 * 60 * MINUTE;
        assert!(reputation.is_blacklisted(who(200), at(end - 1)) && reputation.is_blacklisted(who(1), at(end - 1)));
        assert!(
            !reputation.is_blacklisted(who(200), at(end)) && !reputation.is_blacklisted(origin(outside), at(60_000))
        );
        let bans: Vec<Origin> = reputation.bans(at(60_000)).filter_map(|ban| ban.who.origin()).collect();
        assert_eq!(bans, [Origin::Net(Subnet::of(who(1).ip().unwrap()))]);
        assert_eq!((reputation.len(), reputation.audit()), (1, Ok(())));
        assert!(reputation.unban(bans[0], at(60_000)) && !reputation.is_blacklisted(who(1), at(60_000)));
    }
}
