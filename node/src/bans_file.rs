//! `bans.json`: restored at start, saved when a ban is set or lifted, and changed by `ban` where no node runs.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use spacetime_network::chain::ReferenceChain;
use spacetime_network::driver::node::NodeMut;
use spacetime_network::driver::store::bans::{self, DecodedBans, FILE_LEN_MAX, Stamp};
use spacetime_network::driver::store::peers::LoadProblem;
use spacetime_network::driver::store::{DanglingLink, NotAFile, read_bounded};
use spacetime_network::proto::peer::ban::{Ban, Banned, BannedBy, Lifted, TERM_MAX, reason};
use spacetime_network::proto::peer::operator_bans::{OPERATOR_BANS_MAX, TooManyBans};
use spacetime_network::time::{Now, UnixTime};

use crate::cli::{BanAction, BanArgs};
use crate::client::blocking::unix_millis;
use crate::data_dir::DataDir;
use crate::failure::{Failure, disk_remedy, one_line, read_remedy};
use crate::keeper::{Keeper, Kept};
use crate::output;

/// Saves the bans of a running node.
pub(crate) fn keeper(path: &Path) -> Result<Keeper<Vec<Ban>>, Failure> {
    Keeper::start(path, Kept { what: "bans", at_risk: "a restart before lets in who was banned since", save })
}

/// Saves the bans now. The time that remains of each counts from here.
#[allow(clippy::ptr_arg, reason = "what is kept is a list")]
fn save(path: &Path, list: &Vec<Ban>) -> Result<(), Failure> {
    bans::save(path, list, &stamp())
        .map_err(|error| Failure::new(format!("save {}", path.display()), &error, disk_remedy(&error)))
}

/// Gives the node the bans of an earlier run. What cannot be used is reported, and the node goes on without it.
///
/// # Errors
///
/// As for the saved peers.
pub(crate) fn restore(path: &Path, mut node: NodeMut<'_, ReferenceChain>, now: Now) -> Result<(), Failure> {
    let list = load(path, |problem| match problem {
        LoadProblem::DamagedInPart { .. } => {
            tracing::warn!(file = %path.display(), %problem, "starting with the rest of the bans");
        }
        problem => tracing::warn!(file = %path.display(), %problem, "starting without bans"),
    })?;
    node.restore_bans(now, list);
    Ok(())
}

fn load(path: &Path, tell: impl FnOnce(&LoadProblem)) -> Result<Vec<Ban>, Failure> {
    let loaded = bans::load(path, &stamp());
    match &loaded.problem {
        // Whatever keeps us from reading it: to go on without it would let in who is banned, and write over the list.
        Some(LoadProblem::Unreadable(error)) => {
            let is_no_file = DanglingLink::behind(error).is_some() || NotAFile::behind(error).is_some();
            let remedy = if is_no_file { disk_remedy(error) } else { read_remedy(error) };
            return Err(Failure::new(format!("read {}", path.display()), error, remedy));
        }
        Some(problem) => tell(problem),
        None => {}
    }
    Ok(loaded.bans)
}

fn stamp() -> Stamp {
    Stamp::take(UnixTime::from_millis(unix_millis()))
}

/// `ban`: lists or changes the bans in a data directory, or of a node that runs.
pub(crate) fn ban(args: &BanArgs) -> Result<(), Failure> {
    if args.action != BanAction::Add && (args.term.is_some() || args.reason.is_some()) {
        return Err(Failure::usage("--for and --reason are of `ban add` only"));
    }
    match (args.action, args.who) {
        (BanAction::List, Some(_)) => {
            return Err(Failure::usage("`ban list` shows all bans: leave out whom you mean"));
        }
        (BanAction::Add | BanAction::Remove, None) => {
            return Err(Failure::usage(format!(
                "`ban {}` needs an address, a range or a node id, like 192.0.2.7 or 2001:db8::/48",
                args.action.name()
            )));
        }
        _ => {}
    }
    #[cfg(feature = "http")]
    if args.admin.http.is_some() {
        return crate::admin_client::ban(args);
    }
    let data = DataDir::existing(args.data.data_dir.as_deref())?;
    match (args.action, args.who) {
        (BanAction::Add, Some(who)) => add(&data, who, args),
        (BanAction::Remove, Some(who)) => remove(&data, who, args.output.json),
        _ => list(&data, args.output.json),
    }
}

/// A ban as this program prints it.
#[derive(Debug, Serialize)]
pub(crate) struct BanReport {
    who: String,
    by: String,
    /// Missing until it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    reason: String,
}

impl From<&Ban> for BanReport {
    fn from(ban: &Ban) -> Self {
        BanReport {
            who: ban.who.to_string(),
            by: ban.by.label().to_owned(),
            seconds_left: ban.remaining.map(|left| left.as_secs()),
            reason: ban.reason.to_string(),
        }
    }
}

