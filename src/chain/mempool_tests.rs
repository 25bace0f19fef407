//! The pool by what it promises: order, limits, shares by source, and an end to waiting.

use super::*;
use crate::chain::sha256;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn numbered(n: u32) -> (Hash, Bytes) {
    let bytes = Bytes::copy_from_slice(&n.to_le_bytes());
    (sha256(&bytes), bytes)
}

fn sized(n: u32, len: usize) -> (Hash, Bytes) {
    (numbered(n).0, Bytes::from(vec![0; len]))
}

fn stranger(n: u8) -> Source {
    Source::peer(format!("10.0.{n}.1").parse().unwrap(), false)
}

fn put(pool: &mut Mempool, source: Source, (id, bytes): (Hash, Bytes)) -> Result<(), NoRoom> {
    let was_there = pool.contains(&id);
    let before = pool.len();
    let answer = pool.insert(id, bytes, source, NOW);
    assert_eq!(pool.contains(&id), was_there || answer.is_ok());
    assert!(pool.len() <= MAX_COUNT && pool.bytes() <= MAX_BYTES && pool.len() <= before + 1);
    let held: usize = pool.by_source.values().map(BTreeSet::len).sum();
    assert_eq!((held, pool.by_arrival.len()), (pool.len(), pool.len()));
    answer
}

#[test]
fn hands_out_in_order_of_arrival() {
    let mut pool = Mempool::default();
    let ids: Vec<Hash> = (0..5).map(|n| numbered(n).0).collect();
    for n in 0..5 {
        assert_eq!(put(&mut pool, Source::Own, numbered(n)), Ok(()));
    }
    assert_eq!(put(&mut pool, stranger(1), numbered(0)), Ok(()), "a second copy changes nothing");
    assert_eq!(pool.remove(&ids[1]), Some(numbered(1).1));
    assert_eq!(pool.remove(&ids[1]), None);
    assert_eq!(pool.ids().copied().collect::<Vec<_>>(), [ids[0], ids[2], ids[3], ids[4]]);
    assert_eq!(pool.pick(17), [numbered(0).1, numbered(2).1]);
    assert_eq!((pool.len(), pool.bytes()), (4, 16));
}

#[test]
fn a_large_one_is_passed_over_for_smaller_ones_behind_it() {
    let mut pool = Mempool::default();
    assert_eq!(put(&mut pool, Source::Own, sized(9, 100)), Ok(()));
    assert_eq!(put(&mut pool, Source::Own, numbered(1)), Ok(()));
    assert_eq!(pool.pick(50), [numbered(1).1]);
}

#[test]
fn both_limits_hold() {
    let mut pool = Mempool::default();
    for n in 0..u32::try_from(MAX_COUNT).unwrap() {
        assert_eq!(pool.insert(numbered(n).0, numbered(n).1, Source::Own, NOW), Ok(()));
    }
    assert!(pool.is_full());
    assert_eq!(put(&mut pool, Source::Own, sized(70_000, 1)), Err(NoRoom::Full));

    let mut pool = Mempool::default();
    assert_eq!(put(&mut pool, Source::Own, sized(1, MAX_BYTES - 1)), Ok(()));
    assert_eq!(put(&mut pool, Source::Own, sized(2, 2)), Err(NoRoom::Full));
    assert_eq!(put(&mut pool, Source::Own, sized(3, 1)), Ok(()));
    assert!(pool.is_full());
    pool.remove(&numbered(1).0);
    assert_eq!(pool.bytes(), 1);
}

