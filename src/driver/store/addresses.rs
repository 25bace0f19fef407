//! `addresses.json`: the address book as a file, so that a restart needs no seed and forgets nobody whom it has heard of.
//!
//! ```text
//! {"Addresses": [
//! {"Address": "192.0.2.7:8333", "Source": "198.51.100.1", "Heard": "2026-01-02T03:04:05.123Z", "Check": "01234567"},
//! {"Address": "[2001:db8::7]:8333", "Heard": "...", "Proven": "...", "Announced": true, "Answered": true, "Failures": 2, "Check": "..."}
//! ]}
//! ```
//!
//! An entry that cannot be used, or does not match its checksum, costs that entry; the file as it was is kept beside it then. All
//! limits of the book hold again: [`AddressBook::restore`](crate::proto::peer::AddressBook::restore).

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checksum::crc32;
use super::disk::{Disk, System};
use super::peers::{BadEntries, LoadProblem};
use super::{keep_aside_on, read_bounded_on, remove_leftover_on, replace_on, rfc3339, set_aside_on};
use crate::proto::peer::address_book::SavedAddress;
use crate::time::UnixTime;

/// Addresses in a file at most, as many as the book holds.
pub const ADDRESSES_MAX: usize = 10_240;
/// Bytes in a file at most.
pub const FILE_LEN_MAX: usize = 4 << 20;
/// Bytes of one address's line at most: both addresses and both times as long as they get.
const LINE_LEN_MAX: usize = 340;

const _: () = assert!(ADDRESSES_MAX * LINE_LEN_MAX + 1024 <= FILE_LEN_MAX);

/// What was found in a file.
#[derive(Debug, Default)]
pub struct LoadedAddresses {
    /// The addresses, in the file's order; empty when there is no file, or nothing in it that can be used.
    pub addresses: Vec<SavedAddress>,
    /// To be reported.
    pub problem: Option<LoadProblem>,
}

/// Loads the addresses at `path`. A file that is damaged, or a copy of one that is damaged in part, is kept as
/// `NAME.damaged-<unix seconds>`, of which only the newest stays.
pub fn load(path: &Path, now: UnixTime) -> LoadedAddresses {
    load_on(&System, path, now)
}

fn load_on(disk: &impl Disk, path: &Path, now: UnixTime) -> LoadedAddresses {
    remove_leftover_on(disk, path);
    let aside = |why: String| LoadProblem::Damaged { why, set_aside: set_aside_on(disk, path, now) };
    let problem = match read_bounded_on(disk, path, FILE_LEN_MAX as u64) {
        Ok(None) => None,
        Ok(Some(bytes)) => match decode(&bytes) {
            Ok(DecodedAddresses { addresses, bad }) => {
                let copied = || keep_aside_on(disk, path, &bytes, now);
                let problem = bad.map(|bad| LoadProblem::DamagedInPart { bad, copied: copied() });
                return LoadedAddresses { addresses, problem };
            }
            Err(why) => Some(aside(why)),
        },
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Some(aside(format!("larger than {FILE_LEN_MAX} bytes")))
        }
        Err(error) => Some(LoadProblem::Unreadable(error)),
    };
    LoadedAddresses { addresses: Vec::new(), problem }
}

/// Saves `addresses` at `path` in one step, for the owner's eyes alone: whom a node knows is nobody else's business.
///
/// # Errors
///
/// As [`replace_file`](super::replace_file); the old file is still there then.
pub fn save(path: &Path, addresses: &[SavedAddress]) -> io::Result<()> {
    replace_on(&System, path, &encode(addresses)?, true)
}

/// The file's bytes, as [`save`] writes them: an address per line, the first [`ADDRESSES_MAX`].
///
/// # Errors
///
/// None that can occur: text and numbers are always JSON.
pub fn encode(addresses: &[SavedAddress]) -> io::Result<Vec<u8>> {
    let mut text = "{\"Addresses\": [".to_owned();
    let mut separator = "\n";
    for one in addresses.iter().take(ADDRESSES_MAX) {
        text.push_str(separator);
        text.push_str(&serde_json::to_string(&StoredAddress::from(one))?);
        separator = ",\n";
    }
    text.push_str("\n]}\n");
    Ok(text.into_bytes())
}

/// What a file's bytes name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodedAddresses {
    /// The addresses, in the file's order.
    pub addresses: Vec<SavedAddress>,
    /// What was passed over, to be reported.
    pub bad: Option<BadEntries>,
}

