//! The reference chain as a node and an operator use it: mining, forks, sync's questions, audits.

#![cfg(feature = "chain")]

mod chain_support;

use bytes::Bytes;
use chain_support::{BEST, KEPT, NOW, block, grow, hash_of, params, transfer};
use spacetime_network::chain::{Block, Miner, Params, ReferenceChain, pow};
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::wire::Hash;

/// Mines the chain's own template, in slices of 100 tries.
fn mine(chain: &mut ReferenceChain, miner: &str, max_bytes: usize) -> Block {
    let mut block = chain.template(NOW, miner, max_bytes).unwrap();
    let mut search = Miner::new(block.header);
    block.header = std::iter::repeat_with(|| search.run(100)).find_map(|found| found).unwrap();
    assert_eq!(chain.submit_block(NOW, block.encode()), BEST);
    block
}

#[test]
fn a_mined_template_is_accepted_and_pays() {
    let mut chain = ReferenceChain::memory(Params::new(2, 7).unwrap());
    assert_eq!(chain.submit_transaction(NOW, transfer("carol", "dave", 100, 1)), KEPT);
    let first = mine(&mut chain, "alice", 1 << 20);
    assert_eq!(first.transactions.len(), 2);
    // In the same millisecond, to the same miner: still two rewards.
    mine(&mut chain, "alice", 1 << 20);
    mine(&mut chain, "bob", 1 << 20);
    let expected = [("alice", 14), ("bob", 7), ("carol", -100), ("dave", 100)];
    assert_eq!(chain.balances().unwrap(), expected.map(|(name, held)| (name.to_owned(), held)).into());
    assert_eq!((chain.best().height, chain.best().work), (3, 4 * 256));
    assert!(chain.template(NOW, "", 1 << 20).is_err());
}

#[test]
fn a_template_keeps_to_its_size_and_takes_the_oldest_first() {
    let mut chain = ReferenceChain::memory(params(0));
    let pays: Vec<Bytes> = (0..100).map(|nonce| transfer("a", "b", 1, nonce)).collect();
    for pay in &pays {
        assert_eq!(chain.submit_transaction(NOW, pay.clone()), KEPT);
    }
    let alone = chain.template(NOW, "m", 0).unwrap();
    assert_eq!(alone.transactions.len(), 1, "a reward at least");
    let room = alone.len() + 10 * (pays[0].len() + 4) + 5;
    let block = mine(&mut chain, "m", room);
    assert!(block.encode().len() <= room);
    assert_eq!(block.transactions[1..], pays[..10]);
    assert_eq!(mine(&mut chain, "m", usize::MAX).transactions[1..], pays[10..]);
    assert!(chain.pool().is_empty());
}

#[test]
fn a_reorganisation_returns_what_the_new_branch_lacks() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let genesis = chain.best();
    let (only_old, in_both, waiting) = (transfer("a", "b", 1, 1), transfer("a", "b", 1, 2), transfer("a", "b", 1, 3));
    let id = |chain: &ReferenceChain, bytes: &Bytes| chain.transaction_id(bytes).unwrap();
    let old = block(&params, genesis, &[only_old.clone(), in_both.clone()], 1);
    assert_eq!(chain.submit_block(NOW, old.clone()), BEST);
    assert_eq!(chain.submit_transaction(NOW, waiting.clone()), KEPT);
    let new = block(&params, genesis, std::slice::from_ref(&in_both), 2);
    // As much work: the first seen stays.
    assert_eq!(chain.submit_block(NOW, new.clone()), KEPT);
    assert_eq!(chain.best().hash, hash_of(&old));
    assert_eq!(chain.pool_ids(9), [id(&chain, &waiting)]);
    let new_tip = chain.position(&hash_of(&new)).unwrap();
    assert_eq!(chain.submit_block(NOW, block(&params, new_tip, std::slice::from_ref(&waiting), 2)), BEST);
    assert_eq!(chain.pool_ids(9), [id(&chain, &only_old)]);
    assert_eq!(chain.transaction_block(&id(&chain, &in_both)).map(|tip| tip.hash), Some(new_tip.hash));
    // And back again, with more on the old branch.
    let old_tip = chain.position(&hash_of(&old)).unwrap();
    let older = block(&params, old_tip, &[], 3);
    assert_eq!(chain.submit_block(NOW, older.clone()), KEPT);
    let older_tip = chain.position(&hash_of(&older)).unwrap();
    assert_eq!(chain.submit_block(NOW, block(&params, older_tip, &[], 3)), BEST);
    assert_eq!(chain.pool_ids(9), [id(&chain, &waiting)]);
    assert_eq!(chain.block(&hash_of(&new)), Some(new), "side blocks are still served");
}

