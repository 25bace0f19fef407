//! `bans.json`: who is kept out, for how much longer, by whom and why.
//!
//! A ban is saved with the time that remains of it and the file with the time of the save, so that what passes while no node runs
//! counts too. How much that is says the system's boot clock where it was not started anew in between, and else the wall clock, of
//! which no more is believed than it can prolong a ban by: set back, it counts as standing still. So a clock that is set wrong
//! makes no ban endless; nor does it end one, unless the machine was started anew too.
//!
//! ```text
//! {"Saved": {"At": "2026-01-02T03:04:05.123Z", "Boot": "0d5a...", "Uptime": 1234567, "Check": "89abcdef"},
//! "Bans": [
//! {"Who": "192.0.2.0/24", "By": "operator", "Reason": "spam", "Check": "01234567"},
//! {"Who": "2001:db8:1:2::/64", "By": "rules", "Seconds": 86400, "Reason": "protocol violation", "Check": "fedcba98"}
//! ]}
//! ```
//!
//! `Seconds` is missing where a ban lasts until it is lifted, and `Check` may be where somebody has written the entry by hand. An
//! entry that cannot be used, or does not match its checksum, costs that entry: the rest is loaded, and the file as it was is kept
//! beside it.

use core::time::Duration;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checksum::crc32;
use super::disk::{Disk, System};
use super::peers::{BadEntries, LoadProblem};
use super::{keep_aside_on, read_bounded_on, remove_leftover_on, replace_on, rfc3339, set_aside_on};
use crate::proto::peer::ban::{Ban, Banned, BannedBy, REASON_LEN_MAX, reason};
use crate::proto::peer::operator_bans::OPERATOR_BANS_MAX;
use crate::time::UnixTime;

/// Bans of each sort in a file at most, as many as the tables hold.
pub const BANS_MAX: usize = OPERATOR_BANS_MAX;
/// Bytes in a file at most.
pub const FILE_LEN_MAX: usize = 16 << 20;
/// Bytes of one ban's line at most: an identity, and a reason of nothing but quotes.
const LINE_LEN_MAX: usize = 200 + 2 * REASON_LEN_MAX;

const _: () = assert!(2 * BANS_MAX * LINE_LEN_MAX + 1024 <= FILE_LEN_MAX);

/// What the clocks say, of which one can be wrong: for how long no node ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The wall clock.
    pub unix: UnixTime,
    /// Which start of the system it is and how long ago that was, where the system says.
    pub boot: Option<(String, Duration)>,
}

impl Stamp {
    /// Asks the system for what it knows besides the wall clock: Linux has a name for each of its starts, and a clock that counts
    /// from there, sleep included.
    pub fn take(unix: UnixTime) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let boot = read("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        let seconds = read("/proc/uptime").and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        let uptime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Stamp { unix, boot: boot.zip(uptime) }
    }

    /// How long after `saved` this is, as far as can be told; zero where a clock was set back.
    pub fn since(&self, saved: &Stamp) -> Duration {
        match (&saved.boot, &self.boot) {
            // In a container the clock may begin anew without the name.
            (Some((before, then)), Some((after, now))) if before == after && now >= then => *now - *then,
            _ => self.unix.since(saved.unix),
        }
    }
}

/// What was found in a file.
#[derive(Debug, Default)]
pub struct LoadedBans {
    /// The bans that are still in force; empty when there is no file, or nothing in it that can be used.
    pub bans: Vec<Ban>,
    /// To be reported.
    pub problem: Option<LoadProblem>,
}

/// Loads the bans at `path`, `now` being the time. A file that is damaged, or a copy of one that is damaged in part, is kept as
/// `NAME.damaged-<unix seconds>`, of which only the newest stays.
pub fn load(path: &Path, now: &Stamp) -> LoadedBans {
    load_on(&System, path, now)
}

