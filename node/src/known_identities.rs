//! `known_identities.json`: what `--tls first-use` remembers, an object of addresses and node ids.
//!
//! Whoever is not in it is trusted at first sight. So it is never given up: a file that cannot be understood stops the
//! program, what could not be saved is saved later, and two processes that learn at a time both find their part in it.
//! A person takes an address out with `forget`.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use spacetime_network::driver::store::{read_bounded, replace_file};
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::trust::{KNOWN_MAX, KnownIdentities};

use crate::failure::{Failure, disk_remedy, read_remedy};
use crate::keeper::{Keeper, Kept};
use crate::value::Endpoint;

/// Room for all addresses that may be remembered, at about 120 bytes each.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Reads the file. A damaged one is an error: without it, whoever stands in a known node's place would be trusted. Saves
/// are atomic, so it was not a crash that damaged it.
pub(crate) fn load(path: &Path) -> Result<KnownIdentities, Failure> {
    let operation = || format!("read {}", path.display());
    let bytes =
        read_bounded(path, FILE_LEN_MAX).map_err(|error| Failure::new(operation(), &error, read_remedy(&error)))?;
    match bytes {
        Some(bytes) => decode(&bytes).map_err(|why| {
            let remedy =
                "put it right, restore it from a backup, or remove it to meet every node as if for the first time";
            Failure::new(operation(), format!("damaged: {why}"), remedy)
        }),
        None => Ok(KnownIdentities::default()),
    }
}

/// Replaces the file.
pub(crate) fn save(path: &Path, known: &KnownIdentities) -> Result<(), Failure> {
    replace_file(path, &encode(known))
        .map_err(|error| Failure::new(format!("save {}", path.display()), &error, disk_remedy(&error)))
}

/// An address that two processes have met under different identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) address: SocketAddr,
    pub(crate) saved: VerifiedId,
    pub(crate) learned: VerifiedId,
}

/// Adds what `learned` has beyond `loaded` to the file as it is by now. The caller keeps others from doing so meanwhile.
pub(crate) fn add(
    path: &Path,
    loaded: &KnownIdentities,
    learned: &KnownIdentities,
) -> Result<Result<(), Conflict>, Failure> {
    let mut known = load(path)?;
    let mut changed = false;
    for (address, id) in learned.iter().filter(|(address, id)| loaded.get(*address) != Some(*id)) {
        match known.get(address) {
            Some(saved) if saved != id => return Ok(Err(Conflict { address, saved, learned: id })),
            _ => changed |= known.insert(address, id),
        }
    }
    if changed {
        save(path, &known)?;
    }
    Ok(Ok(()))
}

/// Takes out what `endpoint` leads to, which are these addresses; answers whose those were that were there, one at least.
pub(crate) fn forget(
    path: &Path,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
) -> Result<Vec<(SocketAddr, VerifiedId)>, Failure> {
    let mut known = load(path)?;
    let forgotten: Vec<_> = addresses.iter().filter_map(|address| Some((*address, known.forget(*address)?))).collect();
    if forgotten.is_empty() {
        let happened = format!("it is not in {}", path.display());
        return Err(Failure::new(format!("forget {endpoint}"), happened, "look there for what is remembered"));
    }
    save(path, &known)?;
    Ok(forgotten)
}

fn decode(bytes: &[u8]) -> Result<KnownIdentities, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let known = (&mut deserializer).deserialize_map(Entries).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(known)
}

/// The entries of the file, none of which may be passed over.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = KnownIdentities;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of addresses and node ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KnownIdentities, A::Error> {
        let mut known = KnownIdentities::default();
        while let Some((address, id)) = map.next_entry::<String, String>()? {
            let parsed: SocketAddr = address
                .parse()
                .map_err(|_| A::Error::custom(format_args!("\"{}\" is no address", address.escape_debug())))?;
            let id: VerifiedId = id.parse().map_err(|error| A::Error::custom(format_args!("{parsed}: {error}")))?;
            // Nobody can say which of two is right.
            if known.get(parsed).is_some_and(|other| other != id) {
                return Err(A::Error::custom(format_args!("{parsed} is there twice")));
            }
            known.insert(parsed, id);
            if known.get(parsed).is_none() {
                return Err(A::Error::custom(format_args!("more than {KNOWN_MAX} addresses")));
            }
        }
        Ok(known)
    }
}