#[test]
fn two_branches_that_alternate_the_lead_leave_nothing_behind() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let (mut left, mut right) = (chain.best(), chain.best());
    let mut extend = |side: &mut Tip, tag: u64, pays: &[Bytes]| {
        let bytes = block(&params, *side, pays, tag);
        let verdict = chain.submit_block(NOW, bytes.clone());
        *side = chain.position(&hash_of(&bytes)).unwrap();
        verdict
    };
    assert_eq!(extend(&mut left, 1, &[]), BEST);
    for round in 0..200 {
        for (side, tag) in [(&mut right, 2), (&mut left, 1)] {
            // Two at a time: one to draw level, one to lead.
            assert_eq!(extend(side, tag, &[transfer("a", "b", tag, round)]), KEPT);
            assert_eq!(extend(side, tag, &[]), BEST);
        }
    }
    assert_eq!(chain.best(), left);
    // Of the branch that lost, every transfer waits; of the other, none.
    assert_eq!(chain.pool().len(), 200);
    assert_eq!(chain.verify(|_, _| ()).unwrap().blocks, left.height + right.height + 1);
}

#[test]
fn headers_start_after_the_first_known_hash() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let blocks = grow(&mut chain, &params, 30);
    let header = |n: usize| blocks[n].slice(..93);
    let hash = |n: usize| hash_of(&blocks[n]);
    let ask = |locator: &[Hash], stop, max| chain.headers_after(&mut locator.iter().copied(), stop, max);
    assert_eq!(ask(&[hash(9)], None, 3), [header(10), header(11), header(12)]);
    assert_eq!(ask(&[Hash([1; 32]), hash(9), hash(20)], None, 1), [header(10)]);
    assert_eq!(ask(&[Hash::ZERO, hash(9)], None, 1), [header(0)], "all zero is genesis");
    assert_eq!(ask(&[Hash([1; 32])], None, 1), [header(0)], "nothing known is genesis");
    assert_eq!(ask(&[hash(9)], Some(hash(11)), 9), [header(10), header(11)]);
    assert_eq!(ask(&[hash(9)], Some(hash(5)), 2), [header(10), header(11)], "a stop behind stops nothing");
    assert_eq!(ask(&[hash(29)], None, 9), [] as [Bytes; 0]);
    assert_eq!(ask(&[hash(9)], None, 0), [] as [Bytes; 0]);
    assert_eq!(ask(&[chain.genesis()], None, usize::MAX).len(), 30);
}

#[test]
fn a_side_branch_does_not_locate() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let blocks = grow(&mut chain, &params, 3);
    let side = block(&params, chain.position(&hash_of(&blocks[0])).unwrap(), &[], 9);
    assert_eq!(chain.submit_block(NOW, side.clone()), KEPT);
    let headers = chain.headers_after(&mut [hash_of(&side), hash_of(&blocks[1])].into_iter(), None, 9);
    assert_eq!(headers, [blocks[2].slice(..93)]);
}

#[test]
fn a_locator_is_dense_at_the_tip_and_ends_at_genesis() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    assert_eq!(chain.locator(), [chain.genesis()]);
    grow(&mut chain, &params, 5000);
    let locator = chain.locator();
    let heights: Vec<u64> = locator.iter().map(|hash| chain.position(hash).unwrap().height).collect();
    assert_eq!(heights[..12], [5000, 4999, 4998, 4997, 4996, 4995, 4994, 4993, 4992, 4991, 4989, 4985]);
    assert_eq!(heights.last(), Some(&0));
    assert!(heights.is_sorted_by(|a, b| a > b) && heights.len() <= 65);
    assert_eq!(chain.headers_after(&mut locator.into_iter().skip(10), None, 9000).len(), 11);
}

#[test]
fn a_search_returns_a_nonce_that_the_chain_accepts() {
    let chain = ReferenceChain::memory(params(2));
    let block = chain.template(NOW, "m", 0).unwrap();
    let nonce = pow::search(&block.header, 0..1 << 20).unwrap();
    let mut header = block.header;
    header.nonce = nonce;
    let info = chain.check_header(NOW, &header.encode()).unwrap();
    assert_eq!((info.height, info.work, info.previous), (1, 256, chain.genesis()));
    assert!(info.hash.to_string().starts_with("00"));
}

#[test]
fn iteration_gives_the_best_chain_in_order() {
    let (params, mut chain) = (params(0), ReferenceChain::memory(params(0)));
    let blocks = grow(&mut chain, &params, 4);
    let listed: Vec<(Tip, Option<Bytes>)> = chain.blocks(2).collect();
    assert_eq!(listed.iter().map(|(tip, _)| tip.height).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(listed[0].1.as_ref(), Some(&blocks[1]));
    assert_eq!(chain.blocks(0).next().unwrap().1.unwrap(), params.genesis().encode());
    assert_eq!(chain.blocks(5).count(), 0);
    let mut steps = Vec::new();
    let report = chain.verify(|done, total| steps.push((done, total))).unwrap();
    assert_eq!((report.blocks, report.side_blocks, report.transactions), (5, 0, 5));
    assert_eq!(steps, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
}

#[test]
fn a_chain_can_move_to_the_thread_that_runs_it() {
    let chain = ReferenceChain::memory(params(0));
    let genesis = chain.genesis();
    assert_eq!(std::thread::spawn(move || chain.best().hash).join().unwrap(), genesis);
}