fn load_on(disk: &impl Disk, path: &Path, now: &Stamp) -> LoadedBans {
    remove_leftover_on(disk, path);
    let aside = |why: String| LoadProblem::Damaged { why, set_aside: set_aside_on(disk, path, now.unix) };
    let problem = match read_bounded_on(disk, path, FILE_LEN_MAX as u64) {
        Ok(None) => None,
        Ok(Some(bytes)) => match decode(&bytes, now) {
            Ok(DecodedBans { bans, bad }) => {
                let copied = || keep_aside_on(disk, path, &bytes, now.unix);
                let problem = bad.map(|bad| LoadProblem::DamagedInPart { bad, copied: copied() });
                return LoadedBans { bans, problem };
            }
            Err(why) => Some(aside(why)),
        },
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Some(aside(format!("larger than {FILE_LEN_MAX} bytes")))
        }
        Err(error) => Some(LoadProblem::Unreadable(error)),
    };
    LoadedBans { bans: Vec::new(), problem }
}

/// Saves `bans` at `path` in one step, `now` being the time from which on their remaining time counts.
///
/// # Errors
///
/// As [`replace_file`](super::replace_file); the old file is still there then.
pub fn save(path: &Path, bans: &[Ban], now: &Stamp) -> io::Result<()> {
    replace_on(&System, path, &encode(bans, now)?, false)
}

/// The file's bytes, as [`save`] writes them: a ban per line, at most [`BANS_MAX`] of each sort.
///
/// # Errors
///
/// None that can occur: text and numbers are always JSON.
pub fn encode(bans: &[Ban], now: &Stamp) -> io::Result<Vec<u8>> {
    let saved = StoredStamp::from(now);
    let mut text = format!("{{\"Saved\": {},\n\"Bans\": [", serde_json::to_string(&saved)?);
    let mut counts = [0usize; 2];
    let mut separator = "\n";
    for ban in bans {
        let [of_rules, of_operator] = &mut counts;
        let count = if ban.by == BannedBy::Rules { of_rules } else { of_operator };
        if *count >= BANS_MAX {
            continue;
        }
        *count += 1;
        text.push_str(separator);
        text.push_str(&serde_json::to_string(&StoredBan::from(ban))?);
        separator = ",\n";
    }
    text.push_str("\n]}\n");
    Ok(text.into_bytes())
}

/// What a file's bytes name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodedBans {
    /// The bans in force, in the file's order.
    pub bans: Vec<Ban>,
    /// What was passed over, to be reported.
    pub bad: Option<BadEntries>,
}

/// The bans that the file's bytes name, `now` being the time. Of two entries for the same the first counts, of more than
/// [`BANS_MAX`] of a sort the first ones, and of a file that breaks off what came before.
///
/// # Errors
///
/// There is nothing in it that can be used, although it is not an empty list: what is wrong.
pub fn decode(bytes: &[u8], now: &Stamp) -> Result<DecodedBans, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Found::default();
    match serde_json::from_slice::<StoredFile<'_>>(bytes) {
        Ok(file) => {
            let saved = file.saved.map(|saved| saved.get());
            let passed = found.passed(saved, now);
            file.bans.iter().for_each(|ban| found.entry(ban.get(), passed));
        }
        Err(error) => {
            // Damage within one line costs that line.
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<&str> = text.lines().map(|line| line.trim().trim_end_matches(',')).collect();
            let saved = lines.iter().find_map(|line| line.strip_prefix("{\"Saved\":"));
            let passed = found.passed(saved, now);
            for line in lines.iter().filter(|line| line.starts_with("{\"Who\"")) {
                found.entry(line, passed);
            }
            found.bad = Some(BadEntries { count: 0, first: error.to_string() });
        }
    }
    match found.bad {
        Some(bad) if found.seen.is_empty() => Err(bad.first),
        bad => Ok(DecodedBans { bans: found.bans, bad }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredFile<'a> {
    #[serde(borrow, default)]
    saved: Option<&'a RawValue>,
    #[serde(borrow)]
    bans: Vec<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredStamp {
    at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uptime: Option<u64>,
    #[serde(default)]
    check: Option<String>,
}

impl StoredStamp {
    fn checksum(&self) -> String {
        check(&format!("{} {:?} {:?}", self.at, self.boot, self.uptime))
    }
}

impl From<&Stamp> for StoredStamp {
    fn from(stamp: &Stamp) -> Self {
        let (boot, uptime) = stamp.boot.clone().unzip();
        let uptime = uptime.map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX));
        let mut stored = StoredStamp { at: rfc3339::format(stamp.unix), boot, uptime, check: None };
        stored.check = Some(stored.checksum());
        stored
    }
}

