//! The reference chain with threads that judge and read large blocks: its verdicts come later, and are the same.

#![cfg(feature = "chain")]

mod chain_support;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chain_support::{BEST, KEPT, NOW, block, hash_of, mined, params, transfer, unmined};
use proptest::prelude::*;
use spacetime_network::chain::ReferenceChain;
use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, Finished, Lookup, Tip, Verdict};
use spacetime_network::source::Source;
use spacetime_network::wire::Hash;

/// Only ever waited for in full when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A chain, and the bell that rings for its loop.
struct Busy {
    chain: ReferenceChain,
    bell: Receiver<()>,
}

impl Busy {
    fn new() -> Self {
        Busy::on(ReferenceChain::memory(params(0)))
    }

    fn on(mut chain: ReferenceChain) -> Self {
        let (sender, bell) = channel();
        let sender = Mutex::new(sender);
        chain.work_off_loop(move || {
            let _ = sender.lock().unwrap().send(());
        });
        Busy { chain, bell }
    }

    /// What is finished next; waits for it.
    fn next(&mut self) -> Finished {
        loop {
            self.chain.turn_ended();
            match self.chain.poll(NOW) {
                Some(finished) => return finished,
                None if self.chain.has_work() => {}
                None => self.bell.recv_timeout(PATIENCE).expect("the loop is woken for what is finished"),
            }
        }
    }

    fn push(&mut self, who: u8, bytes: &Bytes) -> Verdict {
        let source = Source::peer(format!("10.{who}.0.1").parse().unwrap(), false);
        let block = CheckedBlock::check(&self.chain, NOW, bytes.clone()).unwrap();
        self.chain.accept_block_from(NOW, source, block)
    }
}

fn ticket(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Pending(ticket) => *ticket,
        other => panic!("{other:?} came at once"),
    }
}

/// Transactions of so many bytes together, in tens of thousands.
fn bulk(bytes: usize, from: u64) -> Vec<Bytes> {
    let recipient = "r".repeat(10_000);
    (0..bytes.div_ceil(10_000)).map(|n| transfer("s", &recipient, 1, from + n as u64)).collect()
}

#[test]
fn a_large_block_is_judged_elsewhere_and_what_builds_on_it_afterwards() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    let first = block(&params(0), genesis, &bulk(8 << 20, 0), 1);
    let on_first = Tip { hash: hash_of(&first), height: 1, work: 2 };
    let small = block(&params(0), on_first, &[], 1);
    let verdicts = [busy.push(1, &first), busy.push(2, &small)].map(|verdict| ticket(&verdict));
    assert_eq!(busy.chain.best(), genesis);
    let known = busy.push(3, &block(&params(0), genesis, &[], 9));
    assert_eq!(known, BEST, "a small one on what is there does not wait");
    assert_eq!(busy.next(), Finished::Judged(verdicts[0], KEPT));
    assert_eq!(busy.next(), Finished::Judged(verdicts[1], BEST));
    assert_eq!(busy.chain.best().hash, hash_of(&small));
    assert_eq!(busy.push(1, &first), Verdict::Known);
}

/// A copy with one byte changed comes first, under the same hash: it must cost its sender, and nobody else.
#[test]
fn a_changed_copy_that_is_judged_first_does_not_stand_in_for_the_good_one() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    let good = block(&params(0), genesis, &bulk(1 << 20, 0), 1);
    let mut changed = good.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let child = block(&params(0), Tip { hash: hash_of(&good), height: 1, work: 2 }, &[], 1);
    let bad = ticket(&busy.push(1, &changed.into()));
    let after = ticket(&busy.push(2, &child));
    let fine = ticket(&busy.push(3, &good));
    let mut found = BTreeMap::new();
    while found.len() < 3 {
        if let Finished::Judged(ticket, verdict) = busy.next() {
            found.insert(ticket, verdict);
        }
    }
    assert!(matches!(found[&bad], Verdict::Invalid(rejection) if rejection.mutated));
    assert_eq!((&found[&fine], &found[&after]), (&BEST, &BEST));
}

#[test]
fn a_block_whose_parent_proves_invalid_is_an_orphan() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    let twice = vec![transfer("s", "r", 1, 1); 2];
    let bad = mined(unmined(&params(0), genesis, &[bulk(1 << 20, 0), twice].concat(), 1));
    let child = block(&params(0), Tip { hash: hash_of(&bad), height: 1, work: 2 }, &[], 1);
    let (first, second) = (ticket(&busy.push(1, &bad)), ticket(&busy.push(1, &child)));
    assert!(matches!(busy.next(), Finished::Judged(t, Verdict::Invalid(r)) if t == first && !r.mutated));
    assert_eq!(busy.next(), Finished::Judged(second, Verdict::Orphan { parent: hash_of(&bad) }));
}

