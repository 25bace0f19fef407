//! Opening a store: what comes back, and every way in which a file may not be ours.

#![cfg(feature = "chain")]

mod chain_support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use chain_support::{BEST, KEPT, NOW, block, grow, hash_of, params, transfer};
use redb::{Database, TableDefinition};
use spacetime_network::chain::{OpenError, Params, ReferenceChain, Store};
use spacetime_network::proto::sync::chain::{Chain, Verdict};

const BLOCKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with 20 blocks of difficulty 0, closed.
fn stored(path: &Path) -> Vec<bytes::Bytes> {
    let mut chain = ReferenceChain::open(params(0), path).unwrap();
    let blocks = grow(&mut chain, &params(0), 20);
    chain.flush(PATIENCE).unwrap();
    blocks
}

fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain.redb");
    (directory, path)
}

/// Changes a closed store behind the chain's back.
fn tamper(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn what_was_flushed_comes_back_with_its_branches_and_its_tip() {
    let (_directory, path) = scratch();
    let params = params(0);
    let (tip, blocks, side);
    {
        let mut chain = ReferenceChain::open(params, &path).unwrap();
        blocks = grow(&mut chain, &params, 5);
        let fork = chain.position(&hash_of(&blocks[2])).unwrap();
        side = block(&params, fork, &[transfer("a", "b", 1, 1)], 1);
        assert_eq!(chain.submit_block(NOW, side.clone()), KEPT);
        // Read before it is durable.
        assert_eq!(chain.block(&hash_of(&side)), Some(side.clone()));
        chain.turn_ended();
        chain.flush(PATIENCE).unwrap();
        let health = chain.health();
        assert_eq!((health.error, health.backlog_bytes, health.written), (None, 0, 6));
        // Read after it.
        assert_eq!(chain.block(&hash_of(&side)), Some(side.clone()));
        tip = chain.best();
    }
    let mut chain = ReferenceChain::open(params, &path).unwrap();
    assert_eq!((chain.best(), chain.block_count()), (tip, 7));
    for bytes in blocks.iter().chain([&side]) {
        assert_eq!(chain.block(&hash_of(bytes)).as_ref(), Some(bytes));
        assert_eq!(chain.submit_block(NOW, bytes.clone()), Verdict::Known);
    }
    let report = chain.verify(|_, _| ()).unwrap();
    assert_eq!((report.blocks, report.side_blocks, report.transactions), (7, 1, 8));
    grow(&mut chain, &params, 1);
}

#[test]
fn a_chain_that_is_dropped_without_a_flush_is_written_all_the_same() {
    let (_directory, path) = scratch();
    let tip = {
        let mut chain = ReferenceChain::open(params(0), &path).unwrap();
        grow(&mut chain, &params(0), 50);
        chain.best()
    };
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().best(), tip);
}

#[test]
fn a_reorganised_chain_comes_back_on_the_new_branch() {
    let (_directory, path) = scratch();
    let params = params(0);
    let tip = {
        let mut chain = ReferenceChain::open(params, &path).unwrap();
        let genesis = chain.best();
        grow(&mut chain, &params, 2);
        let mut parent = genesis;
        for verdict in [KEPT, KEPT, BEST] {
            let bytes = block(&params, parent, &[], 1);
            assert_eq!(chain.submit_block(NOW, bytes.clone()), verdict);
            parent = chain.position(&hash_of(&bytes)).unwrap();
        }
        parent
    };
    assert_eq!(ReferenceChain::open(params, &path).unwrap().best(), tip);
}

#[test]
fn a_store_that_is_open_elsewhere_is_locked() {
    let (_directory, path) = scratch();
    let open = ReferenceChain::open(params(0), &path).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("open in another process"));
    drop(open);
    ReferenceChain::open(params(0), &path).unwrap();
}

#[test]
fn another_networks_store_says_which() {
    let (_directory, path) = scratch();
    let blocks = stored(&path);
    for (difficulty, reward) in [(1, 50), (0, 51)] {
        let error = ReferenceChain::open(Params::new(difficulty, reward).unwrap(), &path).unwrap_err();
        let OpenError::OtherNetwork { found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*found, Some(params(0)));
        assert!(error.to_string().contains("made for another network (difficulty 0, reward 50;"), "{error}");
    }
    let chain = ReferenceChain::open(params(0), &path).unwrap();
    assert_eq!(chain.best().hash, hash_of(&blocks[19]), "nothing was lost by asking");
}

