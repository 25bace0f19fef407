//! Which chain is the best, and who has how much at its end.

mod support;

use std::collections::BTreeMap;

use spacetime_example::accounts::{Account, Accounts};
use spacetime_example::crypto::{Hash, NO_KEY};
use spacetime_example::format::Block;
use spacetime_example::ledger::{Ledger, Outcome, UNDO_MAX};
use spacetime_example::pool::{Pool, Refused};
use support::{Random, block, key, line, network, payment};

fn ledger() -> Ledger {
    Ledger::new(&network_block(), network().pace()).unwrap()
}

fn network_block() -> Block {
    // The key that signs it is a new one each time.
    let mut block = network().decoded().unwrap().1;
    block.header.sign(&key(200));
    block.header.miner = key(200).public();
    block
}

fn nobody(_: &Hash) -> Option<Block> {
    None
}

#[test]
fn what_is_received_in_a_block_can_be_spent_only_after_it() {
    let mut ledger = ledger();
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    let (poor, rich) = (key(7), key(1));
    let gets = payment(&rich, poor.public(), 100, 0, 1);
    let spends = payment(&poor, rich.public(), 50, 0, 1);
    let both = block(&place, vec![gets.clone(), spends.clone()], &key(9), 1);
    assert_eq!(ledger.insert(&both, &nobody), Outcome::Refused("a sender has too little"));
    let first = block(&place, vec![gets], &key(9), 2);
    assert!(matches!(ledger.insert(&first, &nobody), Outcome::Best { .. }));
    let place = ledger.place_after(&first.header.hash()).unwrap();
    assert!(matches!(ledger.insert(&block(&place, vec![spends], &key(9), 3), &nobody), Outcome::Best { .. }));
    assert_eq!(ledger.accounts().get(&poor.public()), Account { balance: 49, nonce: 1 });
    assert_eq!(ledger.accounts().get(&key(9).public()), Account { balance: 2, nonce: 0 });
}

#[test]
fn a_miner_cannot_spend_the_fees_of_its_own_block() {
    let mut ledger = ledger();
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    let miner = key(7);
    let pays = payment(&key(1), key(2).public(), 1, 0, 500);
    let spends = payment(&miner, key(1).public(), 1, 0, 1);
    let block = block(&place, vec![pays, spends], &miner, 1);
    assert_eq!(ledger.insert(&block, &nobody), Outcome::Refused("a sender has too little"));
}

#[test]
fn sums_that_no_account_can_hold_are_refused_and_change_nothing() {
    let mut ledger = ledger();
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    let before = ledger.accounts().clone();
    let block = block(&place, vec![payment(&key(1), key(2).public(), i64::MAX, 0, 1)], &key(9), 1);
    assert_eq!(ledger.insert(&block, &nobody), Outcome::Refused("a sender has too little"));
    assert_eq!(ledger.accounts(), &before);
    assert_eq!(ledger.accounts().get(&NO_KEY), Account::default());
}

#[test]
fn what_accounts_refuse_is_refused_again_by_its_hash_and_so_is_what_builds_on_it() {
    let mut ledger = ledger();
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    let bad = block(&place, vec![payment(&key(1), key(2).public(), 5, 7, 1)], &key(9), 1);
    let hash = bad.header.hash();
    for _ in 0..2 {
        assert_eq!(ledger.insert(&bad, &nobody), Outcome::Refused("a nonce is not the sender's next"));
    }
    assert_eq!((ledger.position(&hash), ledger.is_kept(&hash)), (None, false));
    let above = block(&ledger.place_after(&hash).unwrap(), vec![], &key(9), 1);
    assert_eq!(ledger.insert(&above, &nobody), Outcome::Refused("a nonce is not the sender's next"));
}

#[test]
fn a_hundred_blocks_are_undone_and_not_one_more() {
    for (fork, adopted) in [(1, true), (0, false)] {
        let mut ledger = ledger();
        let own = line(ledger.place_after(&ledger.genesis()).unwrap(), UNDO_MAX + 1, 1);
        own.iter().for_each(|block| drop(ledger.insert(block, &nobody)));
        let parent = ledger.at_height(fork).unwrap().1;
        let other = line(ledger.place_after(&parent).unwrap(), UNDO_MAX + 2 - usize::try_from(fork).unwrap(), 2);
        let body = |hash: &Hash| other.iter().find(|block| block.header.hash() == *hash).cloned();
        let outcomes: Vec<Outcome> = other.iter().map(|block| ledger.insert(block, &body)).collect();
        let last = other.last().unwrap().header.hash();
        assert_eq!(ledger.best().hash == last, adopted);
        match outcomes.last() {
            Some(Outcome::Best { left, joined }) => assert_eq!((left.len(), joined.len()), (UNDO_MAX, UNDO_MAX + 1)),
            // Valid, known, without a body, and the rest of that fork is the same.
            Some(Outcome::Aside) => assert!(ledger.position(&last).is_some() && !ledger.is_kept(&last)),
            other => panic!("{other:?}"),
        }
    }
}