#[cfg(feature = "http")]
impl From<crate::http::bans::BanView> for BanReport {
    fn from(ban: crate::http::bans::BanView) -> Self {
        BanReport { who: ban.who, by: ban.by, seconds_left: ban.seconds_left, reason: ban.reason }
    }
}

/// Prints a list of bans.
pub(crate) fn print(as_json: bool, reports: Vec<BanReport>) -> Result<(), Failure> {
    output::result(as_json, &reports, |reports| reports.iter().map(BanReport::line).collect())
}

impl BanReport {
    fn line(&self) -> String {
        let left = self.seconds_left.map_or("until it is removed".to_owned(), |seconds| {
            format!("for another {}", humantime::format_duration(Duration::from_secs(seconds)))
        });
        let why = if self.reason.is_empty() { String::new() } else { format!("  {}", self.reason) };
        format!("{}  by {}  {left}{why}", self.who, self.by)
    }
}

fn list(data: &DataDir, as_json: bool) -> Result<(), Failure> {
    if data.is_in_use() {
        output::note(format_args!(
            "note: a node is running on {}: these are the bans that it saved last, seconds ago at most if there are new ones",
            data.path().display()
        ));
    }
    // A look: the file stays as it is.
    let path = data.bans();
    let operation = || format!("read {}", path.display());
    let bytes = read_bounded(&path, FILE_LEN_MAX as u64)
        .map_err(|error| Failure::new(operation(), &error, read_remedy(&error)))?;
    let found = bytes.map(|bytes| bans::decode(&bytes, &stamp())).transpose();
    let DecodedBans { bans, bad } = found
        .map_err(|why| Failure::new(operation(), why, "run the node: it sets a damaged file aside"))?
        .unwrap_or_default();
    if let Some(bad) = bad {
        output::note(one_line(&format!("warning: {}: {bad}", path.display())));
    }
    print(as_json, bans.iter().map(BanReport::from).collect())
}

fn add(data: &DataDir, who: Banned, args: &BanArgs) -> Result<(), Failure> {
    // A running node would write it over.
    let _lock = data.lock()?;
    let path = data.bans();
    let mut list = load(&path, warn_of(&path))?;
    list.retain(|ban| ban.who != who || ban.by != BannedBy::Operator);
    if list.iter().filter(|ban| ban.by == BannedBy::Operator).count() >= OPERATOR_BANS_MAX {
        return Err(Failure::plain(format!("ban {who}"), TooManyBans));
    }
    let ban = Ban {
        who,
        by: BannedBy::Operator,
        remaining: args.term.filter(|term| *term <= TERM_MAX),
        reason: reason(args.reason.as_deref().unwrap_or_default()),
    };
    let report = BanReport::from(&ban);
    list.push(ban);
    save(&path, &list)?;
    output::result(args.output.json, &report, |report| vec![format!("banned {}", report.line())])
}

#[derive(Debug, Serialize)]
struct LiftReport {
    who: String,
    removed: usize,
    /// A wider ban that still keeps them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_banned_by: Option<String>,
}

fn remove(data: &DataDir, who: Banned, as_json: bool) -> Result<(), Failure> {
    let _lock = data.lock()?;
    let path = data.bans();
    let mut list = load(&path, warn_of(&path))?;
    let before = list.len();
    list.retain(|ban| !who.contains(&ban.who));
    let still = list.iter().find(|ban| ban.who.contains(&who)).map(|ban| ban.who);
    let lifted = Lifted { lifted: before - list.len(), still };
    if lifted.lifted == 0 {
        return Err(match still {
            Some(wider) => Failure::new(
                format!("remove the ban of {who}"),
                format!("it is banned as a part of {wider}"),
                "remove that one, and ban the rest of it again if you want to",
            ),
            None => Failure::new(format!("remove the ban of {who}"), "there is none", "see `ban list`"),
        });
    }
    save(&path, &list)?;
    let report =
        LiftReport { who: who.to_string(), removed: lifted.lifted, still_banned_by: still.map(|ban| ban.to_string()) };
    output::result(as_json, &report, |report| {
        let still = report.still_banned_by.as_ref();
        let still = still.map_or(String::new(), |wider| format!("; it is still banned as a part of {wider}"));
        vec![format!("removed {} of {}{still}", count(report.removed), report.who)]
    })
}

fn count(bans: usize) -> String {
    if bans == 1 { "the ban".to_owned() } else { format!("{bans} bans") }
}

fn warn_of(path: &Path) -> impl FnOnce(&LoadProblem) + '_ {
    |problem| output::note(one_line(&format!("warning: {}: {problem}", path.display())))
}
