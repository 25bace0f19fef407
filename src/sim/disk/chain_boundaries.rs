//! The chain's store and a crash or an error at every call of its disk: all that was durable is there, and no hole.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::support::{drawn, everything, nothing};
use super::{VirtualDisk, VirtualPath};
use crate::chain::transaction::NETWORK;
use crate::chain::{Block, Header, OpenError, Params, ReferenceChain, StoreError, Transaction};
use crate::proto::sync::chain::{Chain, Tip, Verdict};
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::wire::Hash;

const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_000);

fn params() -> Params {
    Params::new(0, 50).unwrap()
}

fn open(disk: &VirtualDisk) -> Result<ReferenceChain, OpenError> {
    // Room for a turn or two: the script goes through several segments.
    let storage = VirtualPath { disk: disk.clone(), path: PathBuf::from("data/chain"), segment_bytes: 8192 };
    ReferenceChain::open_on(params(), storage, Path::new("chain"))
}

/// A block on `parent` with a transaction of `weight` bytes more than it needs.
fn block(parent: Tip, tag: u64, weight: usize) -> (Hash, Bytes) {
    let transfer = |sender: &str, recipient: &str, nonce| {
        Transaction { sender, recipient, amount: 50, time: NOW, nonce }.encode().unwrap()
    };
    let nonce = parent.height << 16 | tag;
    let transactions = vec![transfer(NETWORK, "miner", nonce), transfer("a", &"b".repeat(1 + weight), nonce)];
    let header = Header {
        height: parent.height + 1,
        previous: parent.hash,
        root: Hash::ZERO,
        time: NOW,
        difficulty: 0,
        nonce: 0,
    };
    let mut block = Block { header, transactions };
    block.seal();
    (block.header.hash(), block.encode())
}

/// Blocks in turns, as they arrive: alone and several at once, small and of many pages, on two branches, with a switch.
fn script() -> Vec<Vec<(Hash, Bytes)>> {
    let mut chain = ReferenceChain::memory(params());
    let mut turns = Vec::new();
    let mut turn = |chain: &mut ReferenceChain, parent: Tip, blocks: &[(u64, usize)]| {
        let mut parent = parent;
        let mut made = Vec::new();
        for (tag, weight) in blocks {
            let (hash, bytes) = block(parent, *tag, *weight);
            assert!(matches!(chain.submit_block(NOW, bytes.clone()), Verdict::Accepted { .. }));
            parent = chain.position(&hash).unwrap();
            made.push((hash, bytes));
        }
        turns.push(made);
        parent
    };
    let genesis = chain.best();
    let first = turn(&mut chain, genesis, &[(0, 0)]);
    let fork = turn(&mut chain, first, &[(0, 10), (0, 12_000), (0, 0)]);
    turn(&mut chain, fork, &[(0, 0)]);
    let side = turn(&mut chain, fork, &[(1, 2000)]);
    turn(&mut chain, side, &[(1, 0), (1, 0)]);
    let best = chain.best();
    assert!(best.height == 7 && chain.block_count() == 9);
    turn(&mut chain, best, &[(0, 5000), (0, 5000), (0, 0), (0, 0)]);
    turns
}

/// Plays the script on a chain; after each turn, how many blocks are durable by its own word.
fn play(chain: &mut ReferenceChain, turns: &[Vec<(Hash, Bytes)>], mut durable: impl FnMut(usize)) {
    let mut appended = 0;
    for turn in turns {
        for (_, bytes) in turn {
            let verdict = chain.submit_block(NOW, bytes.clone());
            assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        }
        appended += turn.len();
        chain.turn_ended();
        if chain.health().backlog_bytes == 0 {
            durable(appended);
        }
    }
}

/// Checks that `chain` holds a prefix of `blocks`, at least `durable` of them; how many.
fn prefix(chain: &ReferenceChain, blocks: &[(Hash, Bytes)], durable: usize, case: &str) -> usize {
    let held = chain.block_count() - 1;
    assert!(held >= durable, "{case}: {held} blocks, {durable} were durable");
    for (at, (hash, bytes)) in blocks.iter().enumerate() {
        let found = chain.block(hash);
        assert_eq!(found.as_ref(), (at < held).then_some(bytes), "{case}: block {at} of {held}");
    }
    held
}

