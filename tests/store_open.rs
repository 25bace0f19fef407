//! Opening a store: what comes back, and every way in which it may not be ours.

#![cfg(feature = "chain")]

mod chain_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chain_support::{BEST, KEPT, NOW, block, grow, hash_of, params, transfer};
use spacetime_network::chain::{OpenError, Params, ReferenceChain, Store};
use spacetime_network::proto::sync::chain::{Chain, Verdict};

const PATIENCE: Duration = Duration::from_secs(60);

/// A store with 20 blocks of difficulty 0, closed.
fn stored(path: &Path) -> Vec<bytes::Bytes> {
    let mut chain = ReferenceChain::open(params(0), path).unwrap();
    let blocks = grow(&mut chain, &params(0), 20);
    chain.flush(PATIENCE).unwrap();
    blocks
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain");
    (directory, path)
}

/// The only segment of a small store.
fn segment(path: &Path) -> PathBuf {
    path.join("00000001.blocks")
}

/// Changes the blocks of a closed store behind the chain's back, with checksums as they should be.
fn tamper(path: &Path, change: impl FnOnce(&mut Vec<bytes::Bytes>)) {
    let mut blocks = Vec::new();
    let mut store = Store::open(path, &params(0)).unwrap();
    store
        .load(|_, bytes| {
            blocks.push(bytes);
            Ok(())
        })
        .unwrap();
    drop(store);
    change(&mut blocks);
    fs::remove_dir_all(path).unwrap();
    let mut store = Store::open(path, &params(0)).unwrap();
    for bytes in blocks {
        store.append(bytes);
    }
    store.flush(PATIENCE).unwrap();
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
    let whole = fs::read(segment(&path)).unwrap();
    let mut later = whole.clone();
    later[8] = 7;
    fs::write(segment(&path), &later).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { found: 7, .. }), "{error:?}");
    fs::write(segment(&path), &whole).unwrap();
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().block_count(), 21);
}

/// The store was one file of another library before.
#[test]
fn the_file_of_an_earlier_version_says_so_and_is_left_alone() {
    let (_directory, path) = scratch();
    let theirs = b"redb\x1a\x0a\xa9\x0d\x0a and then what was in it";
    fs::write(&path, theirs).unwrap();
    for opened in [ReferenceChain::open(params(0), &path), ReferenceChain::open_read_only(params(0), &path)] {
        let error = opened.unwrap_err();
        assert!(matches!(error, OpenError::UnknownFormat { found: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("use the version that wrote it"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), theirs);
}

#[test]
fn a_file_that_is_no_store_is_damaged_and_left_alone() {
    let (_directory, path) = scratch();
    let theirs = b"not a store, but somebody's only copy of something";
    fs::write(&path, theirs).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), theirs);
    // The same under a segment's name.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(segment(&path), theirs).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(segment(&path)).unwrap(), theirs);
}

/// An operator's own notes, or another program's files, are nobody's segments.
#[test]
fn other_files_in_the_directory_are_left_alone() {
    let (_directory, path) = scratch();
    let blocks = stored(&path);
    for name in ["notes.txt", "1.blocks", "0000000x.blocks", "00000001.blocks.copy", "00000009.tmp"] {
        fs::write(path.join(name), "mine").unwrap();
    }
    let mut chain = ReferenceChain::open(params(0), &path).unwrap();
    assert_eq!(chain.best().hash, hash_of(&blocks[19]));
    grow(&mut chain, &params(0), 3);
    drop(chain);
    for name in ["notes.txt", "1.blocks", "0000000x.blocks", "00000001.blocks.copy", "00000009.tmp"] {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"mine");
    }
}

