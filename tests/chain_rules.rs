//! Every rule of the reference chain, broken one at a time.

#![cfg(feature = "chain")]

mod chain_support;

use bytes::Bytes;
use chain_support::{BEST, KEPT, NOW, block, grow, hash_of, mined, params, reward, transfer, unmined};
use core::time::Duration;
use spacetime_network::chain::block::{MAX_BLOCK_LEN, MAX_TRANSACTIONS};
use spacetime_network::chain::{Block, ReferenceChain};
use spacetime_network::proto::sync::chain::{Chain, HeaderError, Rejection, Tip, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Hash, Kind};

/// A chain of difficulty 1 with two blocks above genesis.
fn chain() -> ReferenceChain {
    let mut chain = ReferenceChain::memory(params(1));
    grow(&mut chain, &params(1), 2);
    chain
}

/// Submits a good block that `change` made bad, mined again, and says why it was refused.
fn refusal(change: impl FnOnce(&mut Block)) -> Rejection {
    let mut chain = chain();
    let before = (chain.best(), chain.block_count());
    let mut block = unmined(&params(1), chain.best(), &[transfer("a", "b", 1, 1)], 0);
    change(&mut block);
    let verdict = chain.submit_block(NOW, mined(block));
    assert_eq!((chain.best(), chain.block_count()), before, "a refused block leaves no trace");
    match verdict {
        Verdict::Invalid(rejection) => rejection,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_unchanged_block_is_accepted_and_then_known() {
    let mut chain = chain();
    let bytes = block(&params(1), chain.best(), &[transfer("a", "b", 1, 1)], 0);
    assert_eq!(chain.submit_block(NOW, bytes.clone()), BEST);
    assert_eq!(chain.submit_block(NOW, bytes.clone()), Verdict::Known);
    assert_eq!(chain.best(), Tip { hash: hash_of(&bytes), height: 3, work: 4 * 16 });
    assert_eq!(chain.block(&hash_of(&bytes)), Some(bytes));
}

#[test]
fn a_height_that_does_not_follow_is_invalid() {
    assert_eq!(refusal(|b| b.header.height += 1), Rejection::invalid("height is not one above the parent's"));
    assert_eq!(refusal(|b| b.header.height = 1), Rejection::invalid("height is not one above the parent's"));
    assert_eq!(refusal(|b| b.header.height = u64::MAX), Rejection::invalid("height is not one above the parent's"));
    assert_eq!(refusal(|b| b.header.height = 0), Rejection::invalid("another genesis"));
}

#[test]
fn a_difficulty_that_is_not_the_chains_is_invalid() {
    assert_eq!(refusal(|b| b.header.difficulty = 0), Rejection::invalid("not the chain's difficulty"));
    assert_eq!(refusal(|b| b.header.difficulty = 2), Rejection::invalid("not the chain's difficulty"));
}

#[test]
fn a_header_without_work_is_invalid() {
    let mut chain = chain();
    let mut block = unmined(&params(1), chain.best(), &[], 0);
    while block.header.hash().to_string().starts_with('0') {
        block.header.nonce += 1;
    }
    let expected = Rejection::invalid("not enough work");
    assert_eq!(chain.submit_block(NOW, block.encode()), Verdict::Invalid(expected));
    assert_eq!(chain.check_header(NOW, &block.header.encode()), Err(HeaderError::Invalid(expected)));
    assert_eq!(chain.check_block_header(NOW, &block.encode()), Err(HeaderError::Invalid(expected)));
}

#[test]
fn a_header_of_another_version_or_length_is_invalid() {
    let mut chain = chain();
    let good = block(&params(1), chain.best(), &[], 0);
    let mut other = good.to_vec();
    other[0] = 2;
    let expected = Rejection::invalid("not a header of version 1");
    assert_eq!(chain.submit_block(NOW, other.into()), Verdict::Invalid(expected));
    assert_eq!(chain.check_header(NOW, &good[..92]), Err(HeaderError::Invalid(expected)));
    assert_eq!(chain.check_header(NOW, &good[..94]), Err(HeaderError::Invalid(expected)));
    let expected = Rejection::invalid("shorter than a header");
    assert_eq!(chain.submit_block(NOW, good.slice(..92)), Verdict::Invalid(expected));
    assert_eq!(chain.submit_block(NOW, Bytes::new()), Verdict::Invalid(expected));
}

#[test]
fn a_time_two_hours_ahead_is_early_and_later_good() {
    let mut chain = chain();
    let mut block = unmined(&params(1), chain.best(), &[], 0);
    block.header.time = NOW.plus(Duration::from_millis(2 * 60 * 60 * 1000 + 1));
    let bytes = mined(block);
    assert_eq!(chain.check_header(NOW, &bytes[..93]), Err(HeaderError::Early));
    assert_eq!(chain.check_block_header(NOW, &bytes), Err(HeaderError::Early));
    assert!(matches!(chain.submit_block(NOW, bytes.clone()), Verdict::Ignored(_)));
    assert_eq!(chain.submit_block(NOW.plus(Duration::from_millis(1)), bytes), BEST);
}

/// Whoever found a block could give it any time of the past.
#[test]
fn a_time_before_the_median_of_eleven_is_invalid_and_the_median_itself_is_not() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let add = |chain: &mut ReferenceChain, millis: i64, tag: u64| {
        let mut block = unmined(&params, chain.best(), &[], tag);
        block.header.time = UnixTime::from_millis(NOW.as_millis() + millis);
        chain.submit_block(NOW, mined(block))
    };
    let refused = Verdict::Invalid(Rejection::invalid("time is before the median of the eleven blocks before it"));
    // With genesis and one more they are eleven: the fifth of these is the median, whichever came first.
    for millis in [10, 20, 30, 50, 40, 60, 90, 70, 80] {
        assert_eq!(add(&mut chain, millis, 0), BEST, "{millis}");
    }
    assert_eq!(add(&mut chain, 95, 0), BEST);
    assert_eq!(add(&mut chain, 49, 1), refused);
    assert_eq!(add(&mut chain, -3_600_000, 2), refused);
    assert_eq!(add(&mut chain, 50, 3), BEST, "equal times are right: a millisecond may have many blocks");
    // Genesis is none of the eleven any more, and so the median has moved.
    assert_eq!(add(&mut chain, 49, 4), refused);
    for tag in 0..30 {
        assert_eq!(add(&mut chain, 50, tag), BEST);
    }
    chain.verify(|_, _| ()).unwrap();
}

/// A miner whose clock was behind made blocks that nobody took.
#[test]
fn a_template_by_a_clock_that_is_behind_has_the_earliest_valid_time() {
    let mut chain = ReferenceChain::memory(params(0));
    let behind = UnixTime::from_millis(NOW.as_millis() - 3 * 86_400_000);
    for at in 0..40 {
        let now = if at < 20 { NOW } else { behind };
        let block = chain.template(now, "miner", MAX_BLOCK_LEN).unwrap();
        assert_eq!(block.header.time, NOW);
        assert_eq!(chain.submit_block(NOW, mined(block)), BEST);
    }
}

/// Nodes that had such blocks would have called those liars who have not, and the other way about.
#[test]
fn a_chain_from_before_the_rule_of_the_median_stays_valid() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let before = 1_780_000_000_000;
    for at in 0..30 {
        let mut block = unmined(&params, chain.best(), &[], 0);
        block.header.time = UnixTime::from_millis(before - at * 1000);
        assert_eq!(chain.submit_block(NOW, mined(block)), BEST);
    }
    chain.verify(|_, _| ()).unwrap();
}

