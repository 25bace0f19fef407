//! What is kept in a file and must not be left out: saved on a thread of its own, so that a slow disk does not stop the loop.
//!
//! What cannot be handed over yet is handed over later, and what could not be saved is tried again until it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::failure::Failure;

/// How long after a failed save the next is tried; twice as long after each.
const RETRY: Duration = Duration::from_millis(250);
/// The longest time between two tries.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Saves of this process that failed, by what was to be saved.
static FAILED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// How often saving failed since the process began, by what was to be saved: all that a [`Keeper`] was started for.
pub(crate) fn failed_saves() -> Vec<(&'static str, u64)> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(what, count)| (*what, *count)).collect()
}

fn count_failed(what: &'static str, more: u64) {
    *FAILED.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += more;
}

/// What is kept.
pub(crate) struct Kept<T> {
    /// Its name, in the plural: what is not saved, or is again.
    pub(crate) what: &'static str,
    /// What an operator loses when the node ends before it is saved.
    pub(crate) at_risk: &'static str,
    /// Replaces the file.
    pub(crate) save: fn(&Path, &T) -> Result<(), Failure>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kept<T> {}

/// Saves the newest state of something, each of which holds all that was to be saved before.
#[derive(Debug)]
pub(crate) struct Keeper<T> {
    path: PathBuf,
    save: fn(&Path, &T) -> Result<(), Failure>,
    queue: Option<SyncSender<T>>,
    /// Answers what it could not save.
    thread: Option<JoinHandle<Option<T>>>,
    unsaved: Option<T>,
}

impl<T: Send + 'static> Keeper<T> {
    /// Starts the thread.
    pub(crate) fn start(path: &Path, kept: Kept<T>) -> Result<Self, Failure> {
        let (queue, waiting) = sync_channel(1);
        count_failed(kept.what, 0);
        let of_thread = path.to_path_buf();
        let thread = thread::Builder::new()
            .name(kept.what.to_owned())
            .spawn(move || save_all(&of_thread, kept, &waiting))
            .map_err(|error| Failure::new(format!("start a thread that saves {}", kept.what), error, "try again"))?;
        let path = path.to_path_buf();
        Ok(Keeper { path, save: kept.save, queue: Some(queue), thread: Some(thread), unsaved: None })
    }

    /// Has this saved soon, or what waited before when there is nothing new. Never blocks.
    pub(crate) fn keep(&mut self, newer: Option<T>) {
        let Some(known) = newer.or_else(|| self.unsaved.take()) else { return };
        let Some(queue) = &self.queue else { return };
        self.unsaved = match queue.try_send(known) {
            Ok(()) => None,
            Err(TrySendError::Full(known) | TrySendError::Disconnected(known)) => Some(known),
        };
    }

    /// Waits for what is under way, then saves what was left.
    ///
    /// # Errors
    ///
    /// The disk does not take it: it is lost.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.queue = None;
        let failed = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(failed)) => failed,
            Some(Err(_)) => {
                tracing::error!(file = %self.path.display(), "the thread that saves it ended early");
                None
            }
            None => None,
        };
        // What was not handed over is the newer.
        let left = self.unsaved.take().or(failed);
        left.map_or(Ok(()), |known| (self.save)(&self.path, &known))
    }
}

/// Saves what comes until no more can come. A save that fails is tried again, later each time, unless something newer comes,
/// which holds all that was to be saved before. Answers what is still unsaved at the end.
fn save_all<T>(path: &Path, kept: Kept<T>, waiting: &Receiver<T>) -> Option<T> {
    let mut unsaved = None;
    let mut told: Option<Failure> = None;
    let mut pause = RETRY;
    loop {
        let next = match unsaved {
            None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => waiting.recv_timeout(pause),
        };
        match next {
            Ok(known) => unsaved = Some(known),
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(RETRY_MAX),
            Err(RecvTimeoutError::Disconnected) => return unsaved,
        }
        let Some(known) = &unsaved else { continue };
        match (kept.save)(path, known) {
            Ok(()) => {
                if told.take().is_some() {
                    tracing::info!(file = %path.display(), "{} are saved again", kept.what);
                }
                (unsaved, pause) = (None, RETRY);
            }
            Err(failure) => {
                count_failed(kept.what, 1);
                if told.as_ref() != Some(&failure) {
                    tracing::warn!("{failure}; it is tried again, but {}", kept.at_risk);
                }
                told = Some(failure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spacetime_network::driver::store::replace_file;

    const NUMBERS: Kept<u64> = Kept { what: "numbers", at_risk: "they are lost", save };

    fn save(path: &Path, number: &u64) -> Result<(), Failure> {
        replace_file(path, number.to_string().as_bytes()).map_err(|error| Failure::new("save", error, "try again"))
    }

    fn load(path: &Path) -> Option<u64> {
        std::fs::read_to_string(path).ok()?.parse().ok()
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers.json");
        (directory, path)
    }

    /// What stands where a new file would be written first: nobody can save, whatever the user's rights.
    fn jam(path: &Path) -> PathBuf {
        let jam = path.with_extension("json.tmp");
        std::fs::create_dir(&jam).unwrap();
        jam
    }

    #[test]
    fn the_keeper_leaves_nothing_out() {
        let (_directory, path) = place();
        let mut keeper = Keeper::start(&path, NUMBERS).unwrap();
        (0..200).for_each(|number| keeper.keep(Some(number)));
        assert_eq!((keeper.finish(), load(&path)), (Ok(()), Some(199)));
    }

    /// Once a save that failed was lost, though the disk had room again seconds later.
    #[test]
    fn a_save_that_failed_is_tried_until_the_disk_takes_it() {
        let (_directory, path) = place();
        let jam = jam(&path);
        let mut keeper = Keeper::start(&path, NUMBERS).unwrap();
        keeper.keep(Some(7));
        std::fs::remove_dir(jam).unwrap();
        while load(&path) != Some(7) {
            thread::yield_now();
        }
        assert_eq!(keeper.finish(), Ok(()));
    }

    #[test]
    fn what_the_disk_never_took_is_saved_at_the_end_or_reported() {
        let (_directory, path) = place();
        let jam = jam(&path);
        for works in [false, true] {
            let (queue, waiting) = sync_channel(1);
            queue.send(7).unwrap();
            drop(queue);
            let failed = save_all(&path, NUMBERS, &waiting);
            assert_eq!(failed, Some(7));
            if works {
                std::fs::remove_dir(&jam).unwrap();
            }
            let mut keeper = Keeper { path: path.clone(), save, queue: None, thread: None, unsaved: failed };
            assert_eq!(keeper.finish().is_ok(), works);
        }
        assert_eq!(load(&path), Some(7));
    }
}