/// One ban as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredBan {
    who: String,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<String>,
}

impl StoredBan {
    fn checksum(&self) -> String {
        check(&format!("{} {} {:?} {}", self.who, self.by, self.seconds, self.reason))
    }
}

impl From<&Ban> for StoredBan {
    fn from(ban: &Ban) -> Self {
        // Rounded up, so that nobody comes back before his time.
        let seconds = ban.remaining.map(|left| left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)));
        let (who, by) = (ban.who.to_string(), ban.by.label().to_owned());
        let mut stored = StoredBan { who, by, seconds, reason: ban.reason.to_string(), check: None };
        stored.check = Some(stored.checksum());
        stored
    }
}

fn check(text: &str) -> String {
    format!("{:08x}", crc32(text.as_bytes()))
}

/// What was found so far.
#[derive(Default)]
struct Found {
    bans: Vec<Ban>,
    /// All that can be used, be it over or not.
    seen: BTreeSet<(BannedBy, Banned)>,
    counts: BTreeMap<BannedBy, usize>,
    bad: Option<BadEntries>,
}

impl Found {
    /// How long the bans were in force while nobody counted; none of it where that cannot be told.
    fn passed(&mut self, saved: Option<&str>, now: &Stamp) -> Duration {
        let Some(saved) = saved else { return Duration::ZERO };
        let stamp = serde_json::from_str::<StoredStamp>(saved).ok().and_then(|stored| {
            let is_whole = stored.check.as_ref().is_none_or(|check| *check == stored.checksum());
            let boot = stored.boot.zip(stored.uptime.map(Duration::from_millis));
            let unix = rfc3339::parse(&stored.at).filter(|_| is_whole)?;
            Some(Stamp { unix, boot })
        });
        match stamp {
            Some(stamp) => now.since(&stamp),
            None => {
                self.blame("the time of the save".to_owned(), "it cannot be read");
                Duration::ZERO
            }
        }
    }

    fn entry(&mut self, text: &str, passed: Duration) {
        let name = || text.chars().take(80).collect::<String>();
        let stored: StoredBan = match serde_json::from_str(text) {
            Ok(stored) => stored,
            Err(error) => return self.blame(name(), &error.to_string()),
        };
        if stored.check.as_ref().is_some_and(|check| *check != stored.checksum()) {
            return self
                .blame(stored.who, "it does not match its Check, which an entry that is changed by hand may lack");
        }
        let by = match stored.by.as_str() {
            "rules" => BannedBy::Rules,
            "operator" => BannedBy::Operator,
            _ => return self.blame(stored.who, "By is neither rules nor operator"),
        };
        let who: Banned = match stored.who.parse() {
            Ok(who) => who,
            Err(error) => return self.blame(stored.who, &format!("{error}")),
        };
        let count = self.counts.entry(by).or_default();
        if by == BannedBy::Rules && (who.origin().is_none() || stored.seconds.is_none()) {
            return self.blame(stored.who, "the rules ban nobody in this way");
        } else if self.seen.contains(&(by, who)) {
            return self.blame(stored.who, "it is there twice");
        } else if *count >= BANS_MAX {
            return self.blame(stored.who, &format!("more than {BANS_MAX} bans"));
        }
        *count += 1;
        self.seen.insert((by, who));
        let reason: Cow<'static, str> = reason(&stored.reason);
        let ban = Ban { who, by, remaining: stored.seconds.map(Duration::from_secs), reason };
        self.bans.extend(ban.after(passed));
    }

    fn blame(&mut self, what: String, why: &str) {
        let what: String = what.chars().take(80).collect();
        let first = || BadEntries { count: 0, first: format!("{what:?}: {why}") };
        self.bad.get_or_insert_with(first).count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_secs(1_800_000_000 + seconds)
    }

