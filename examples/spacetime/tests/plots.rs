//! Plots on a disk: what a farmer makes, and the proofs from it.

mod support;

use std::fs;

use spacetime_example::crypto::sha256;
use spacetime_example::merkle;
use spacetime_example::plot::{self, Plot, header_fits};
use support::key;

#[test]
fn every_leaf_of_a_plot_of_any_size_is_proven_by_its_tree() {
    let directory = tempfile::tempdir().unwrap();
    let miner = key(3).public();
    for leaves in [1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 100] {
        let path = directory.path().join(format!("{leaves}.plot"));
        let header = plot::create(&path, &miner, [5; 32], leaves).unwrap();
        let values: Vec<_> = (0..leaves).map(|number| plot::leaf(&miner, &[5; 32], number)).collect();
        assert_eq!(header.root, merkle::root(values.iter()), "{leaves} leaves");
        let mut plot = Plot::open(&path).unwrap();
        assert_eq!(plot.header(), header);
        for (number, value) in (0..).zip(&values) {
            let proof = plot.prove(number).unwrap();
            assert_eq!((proof.leaf, proof.root(), proof.leaf_index), (*value, header.root, number.cast_signed()));
            assert!(header_fits(&proof));
            let read = spacetime_example::format::Proof::decode(&proof.encode());
            assert_eq!(read.as_ref(), Some(&proof));
        }
        let challenge = sha256(&[b"challenge"]);
        let best = plot.best(&challenge, &|| true).unwrap().unwrap();
        let expected = values.iter().map(|value| sha256(&[&challenge, value])).min();
        assert_eq!((Some(best.score), best.leaf), (expected, values[usize::try_from(best.number).unwrap()]));
    }
}

#[test]
fn a_plot_that_was_cut_or_spoiled_is_told_and_never_proven_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.plot");
    plot::create(&path, &key(3).public(), [5; 32], 20).unwrap();
    let (leaves, tree) = (fs::read(&path).unwrap(), fs::read(plot::tree_path(&path)).unwrap());
    for bytes in [&leaves[..leaves.len() - 1], &leaves[1..], b""] {
        fs::write(&path, bytes).unwrap();
        assert!(Plot::open(&path).is_err());
    }
    fs::write(&path, &leaves).unwrap();
    fs::write(plot::tree_path(&path), &tree[..tree.len() - 32]).unwrap();
    assert!(Plot::open(&path).is_err());
    let mut spoiled = tree.clone();
    spoiled[0] ^= 1;
    fs::write(plot::tree_path(&path), &spoiled).unwrap();
    let mut plot = Plot::open(&path).unwrap();
    // The first node is the sibling of the third leaf's, and of no use to the first leaf.
    assert!(plot.prove(2).is_err());
    assert!(plot.prove(0).is_ok());
}

/// The plot that the C# library made, leaf by leaf.
#[test]
#[ignore = "ten million hashes: a minute without optimization"]
fn a_plot_of_100_mib_has_the_root_that_the_library_gives_it() {
    let directory = tempfile::tempdir().unwrap();
    let line = include_str!("data/chain.txt").lines().next().unwrap();
    let field = |name: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap();
        spacetime_example::codec::from_hex(word).unwrap()
    };
    let path = directory.path().join("a.plot");
    let (miner, seed) = (field("miner=").try_into().unwrap(), field("seed=").try_into().unwrap());
    let header = plot::create(&path, &miner, seed, 3_276_800).unwrap();
    assert_eq!(header.root.as_slice(), field("root="));
    let proof = Plot::open(&path).unwrap().prove(3_276_799).unwrap();
    assert!(header_fits(&proof));
}