/// One stranger sent 64 MiB in a second, and the pool was full for everybody.
#[test]
fn a_stranger_who_fills_the_pool_gives_way_to_all_who_hold_less() {
    let mut pool = Mempool::default();
    let len = 128 << 10;
    let all = u32::try_from(MAX_BYTES / len).unwrap();
    for n in 0..all {
        assert_eq!(put(&mut pool, stranger(1), sized(n, len)), Ok(()), "alone it may have all");
    }
    assert_eq!(put(&mut pool, stranger(1), sized(all, len)), Err(NoRoom::Share));
    for (n, source) in
        [(1000, stranger(2)), (2000, Source::peer("10.1.1.1".parse().unwrap(), true)), (3000, Source::Own)]
    {
        for more in 0..50 {
            assert_eq!(put(&mut pool, source, sized(n + more, 200)), Ok(()), "{source:?}");
        }
    }
    assert!(pool.contains(&numbered(0).0) && !pool.contains(&numbered(all - 1).0), "the newest gave way");
    assert_eq!(put(&mut pool, stranger(1), sized(5000, len)), Err(NoRoom::Share), "it gets nothing back");
    // Three who want all of it come to have a third each, and addresses of one subnet are one of them.
    for n in 0..2 * all {
        let crowd = Source::peer(format!("10.0.4.{}", n % 200 + 1).parse().unwrap(), false);
        let _ = put(&mut pool, stranger(1), sized(10_000 + n, len));
        let _ = put(&mut pool, stranger(3), sized(20_000 + n, len));
        let _ = put(&mut pool, crowd, sized(30_000 + n, len));
    }
    let held = |source| pool.shares.of_subnet(source) as usize;
    for source in [stranger(1), stranger(3), stranger(4)] {
        assert!((MAX_BYTES / 4..MAX_BYTES * 2 / 5).contains(&held(source)), "{source:?} has {}", held(source));
    }
}

#[test]
fn many_small_ones_fill_a_share_as_a_few_large_ones_do() {
    let mut pool = Mempool::default();
    for n in 0..MAX_COUNT as u32 {
        assert_eq!(pool.insert(numbered(n).0, numbered(n).1, stranger(1), NOW), Ok(()));
    }
    assert_eq!(
        put(&mut pool, stranger(2), sized(60_000, 100_000)),
        Ok(()),
        "one gave way, for there were bytes enough"
    );
    assert_eq!(pool.len(), MAX_COUNT);
    assert_eq!(put(&mut pool, stranger(1), numbered(70_000)), Err(NoRoom::Share));
}

#[test]
fn strangers_do_not_crowd_out_those_whom_we_chose_however_many_subnets_they_have() {
    let mut pool = Mempool::default();
    let len = 64 << 10;
    let chosen = Source::peer("10.1.1.1".parse().unwrap(), true);
    for n in 0..200 {
        assert_eq!(put(&mut pool, chosen, sized(n, len)), Ok(()));
    }
    for n in 0..5000u32 {
        let _ = put(&mut pool, stranger((n % 200) as u8), sized(1000 + n, len));
    }
    assert!(pool.bytes() > MAX_BYTES / 2);
    assert!((0..200).all(|n| pool.contains(&numbered(n).0)));
    assert!((300..350).all(|n| put(&mut pool, chosen, sized(n, len)).is_ok()), "half is for those whom we chose");
}

/// Lets these seconds pass, with a look every minute.
fn pass(pool: &mut Mempool, seconds: core::ops::Range<u64>) {
    seconds.clone().step_by(60).chain([seconds.end]).for_each(|at| pool.expire(NOW.plus(Duration::from_secs(at))));
}

