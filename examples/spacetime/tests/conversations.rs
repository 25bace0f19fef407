//! What peers, honest and not, can do to a node of this chain: over its inputs and outputs, on a virtual clock.

mod support;
#[path = "support/talk.rs"]
mod talk;

use std::time::Duration;

use bytes::Bytes;
use spacetime_example::chain::SpacetimeChain;
use spacetime_example::format::{Block, Proof};
use spacetime_example::ledger::Ledger;
use spacetime_example::rules::challenge_after;
use spacetime_network::close::CloseReason;
use spacetime_network::wire::message::{BlockAccepted, ProofSubmission};
use spacetime_network::wire::{Hash, Kind, Message};
use support::{BEGAN, Random, block, key, line, network, payment, proof};
use talk::{Server, Talk};

const NOW: i64 = BEGAN + 1_000_000;
/// Networks that are played.
const SEEDS: u64 = 1_000;

fn talk(seed: u64) -> (Talk, Ledger) {
    let genesis = network();
    let chain = SpacetimeChain::memory(&genesis).unwrap();
    (Talk::new(chain, NOW, seed), Ledger::new(&genesis.decoded().unwrap().1, genesis.pace()).unwrap())
}

/// A copy of a block with the same hash that is not valid.
fn spoiled(good: &Block, how: u64) -> Bytes {
    let mut block = good.clone();
    match how {
        0 => block.header.signature[3] ^= 1,
        1 => block.header.signature = key(77).sign(&good.header.hash()),
        2 => block.proof.leaf[0] ^= 1,
        3 => block.proof.path.push(([1; 32], true)),
        4 => block.transactions[0].signature[9] ^= 4,
        5 => block.transactions.clear(),
        6 => block.transactions[0].amount = -1,
        _ => return good.encode().into_iter().chain([0]).collect::<Vec<u8>>().into(),
    }
    assert_eq!(block.header.hash(), good.header.hash());
    block.encode().into()
}

#[test]
fn a_changed_copy_costs_its_sender_and_the_good_block_is_taken_from_whoever_brings_it_next() {
    for seed in 0..SEEDS {
        let (mut random, (mut talk, ledger)) = (Random(seed), talk(seed));
        let place = ledger.place_after(&ledger.genesis()).unwrap();
        let good = block(&place, vec![payment(&key(1), key(5).public(), 10, 0, 1)], &key(9), seed);
        for _ in 0..1 + random.below(3) {
            let liar = talk.peer();
            let bytes = spoiled(&good, random.below(8));
            talk.say(liar, &Message::NewBlock(&bytes));
            assert_eq!(talk.closed.get(&liar), Some(&CloseReason::Invalid(Kind::NewBlock)), "seed {seed}");
        }
        let (honest, other) = (talk.peer(), talk.peer());
        talk.say(honest, &Message::NewBlock(&good.encode()));
        assert_eq!((talk.height(), talk.heard(other, Kind::NewBlock)), (1, 1), "seed {seed}");
        // One that comes after is known and not looked at: its sender may have taken it from a liar of its own.
        let late = talk.peer();
        talk.say(late, &Message::NewBlock(&spoiled(&good, random.below(8))));
        assert!([honest, other, late].iter().all(|conn| !talk.closed.contains_key(conn)), "seed {seed}");
        assert_eq!(talk.heard(other, Kind::NewBlock), 1, "seed {seed}");
    }
}

#[test]
fn a_changed_copy_in_a_download_costs_who_gave_it_and_another_gives_the_good_one() {
    for seed in 0..100 {
        let (mut random, (mut talk, ledger)) = (Random(seed), talk(seed));
        let mut place = ledger.place_after(&ledger.genesis()).unwrap();
        let mut blocks = Vec::new();
        for nonce in 0..5 {
            let next = block(&place, vec![payment(&key(1), key(5).public(), 10, nonce, 1)], &key(9), seed);
            place = support_place(&next);
            blocks.push(next);
        }
        let (at, how) = (1 + random.below(5), random.below(7));
        let mut liar = Server::honest(blocks.clone());
        liar.gives = Box::new(move |block| {
            let is_spoiled = block.header.height.unsigned_abs() == at;
            Some(if is_spoiled { spoiled(block, how) } else { block.encode().into() })
        });
        let liar = talk.server(liar);
        let honest = talk.server(Server::honest(blocks));
        talk.pass(Duration::from_secs(60));
        assert_eq!(talk.height(), 5, "seed {seed}: {:?}", talk.closed);
        assert!(!talk.closed.contains_key(&honest), "seed {seed}");
        // Whoever was asked for that block first; the other may have given all of them.
        let is_blamed = talk.closed.get(&liar) == Some(&CloseReason::Invalid(Kind::Block));
        assert!(is_blamed || talk.served(honest).asked >= 1, "seed {seed}");
    }
}