/// One stranger pushed blocks without end; those of others, and those that were asked for, were refused for it.
#[test]
fn who_pushes_too_much_to_be_judged_loses_his_own() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    // No thread is faster than these are pushed.
    let blocks: Vec<Bytes> = (0..30).map(|n| block(&params(0), genesis, &bulk(12 << 20, n * 10_000), n)).collect();
    let asked = block(&params(0), genesis, &bulk(12 << 20, 1_000_000), 77);
    let quiet = block(&params(0), genesis, &bulk(12 << 20, 2_000_000), 78);
    let flood: Vec<Verdict> = blocks.iter().map(|bytes| busy.push(1, bytes)).collect();
    let honest = ticket(&busy.push(2, &quiet));
    let checked = CheckedBlock::check(&busy.chain, NOW, asked).unwrap();
    let ours = ticket(&busy.chain.accept_block(NOW, checked));
    let mut pending: Vec<u64> = [honest, ours].into();
    pending.extend(flood.iter().filter(|verdict| matches!(verdict, Verdict::Pending(_))).map(ticket));
    assert!(pending.len() < 22, "{} of 32 blocks of 12 MiB are held", pending.len());
    let (mut order, mut verdicts) = (Vec::new(), BTreeMap::new());
    while order.len() < pending.len() {
        if let Finished::Judged(ticket, verdict) = busy.next() {
            order.push(ticket);
            verdicts.insert(ticket, verdict);
        }
    }
    assert!([honest, ours].iter().all(|ticket| matches!(verdicts[ticket], Verdict::Accepted { .. })));
    let dropped = |verdict: &&Verdict| matches!(verdict, Verdict::Ignored(_));
    assert!(flood.iter().chain(verdicts.values()).filter(dropped).count() >= 20);
}

#[test]
fn a_large_block_is_read_elsewhere_once_for_all_who_ask_for_it() {
    let mut busy = Busy::new();
    let large = block(&params(0), busy.chain.best(), &bulk(1 << 20, 0), 1);
    let hash = hash_of(&large);
    ticket(&busy.push(1, &large));
    busy.next();
    let asker = |n: u8| Source::peer(format!("10.{n}.0.1").parse().unwrap(), false);
    let tickets: Vec<u64> = (1..=3)
        .map(|n| match busy.chain.look_up(asker(n), &hash) {
            Lookup::Pending(ticket) => ticket,
            other => panic!("{other:?}"),
        })
        .collect();
    busy.chain.cancel(tickets[1]);
    let found = [busy.next(), busy.next()];
    assert_eq!(found, [tickets[0], tickets[2]].map(|ticket| Finished::Read(ticket, Some(large.clone()))));
    assert_eq!(busy.chain.look_up(asker(4), &hash), Lookup::Here(large), "it is kept for the next");
    assert_eq!(busy.chain.look_up(asker(4), &Hash::ZERO), Lookup::Missing);
}

