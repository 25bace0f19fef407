//! The chain that the C# library made, and what its validator says of it: every line of `data/chain.txt`.

use std::collections::BTreeMap;
use std::time::Duration;

use spacetime_example::accounts::Account;
use spacetime_example::codec::{from_hex, to_hex};
use spacetime_example::crypto::{Hash, sha256};
use spacetime_example::difficulty::{Pace, target};
use spacetime_example::format::{Block, Header, Proof, Transaction};
use spacetime_example::ledger::{Ledger, Outcome};
use spacetime_example::plot::{self, PlotHeader};
use spacetime_example::{merkle, rules};

/// The clock that the blocks were judged by.
const NOW: i64 = 1_700_000_300;

struct Line {
    what: &'static str,
    first: &'static str,
    fields: BTreeMap<&'static str, &'static str>,
}

impl Line {
    fn bytes(&self, name: &str) -> Vec<u8> {
        from_hex(self.fields[name]).unwrap()
    }

    fn hash(&self, name: &str) -> Hash {
        self.bytes(name).try_into().unwrap()
    }

    fn number(&self, name: &str) -> i64 {
        self.fields[name].parse().unwrap()
    }

    fn block(&self) -> Block {
        let bytes = self.bytes("block");
        let block = Block::decode(&bytes).unwrap();
        assert_eq!(to_hex(&block.encode()), self.fields["block"], "it comes back as it was");
        block
    }
}

fn lines() -> Vec<Line> {
    let text = include_str!("data/chain.txt");
    let parse = |line: &'static str| {
        let mut words = line.split_whitespace();
        let what = words.next()?;
        let first = words.clone().next().unwrap_or_default();
        Some(Line { what, first, fields: words.filter_map(|word| word.split_once('=')).collect() })
    };
    text.lines().filter_map(parse).collect()
}

fn pace() -> Pace {
    let lines = lines();
    let rules = lines.iter().find(|line| line.what == "rules").unwrap();
    assert_eq!(rules.number("minimum_difficulty"), 1);
    Pace {
        target_block_time: Duration::from_secs(rules.number("target_block_time").unsigned_abs()),
        interval: rules.number("adjustment_interval").unsigned_abs(),
        dampening: rules.number("dampening").try_into().unwrap(),
    }
}

/// The chain up to and with a height.
fn ledger(height: i64) -> Ledger {
    let lines = lines();
    let genesis = lines.iter().find(|line| line.what == "genesis").unwrap().block();
    let mut ledger = Ledger::new(&genesis, pace()).unwrap();
    for line in lines.iter().filter(|line| line.what == "block" && line.number("height") <= height) {
        let joined = vec![line.hash("hash")];
        assert_eq!(ledger.insert(&line.block(), &|_| None), Outcome::Best { left: vec![], joined });
    }
    ledger
}

fn refused(kind: &str) -> Block {
    lines().iter().find(|line| line.what == "reject" && line.fields["kind"] == kind).unwrap().block()
}

/// What the rules say of a refused block, one for each function.
fn faults(block: &Block) -> Vec<(&'static str, String)> {
    let place = ledger(12).place_after(&ledger(12).best().hash).unwrap();
    let header = &block.header;
    let results = [
        ("version", rules::version(header)),
        ("some_difficulty", rules::some_difficulty(header)),
        ("time", rules::time(header, NOW)),
        ("miner_signature", rules::miner_signature(header)),
        ("parent", rules::parent(header, &place)),
        ("height", rules::height(header, &place)),
        ("difficulty", rules::difficulty(header, &place)),
        ("epoch", rules::epoch(header)),
        ("challenge", rules::challenge(header)),
        ("transaction", block.transactions.iter().try_for_each(rules::transaction)),
        ("transaction_signature", block.transactions.iter().try_for_each(rules::transaction_signature)),
        ("transaction_root", rules::transaction_root(block)),
        ("score", rules::score(block)),
        ("target", rules::target(header)),
        ("path", rules::path(block)),
    ];
    results.into_iter().filter_map(|(rule, result)| Some((rule, format!("{:?}", result.err()?)))).collect()
}

