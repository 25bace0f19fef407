//! The fuzz targets start from the protocol's own messages: the committed seeds are what the vectors make them.
//!
//! `SEED_CORPUS=write cargo test --test wire corpus` writes them anew after a vector changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::vectors::{encoded, samples, vectors};

/// Marks a committed seed; what the fuzzer finds beside them has other names and is not committed.
const PREFIX: &str = "seed-";

type Seeds = BTreeMap<String, Vec<u8>>;

/// Whole frames by name.
fn frames() -> Seeds {
    let vectors = vectors().into_iter().map(|vector| (format!("{PREFIX}{}", vector.name), vector.bytes()));
    let samples = samples().into_iter().map(|(name, message)| (format!("{PREFIX}{name}"), encoded(&message)));
    vectors.chain(samples).collect()
}

/// What each target's input looks like; the targets say the same at their top.
fn corpus() -> BTreeMap<&'static str, Seeds> {
    let frames = frames();
    let stream: Vec<u8> = frames.values().flatten().copied().collect();
    let messages = frames.iter().map(|(name, frame)| (name.clone(), frame[4..].to_vec())).collect();
    let cuts: [(&str, &[u8]); 4] =
        [("whole", &[]), ("bytewise", &[0]), ("headers-apart", &[3, 0, 9]), ("uneven", &[0, 1, 2, 6, 30, 255])];
    let chunks =
        cuts.map(|(name, cuts)| (format!("{PREFIX}{name}"), [&[cuts.len() as u8], cuts, stream.as_slice()].concat()));
    let mut whole = frames;
    whole.insert(format!("{PREFIX}stream"), stream);
    BTreeMap::from([("frame", whole), ("message", messages), ("chunks", chunks.into())])
}

fn committed(folder: &Path) -> Seeds {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    named.filter(|(name, _)| name.starts_with(PREFIX)).map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[test]
fn the_committed_seeds_are_what_the_vectors_make_them() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // A published package comes without the fuzz targets.
        return;
    }
    for (target, seeds) in corpus() {
        let folder = fuzz.join("corpus").join(target);
        if std::env::var_os("SEED_CORPUS").is_some_and(|value| value == "write") {
            fs::create_dir_all(&folder).unwrap();
            committed(&folder).keys().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
            seeds.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        }
        assert!(committed(&folder) == seeds, "fuzz/corpus/{target} is stale: run with SEED_CORPUS=write");
    }
}
