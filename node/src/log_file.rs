//! A log in a file, which is begun anew under its name after somebody moved it away.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use spacetime_network::driver::store::open_file;

use crate::failure::disk_remedy;
use crate::output;

/// How long after a failed try the next one is: a disk that is full, or a directory that somebody is about to make.
const RETRY: Duration = Duration::from_secs(5);

/// The file that lines are written to now.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Somebody asked that it be begun anew, and nobody has begun to.
    is_asked: AtomicBool,
    /// A thread sees to it.
    is_tended: AtomicBool,
}

impl LogFile {
    /// Opens it to write behind what it holds.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = Mutex::new(open(path)?);
        Ok(LogFile { path: path.to_owned(), file, is_asked: AtomicBool::new(false), is_tended: AtomicBool::new(false) })
    }

    /// Where the next line goes.
    pub(crate) fn current(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins it anew under its name, tried again until that works; lines go to the old file meanwhile. Waits for nothing, not
    /// even the disk: it is called where signals are watched.
    pub(crate) fn reopen(self: &Arc<Self>) {
        self.is_asked.store(true, Ordering::SeqCst);
        if self.is_tended.swap(true, Ordering::SeqCst) {
            return;
        }
        let file = Arc::clone(self);
        let tending = thread::Builder::new().name("log file".to_owned()).spawn(move || file.tend(RETRY));
        if let Err(error) = tending {
            self.is_tended.store(false, Ordering::SeqCst);
            tracing::warn!(%error, "the log cannot be opened anew; send the signal again");
        }
    }

    fn tend(&self, pause: Duration) {
        let mut told = false;
        loop {
            self.is_asked.store(false, Ordering::SeqCst);
            match open(&self.path) {
                Ok(opened) => {
                    *self.current() = opened;
                    if told {
                        tracing::info!(file = %self.path.display(), "the log is in its file again");
                    }
                    self.is_tended.store(false, Ordering::SeqCst);
                    // Who asked since then saw that somebody tends to it, and left.
                    if !self.is_asked.load(Ordering::SeqCst) || self.is_tended.swap(true, Ordering::SeqCst) {
                        return;
                    }
                    told = false;
                }
                Err(error) => {
                    if !told {
                        let remedy = disk_remedy(&error);
                        // The old file may be one that nobody looks at any more.
                        output::note(format_args!(
                            "warning: cannot open {} anew: {error}; {remedy}",
                            self.path.display()
                        ));
                        tracing::warn!(
                            file = %self.path.display(), %error,
                            "the log cannot be opened anew and goes on in the old file; it is tried again; {remedy}"
                        );
                    }
                    told = true;
                    thread::sleep(pause);
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    open_file(&options, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    /// The directory had gone for a moment, and the node wrote for weeks to a file without a name.
    #[test]
    fn what_cannot_be_opened_is_tried_again_and_nothing_is_lost_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let (place, away) = (directory.path().join("logs"), directory.path().join("away"));
        fs::create_dir(&place).unwrap();
        let log = Arc::new(LogFile::open(&place.join("node.log")).unwrap());
        log.current().write_all(b"one\n").unwrap();
        fs::rename(&place, &away).unwrap();
        let tended = {
            log.is_tended.store(true, Ordering::SeqCst);
            let log = Arc::clone(&log);
            thread::spawn(move || log.tend(Duration::from_millis(1)))
        };
        log.current().write_all(b"two\n").unwrap();
        fs::create_dir(&place).unwrap();
        tended.join().unwrap();
        log.current().write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(away.join("node.log")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(place.join("node.log")).unwrap(), "three\n");
        assert!(!log.is_tended.load(Ordering::SeqCst), "the next signal is heard");
    }
}