    fn stamp(seconds: i64) -> Stamp {
        Stamp { unix: at(seconds), boot: None }
    }

    fn ban(who: &str, by: BannedBy, remaining: Option<Duration>) -> Ban {
        Ban { who: who.parse().unwrap(), by, remaining, reason: "a \"word\"".into() }
    }

    fn bans() -> Vec<Ban> {
        let id = "ab".repeat(32);
        vec![
            ban("192.0.2.0/20", BannedBy::Operator, None),
            ban(&id, BannedBy::Operator, Some(HOUR)),
            ban("192.0.2.7", BannedBy::Rules, Some(HOUR * 2)),
            ban("2001:db8:1::/48", BannedBy::Rules, Some(HOUR * 3)),
            ban(&id, BannedBy::Rules, Some(HOUR * 4)),
        ]
    }

    fn text() -> String {
        String::from_utf8(encode(&bans(), &stamp(0)).unwrap()).unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded_less_the_time_that_passed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bans.json");
        assert!(load(&path, &stamp(0)).bans.is_empty());
        save(&path, &bans(), &stamp(0)).unwrap();
        let loaded = load(&path, &stamp(0));
        assert_eq!((loaded.bans, loaded.problem.is_none()), (bans(), true));
        let later: Vec<Ban> = bans().into_iter().filter_map(|ban| ban.after(HOUR * 2)).collect();
        assert_eq!((later.len(), load(&path, &stamp(7200)).bans), (3, later));
        // What was not whole seconds is rounded up.
        let odd = [ban("192.0.2.7", BannedBy::Rules, Some(Duration::from_millis(1001)))];
        save(&path, &odd, &stamp(0)).unwrap();
        assert_eq!(load(&path, &stamp(0)).bans, [ban("192.0.2.7", BannedBy::Rules, Some(Duration::from_secs(2)))]);
        save(&path, &[], &stamp(0)).unwrap();
        assert!(load(&path, &stamp(0)).problem.is_none(), "no bans is no damage");
    }

    #[test]
    fn a_wall_clock_that_was_set_neither_ends_a_ban_nor_prolongs_it() {
        let boot = |name: &str, seconds| Some((name.to_owned(), Duration::from_secs(seconds)));
        let year = YEAR.as_secs() as i64;
        for (then, now, passed) in [
            // The system was not started anew: the wall clock has no say.
            (Stamp { unix: at(0), boot: boot("a", 50) }, Stamp { unix: at(year), boot: boot("a", 110) }, 60),
            (Stamp { unix: at(0), boot: boot("a", 50) }, Stamp { unix: at(-year), boot: boot("a", 110) }, 60),
            // It was: nobody knows better.
            (Stamp { unix: at(0), boot: boot("a", 50) }, Stamp { unix: at(70), boot: boot("b", 10) }, 70),
            (Stamp { unix: at(0), boot: boot("a", 50) }, Stamp { unix: at(-year), boot: boot("b", 10) }, 0),
            // A container that was started anew on the same system.
            (Stamp { unix: at(0), boot: boot("a", 50) }, Stamp { unix: at(70), boot: boot("a", 10) }, 70),
            (stamp(0), stamp(70), 70),
            (stamp(0), stamp(-year), 0),
        ] {
            let expected: Vec<Ban> =
                bans().into_iter().filter_map(|ban| ban.after(Duration::from_secs(passed))).collect();
            let decoded = decode(&encode(&bans(), &then).unwrap(), &now).unwrap();
            assert_eq!(decoded, DecodedBans { bans: expected, bad: None }, "{then:?} {now:?}");
        }
        if cfg!(target_os = "linux") {
            let now = Stamp::take(at(0));
            assert!(now.boot.is_some() && Stamp::take(at(year)).since(&now) < HOUR, "{now:?}");
        }
    }

