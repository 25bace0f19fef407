//! `peers.json` and a crash at every call of a save, with every choice of what survives: the old table, or the new one.

use std::io;
use std::path::Path;

use super::support::Every;
use super::{Rates, VirtualDisk};
use crate::driver::store::peers::{FILE_LEN_MAX, LoadProblem, decode, encode, load_on, save_on};
use crate::proto::peer::peer_table::PeerRecord;
use crate::rng::Rng;
use crate::time::{Instant, Now, UnixTime};

const NOW: Now = Now { at: Instant::from_millis(5000), unix: UnixTime::from_secs(1_800_000_000) };
/// Calls of one save: remove what was left, create, write, sync, rename, sync the directory.
const CALLS: u64 = 6;
/// Calls of one save in place: as far as the rename, which is refused; rename the copy, sync the directory, open, write, sync,
/// remove the copy, sync the directory.
const CALLS_IN_PLACE: u64 = 12;

fn path() -> &'static Path {
    Path::new("data/peers.json")
}

/// A table of `count` peers that differs from those of other ages.
fn table(count: u64, age: u64) -> Vec<PeerRecord> {
    let peer = |number: u64| {
        let address = format!("45.0.{number}.7:8333").parse().ok();
        let mut peer = PeerRecord::new(format!("node-{number}"), address, NOW);
        peer.chain_length = age;
        peer
    };
    (0..count).map(peer).collect()
}

/// What is loaded; the table must be whole, so a problem is a failure of the test.
fn loaded(disk: &VirtualDisk) -> Vec<PeerRecord> {
    let loaded = load_on(disk, path(), NOW);
    assert!(loaded.problem.is_none(), "{:?}", loaded.problem);
    loaded.peers
}

#[test]
fn a_crash_at_any_call_of_a_save_leaves_the_old_table_or_the_new_one_whatever_survives() {
    let (old, new) = (table(2, 1), table(1, 2));
    let mut cases = 0;
    // Over no file, over one, and over one beside which an earlier crash left something.
    for before in 0..3 {
        let start = VirtualDisk::new(1);
        if before > 0 {
            save_on(&start, path(), &old).unwrap();
        }
        if before == 2 {
            start.end_after(3);
            save_on(&start, path(), &new).unwrap_err();
        }
        let expected_old = if before > 0 { old.clone() } else { Vec::new() };
        for calls in 0..=CALLS {
            let mut every = Every::default();
            let mut seen = [false; 2];
            loop {
                // After a crash that may have kept everything, so that the leftover is there.
                let disk = start.fork().kill();
                disk.end_after(calls);
                assert_eq!(save_on(&disk, path(), &new).is_ok(), calls == CALLS);
                let disk = disk.crash(&mut |bound| every.choose(bound));
                let found = loaded(&disk);
                assert!(found == expected_old || found == new, "after {calls} calls: {found:?}");
                seen[usize::from(found == new)] = true;
                // The node that was started goes on: its next save works, and nothing is left beside the file.
                save_on(&disk, path(), &old).unwrap();
                assert_eq!(loaded(&disk), old);
                assert_eq!(disk.lock().names.len(), 1, "{:?}", disk.lock().names);
                cases += 1;
                if !every.next() {
                    break;
                }
            }
            // Only the rename may make it new, and only the sync of the directory must.
            let wanted = [calls < CALLS, calls >= CALLS - 1];
            assert_eq!(seen, wanted, "after {calls} calls of a save over {before}");
        }
    }
    assert!(cases > 5_000, "only {cases} cases");
}