#[test]
fn a_crash_at_any_call_leaves_all_that_was_durable_and_no_hole() {
    let turns = script();
    let blocks: Vec<_> = turns.iter().flatten().cloned().collect();
    let disk = VirtualDisk::new(1);
    disk.record();
    let mut durable = vec![(0, 0)];
    {
        let mut chain = open(&disk).unwrap();
        play(&mut chain, &turns, |count| durable.push((disk.calls(), count)));
        assert_eq!(durable.last().map(|(_, count)| *count), Some(blocks.len()));
        // Closing is a part of the history too.
    }
    let mut rng = Rng::from_seed(7);
    let (mut cases, mut partly) = (0, 0);
    for (calls, before) in disk.recorded().into_iter().enumerate() {
        let promised = durable.iter().filter(|(at, _)| *at <= calls as u64).map(|(_, count)| *count).max().unwrap();
        for choice in 0..40 {
            let case = format!("after {calls} calls, choice {choice}");
            let disk = match choice {
                0 => before.fork().crash(&mut nothing),
                1 => before.fork().crash(&mut everything),
                _ => before.fork().crash(&mut drawn(&mut rng)),
            };
            let mut chain = open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
            let held = prefix(&chain, &blocks, promised, &case);
            partly += usize::from(held > promised);
            cases += 1;
            if choice != calls % 40 && choice > 1 {
                continue;
            }
            // It goes on from there, and keeps what it is given.
            for (_, bytes) in &blocks {
                let verdict = chain.submit_block(NOW, bytes.clone());
                assert!(matches!(verdict, Verdict::Accepted { .. } | Verdict::Known), "{case}: {verdict:?}");
            }
            chain.flush(Duration::ZERO).unwrap();
            drop(chain);
            let chain = open(&disk.crash(&mut nothing)).unwrap_or_else(|error| panic!("{case}, again: {error}"));
            assert_eq!(prefix(&chain, &blocks, blocks.len(), &case), blocks.len());
        }
    }
    assert!(cases > 1000 && partly > 0, "{cases} cases, {partly} with more than was promised");
}

#[test]
fn an_error_in_any_call_is_told_serving_goes_on_and_the_next_turn_makes_it_good() {
    let turns = script();
    let blocks: Vec<_> = turns.iter().flatten().cloned().collect();
    let start = VirtualDisk::new(1);
    drop(open(&start).unwrap());
    let total = {
        let disk = start.fork();
        let mut chain = open(&disk).unwrap();
        let before = disk.calls();
        play(&mut chain, &turns, |_| ());
        disk.calls() - before
    };
    let mut told = 0;
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for call in 0..total {
            let case = format!("{kind:?} in call {call}");
            let disk = start.fork();
            let mut chain = open(&disk).unwrap();
            disk.fail_after(call, kind);
            let mut errors = 0;
            let mut appended = Vec::new();
            for turn in &turns {
                for (hash, bytes) in turn {
                    let verdict = chain.submit_block(NOW, bytes.clone());
                    assert!(matches!(verdict, Verdict::Accepted { .. }), "{case}: {verdict:?}");
                    appended.push((*hash, bytes.clone()));
                }
                chain.turn_ended();
                let health = chain.health();
                errors += usize::from(health.error.is_some());
                assert_eq!(health.error.is_some(), health.backlog_bytes > 0, "{case}: {health:?}");
            }
            told += errors;
            assert!(errors <= 1, "{case}: told {errors} times, for one error");
            chain.flush(Duration::ZERO).unwrap_or_else(|error| panic!("{case}: {error}"));
            prefix(&chain, &blocks, blocks.len(), &case);
            drop(chain);
            let chain = open(&disk.crash(&mut nothing)).unwrap_or_else(|error| panic!("{case}: {error}"));
            prefix(&chain, &blocks, blocks.len(), &case);
        }
    }
    assert!(told as u64 > total / 2, "{told} of {total} calls");
}

#[test]
fn a_disk_that_is_full_from_any_call_on_is_served_from_until_it_has_room() {
    let turns = script();
    let blocks: Vec<_> = turns.iter().flatten().cloned().collect();
    let mut waited = 0;
    for seed in 0..40 {
        let disk = VirtualDisk::new(seed);
        let mut chain = open(&disk).unwrap();
        let mut rng = Rng::from_seed(seed);
        let fails_from = rng.below(turns.len() as u64) as usize;
        let mut durable = 0;
        for (number, turn) in turns.iter().enumerate() {
            if number == fails_from {
                let rates = if rng.chance(1, 2) {
                    super::Rates { no_space: 1000, ..super::Rates::default() }
                } else {
                    super::Rates { write_error: 1000, ..super::Rates::default() }
                };
                disk.set_rates(rates);
            }
            for (_, bytes) in turn {
                assert!(matches!(chain.submit_block(NOW, bytes.clone()), Verdict::Accepted { .. }));
            }
            chain.turn_ended();
            let health = chain.health();
            assert_eq!(health.error.is_some(), number >= fails_from, "seed {seed}: {health:?}");
            if number < fails_from {
                durable += turn.len();
            }
        }
        assert!(matches!(chain.flush(Duration::ZERO), Err(StoreError::Write(_))), "seed {seed}");
        // What waits is served from memory. What is on the disk is served if the file could be opened again.
        for (at, (hash, bytes)) in blocks.iter().enumerate() {
            match chain.block(hash) {
                Some(found) => assert_eq!(found, *bytes),
                None => assert!(at < durable, "seed {seed}: block {at}"),
            }
        }
        waited += blocks.len() - durable;
        disk.set_rates(super::Rates::default());
        chain.flush(Duration::ZERO).unwrap();
        assert_eq!(chain.health().backlog_bytes, 0);
        prefix(&chain, &blocks, blocks.len(), &format!("seed {seed}"));
        drop(chain);
        prefix(&open(&disk.crash(&mut nothing)).unwrap(), &blocks, blocks.len(), &format!("seed {seed}"));
    }
    assert!(waited > 0);
}