fn support_place(parent: &Block) -> spacetime_example::rules::Place {
    let header = &parent.header;
    spacetime_example::rules::Place {
        parent: header.hash(),
        parent_height: header.height,
        difficulty: header.difficulty,
    }
}

#[test]
fn invented_headers_do_not_hold_up_a_branch_that_delivers() {
    let (mut talk, ledger) = talk(1);
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    // Of much more work, and not one block behind it.
    let mut liar = Server::honest(line(place, 2_000, 1));
    liar.gives = Box::new(|_| None);
    let liar = talk.server(liar);
    let honest = talk.server(Server::honest(line(place, 300, 2)));
    talk.pass(Duration::from_secs(30));
    assert_eq!(talk.height(), 300);
    assert!(!talk.closed.contains_key(&honest));
    assert!(talk.served(liar).asked > 0, "it was given its chance");
}

#[test]
fn a_header_that_its_parent_does_not_allow_costs_its_sender_where_the_parent_is_here() {
    let (mut talk, ledger) = talk(1);
    let mut place = ledger.place_after(&ledger.genesis()).unwrap();
    place.difficulty = 1 << 8;
    let dear = line(place, 1, 1);
    let liar = talk.peer();
    talk.say(liar, &Message::Headers(vec![&dear[0].header.encode()]));
    assert_eq!(talk.closed.get(&liar), Some(&CloseReason::Invalid(Kind::Headers)));
}

#[test]
fn a_fork_that_is_too_deep_is_left_and_nobody_is_blamed_and_nothing_asked_again() {
    let (mut talk, ledger) = talk(1);
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    talk.submit(&line(place, 110, 1));
    let best = talk.node.chain().ledger().best();
    let other = talk.server(Server::honest(line(place, 140, 2)));
    talk.pass(Duration::from_secs(60));
    assert_eq!(talk.node.chain().ledger().best(), best);
    assert!(!talk.closed.contains_key(&other));
    let (asked, headers) = (talk.served(other).asked, talk.served(other).asked_headers);
    assert_eq!(asked, 140, "each block once");
    talk.pass(Duration::from_secs(600));
    assert_eq!((talk.served(other).asked, talk.served(other).asked_headers), (asked, headers));
    // A branch of our own goes on meanwhile.
    let next = line(talk.node.chain().ledger().place_after(&best.hash).unwrap(), 1, 1);
    talk.submit(&next);
    assert_eq!(talk.height(), 111);
}

fn submission(height: u64, proof: &Proof) -> Vec<u8> {
    let proof = proof.encode();
    let message = Message::ProofSubmission(ProofSubmission { height, miner: key(9).public(), proof: &proof });
    message.to_payload().unwrap().to_vec()
}