#[test]
fn an_unknown_format_says_its_number() {
    let (_directory, path) = scratch();
    stored(&path);
    tamper(&path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", &7u32.to_le_bytes()[..]).unwrap();
    });
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { found: 7, .. }), "{error:?}");
    tamper(&path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", &1u32.to_le_bytes()[..]).unwrap();
    });
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().block_count(), 21);
}

#[test]
fn a_file_that_is_no_store_is_damaged_and_left_alone() {
    let (_directory, path) = scratch();
    let theirs = b"not a store, but somebody's only copy of something";
    fs::write(&path, theirs).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), theirs);
    // A store of another program.
    fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_truncated_file_is_damaged() {
    let (_directory, path) = scratch();
    stored(&path);
    let whole = fs::read(&path).unwrap();
    for part in [10, 100, 4096, whole.len() / 2] {
        fs::write(&path, &whole[..part]).unwrap();
        let error = ReferenceChain::open(params(0), &path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{part} bytes: {error:?}");
    }
}

#[test]
fn a_missing_directory_is_an_io_error_with_a_remedy() {
    let (directory, _) = scratch();
    let error = Store::open(&directory.path().join("no/such/chain.redb"), &params(0)).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("check that the directory exists"));
}

#[test]
fn a_hole_or_a_broken_block_is_damage_that_names_the_block() {
    type Change = fn(&redb::WriteTransaction, &[bytes::Bytes]);
    let cases: [(&str, Change); 6] = [
        ("block 8: its parent is missing", |transaction, _| {
            transaction.open_table(BLOCKS).unwrap().remove(7).unwrap();
        }),
        ("block 9: not a block", |transaction, blocks| {
            transaction.open_table(BLOCKS).unwrap().insert(9, &blocks[9][..100]).unwrap();
        }),
        ("block 20: it stands there twice", |transaction, blocks| {
            transaction.open_table(BLOCKS).unwrap().insert(20, &blocks[3][..]).unwrap();
        }),
        ("block 20: its height is not one above its parent's", |transaction, blocks| {
            let mut bytes = blocks[19].to_vec();
            bytes[4] = 9;
            transaction.open_table(BLOCKS).unwrap().insert(20, &bytes[..]).unwrap();
        }),
        ("block 12: its transactions are not the ones of its root", |transaction, blocks| {
            let mut bytes = blocks[12].to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            transaction.open_table(BLOCKS).unwrap().insert(12, &bytes[..]).unwrap();
        }),
        ("block 20: not the chain's difficulty", |transaction, blocks| {
            let mut bytes = blocks[19].to_vec();
            bytes[84] = 9;
            transaction.open_table(BLOCKS).unwrap().insert(20, &bytes[..]).unwrap();
        }),
    ];
    for (expected, change) in cases {
        let (_directory, path) = scratch();
        let blocks = stored(&path);
        tamper(&path, |transaction| change(transaction, &blocks));
        let error = ReferenceChain::open(params(0), &path).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn verify_finds_what_opening_does_not_look_at() {
    let (_directory, path) = scratch();
    let blocks = stored(&path);
    // A block that pays too much, as no disk would make it: with its root, and the work of this network, which is none.
    let greedy = Params::new(0, 51).unwrap();
    let parent = ReferenceChain::open(params(0), &path).unwrap().position(&hash_of(&blocks[19])).unwrap();
    let bytes = block(&greedy, parent, &[], 0);
    tamper(&path, |transaction| {
        transaction.open_table(BLOCKS).unwrap().insert(20, &bytes[..]).unwrap();
    });
    let chain = ReferenceChain::open(params(0), &path).unwrap();
    let error = chain.verify(|_, _| ()).unwrap_err();
    assert_eq!((error.height, error.hash, error.why), (21, hash_of(&bytes), "not the chain's reward"));
}

#[test]
fn a_flipped_bit_anywhere_is_reported_or_harmless() {
    let (_directory, path) = scratch();
    stored(&path);
    let whole = fs::read(&path).unwrap();
    let mut damaged = 0;
    // The header closely, the rest in steps that divide no page size and so reach every part of a page.
    for at in (0..400).step_by(7).chain((400..whole.len()).step_by(whole.len() / 97)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        match ReferenceChain::open(params(0), &path) {
            Err(OpenError::Io { .. } | OpenError::Locked { .. }) => {
                panic!("a flip at {at} is taken for something else")
            }
            Err(_) => damaged += 1,
            // Free space, or a page that only `verify` looks into.
            Ok(chain) => drop(chain.verify(|_, _| ())),
        }
    }
    fs::write(&path, &whole).unwrap();
    assert!(damaged > 0, "the header is among what was flipped");
    ReferenceChain::open(params(0), &path).unwrap().verify(|_, _| ()).unwrap();
}