#[test]
fn a_missing_parent_is_named() {
    let mut chain = chain();
    let unknown = Tip { hash: Hash([7; 32]), height: 2, work: 0 };
    let orphan = block(&params(1), unknown, &[], 0);
    assert_eq!(chain.submit_block(NOW, orphan), Verdict::Orphan { parent: Hash([7; 32]) });
}

#[test]
fn bytes_under_a_good_header_that_someone_changed_are_mutated_and_the_block_stays_welcome() {
    let mut chain = chain();
    let good = block(&params(1), chain.best(), &[transfer("a", "b", 1, 1), transfer("a", "b", 1, 2)], 0);
    let mut without_last = Block::decode(&good).unwrap();
    without_last.transactions.pop();
    let mut twice = Block::decode(&good).unwrap();
    twice.transactions.push(twice.transactions[2].clone());
    let mut swapped = Block::decode(&good).unwrap();
    swapped.transactions.swap(1, 2);
    let mut empty = Block::decode(&good).unwrap();
    empty.transactions.clear();
    let root = Rejection::mutated("transactions are not the ones of the root");
    for changed in [without_last, twice, swapped, empty] {
        assert_eq!(chain.submit_block(NOW, changed.encode()), Verdict::Invalid(root));
    }
    let framing = Rejection::mutated("block with wrong framing");
    let padded = Bytes::from([&good[..], &[0]].concat());
    let counted = Bytes::from([&good[..93], &[255; 4], &good[97..]].concat());
    for changed in [padded, counted, good.slice(..good.len() - 1), good.slice(..93)] {
        assert_eq!(chain.submit_block(NOW, changed), Verdict::Invalid(framing));
    }
    assert_eq!(chain.submit_block(NOW, good), BEST);
}

