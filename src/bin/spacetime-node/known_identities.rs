//! `known_identities.json`: what `--tls first-use` remembers, an object of addresses and node ids.
//!
//! A person may edit it while the node is stopped: an address that is removed is met as if for the first time.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use spacetime_network::driver::store::{read_bounded, replace_file, set_aside};
use spacetime_network::link::trust::KnownIdentities;
use spacetime_network::time::UnixTime;

use crate::client::talk::unix_millis;
use crate::failure::Failure;

/// Room for all addresses that may be remembered, at about 120 bytes each.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Reads the file. A damaged one is set aside and reported, and everybody is met anew.
pub(crate) fn load(path: &Path) -> Result<KnownIdentities, Failure> {
    let bytes = match read_bounded(path, FILE_LEN_MAX) {
        Ok(bytes) => bytes,
        // To go on would be to trust strangers because a file cannot be read.
        Err(error) => {
            return Err(Failure::new(format!("read {}", path.display()), error, "make it readable for this user"));
        }
    };
    let Some(bytes) = bytes else { return Ok(KnownIdentities::default()) };
    match decode(&bytes) {
        Ok(known) => Ok(known),
        Err(why) => {
            let aside = set_aside(path, UnixTime::from_millis(unix_millis())).map_err(|error| {
                Failure::new(format!("set the damaged {} aside", path.display()), error, "move it away")
            })?;
            tracing::warn!(
                file = %path.display(), why, kept = %aside.display(),
                "the remembered identities are damaged: every node is met anew; compare their ids"
            );
            Ok(KnownIdentities::default())
        }
    }
}

/// Replaces the file.
pub(crate) fn save(path: &Path, known: &KnownIdentities) -> Result<(), Failure> {
    replace_file(path, &encode(known))
        .map_err(|error| Failure::new(format!("save {}", path.display()), error, "make room on the disk"))
}

fn decode(bytes: &[u8]) -> Result<KnownIdentities, String> {
    let object: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let entry = |(address, id): (String, String)| match (address.parse(), id.parse()) {
        (Ok(address), Ok(id)) => Ok((address, id)),
        (Err(_), _) => Err(format!("\"{}\" is no address", address.escape_debug())),
        (_, Err(error)) => Err(format!("{address}: {error}")),
    };
    object.into_iter().map(entry).collect()
}

fn encode(known: &KnownIdentities) -> Vec<u8> {
    // Addresses and hexadecimal digits need no escapes.
    let lines: Vec<String> = known.iter().map(|(address, id)| format!("  \"{address}\": \"{id}\"")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes()
}

/// Saves on a thread of its own, so that a slow disk does not stop the loop. Nothing that was remembered is left out: what
/// cannot be handed over yet is handed over later.
#[derive(Debug)]
pub(crate) struct Keeper {
    path: PathBuf,
    queue: Option<SyncSender<KnownIdentities>>,
    thread: Option<JoinHandle<()>>,
    unsaved: Option<KnownIdentities>,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(path: &Path) -> Result<Self, Failure> {
        let (queue, waiting) = sync_channel(1);
        let of_thread = path.to_path_buf();
        let thread = thread::Builder::new()
            .name("identities".to_owned())
            .spawn(move || waiting.iter().for_each(|known| report(save(&of_thread, &known))))
            .map_err(|error| Failure::new("start a thread that saves identities", error, "try again"))?;
        Ok(Keeper { path: path.to_path_buf(), queue: Some(queue), thread: Some(thread), unsaved: None })
    }

    /// Has this saved soon, or what waited before when there is nothing new.
    pub(crate) fn keep(&mut self, newer: Option<KnownIdentities>) {
        let Some(known) = newer.or_else(|| self.unsaved.take()) else { return };
        let Some(queue) = &self.queue else { return };
        self.unsaved = match queue.try_send(known) {
            Ok(()) => None,
            Err(TrySendError::Full(known) | TrySendError::Disconnected(known)) => Some(known),
        };
    }

    /// Waits for what is under way, then saves what was left.
    pub(crate) fn finish(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that saves identities ended early");
        }
        if let Some(known) = self.unsaved.take() {
            report(save(&self.path, &known));
        }
    }
}

fn report(saved: Result<(), Failure>) {
    if let Err(failure) = saved {
        tracing::warn!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spacetime_network::id::VerifiedId;

    fn known() -> KnownIdentities {
        let id = |byte| VerifiedId::from_bytes([byte; 32]);
        [("192.0.2.7:8333".parse().unwrap(), id(1)), ("[2001:db8::7]:1".parse().unwrap(), id(0xfe))]
            .into_iter()
            .collect()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_identities.json");
        assert_eq!(load(&path).unwrap(), KnownIdentities::default());
        for known in [known(), KnownIdentities::default()] {
            save(&path, &known).unwrap();
            assert_eq!(load(&path).unwrap(), known);
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_identities.json");
        for damaged in ["", "{", "[]", "{\"192.0.2.7\": \"00\"}", "{\"192.0.2.7:1\": \"00\"}"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(load(&path).unwrap(), KnownIdentities::default(), "{damaged}");
            assert!(!path.exists());
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the last one is kept");
        }
    }

    #[test]
    fn the_keeper_leaves_nothing_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_identities.json");
        let mut keeper = Keeper::start(&path).unwrap();
        let mut growing = KnownIdentities::default();
        for (address, id) in known().iter() {
            for port in 1..100 {
                growing.insert(std::net::SocketAddr::new(address.ip(), port), id);
                keeper.keep(Some(growing.clone()));
            }
        }
        keeper.finish();
        assert_eq!(load(&path).unwrap(), growing);
    }
}