/// A file cut short looks as after a crash: what is whole is kept, and the rest is downloaded again. The header, which was
/// durable before the file had its name, and whatever another segment says of this one, are not a crash's work.
#[test]
fn a_truncated_segment_holds_its_first_blocks_or_is_damaged() {
    let (_directory, path) = scratch();
    let blocks = stored(&path);
    let whole = fs::read(segment(&path)).unwrap();
    for part in [0, 10, 100] {
        fs::write(segment(&path), &whole[..part]).unwrap();
        let error = ReferenceChain::open(params(0), &path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{part} bytes: {error:?}");
    }
    for part in [300, whole.len() / 2, whole.len() - 41] {
        fs::write(segment(&path), &whole[..part]).unwrap();
        let chain = ReferenceChain::open_read_only(params(0), &path).unwrap();
        let best = chain.best();
        assert!(best.height < 20 && (best.height == 0 || best.hash == hash_of(&blocks[best.height as usize - 1])));
        chain.verify(|_, _| ()).unwrap();
    }
    // With a later segment, the same is damage.
    fs::write(segment(&path), &whole).unwrap();
    let mut chain = ReferenceChain::open(params(0), &path).unwrap();
    grow(&mut chain, &params(0), 5);
    chain.flush(PATIENCE).unwrap();
    drop(chain);
    let longer = fs::read(segment(&path)).unwrap();
    fs::write(segment(&path), &longer[..longer.len() - 41]).unwrap();
    ReferenceChain::open(params(0), &path).unwrap().flush(PATIENCE).unwrap();
    assert!(path.join("00000002.blocks").exists(), "what was unsure was copied");
    let closed = fs::read(segment(&path)).unwrap();
    ReferenceChain::open(params(0), &path).unwrap().verify(|_, _| ()).unwrap();
    fs::write(segment(&path), &closed[..closed.len() - 1]).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

/// A link to a disk that is not mounted was replaced by an empty chain.
#[cfg(unix)]
#[test]
fn a_link_to_what_is_not_there_is_an_error_and_stays() {
    let (directory, path) = scratch();
    let target = directory.path().join("mount/chain");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    for opened in [ReferenceChain::open(params(0), &path), ReferenceChain::open_read_only(params(0), &path)] {
        let error = opened.unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains("mount/chain, which is not there"), "{error}");
    }
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink() && !target.exists());
    fs::create_dir_all(&target).unwrap();
    stored(&path);
    assert!(target.join("00000001.blocks").exists());
}

/// `chain --verify` on a backup that is mounted to be read only, and by two at once.
#[test]
fn a_store_is_read_where_nothing_may_be_written() {
    let (_directory, path) = scratch();
    let blocks = stored(&path);
    fs::remove_file(path.join("lock")).unwrap();
    let set_read_only = |read_only| {
        for file in [segment(&path), path.clone()] {
            let mut permissions = fs::metadata(&file).unwrap().permissions();
            permissions.set_readonly(read_only);
            fs::set_permissions(file, permissions).unwrap();
        }
    };
    set_read_only(true);
    let before = fs::read(segment(&path)).unwrap();
    let first = ReferenceChain::open_read_only(params(0), &path).unwrap();
    let mut second = ReferenceChain::open_read_only(params(0), &path).unwrap();
    assert_eq!(first.verify(|_, _| ()).unwrap().blocks, 21);
    // What comes all the same stays in memory, and that is said.
    let next = block(&params(0), second.best(), &[], 0);
    assert_eq!(second.submit_block(NOW, next.clone()), BEST);
    assert_eq!(second.block(&hash_of(&next)), Some(next));
    assert!(second.flush(PATIENCE).is_err());
    assert_eq!(second.health().error.as_deref(), Some("the store was opened to be read only"));
    drop((first, second));
    assert_eq!(fs::read(segment(&path)).unwrap(), before);
    set_read_only(false);
    let names = fs::read_dir(&path).unwrap().count();
    assert_eq!(names, 1, "nothing was made");
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().best().hash, hash_of(&blocks[19]));
}