#[test]
fn a_block_without_a_reward_first_is_invalid() {
    let none = refusal(|b| {
        b.transactions.clear();
        b.seal();
    });
    assert_eq!(none, Rejection::invalid("block without a reward"));
    let late = refusal(|b| {
        b.transactions.swap(0, 1);
        b.seal();
    });
    assert_eq!(late, Rejection::invalid("first transaction is not the reward"));
    let second = refusal(|b| {
        b.transactions.push(reward(&params(1), "thief", 9));
        b.seal();
    });
    assert_eq!(second, Rejection::invalid("reward that is not the first transaction"));
    for amount in [0, 49, 51] {
        let wrong = refusal(|b| {
            b.transactions[0] = transfer("network", "miner", amount, 0);
            b.seal();
        });
        assert_eq!(wrong, Rejection::invalid("not the chain's reward"));
    }
}

#[test]
fn a_malformed_transaction_that_the_miner_committed_to_is_invalid_not_mutated() {
    let refused = refusal(|b| {
        b.transactions.push(Bytes::from_static(b"\x01\x01\x00"));
        b.seal();
    });
    assert_eq!(refused, Rejection::invalid("transaction is truncated"));
    let refused = refusal(|b| {
        b.transactions.push(vec![0; 1_048_577].into());
        b.seal();
    });
    assert_eq!(refused, Rejection::invalid("transaction above the wire's largest payload"));
}

#[test]
fn a_transaction_twice_in_a_block_is_invalid() {
    let refused = refusal(|b| {
        b.transactions.push(b.transactions[1].clone());
        b.seal();
    });
    assert_eq!(refused, Rejection::invalid("transaction twice in a block"));
}