#[test]
fn every_line_is_taken_or_refused_as_the_library_does() {
    let (lines, mut counts) = (lines(), BTreeMap::<&str, usize>::new());
    let genesis = lines.iter().find(|line| line.what == "genesis").unwrap();
    let mut ledger = Ledger::new(&genesis.block(), pace()).unwrap();
    for line in &lines {
        *counts.entry(line.what).or_default() += 1;
        match line.what {
            "plot" => {
                let (seed, leaves, root) = (line.hash("seed"), line.number("leaves"), line.hash("root"));
                let header = PlotHeader { seed, leaves, tree_height: line.number("height"), root };
                assert_eq!(to_hex(&header.encode()), line.fields["header"]);
                assert_eq!(PlotHeader::decode(&header.encode().try_into().unwrap()), Some(header));
                let miner = line.bytes("miner").try_into().unwrap();
                assert_eq!(plot::leaf(&miner, &seed, 0), line.hash("leaf0"));
                assert_eq!(plot::leaf(&miner, &seed, leaves.unsigned_abs() - 1), line.hash("leaf_last"));
                assert_eq!(i64::from(merkle::height(leaves.unsigned_abs())), header.tree_height);
            }
            "genesis" => {
                let block = line.block();
                assert_eq!((block.header.hash(), block.header.time), (line.hash("hash"), line.number("time")));
                assert_eq!(block.header.challenge, sha256(&[line.fields["network"].as_bytes()]));
                assert_eq!(block.header.difficulty, line.number("difficulty"));
                assert_eq!(rules::transaction_root(&block), Ok(()));
                assert_eq!(rules::miner_signature(&block.header), Ok(()));
            }
            "rules" => {}
            "block" => {
                let block = line.block();
                let place = ledger.place_after(&block.header.parent).unwrap();
                assert_eq!(rules::judge(&block, &place, NOW), Ok(()));
                assert!(plot::header_fits(&block.proof));
                let joined = vec![line.hash("hash")];
                assert_eq!(ledger.insert(&block, &|_| None), Outcome::Best { left: vec![], joined });
                assert_eq!(ledger.best().height, line.number("height").unsigned_abs());
                assert_eq!(block.header.difficulty, line.number("difficulty"));
            }
            "adjust" => {
                let place = ledger.place_after(&ledger.best().hash).unwrap();
                assert_eq!((place.parent_height, place.difficulty), (line.number("after"), line.number("difficulty")));
                assert_eq!(target(place.difficulty), line.hash("target"));
            }
            "reject" => {
                let (block, kind, before) = (line.block(), line.fields["kind"], ledger.accounts().clone());
                let place = ledger.place_after(&ledger.best().hash).unwrap();
                assert_eq!(place.parent_height, line.number("on"));
                match (rules::judge(&block, &place, NOW), line.fields["real"]) {
                    (Ok(()), "block_valid,state_refused") => {
                        assert!(matches!(ledger.insert(&block, &|_| None), Outcome::Refused(_)), "{kind}");
                    }
                    (result, real) => assert_eq!(format!("{:?}", result.unwrap_err()), real, "{kind}"),
                }
                assert_eq!((ledger.accounts(), ledger.best().height), (&before, 12));
            }
            "account" => {
                let key = from_hex(line.first).unwrap().try_into().unwrap();
                let account = Account { balance: line.number("balance"), nonce: line.number("nonce") };
                assert_eq!(ledger.accounts().get(&key), account);
            }
            other => panic!("a line of an unknown kind: {other}"),
        }
    }
    let expected =
        [("account", 3), ("adjust", 3), ("block", 24), ("genesis", 1), ("plot", 2), ("reject", 21), ("rules", 1)];
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(ledger.accounts().iter().count(), 3);
}

/// One test for each rule, with the block that breaks it and no other rule, but for a proof that was taken from elsewhere.
macro_rules! breaks {
    ($($test:ident: $kind:literal breaks $($rule:literal $fault:ident),+;)+) => {
        $(#[test] fn $test() {
            let expected = vec![$(($rule, String::from(stringify!($fault)))),+];
            assert_eq!(faults(&refused($kind)), expected);
        })+
    };
}