/// A file that is mounted alone cannot be renamed over, and was not saved at all.
#[test]
fn a_crash_at_any_call_of_a_save_in_place_leaves_the_old_table_or_the_new_one_whatever_survives() {
    let (old, new) = (table(2, 1), table(1, 2));
    let mut cases = 0;
    // Over a whole file, and over one whose last save was cut short while the file was being written.
    for before in 0..2 {
        let mut start = VirtualDisk::new(1);
        save_on(&start, path(), &old).unwrap();
        start.pin(path());
        if before == 1 {
            start.end_after(9);
            save_on(&start, path(), &old).unwrap_err();
            start = start.crash(&mut |bound| bound / 2);
            assert!(start.peek(path()).is_some_and(|torn| torn != encode(&old).unwrap()));
        }
        // The copy has its name with the sixth call; where there was one already, no try to replace the file comes before.
        let named = 6 - before;
        for calls in 0..=CALLS_IN_PLACE {
            let mut every = Every::default();
            let mut seen = [false; 2];
            loop {
                let disk = start.fork().kill();
                disk.end_after(calls);
                assert_eq!(save_on(&disk, path(), &new).is_ok(), calls == CALLS_IN_PLACE, "{calls}, {before}");
                let disk = disk.crash(&mut |bound| every.choose(bound));
                let found = loaded(&disk);
                assert!(found == old || found == new, "after {calls} calls over {before}: {found:?}");
                seen[usize::from(found == new)] = true;
                save_on(&disk, path(), &old).unwrap();
                assert_eq!(loaded(&disk), old);
                assert_eq!(disk.lock().names.len(), 1, "{:?}", disk.lock().names);
                cases += 1;
                if !every.next() {
                    break;
                }
            }
            // Only the name of the copy may make it new, and only the sync of the directory must.
            assert_eq!(seen, [calls <= named, calls >= named], "after {calls} calls over {before}");
        }
    }
    assert!(cases > 1_000, "only {cases} cases");
}

#[test]
fn an_error_in_any_call_of_a_save_in_place_leaves_one_whole_table_and_the_next_save_works() {
    let (old, new) = (table(2, 1), table(3, 2));
    for call in 0..CALLS_IN_PLACE {
        let disk = VirtualDisk::new(1);
        save_on(&disk, path(), &old).unwrap();
        disk.pin(path());
        disk.fail_after(call, io::ErrorKind::StorageFull);
        // The removal of what is not there may fail, and the rename is refused in any case.
        let saved = save_on(&disk, path(), &new);
        let found = loaded(&disk);
        assert!(if saved.is_ok() { found == new } else { found == old || found == new }, "call {call}");
        save_on(&disk, path(), &new).unwrap();
        assert_eq!((loaded(&disk), disk.lock().names.len()), (new.clone(), 1), "call {call}");
    }
}

#[test]
fn an_error_in_any_call_of_a_save_leaves_one_whole_table_and_the_next_save_works() {
    let (old, new) = (table(2, 1), table(3, 2));
    // A file system that does not sync directories says so with the last of these: then the name is its own affair.
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
        for call in 0..CALLS {
            let disk = VirtualDisk::new(1);
            save_on(&disk, path(), &old).unwrap();
            disk.fail_after(call, kind);
            let saved = save_on(&disk, path(), &new);
            // There was nothing to be removed, and a removal that fails is no reason not to try.
            let is_harmless = call == 0 || call == CALLS - 1 && kind == io::ErrorKind::PermissionDenied;
            assert_eq!(saved.map_err(|error| error.kind()), if is_harmless { Ok(()) } else { Err(kind) });
            let found = loaded(&disk);
            assert!(found == if call == 0 || call == CALLS - 1 { new.clone() } else { old.clone() }, "call {call}");
            assert_eq!(disk.lock().names.len(), 1, "nothing stays beside the file after an error in call {call}");
            save_on(&disk, path(), &new).unwrap();
            assert_eq!(loaded(&disk), new);
        }
    }
}