#[test]
fn a_transaction_of_an_ancestor_is_invalid_and_that_of_another_branch_is_not() {
    let (params, mut chain) = (params(1), chain());
    let (fork, pay) = (chain.best(), transfer("a", "b", 1, 1));
    let repeats = Verdict::Invalid(Rejection::invalid("transaction is in an ancestor already"));
    assert_eq!(chain.submit_block(NOW, block(&params, fork, std::slice::from_ref(&pay), 1)), BEST);
    let first = chain.best();
    // On the best chain, right above and two above.
    assert_eq!(chain.submit_block(NOW, block(&params, first, std::slice::from_ref(&pay), 2)), repeats);
    grow(&mut chain, &params, 1);
    assert_eq!(chain.submit_block(NOW, block(&params, chain.best(), std::slice::from_ref(&pay), 2)), repeats);
    // On a side branch that has left before it: allowed once, and not twice.
    let side = block(&params, fork, std::slice::from_ref(&pay), 3);
    assert_eq!(chain.submit_block(NOW, side.clone()), KEPT);
    let side = chain.position(&hash_of(&side)).unwrap();
    assert_eq!(chain.submit_block(NOW, block(&params, side, std::slice::from_ref(&pay), 4)), repeats);
    // On a side branch that left after it.
    let late = block(&params, first, &[], 5);
    assert_eq!(chain.submit_block(NOW, late.clone()), KEPT);
    let late = chain.position(&hash_of(&late)).unwrap();
    assert_eq!(chain.submit_block(NOW, block(&params, late, &[pay], 6)), repeats);
}

#[test]
fn a_reward_that_repeats_an_ancestors_is_invalid() {
    let (params, mut chain) = (params(1), ReferenceChain::memory(params(1)));
    let first = block(&params, chain.best(), &[], 0);
    assert_eq!(chain.submit_block(NOW, first.clone()), BEST);
    let mut again = unmined(&params, chain.best(), &[], 0);
    again.transactions[0] = Block::decode(&first).unwrap().transactions[0].clone();
    again.seal();
    let expected = Rejection::invalid("transaction is in an ancestor already");
    assert_eq!(chain.submit_block(NOW, mined(again)), Verdict::Invalid(expected));
}

#[test]
fn a_block_that_does_not_fit_a_frame_is_refused() {
    let mut chain = ReferenceChain::memory(params(0));
    let pay: Vec<Bytes> = (0..17).map(|n| vec![n; 1_000_000].into()).collect();
    let bytes = block(&params(0), chain.best(), &pay, 0);
    assert!(bytes.len() > MAX_BLOCK_LEN);
    let expected = Rejection::mutated("block above the wire's largest payload");
    assert_eq!(chain.submit_block(NOW, bytes), Verdict::Invalid(expected));
}

#[test]
fn genesis_is_known_and_its_work_is_not_checked() {
    let mut chain = ReferenceChain::memory(params(30));
    let genesis = chain.block(&chain.genesis()).unwrap();
    assert_eq!(chain.submit_block(NOW, genesis.clone()), Verdict::Known);
    let info = chain.check_header(NOW, &genesis[..93]).unwrap();
    assert_eq!((info.hash, info.height, info.previous, info.work), (chain.genesis(), 0, Hash::ZERO, 1 << 120));
}

#[test]
fn the_pool_refuses_what_no_block_could_hold() {
    let mut chain = chain();
    let mut refused = |bytes: Bytes| match chain.submit_transaction(NOW, bytes) {
        Verdict::Invalid(rejection) => rejection.why,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(reward(&params(1), "thief", 1)), "reward outside a block");
    assert_eq!(refused(Bytes::new()), "transaction is truncated");
    assert_eq!(refused([&transfer("a", "b", 1, 1)[..], &[0]].concat().into()), "bytes follow the transaction");
    assert_eq!(refused(vec![1; 1_048_577].into()), "transaction above the wire's largest payload");
    assert!(chain.pool().is_empty());
}

#[test]
fn the_pool_keeps_a_transaction_once_and_not_after_it_is_in_the_chain() {
    let (params, mut chain) = (params(1), chain());
    let pay = transfer("a", "b", u64::MAX, 1);
    let id = chain.transaction_id(&pay).unwrap();
    assert_eq!(chain.submit_transaction(NOW, pay.clone()), KEPT);
    assert_eq!(chain.submit_transaction(NOW, pay.clone()), Verdict::Known);
    assert_eq!((chain.pool_ids(9), chain.pool_transaction(&id)), (vec![id], Some(pay.clone())));
    assert_eq!(chain.submit_block(NOW, block(&params, chain.best(), std::slice::from_ref(&pay), 0)), BEST);
    assert!(chain.pool().is_empty());
    assert_eq!(chain.transaction_block(&id), Some(chain.best()));
    assert_eq!(chain.submit_transaction(NOW, pay), Verdict::Known);
    assert_eq!(chain.transaction_id(b"nonsense"), None);
}

