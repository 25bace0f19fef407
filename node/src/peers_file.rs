//! `peers.json` in a running node: restored at start, saved by a thread of its own while the loop goes on, and once more at
//! the end.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use spacetime_network::chain::ReferenceChain;
use spacetime_network::driver::node::NodeMut;
use spacetime_network::driver::store::peers::{self, BadEntries, FILE_LEN_MAX, LoadProblem};
use spacetime_network::driver::store::{DanglingLink, NotAFile, read_bounded, replace_file};
use spacetime_network::proto::peer::peer_table::{PeerRecord, PeerTable};
use spacetime_network::time::{Now, UnixTime};

use crate::client::blocking::unix_millis;
use crate::client::view;
use crate::failure::{Failure, disk_remedy, read_remedy};
use crate::memory::{self, GIVE_BACK};

/// Writes peers to disk without keeping the loop waiting. Its thread, which has little else to do, gives memory back too.
#[derive(Debug)]
pub(crate) struct Saver {
    /// One save may wait while another is under way; a third comes too soon to matter.
    queue: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread.
    pub(crate) fn start(path: &Path) -> Result<Self, Failure> {
        let (queue, waiting) = sync_channel::<Vec<u8>>(1);
        let path = path.to_path_buf();
        let thread = thread::Builder::new()
            .name("saver".to_owned())
            .spawn(move || {
                loop {
                    match waiting.recv_timeout(GIVE_BACK) {
                        Ok(bytes) => write(&path, &bytes),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    memory::give_back();
                }
            })
            .map_err(|error| Failure::new("start a thread that saves peers", error, "try again"))?;
        Ok(Saver { queue: Some(queue), thread: Some(thread) })
    }

    /// Has the peers saved soon.
    pub(crate) fn save(&self, peers: &PeerTable) {
        if let (Some(queue), Ok(bytes)) = (&self.queue, peers::encode(peers.saved_peers())) {
            // When one save is under way and another waits, the next one comes in half a minute anyway.
            let _ = queue.try_send(bytes);
        }
    }

    /// Waits for what is under way, so that nothing older is written later.
    pub(crate) fn finish(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that saves peers ended early");
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = replace_file(path, bytes) {
        let remedy = disk_remedy(&error);
        tracing::warn!(file = %path.display(), %error, "peers were not saved; {remedy}");
    }
}

/// Gives the node the peers of an earlier run. What cannot be used is reported, and the node goes on without it.
///
/// # Errors
///
/// The file is a link that leads nowhere: what it leads to is wanted back, and nothing could be saved in its place. Or it is
/// no file at all, of which nobody knows what it is good for.
pub(crate) fn restore(path: &Path, mut node: NodeMut<'_, ReferenceChain>, now: Now) -> Result<(), Failure> {
    let loaded = peers::load(path, now);
    match loaded.problem {
        Some(LoadProblem::Unreadable(error))
            if DanglingLink::behind(&error).is_some() || NotAFile::behind(&error).is_some() =>
        {
            return Err(Failure::new(format!("read {}", path.display()), &error, disk_remedy(&error)));
        }
        Some(problem @ LoadProblem::DamagedInPart { .. }) => {
            tracing::warn!(file = %path.display(), %problem, "starting with the rest of the saved peers");
        }
        Some(problem) => tracing::warn!(file = %path.display(), %problem, "starting without the saved peers"),
        None => {}
    }
    node.restore_peers(now, loaded.peers);
    Ok(())
}

/// Saves the peers now.
pub(crate) fn save(path: &Path, peers: &PeerTable) -> Result<(), Failure> {
    peers::save(path, peers.saved_peers())
        .map_err(|error| Failure::new(format!("save {}", path.display()), &error, disk_remedy(&error)))
}

/// The saved peers, for a look from outside: the file stays as it is, whatever it holds. None when there is no file. Beside
/// them, what cannot be used.
pub(crate) fn read(path: &Path) -> Result<(Vec<PeerRecord>, Option<BadEntries>), Failure> {
    let operation = || format!("read {}", path.display());
    let bytes = read_bounded(path, FILE_LEN_MAX as u64).map_err(|error| {
        let remedy = match NotAFile::behind(&error) {
            Some(_) => "move it away: the node makes a new one",
            None => read_remedy(&error),
        };
        Failure::new(operation(), error, remedy)
    })?;
    let now = Now { unix: UnixTime::from_millis(unix_millis()), ..Now::default() };
    match bytes {
        None => Ok((Vec::new(), None)),
        Some(bytes) => peers::decode(&bytes, now)
            .map(|found| (found.peers, found.bad))
            .map_err(|error| Failure::new(operation(), error, "run the node: it sets a damaged file aside")),
    }
}

/// The peers in the shape of the file.
pub(crate) fn as_json(records: &[PeerRecord]) -> Result<serde_json::Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new("show the peers as JSON", error, "run without --json");
    let bytes = peers::encode(records).map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(&error))
}

/// One line: id, address, when it was last seen, blocks, reputation, what it runs.
pub(crate) fn line(peer: &PeerRecord) -> String {
    let address = peer.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    format!(
        "{}  {address}  last seen {}  {} blocks  reputation {}  {}",
        peer.node_id,
        view::time(peer.last_seen.as_millis()),
        peer.chain_length,
        peer.score,
        peer.user_agent
    )
}