#[test]
fn a_flipped_bit_is_told_and_costs_or_changes_one_peer_or_two_at_most() {
    let saved = table(4, 7);
    let bits = encode(&saved).unwrap().len() as u64 * 8;
    let (mut told, mut in_part, mut harmless) = (0, 0, 0);
    for bit in 0..bits {
        let disk = VirtualDisk::new(1);
        save_on(&disk, path(), &saved).unwrap();
        disk.flip(path(), bit);
        let flipped = disk.peek(path()).unwrap();
        let found = load_on(&disk, path(), NOW);
        match found.problem {
            Some(LoadProblem::Damaged { set_aside: Ok(aside), .. }) => {
                assert!(found.peers.is_empty() && disk.peek(path()).is_none());
                assert_eq!(disk.peek(&aside), Some(flipped), "it is kept as it was found");
                told += 1;
            }
            Some(LoadProblem::DamagedInPart { copied: Ok(aside), .. }) => {
                // The line that was hit is passed over, and the one after it where the end of a line was hit.
                let left = found.peers.iter().filter(|peer| saved.contains(peer)).count();
                assert!(left >= 2 && left == found.peers.len(), "bit {bit}: {:?}", found.peers);
                assert_eq!(disk.peek(&aside).as_ref(), Some(&flipped), "bit {bit}");
                assert_eq!(disk.peek(path()), Some(flipped), "it is replaced by the next save");
                in_part += 1;
            }
            Some(problem) => panic!("bit {bit}: {problem}"),
            None => {
                // JSON has no checksum: a digit that became another digit cannot be told.
                let other = found.peers.iter().filter(|peer| !saved.contains(peer)).count();
                assert!(found.peers.len() == saved.len() && other <= 1, "bit {bit}: {:?}", found.peers);
                harmless += 1;
            }
        }
        // The node goes on.
        save_on(&disk, path(), &saved).unwrap();
        assert_eq!(loaded(&disk), saved);
    }
    // Nothing is lost as a whole; a digit in an address is another address.
    assert_eq!(told, 0);
    assert!(in_part > harmless && harmless > 0, "{in_part} told, {harmless} not");
}

#[test]
fn a_crash_while_a_damaged_file_is_set_aside_loses_no_saved_table() {
    let (old, new) = (table(1, 1), table(3, 2));
    for calls in 0..6 {
        let mut every = Every::default();
        loop {
            let disk = VirtualDisk::new(1);
            save_on(&disk, path(), &old).unwrap();
            // The quote before the only peer's name.
            disk.flip(path(), 16);
            disk.end_after(calls);
            load_on(&disk, path(), NOW);
            let disk = disk.crash(&mut |bound| every.choose(bound));
            // Damaged still and told again, or gone already.
            assert!(load_on(&disk, path(), NOW).peers.is_empty());
            save_on(&disk, path(), &new).unwrap();
            assert_eq!(loaded(&disk), new);
            if !every.next() {
                break;
            }
        }
    }
}

#[test]
fn years_of_saves_crashes_and_faults_never_load_a_table_that_was_not_saved() {
    let (mut told, mut kept, mut injected) = (0, 0, std::collections::BTreeMap::new());
    for seed in 0..300 {
        let mut rng = Rng::from_seed(seed);
        let mut disk = VirtualDisk::new(seed);
        let mut saved = vec![Vec::new()];
        // A flip may change a peer without being told; the other faults may not.
        let flips = rng.below(2) * 50;
        for age in 0..40 {
            disk.set_rates(Rates { write_error: 50, no_space: 50, read_error: 50, bit_flip: flips, stale: 50 });
            let new = table(1 + rng.below(4), age);
            if rng.chance(1, 3) {
                disk.end_after(rng.below(CALLS + 1));
            }
            saved.push(new.clone());
            let done = save_on(&disk, path(), &new).is_ok();
            disk.set_rates(Rates { bit_flip: flips, read_error: 50, stale: 50, ..Rates::default() });
            if done && rng.chance(1, 2) {
                continue;
            }
            disk = disk.crash(&mut |bound| rng.below(bound));
            let found = load_on(&disk, path(), NOW);
            match found.problem {
                Some(problem) => {
                    assert!(flips > 0 || matches!(problem, LoadProblem::Unreadable(_)), "seed {seed}: {problem}");
                    told += 1;
                }
                None if flips > 0 => {
                    let bytes = disk.peek(path()).unwrap_or_else(|| encode(&[]).unwrap());
                    assert!(bytes.len() <= FILE_LEN_MAX && saved.contains(&decode(&bytes, NOW).unwrap().peers));
                }
                None => {
                    assert!(saved.contains(&found.peers), "seed {seed}: {:?}", found.peers);
                    kept += 1;
                }
            }
        }
        for (fault, count) in disk.take_injected() {
            *injected.entry(fault).or_insert(0) += count;
        }
    }
    assert!(told > 100 && kept > 1000, "{told} told, {kept} kept");
    let faults: Vec<_> = injected.into_keys().collect();
    let all = ["disk bit flip", "disk full", "disk read error", "disk stale file", "disk write error"];
    assert_eq!(faults, all);
}