breaks! {
    an_unknown_version_is_refused: "version" breaks "version" UnsupportedVersion;
    a_header_that_nobody_signed_is_refused: "signature" breaks "miner_signature" InvalidHeaderSignature;
    a_header_that_another_signed_is_refused: "signature_of_other" breaks "miner_signature" InvalidHeaderSignature;
    a_time_too_far_ahead_is_refused: "future" breaks "time" InvalidTimestamp;
    a_score_that_is_not_the_leafs_is_refused: "score" breaks "score" InvalidProof;
    a_transaction_that_its_sender_has_not_signed_is_refused:
        "tx_signature" breaks "transaction_signature" InvalidTransactionSignature;
    a_transaction_to_its_sender_is_refused: "tx_to_self" breaks "transaction" InvalidTransaction;
    a_root_of_other_transactions_is_refused: "tx_root" breaks "transaction_root" InvalidTransactionRoot;
    a_difficulty_that_is_not_due_is_refused: "difficulty" breaks "difficulty" InvalidDifficulty;
    a_score_above_the_target_is_refused: "score_above_target" breaks "target" ProofScoreTooHigh, "path" InvalidProof;
    a_path_that_leads_to_another_plot_is_refused: "plot_root" breaks "path" InvalidProof;
    a_path_with_another_sibling_is_refused: "sibling" breaks "path" InvalidProof;
    a_path_with_a_sibling_on_the_other_side_is_refused: "orientation" breaks "path" InvalidProof;
}

#[test]
fn what_breaks_the_link_to_the_parent_is_refused() {
    let first = |kind| faults(&refused(kind)).into_iter().next().unwrap();
    assert_eq!(first("parent"), ("parent", "InvalidParentHash".to_owned()));
    assert_eq!(first("height"), ("height", "InvalidHeight".to_owned()));
    assert_eq!(first("epoch"), ("epoch", "InvalidEpoch".to_owned()));
    assert_eq!(first("challenge"), ("challenge", "InvalidChallenge".to_owned()));
    assert_eq!(first("leaf").1, "InvalidProof");
}

/// Whoever changes a signature or a proof makes another block of the same name.
#[test]
fn five_refused_blocks_have_the_hash_of_a_good_one_and_the_fault_says_so() {
    let good = lines().iter().find(|line| line.fields.get("height") == Some(&"13")).unwrap().block();
    let place = ledger(12).place_after(&good.header.parent).unwrap();
    for kind in ["signature", "signature_of_other", "leaf", "sibling", "orientation"] {
        let block = refused(kind);
        assert_eq!(block.header.hash(), good.header.hash(), "{kind}");
        assert!(rules::judge(&block, &place, NOW).unwrap_err().is_of_the_copy(), "{kind}");
    }
    assert_eq!(rules::judge(&good, &place, NOW), Ok(()));
}

#[test]
fn no_cut_and_no_longer_copy_of_anything_is_read() {
    let good = lines().iter().find(|line| line.fields.get("height") == Some(&"5")).unwrap().block();
    let (block, header, proof) = (good.encode(), good.header.encode(), good.proof.encode());
    for len in 0..block.len() {
        assert_eq!(Block::decode(&block[..len]), None);
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert_eq!((Block::decode(&longer(&block)), Proof::decode(&longer(&proof))), (None, None));
    assert_eq!((Header::decode(&longer(&header)), Header::decode(&header)), (None, Some(good.header)));
    for transaction in &good.transactions {
        assert_eq!(Transaction::decode(&longer(&transaction.encode())), None);
    }
}

#[test]
fn a_path_of_more_than_64_siblings_and_negative_numbers_are_not_read() {
    let good = lines().iter().find(|line| line.fields.get("height") == Some(&"5")).unwrap().block().proof;
    let with = |change: &dyn Fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        Proof::decode(&proof.encode()).is_some()
    };
    assert!(with(&|proof| proof.path = vec![([0; 32], true); 64]));
    assert!(!with(&|proof| proof.path = vec![([0; 32], true); 65]));
    assert!(!with(&|proof| proof.leaf_index = -1));
    assert!(!with(&|proof| proof.leaf_count = 0));
}