    /// A flipped bit would ban somebody else.
    #[test]
    fn a_changed_byte_costs_one_ban_or_is_reported_as_damage() {
        let whole = text();
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 1;
            match decode(&bytes, &stamp(0)) {
                Err(_) => {}
                Ok(DecodedBans { bans: found, bad }) => {
                    let expected = bans();
                    assert!(found.iter().all(|ban| expected.contains(ban)), "{at}: {found:?}");
                    assert!(bad.is_some() || found == expected, "{at}");
                    // Without what is between them, two lines are one.
                    let most = if whole.as_bytes()[at] == b'\n' { 2 } else { 1 };
                    assert!(found.len() + most >= expected.len(), "{at}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn of_a_file_that_breaks_off_what_came_before_is_used() {
        let whole = text();
        for len in 0..whole.len() - 3 {
            let decoded = decode(&whole.as_bytes()[..len], &stamp(0));
            let lines =
                whole[..len].lines().filter(|line| line.starts_with("{\"Who\"") && line.ends_with("},")).count();
            match decoded {
                Ok(DecodedBans { bans: found, bad }) => {
                    assert!(found.len() >= lines && found == bans()[..found.len()] && bad.is_some(), "{len}");
                }
                Err(_) => assert_eq!(lines, 0, "{len}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_kept_aside() {
        let entry = |who: &str, rest: &str| format!("{{\"Who\": \"{who}\", {rest}}}");
        let by_hand = entry("192.0.2.9", "\"By\": \"operator\", \"Seconds\": 60");
        for (bad, why) in [
            (entry("192.0.2.9:7", "\"By\": \"operator\""), "without a port"),
            (entry("192.0.2.9", "\"By\": \"me\""), "neither rules nor operator"),
            (entry("192.0.2.0/25", "\"By\": \"rules\", \"Seconds\": 1"), "in this way"),
            (entry("192.0.2.8", "\"By\": \"rules\""), "in this way"),
            (entry("192.0.2.9/32", "\"By\": \"operator\""), "there twice"),
            (entry("192.0.2.8", "\"By\": \"operator\", \"Seconds\": -1"), "invalid value"),
            (entry("192.0.2.8", "\"By\": \"operator\", \"Seconds\": 1e400"), "out of range"),
            ("[[[[]]]]".to_owned(), "invalid type"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("bans.json");
            fs::write(&path, format!("{{\"Bans\": [{by_hand}, {bad}]}}")).unwrap();
            let loaded = load(&path, &stamp(0));
            let expected = Ban { reason: "".into(), ..ban("192.0.2.9", BannedBy::Operator, Some(HOUR / 60)) };
            assert_eq!(loaded.bans, [expected], "{bad}");
            let problem = loaded.problem.unwrap();
            assert!(problem.to_string().contains(why), "{bad}: {problem}");
            let LoadProblem::DamagedInPart { copied: Ok(aside), .. } = problem else { panic!("{problem:?}") };
            assert!(fs::read_to_string(aside).unwrap().contains(&bad));
        }
        for damaged in ["", "{", "[]", "null", "{\"Bans\": [7]}", "{\"Bans\": 7}", "\u{feff}"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("bans.json");
            fs::write(&path, damaged).unwrap();
            let loaded = load(&path, &stamp(0));
            assert!(matches!(loaded.problem, Some(LoadProblem::Damaged { set_aside: Ok(_), .. })), "{damaged}");
            assert!(loaded.bans.is_empty() && !path.exists(), "{damaged}");
        }
    }

    #[test]
    fn a_file_of_as_many_bans_as_there_may_be_fits_and_more_are_passed_over() {
        let reason: Cow<'static, str> = "\"".repeat(REASON_LEN_MAX).into();
        let one = |n: usize, by| Ban {
            who: format!("10.{}.{}.1", n / 256, n % 256).parse().unwrap(),
            by,
            remaining: Some(HOUR),
            reason: reason.clone(),
        };
        let of = |by| (0..=BANS_MAX).map(move |n| (n, by));
        let all: Vec<Ban> = of(BannedBy::Rules).chain(of(BannedBy::Operator)).map(|(n, by)| one(n, by)).collect();
        let bytes = encode(&all, &stamp(0)).unwrap();
        assert!(bytes.len() < FILE_LEN_MAX);
        assert_eq!(decode(&bytes, &stamp(0)).unwrap().bans.len(), 2 * BANS_MAX);
    }
}