#[test]
fn a_store_that_is_written_is_not_read_by_others_and_none_is_made_to_be_read() {
    let (_directory, path) = scratch();
    let error = ReferenceChain::open_read_only(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && !path.exists(), "{error:?}");
    let open = ReferenceChain::open(params(0), &path).unwrap();
    let error = ReferenceChain::open_read_only(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    drop(open);
    let reader = ReferenceChain::open_read_only(params(0), &path).unwrap();
    assert!(matches!(ReferenceChain::open(params(0), &path), Err(OpenError::Locked { .. })));
    drop(reader);
    ReferenceChain::open(params(0), &path).unwrap();
}

#[test]
fn a_missing_directory_is_an_io_error_with_a_remedy() {
    let (directory, _) = scratch();
    let error = Store::open(&directory.path().join("no/such/chain"), &params(0)).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("check that the directory exists"));
}

#[test]
fn a_hole_or_a_broken_block_is_damage_that_names_the_block() {
    type Change = fn(&mut Vec<bytes::Bytes>);
    fn changed(bytes: &bytes::Bytes, change: impl FnOnce(&mut Vec<u8>)) -> bytes::Bytes {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        bytes.into()
    }
    let cases: [(&str, Change); 6] = [
        ("block 7: its parent is missing", |blocks| drop(blocks.remove(7))),
        ("block 9: not a block", |blocks| blocks[9] = blocks[9].slice(..100)),
        ("block 20: it stands there twice", |blocks| blocks.push(blocks[3].clone())),
        ("block 20: its height is not one above its parent's", |blocks| {
            blocks.push(changed(&blocks[19], |bytes| bytes[4] = 9));
        }),
        ("block 12: its transactions are not the ones of its root", |blocks| {
            blocks[12] = changed(&blocks[12], |bytes| *bytes.last_mut().unwrap() ^= 1);
        }),
        ("block 20: not the chain's difficulty", |blocks| {
            blocks.push(changed(&blocks[19], |bytes| bytes[84] = 9));
        }),
    ];
    for (expected, change) in cases {
        let (_directory, path) = scratch();
        stored(&path);
        tamper(&path, change);
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
    let added = bytes.clone();
    tamper(&path, |blocks| blocks.push(added));
    let chain = ReferenceChain::open(params(0), &path).unwrap();
    let error = chain.verify(|_, _| ()).unwrap_err();
    assert_eq!((error.height, error.hash, error.why), (21, hash_of(&bytes), "not the chain's reward"));
}

#[test]
fn a_flipped_bit_anywhere_is_reported_unless_it_is_in_the_last_mark() {
    let (_directory, path) = scratch();
    stored(&path);
    let whole = fs::read(segment(&path)).unwrap();
    // Opening to read changes nothing, so that every bit is tried on the same bytes.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(segment(&path), &bytes).unwrap();
        match ReferenceChain::open_read_only(params(0), &path) {
            Err(OpenError::Io { .. } | OpenError::Locked { .. }) => {
                panic!("a flip at {at} is taken for something else")
            }
            Err(_) => assert!(at < whole.len() - 40, "a flip at {at} is in the mark"),
            Ok(chain) => {
                assert!(at >= whole.len() - 40, "a flip at {at} is not noticed");
                assert_eq!(chain.verify(|_, _| ()).unwrap().blocks, 21);
            }
        }
    }
    fs::write(segment(&path), &whole).unwrap();
    ReferenceChain::open(params(0), &path).unwrap().verify(|_, _| ()).unwrap();
}

#[test]
fn a_segment_that_was_taken_away_is_damage() {
    let (_directory, path) = scratch();
    stored(&path);
    // A crash's rest: the store goes on in a second segment.
    let mut bytes = fs::read(segment(&path)).unwrap();
    bytes.extend_from_slice(b"torn");
    fs::write(segment(&path), bytes).unwrap();
    let mut chain = ReferenceChain::open(params(0), &path).unwrap();
    grow(&mut chain, &params(0), 5);
    chain.flush(PATIENCE).unwrap();
    drop(chain);
    assert_eq!(ReferenceChain::open(params(0), &path).unwrap().block_count(), 26);
    fs::remove_file(segment(&path)).unwrap();
    let error = ReferenceChain::open(params(0), &path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}