/// The addresses that the file's bytes name. Of two entries for one address the first counts, of more than [`ADDRESSES_MAX`] the
/// first ones, and of a file that breaks off what came before.
///
/// # Errors
///
/// There is nothing in it that can be used, although it is not an empty list: what is wrong.
pub fn decode(bytes: &[u8]) -> Result<DecodedAddresses, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Found::default();
    match serde_json::from_slice::<StoredFile<'_>>(bytes) {
        Ok(file) => file.addresses.iter().for_each(|one| found.entry(one.get())),
        Err(error) => {
            // Damage within one line costs that line.
            for line in String::from_utf8_lossy(bytes).lines().map(|line| line.trim().trim_end_matches(',')) {
                if line.starts_with("{\"Address\"") {
                    found.entry(line);
                }
            }
            found.bad = Some(BadEntries { count: 0, first: error.to_string() });
        }
    }
    match found.bad {
        Some(bad) if found.addresses.is_empty() => Err(bad.first),
        bad => Ok(DecodedAddresses { addresses: found.addresses, bad }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredFile<'a> {
    #[serde(borrow)]
    addresses: Vec<&'a RawValue>,
}

/// One address as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredAddress {
    address: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    heard: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven: Option<String>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    announced: bool,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    answered: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StoredAddress {
    fn checksum(&self) -> String {
        let StoredAddress { address, source, heard, proven, announced, answered, failures, check: _ } = self;
        let text = format!("{address} {source:?} {heard} {proven:?} {announced} {answered} {failures}");
        format!("{:08x}", crc32(text.as_bytes()))
    }
}

impl From<&SavedAddress> for StoredAddress {
    fn from(one: &SavedAddress) -> Self {
        let mut stored = StoredAddress {
            address: one.address,
            source: one.source,
            heard: rfc3339::format(one.heard),
            proven: one.proven.map(rfc3339::format),
            announced: one.announced,
            answered: one.answered,
            failures: one.failures,
            check: None,
        };
        stored.check = Some(stored.checksum());
        stored
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    addresses: Vec<SavedAddress>,
    seen: BTreeSet<SocketAddr>,
    bad: Option<BadEntries>,
}

impl Found {
    fn entry(&mut self, text: &str) {
        let stored: StoredAddress = match serde_json::from_str(text) {
            Ok(stored) => stored,
            Err(error) => return self.blame(text, &error.to_string()),
        };
        if stored.check.as_ref().is_some_and(|check| *check != stored.checksum()) {
            return self.blame(text, "it does not match its Check");
        }
        let time = |text: &str| rfc3339::parse(text);
        let (Some(heard), proven) = (time(&stored.heard), stored.proven.as_deref().map(time)) else {
            return self.blame(text, "Heard is no time");
        };
        if proven == Some(None) {
            return self.blame(text, "Proven is no time");
        } else if self.addresses.len() >= ADDRESSES_MAX {
            return self.blame(text, &format!("more than {ADDRESSES_MAX} addresses"));
        } else if !self.seen.insert(stored.address) {
            return self.blame(text, "it is there twice");
        }
        self.addresses.push(SavedAddress {
            address: stored.address,
            source: stored.source,
            heard,
            proven: proven.flatten(),
            announced: stored.announced,
            answered: stored.answered,
            failures: stored.failures,
        });
    }

    fn blame(&mut self, what: &str, why: &str) {
        let what: String = what.chars().take(80).collect();
        let first = || BadEntries { count: 0, first: format!("{what:?}: {why}") };
        self.bad.get_or_insert_with(first).count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn one(n: u32) -> SavedAddress {
        SavedAddress {
            address: format!("1.{}.{}.7:{}", n / 250, n % 250, 1 + n % 60_000).parse().unwrap(),
            source: n.is_multiple_of(3).then(|| "2001:db8::9".parse().unwrap()),
            heard: UnixTime::from_millis(1_799_000_000_000 + i64::from(n)),
            proven: n.is_multiple_of(2).then(|| UnixTime::from_millis(1_798_000_000_000)),
            announced: n.is_multiple_of(5),
            answered: n.is_multiple_of(2),
            failures: n % 4,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_a_full_book_fits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addresses.json");
        assert!(load(&path, NOW).problem.is_none());
        for count in [0, 1, 30] {
            let list: Vec<SavedAddress> = (0..count).map(one).collect();
            save(&path, &list).unwrap();
            let loaded = load(&path, NOW);
            assert_eq!((loaded.addresses, loaded.problem.is_none()), (list, true));
        }
        let all: Vec<SavedAddress> = (0..ADDRESSES_MAX as u32 + 5).map(one).collect();
        let bytes = encode(&all).unwrap();
        assert_eq!(decode(&bytes).unwrap().addresses, all[..ADDRESSES_MAX]);
        let longest = SavedAddress {
            address: "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535".parse().unwrap(),
            source: Some("1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap()),
            heard: UnixTime::from_millis(i64::MAX),
            proven: Some(UnixTime::from_millis(i64::MAX)),
            announced: true,
            answered: true,
            failures: u32::MAX,
        };
        assert!(encode(&[longest]).unwrap().len() < LINE_LEN_MAX);
    }

    #[test]
    fn damage_costs_what_is_damaged_and_is_kept_for_a_look() {
        let list: Vec<SavedAddress> = (0..8).map(one).collect();
        let whole = encode(&list).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            if let Ok(DecodedAddresses { addresses, bad }) = decode(&bytes) {
                assert!(addresses.iter().all(|one| list.contains(one)), "{at}");
                assert!(bad.is_some() || addresses == list, "{at}");
                assert!(addresses.len() + 2 >= list.len(), "{at}");
            }
            if let Ok(DecodedAddresses { addresses, .. }) = decode(&whole[..at]) {
                assert_eq!(addresses, list[..addresses.len()], "{at}");
            }
        }
        for damaged in [
            "",
            "{",
            "[]",
            "{\"Addresses\": 7}",
            "{\"Addresses\": [[[[]]]]}",
            "{\"Addresses\": [{\"Address\": \"x\"}]}",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("addresses.json");
            std::fs::write(&path, damaged).unwrap();
            let loaded = load(&path, NOW);
            assert!(matches!(loaded.problem, Some(LoadProblem::Damaged { set_aside: Ok(_), .. })), "{damaged}");
            assert!(loaded.addresses.is_empty() && !path.exists(), "{damaged}");
        }
    }
}