/// The transactions of an abandoned block came back within the call that abandoned it, however many megabytes were read for them.
#[test]
fn what_a_large_abandoned_block_held_comes_back_later_and_that_is_told() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    let payments = bulk(1 << 20, 0);
    ticket(&busy.push(1, &block(&params(0), genesis, &payments, 1)));
    assert!(matches!(busy.next(), Finished::Judged(_, BEST)));
    let side = block(&params(0), genesis, &payments[..3], 2);
    assert_eq!(busy.push(1, &side), KEPT);
    assert_eq!(busy.push(1, &block(&params(0), Tip { hash: hash_of(&side), height: 1, work: 2 }, &[], 2)), BEST);
    assert_eq!(busy.next(), Finished::Returned);
    let waiting = busy.chain.pool_ids(usize::MAX);
    let expected: Vec<Hash> = payments[3..].iter().map(|bytes| busy.chain.transaction_id(bytes).unwrap()).collect();
    assert_eq!(waiting, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The same blocks, pushed in an order in which parents come first, lead to the same chain and the same pool.
    #[test]
    fn the_chain_is_the_same_as_one_that_judges_at_once(
        shape in prop::collection::vec((0usize..6, any::<bool>(), 0u64..40), 1..14),
    ) {
        let (mut busy, mut plain) = (Busy::new(), ReferenceChain::memory(params(0)));
        let mut tips = vec![plain.best()];
        let mut open: BTreeMap<u64, Hash> = BTreeMap::new();
        for (n, (back, is_large, payment)) in shape.into_iter().enumerate() {
            let parent = tips[tips.len() - 1 - back.min(tips.len() - 1)];
            let mut inside = vec![transfer("p", "q", 1, payment)];
            if is_large {
                inside.extend(bulk(100_000, 1000 + payment * 100));
            }
            let bytes = block(&params(0), parent, &inside, n as u64);
            let tip = Tip { hash: hash_of(&bytes), height: parent.height + 1, work: parent.work + 1 };
            // What is in an ancestor already is refused by both.
            if let Verdict::Accepted { .. } = plain.submit_block(NOW, bytes.clone()) {
                tips.push(tip);
            }
            if let Verdict::Pending(ticket) = busy.push(n as u8, &bytes) {
                open.insert(ticket, tip.hash);
            }
        }
        while !open.is_empty() || busy.chain.has_work() {
            if open.is_empty() {
                busy.chain.turn_ended();
                while busy.chain.poll(NOW).is_some() {}
                continue;
            }
            if let Finished::Judged(ticket, verdict) = busy.next() {
                let hash = open.remove(&ticket).unwrap();
                prop_assert_eq!(matches!(verdict, Verdict::Accepted { .. }), plain.position(&hash).is_some());
            }
        }
        prop_assert_eq!(busy.chain.best().work, plain.best().work);
        for tip in &tips {
            prop_assert_eq!(busy.chain.position(&tip.hash).map(|at| at.height), Some(tip.height));
        }
        prop_assert_eq!(busy.chain.block_count(), plain.block_count());
    }
}

/// A chain that is dropped in the middle of its work waits for the thread and for nothing else.
#[test]
fn a_chain_may_be_dropped_while_blocks_are_judged() {
    let mut busy = Busy::new();
    let genesis = busy.chain.best();
    let alive = Arc::new(());
    let seen = Arc::downgrade(&alive);
    for n in 0..4 {
        ticket(&busy.push(1, &block(&params(0), genesis, &bulk(4 << 20, n * 10_000), n)));
    }
    busy.chain.work_off_loop(move || drop(Arc::clone(&alive)));
    drop(busy);
    assert!(seen.upgrade().is_none());
}

/// A node that was stopped while a block was judged forgot it: nobody had been told of it, but who had mined it lost it.
#[test]
fn a_block_that_is_being_judged_when_the_node_stops_is_judged_and_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain");
    let mut busy = Busy::on(ReferenceChain::open(params(0), &path).unwrap());
    let first = block(&params(0), busy.chain.best(), &bulk(4 << 20, 0), 1);
    let second = block(&params(0), Tip { hash: hash_of(&first), height: 1, work: 2 }, &[], 1);
    ticket(&busy.push(1, &first));
    ticket(&busy.push(1, &second));
    assert_eq!(busy.chain.best().height, 0);
    busy.chain.flush(PATIENCE).unwrap();
    assert_eq!(busy.chain.best().hash, hash_of(&second));
    drop(busy);
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().best().hash, hash_of(&second));
}

/// A block of a few hundred bytes was read by the loop itself, which waited for the disk as long as that took.
#[test]
fn a_small_block_on_a_disk_is_read_elsewhere_with_those_that_are_asked_for_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain");
    let mut blocks = Vec::new();
    {
        let mut chain = ReferenceChain::open(params(0), &path).unwrap();
        for n in 0..600 {
            let next = block(&params(0), chain.best(), &[transfer("s", "r", 1, n)], 1);
            assert_eq!(chain.submit_block(NOW, next.clone()), BEST);
            blocks.push(next);
        }
        chain.flush(PATIENCE).unwrap();
    }
    let mut busy = Busy::on(ReferenceChain::open(params(0), &path).unwrap());
    let asker = Source::peer("10.1.0.1".parse().unwrap(), false);
    let mut read = 0;
    for bytes in &blocks {
        let found = match busy.chain.look_up(asker, &hash_of(bytes)) {
            Lookup::Here(found) => found,
            Lookup::Pending(ticket) => {
                read += 1;
                match busy.next() {
                    Finished::Read(read, Some(found)) if read == ticket => found,
                    other => panic!("{other:?}"),
                }
            }
            Lookup::Missing => panic!("it is there"),
        };
        assert_eq!(&found, bytes);
    }
    assert_eq!(read, 7, "of 600 blocks");
    assert_eq!(busy.chain.look_up(asker, &Hash::ZERO), Lookup::Missing);
}