/// A tree of blocks with random payments, right and wrong, against accounts made anew along each branch.
#[test]
fn any_tree_in_any_order_leads_to_the_state_of_its_first_best_branch() {
    let (mut reorganised, mut refused) = (0, 0);
    for seed in 0..60 {
        let (mut random, mut ledger) = (Random(seed), ledger());
        let genesis = network_block();
        let mut bodies: BTreeMap<Hash, Block> = BTreeMap::new();
        let mut naive: BTreeMap<Hash, Option<Accounts>> = BTreeMap::new();
        naive.insert(genesis.header.hash(), Some(Accounts::genesis(&genesis).unwrap()));
        let mut best = (0u64, genesis.header.hash());
        let mut known = vec![(genesis.header.hash(), 0u64)];
        for salt in 0..40 {
            let back = random.below(6).min(known.len() as u64 - 1);
            let (parent, height) = known[known.len() - 1 - usize::try_from(back).unwrap()];
            let place = ledger.place_after(&parent).unwrap();
            let before = naive[&parent].clone();
            let pay = |random: &mut Random, nonces: &mut BTreeMap<u8, i64>| {
                let (from, to) = (1 + random.below(4) as u8, 5 + random.below(3) as u8);
                let known = before.as_ref().map_or(0, |accounts| accounts.get(&key(from).public()).nonce);
                let nonce = nonces.entry(from).or_insert(known);
                let odd = i64::from(random.below(25) == 0);
                *nonce += 1;
                payment(
                    &key(from),
                    key(to).public(),
                    1 + random.below(60) as i64,
                    *nonce - 1 + odd,
                    random.below(3) as i64,
                )
            };
            let mut nonces = BTreeMap::new();
            let payments = (0..random.below(3)).map(|_| pay(&mut random, &mut nonces)).collect();
            let next = block(&place, payments, &key(9), salt);
            let hash = next.header.hash();
            let after = before.and_then(|mut accounts| accounts.apply(&next).is_ok().then_some(accounts));
            if after.is_some() && height + 1 > best.0 {
                best = (height + 1, hash);
            }
            let outcome = ledger.insert(&next, &|hash| bodies.get(hash).cloned());
            reorganised += usize::from(matches!(&outcome, Outcome::Best { left, .. } if !left.is_empty()));
            refused += usize::from(matches!(outcome, Outcome::Refused(_)));
            naive.insert(hash, after);
            bodies.insert(hash, next);
            if ledger.position(&hash).is_some() {
                known.push((hash, height + 1));
            }
            known.retain(|(hash, _)| ledger.position(hash).is_some());
            assert_eq!((ledger.best().height, ledger.best().hash), best, "seed {seed}, block {salt}");
            assert_eq!(Some(ledger.accounts()), naive[&best.1].as_ref(), "seed {seed}, block {salt}");
        }
    }
    assert!(reorganised > 100 && refused > 20, "{reorganised} reorganised, {refused} refused");
}

#[test]
fn the_pool_gives_the_highest_fees_first_and_each_senders_in_the_order_of_nonces() {
    let (ledger, mut pool) = (ledger(), Pool::default());
    let mut add = |from: u8, nonce, fee| {
        let transaction = payment(&key(from), key(9).public(), 10, nonce, fee);
        pool.insert(transaction.encode().into(), ledger.accounts())
    };
    // Key 1 has a low fee in front of a high one; key 3's first nonce is missing.
    for (from, nonce, fee) in [(1, 1, 900), (1, 0, 1), (2, 0, 50), (3, 1, 800), (4, 0, 3)] {
        add(from, nonce, fee).unwrap();
    }
    assert_eq!(add(1, 0, 1), Err(Refused::Known));
    assert!(matches!(add(1, 0, 2), Err(Refused::Ignored(_))));
    assert_eq!(add(2, 1, 1_000), Err(Refused::Ignored("its sender has too little")));
    assert!(matches!(add(2, 1, 0), Err(Refused::Ignored(_))));
    assert!(matches!(add(2, 1, 1_000_001), Err(Refused::Ignored(_))));
    let picked = pool.pick(ledger.accounts(), 10);
    let order: Vec<(i64, i64)> = picked.iter().map(|transaction| (transaction.fee, transaction.nonce)).collect();
    assert_eq!(order, [(50, 0), (3, 0), (1, 0), (900, 1)]);
    assert_eq!(pool.pick(ledger.accounts(), 2).len(), 2);
    assert_eq!(pool.next_nonce(&key(1).public(), ledger.accounts()), 2);
}

#[test]
fn the_pool_refuses_what_nobody_signed_and_forgets_what_a_block_has_used() {
    let (mut ledger, mut pool) = (ledger(), Pool::default());
    let mut forged = payment(&key(1), key(9).public(), 10, 0, 1);
    forged.signature[5] ^= 1;
    let inserted = pool.insert(forged.encode().into(), ledger.accounts());
    assert!(matches!(inserted, Err(Refused::Invalid(_))), "{inserted:?}");
    let (first, second) = (payment(&key(1), key(9).public(), 10, 0, 1), payment(&key(1), key(9).public(), 10, 1, 1));
    for transaction in [&first, &second] {
        pool.insert(transaction.encode().into(), ledger.accounts()).unwrap();
    }
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    assert!(matches!(ledger.insert(&block(&place, vec![first.clone()], &key(9), 1), &nobody), Outcome::Best { .. }));
    pool.settle(ledger.accounts());
    assert_eq!(pool.ids().collect::<Vec<_>>(), [second.hash()]);
    assert_eq!(pool.put_back(first, ledger.accounts()), Err(Refused::Ignored("its nonce is used")));
}