fn encode(known: &KnownIdentities) -> Vec<u8> {
    // Addresses and hexadecimal digits need no escapes.
    let lines: Vec<String> = known.iter().map(|(address, id)| format!("  \"{address}\": \"{id}\"")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes()
}

/// Saves what was met on a thread of its own, until the disk takes it.
pub(crate) fn keeper(path: &Path) -> Result<Keeper<KnownIdentities>, Failure> {
    Keeper::start(path, Kept { what: "identities", at_risk: "a restart before forgets who was met", save })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn id(byte: u8) -> VerifiedId {
        VerifiedId::from_bytes([byte; 32])
    }

    fn known() -> KnownIdentities {
        [("192.0.2.7:8333".parse().unwrap(), id(1)), ("[2001:db8::7]:1".parse().unwrap(), id(0xfe))]
            .into_iter()
            .collect()
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_identities.json");
        (directory, path)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_directory, path) = place();
        assert_eq!(load(&path).unwrap(), KnownIdentities::default());
        for known in [known(), KnownIdentities::default()] {
            save(&path, &known).unwrap();
            assert_eq!(load(&path).unwrap(), known);
        }
    }

    /// Once a damaged file was set aside and everybody met anew: a comma that an editor left opened all doors.
    #[test]
    fn a_damaged_file_is_an_error_and_stays_where_it_is() {
        let (_directory, path) = place();
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        let comma = format!("{{\n  \"192.0.2.7:1\": \"{one}\",\n}}\n");
        let twice = format!("{{\"192.0.2.7:1\": \"{one}\", \"[::ffff:192.0.2.7]:1\": \"{two}\"}}");
        let same_twice = format!("{{\"192.0.2.7:1\": \"{one}\", \"192.0.2.7:1\": \"{two}\"}}");
        let more = "{} {}";
        let cut = &comma[..40];
        let no_address = "{\"192.0.2.7\": \"00\"}";
        let no_id = "{\"192.0.2.7:1\": \"00\"}";
        for damaged in ["", "{", "[]", more, no_address, no_id, &comma, cut, &twice, &same_twice] {
            std::fs::write(&path, damaged).unwrap();
            let why = load(&path).unwrap_err().to_string();
            assert!(why.contains("damaged: ") && why.contains("put it right"), "{damaged}: {why}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_not_an_empty_memory() {
        let (directory, path) = place();
        std::os::unix::fs::symlink(directory.path().join("not mounted"), &path).unwrap();
        let why = load(&path).unwrap_err().to_string();
        assert!(why.contains("not mounted, which is not there; bring that back"), "{why}");
        // And a save, for which nothing was read before, makes no file of it.
        assert!(save(&path, &known()).is_err() && path.is_symlink());
    }

    #[test]
    fn an_address_is_forgotten_however_it_is_written() {
        let (_directory, path) = place();
        save(&path, &known()).unwrap();
        let forget = |text: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            forget(&path, &endpoint, &endpoint.resolve(Duration::from_secs(60)).unwrap())
        };
        assert_eq!(forget("[::ffff:192.0.2.7]:8333"), Ok(vec![("192.0.2.7:8333".parse().unwrap(), id(1))]));
        assert_eq!(load(&path).unwrap().iter().count(), 1);
        let why = forget("192.0.2.7:8333").unwrap_err().to_string();
        assert!(why.contains("cannot forget 192.0.2.7:8333: it is not in"), "{why}");
    }

    /// `forget` took nothing but numbers, where every question takes a name and the name of an interface.
    #[test]
    fn a_name_is_forgotten_at_each_address_that_it_leads_to() {
        let (_directory, path) = place();
        let patience = Duration::from_secs(60);
        let name: Endpoint = "localhost:8333".parse().unwrap();
        let addresses = name.resolve(patience).unwrap();
        let mut both = known();
        addresses.iter().for_each(|address| assert!(both.insert(*address, id(9))));
        save(&path, &both).unwrap();
        let forgotten = forget(&path, &name, &addresses).unwrap();
        assert_eq!(forgotten, addresses.iter().map(|address| (*address, id(9))).collect::<Vec<_>>());
        assert_eq!(load(&path).unwrap(), known());
        let why = forget(&path, &name, &addresses).unwrap_err().to_string();
        assert!(why.contains("cannot forget localhost:8333: it is not in"), "{why}");
    }

    #[test]
    fn what_others_have_saved_meanwhile_is_kept_and_what_they_forgot_does_not_come_back() {
        let (_directory, path) = place();
        let (ours, theirs, gone) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap(), known());
        save(&path, &[(theirs, id(2))].into_iter().collect()).unwrap();
        let mut learned = gone.clone();
        learned.insert(ours, id(1));
        assert_eq!(add(&path, &gone, &learned), Ok(Ok(())));
        assert_eq!(load(&path).unwrap(), [(ours, id(1)), (theirs, id(2))].into_iter().collect());

        // Another process has met somebody else there: one of the two is not who it should be.
        let learned = [(theirs, id(3))].into_iter().collect();
        let conflict = Conflict { address: theirs, saved: id(2), learned: id(3) };
        assert_eq!(add(&path, &KnownIdentities::default(), &learned), Ok(Err(conflict)));
        assert_eq!(load(&path).unwrap().get(theirs), Some(id(2)));
    }
}