#[test]
fn a_full_pool_ignores_and_blames_nobody() {
    let mut chain = chain();
    for nonce in 0..50_000 {
        assert_eq!(chain.submit_transaction(NOW, transfer("a", "b", 1, nonce)), KEPT);
    }
    assert_eq!(chain.submit_transaction(NOW, transfer("a", "b", 1, 50_000)), Verdict::Ignored("the pool is full"));
    assert_eq!(chain.submit_transaction(NOW, transfer("a", "b", 1, 0)), Verdict::Known);
}

#[test]
fn gossip_passes_by_its_layout() {
    let mut chain = chain();
    let passes = |chain: &mut ReferenceChain, kind, payload: &[u8]| chain.check_gossip(NOW, kind, payload) == KEPT;
    assert!(passes(&mut chain, Kind::NewChallenge, &[1]) && passes(&mut chain, Kind::NewChallenge, &[1; 4096]));
    assert!(!passes(&mut chain, Kind::NewChallenge, &[]) && !passes(&mut chain, Kind::NewChallenge, &[1; 4097]));

    let proof = [&7i64.to_le_bytes()[..], &[2; 33], &3i32.to_le_bytes(), &[9, 8, 7]].concat();
    assert!(passes(&mut chain, Kind::ProofSubmission, &proof));
    assert!(!passes(&mut chain, Kind::ProofSubmission, &proof[..proof.len() - 1]));
    assert!(!passes(&mut chain, Kind::ProofSubmission, &[&proof[..], &[0]].concat()));
    let negative = [&(-1i64).to_le_bytes()[..], &proof[8..]].concat();
    assert!(!passes(&mut chain, Kind::ProofSubmission, &negative));

    let tip = chain.best();
    let acceptance = |hash: Hash, height: u64| [&hash.0[..], &height.to_le_bytes()].concat();
    assert!(passes(&mut chain, Kind::BlockAccepted, &acceptance(tip.hash, tip.height)));
    assert!(passes(&mut chain, Kind::BlockAccepted, &acceptance(Hash([0xaa; 32]), 42)));
    assert!(!passes(&mut chain, Kind::BlockAccepted, &acceptance(tip.hash, tip.height + 1)));
    assert!(!passes(&mut chain, Kind::BlockAccepted, &acceptance(Hash([0xaa; 32]), u64::MAX)));
    assert!(!passes(&mut chain, Kind::Heartbeat, &[]));
}

/// A block of 16 MiB had room for 479,000 of the smallest transactions: half a second of the loop and 27 MiB of index for each.
#[test]
fn a_block_has_no_more_transactions_than_the_loop_has_time_for() {
    let mut chain = ReferenceChain::memory(params(0));
    let pay: Vec<Bytes> = (0..MAX_TRANSACTIONS as u64).map(|n| transfer("a", "b", 1, n)).collect();
    let full = block(&params(0), chain.best(), &pay[1..], 0);
    let mut above = Block::decode(&full).unwrap();
    above.transactions.push(pay[0].clone());
    above.seal();
    let expected = Rejection::mutated("more transactions than a block may have");
    assert_eq!(chain.submit_block(NOW, mined(above)), Verdict::Invalid(expected));
    assert_eq!(chain.submit_block(NOW, full), BEST);
    // A miner keeps to it.
    for n in 0..=MAX_TRANSACTIONS as u64 {
        let _ = chain.submit_transaction(NOW, transfer("c", "b", 1, n));
    }
    let template = chain.template(NOW, "miner", MAX_BLOCK_LEN).unwrap();
    assert_eq!(template.transactions.len(), MAX_TRANSACTIONS);
}