#[test]
fn a_proof_is_passed_on_when_it_is_the_best_for_the_next_block_and_only_what_cannot_fit_is_a_fault() {
    for seed in 0..SEEDS {
        let (mut random, (mut talk, ledger)) = (Random(seed), talk(seed));
        let challenge = challenge_after(&ledger.genesis(), 1);
        let mut proofs: Vec<Proof> = (0..6).map(|salt| proof(&challenge, 1, salt + 10 * seed)).collect();
        let (teller, other) = (talk.peer(), talk.peer());
        let (mut best, mut expected) = (None, 0);
        while !proofs.is_empty() {
            let next = proofs.remove(usize::try_from(random.below(proofs.len() as u64)).unwrap());
            let (score, epoch) = (next.score(&challenge), 1 + random.below(2));
            let payload = submission(epoch, &next);
            talk.say(teller, &Message::decode(Kind::ProofSubmission, &payload).unwrap());
            if epoch == 1 && best.is_none_or(|best| score < best) {
                (best, expected) = (Some(score), expected + 1);
            }
            // What is passed on keeps a pace.
            talk.pass(Duration::from_secs(3));
            assert_eq!(talk.heard(other, Kind::ProofSubmission), expected, "seed {seed}");
        }
        assert!(talk.closed.is_empty(), "seed {seed}");
        let mut wrong = proof(&challenge, 1, 1_000 + seed);
        match random.below(4) {
            0 => wrong.plot_id[0] ^= 1,
            1 => wrong.path.push(([3; 32], false)),
            2 => wrong.leaf_count += 1,
            _ => wrong.plot_header[31] ^= 1,
        }
        let payload = submission(1, &wrong);
        talk.say(teller, &Message::decode(Kind::ProofSubmission, &payload).unwrap());
        assert_eq!(talk.closed.get(&teller), Some(&CloseReason::Invalid(Kind::ProofSubmission)), "seed {seed}");
        assert_eq!(talk.heard(other, Kind::ProofSubmission), expected, "seed {seed}");
    }
}

#[test]
fn an_acceptance_is_passed_on_for_a_block_that_we_have_and_one_of_a_higher_block_has_its_sender_asked() {
    let (mut talk, ledger) = talk(1);
    let blocks = line(ledger.place_after(&ledger.genesis()).unwrap(), 2, 1);
    talk.submit(&blocks);
    // Both have what we have, and are asked nothing.
    let (teller, other) = (talk.server(Server::honest(blocks.clone())), talk.server(Server::honest(blocks.clone())));
    talk.pass(Duration::from_secs(5));
    let (before, asked) = (talk.heard(other, Kind::BlockAccepted), talk.served(teller).asked_headers);
    let mut say = |hash: Hash, height| talk.say(teller, &Message::BlockAccepted(BlockAccepted { hash, height }));
    say(Hash(blocks[0].header.hash()), 1);
    say(Hash(blocks[1].header.hash()), 7);
    say(Hash([7; 32]), 9);
    assert_eq!(talk.heard(other, Kind::BlockAccepted), before + 1);
    assert_eq!(talk.served(teller).asked_headers, asked + 1);
    talk.pass(Duration::from_secs(20));
    assert!(!talk.closed.contains_key(&other));
}

#[test]
fn a_payment_is_passed_on_once_and_a_forged_one_costs_its_sender() {
    let (mut talk, _) = talk(1);
    let (teller, other, forger) = (talk.peer(), talk.peer(), talk.peer());
    let good = payment(&key(1), key(5).public(), 10, 0, 1);
    let mut forged = good.clone();
    forged.signature[0] ^= 1;
    talk.say(forger, &Message::Transaction(&forged.encode()));
    assert_eq!(talk.closed.get(&forger), Some(&CloseReason::Invalid(Kind::Transaction)));
    talk.say(teller, &Message::Transaction(&good.encode()));
    talk.say(teller, &Message::Transaction(&good.encode()));
    assert_eq!(talk.heard(other, Kind::Transaction), 1);
    // Too much for its sender's balance: perhaps it is paid on another branch.
    talk.say(teller, &Message::Transaction(&payment(&key(2), key(5).public(), 10_000, 0, 1).encode()));
    assert_eq!((talk.heard(other, Kind::Transaction), talk.closed.contains_key(&teller)), (1, false));
}

#[test]
fn payments_of_a_branch_that_is_left_wait_again() {
    let (mut talk, ledger) = talk(1);
    let place = ledger.place_after(&ledger.genesis()).unwrap();
    let pays = payment(&key(1), key(5).public(), 10, 0, 1);
    talk.submit(&[block(&place, vec![pays.clone()], &key(9), 1)]);
    assert_eq!(talk.node.chain().ledger().accounts().get(&key(5).public()).balance, 10);
    talk.submit(&line(place, 2, 2));
    assert_eq!((talk.height(), talk.node.chain().ledger().accounts().get(&key(5).public()).balance), (2, 0));
    talk.pass(Duration::from_secs(1));
    assert_eq!(talk.node.chain().pool().ids().collect::<Vec<_>>(), [pays.hash()]);
}
