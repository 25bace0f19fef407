//! `--upload-quota`: how much was sent in this period, kept over a restart in `upload_quota.json`, and when old blocks are no longer
//! served for it.
//!
//! A period is counted by the monotonic clock while the node runs and by the wall clock while it does not; one that was set back
//! stands still. So a wrong clock makes a period longer by the time that the node was off at most.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spacetime_network::driver::store::{DanglingLink, NotAFile, read_bounded, replace_file, set_aside};
use spacetime_network::time::{Instant, Now, UnixTime};

use crate::client::blocking::unix_millis;
use crate::failure::{Failure, disk_remedy};
use crate::keeper::{Keeper, Kept};
use crate::value::Quota;

/// Old blocks are served until so many hundredths are used; the rest is for what keeps a network going.
const FOR_HISTORY: u64 = 90;
/// How much may be lost when the process is killed.
const SAVE_EVERY: Duration = Duration::from_secs(10);
const FILE_LEN_MAX: u64 = 4096;

/// What is in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Used {
    /// Bytes sent in this period.
    bytes: u64,
    /// Milliseconds of the period that are over.
    elapsed: u64,
    /// When that was, in milliseconds since 1970.
    saved: i64,
}

/// Counts what is sent against the quota.
#[derive(Debug)]
pub(crate) struct QuotaWatch {
    quota: Quota,
    used: Used,
    keeper: Keeper<Used>,
    /// What the loop had sent, and when, at the last look.
    seen: Option<(Instant, u64)>,
    saved: Option<Instant>,
    serves_history: bool,
}

impl QuotaWatch {
    /// Goes on where an earlier run left off. A damaged file is set aside and told of.
    ///
    /// # Errors
    ///
    /// The file is a link that leads nowhere, or no file at all; or there is no thread to save with.
    pub(crate) fn start(path: &Path, quota: Quota) -> Result<Self, Failure> {
        let now = UnixTime::from_millis(unix_millis());
        let mut used = match read_bounded(path, FILE_LEN_MAX) {
            Ok(None) => Used::default(),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let aside = set_aside(path, now);
                tracing::warn!(file = %path.display(), %error, ?aside, "damaged: the upload quota begins anew");
                Used::default()
            }),
            Err(error) if DanglingLink::behind(&error).is_some() || NotAFile::behind(&error).is_some() => {
                return Err(Failure::new(format!("read {}", path.display()), &error, disk_remedy(&error)));
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the upload quota begins anew");
                Used::default()
            }
        };
        let off = now.since(UnixTime::from_millis(used.saved));
        used.elapsed = used.elapsed.saturating_add(millis(if used.saved == 0 { Duration::ZERO } else { off }));
        let kept = Kept { what: "upload counts", at_risk: "a restart before forgets what was sent", save };
        let keeper = Keeper::start(path, kept)?;
        Ok(QuotaWatch { quota, used, keeper, seen: None, saved: None, serves_history: true })
    }

    /// The loop has sent `sent` bytes since it began. Answers whether old blocks are served from now on, when that has changed.
    pub(crate) fn look(&mut self, now: Now, sent: u64) -> Option<bool> {
        let (at, before) = self.seen.unwrap_or((now.at, 0));
        // Of many short turns nothing is rounded away.
        let passed = millis(now.at.since(at));
        self.seen = Some((at + Duration::from_millis(passed), sent));
        self.used.bytes = self.used.bytes.saturating_add(sent.saturating_sub(before));
        self.used.elapsed = self.used.elapsed.saturating_add(passed);
        self.used.saved = now.unix.as_millis();
        let period = millis(self.quota.period).max(1);
        if self.used.elapsed >= period {
            (self.used.bytes, self.used.elapsed) = (0, self.used.elapsed % period);
        }
        let due = self.saved.is_none_or(|saved| now.at.since(saved) >= SAVE_EVERY);
        self.keeper.keep(due.then_some(self.used));
        if due {
            self.saved = Some(now.at);
        }
        let serves = self.used.bytes < self.quota.bytes / 100 * FOR_HISTORY;
        if serves == self.serves_history {
            return None;
        }
        self.serves_history = serves;
        let (sent, quota) = (self.used.bytes, self.quota.bytes);
        let left = humantime::format_duration(Duration::from_secs(period.saturating_sub(self.used.elapsed) / 1000));
        if serves {
            tracing::info!(quota, "a new period of --upload-quota has begun: old blocks are served again");
        } else {
            tracing::warn!(sent, quota, %left, "--upload-quota is nearly used up: old blocks are not served until its period is over");
        }
        Some(serves)
    }

    /// Saves what was counted last.
    ///
    /// # Errors
    ///
    /// The disk does not take it.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.keeper.keep(Some(self.used));
        self.keeper.finish()
    }
}

fn save(path: &Path, used: &Used) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("save {}", path.display()), &error, disk_remedy(&error));
    let bytes = serde_json::to_vec(used).map_err(|error| failed(error.into()))?;
    replace_file(path, &bytes).map_err(failed)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn quota() -> Quota {
        Quota { bytes: 1000, period: Duration::from_secs(86_400) }
    }

    fn at(millis: u64) -> Now {
        Now { at: Instant::from_millis(millis), unix: UnixTime::from_millis(unix_millis()) }
    }

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upload_quota.json");
        (directory, path)
    }

    #[test]
    fn old_blocks_are_served_until_nine_tenths_are_used_and_again_in_the_next_period() {
        let (_directory, path) = place();
        let mut watch = QuotaWatch::start(&path, quota()).unwrap();
        assert_eq!(watch.look(at(0), 0), None);
        assert_eq!(watch.look(at(1000), 899), None);
        assert_eq!(watch.look(at(2000), 900), Some(false));
        assert_eq!(watch.look(at(DAY - 1), 5000), None);
        assert_eq!(watch.look(at(DAY), 5001), Some(true));
        assert_eq!(watch.look(at(DAY + 1), 5900), None);
        assert_eq!(watch.look(at(DAY + 2), 5901), Some(false));
        watch.finish().unwrap();
    }

    /// A node that was started anew each hour sent twenty-four times its quota.
    #[test]
    fn what_was_sent_is_remembered_over_a_restart_and_a_damaged_file_is_set_aside() {
        let (directory, path) = place();
        let mut watch = QuotaWatch::start(&path, quota()).unwrap();
        watch.look(at(0), 0);
        assert_eq!(watch.look(at(DAY / 2), 950), Some(false));
        watch.finish().unwrap();
        let mut watch = QuotaWatch::start(&path, quota()).unwrap();
        assert_eq!(watch.look(at(7), 0), Some(false), "this run has sent nothing");
        assert_eq!(watch.look(at(DAY / 2 + 7 + 60_000), 0), Some(true), "and the period goes on from its middle");
        watch.finish().unwrap();
        // Saved by a clock that was a year ahead, and a day behind.
        for (off, serves) in [(365 * DAY as i64, Some(false)), (-(DAY as i64), None)] {
            let used = Used { bytes: 950, elapsed: 0, saved: unix_millis() + off };
            save(&path, &used).unwrap();
            let mut watch = QuotaWatch::start(&path, quota()).unwrap();
            assert_eq!(watch.look(at(0), 0), serves, "{off}");
            watch.finish().unwrap();
        }
        std::fs::write(&path, "{").unwrap();
        let mut watch = QuotaWatch::start(&path, quota()).unwrap();
        assert_eq!((watch.look(at(0), 0), std::fs::read_dir(directory.path()).unwrap().count() >= 1), (None, true));
        watch.finish().unwrap();
    }
}