#[test]
fn what_waited_for_three_days_leaves_and_is_not_taken_back_from_others() {
    let mut pool = Mempool::default();
    let (id, bytes) = numbered(1);
    let later = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    let day = 24 * 3600;
    assert_eq!(pool.insert(id, bytes.clone(), stranger(1), NOW), Ok(()));
    pass(&mut pool, 0..day);
    assert_eq!(pool.insert(numbered(2).0, numbered(2).1, stranger(1), later(day)), Ok(()));
    assert_eq!(pool.len(), 2);
    pass(&mut pool, day..3 * day - 1);
    assert_eq!(pool.len(), 2);
    pool.expire(later(3 * day));
    assert_eq!((pool.len(), pool.contains(&id)), (1, false));
    pass(&mut pool, 3 * day..4 * day);
    assert_eq!(pool.insert(id, bytes.clone(), stranger(2), later(4 * day)), Err(NoRoom::Expired));
    assert_eq!(pool.insert(id, bytes.clone(), Source::Own, later(4 * day)), Ok(()), "its owner may wish it again");
    pool.remove(&id);
    pass(&mut pool, 4 * day..20 * day);
    assert_eq!(pool.len(), 0);
    assert_eq!(
        pool.insert(numbered(2).0, numbered(2).1, stranger(1), later(20 * day)),
        Ok(()),
        "so long it is remembered"
    );
    pass(&mut pool, 20 * day..26 * day);
    assert_eq!((pool.expired.len(), pool.expired_order.len()), (0, 0));
}

/// A wall clock that was set forward by days emptied the pool, and what had left was not taken back from anybody. Peers took it for
/// something that we have, and never offered it.
#[test]
fn a_wall_clock_that_is_set_forward_by_days_does_not_empty_the_pool() {
    let mut pool = Mempool::default();
    let (id, bytes) = numbered(1);
    let day = 24 * 3600;
    assert_eq!(pool.insert(id, bytes, stranger(1), NOW), Ok(()));
    pass(&mut pool, 6 * day..7 * day);
    assert!(pool.contains(&id), "it is set forward by six days");
    pass(&mut pool, 0..day);
    assert!(pool.contains(&id), "and back");
    pass(&mut pool, day..2 * day + 1);
    assert!(!pool.contains(&id), "three days have passed");
}

#[test]
fn what_a_reorganisation_gives_back_displaces_strangers_and_takes_no_more_than_half() {
    let mut pool = Mempool::default();
    let len = 64 << 10;
    for n in 0..1024 {
        assert_eq!(put(&mut pool, stranger(1), sized(n, len)), Ok(()));
    }
    let given = (0..1024).filter(|n| pool.give_back(numbered(5000 + n).0, Bytes::from(vec![0; len]), NOW).is_ok());
    assert_eq!(given.count(), 512);
    assert_eq!((pool.shares.of(Source::Own), pool.bytes()), (MAX_BYTES as u64 / 2, MAX_BYTES));
}

/// A block of 32,767 transactions left a full pool one by one, each with three steps of the shares: 20 ms of the loop.
#[test]
fn many_that_leave_at_once_leave_what_they_would_leave_one_by_one() {
    for step in [2, 3, 7, 1_000] {
        let (mut at_once, mut one_by_one) = (Mempool::default(), Mempool::default());
        for n in 0..3_000 {
            for pool in [&mut at_once, &mut one_by_one] {
                let source = if n % 5 == 0 { Source::Own } else { stranger((n % 11) as u8) };
                assert_eq!(put(pool, source, sized(n, 10 + n as usize % 3_000)), Ok(()));
            }
        }
        // All but every so manieth, some that never were there, and some twice.
        let leave: Vec<Hash> = (0..4_000).filter(|n| n % step != 1).chain(0..10).map(|n| numbered(n).0).collect();
        at_once.remove_all(&leave);
        for id in &leave {
            one_by_one.remove(id);
        }
        assert_eq!(at_once.ids().collect::<Vec<_>>(), one_by_one.ids().collect::<Vec<_>>());
        assert_eq!((at_once.bytes(), at_once.len()), (one_by_one.bytes(), one_by_one.len()));
        assert_eq!(at_once.by_source, one_by_one.by_source);
        assert_eq!(at_once.by_arrival, one_by_one.by_arrival);
        (0..2).for_each(|_| at_once.free_some());
        assert_eq!(at_once.left.capacity(), 0, "and no memory");
        for source in (0..11).map(stranger).chain([Source::Own]) {
            assert_eq!(at_once.shares.of(source), one_by_one.shares.of(source));
        }
    }
}
