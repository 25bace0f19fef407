//! What the program says when it cannot do what was asked: one line and an exit code.
//!
//! A line names what was tried, what happened and what to do about it, so that an operator needs neither the source nor a
//! stack trace. Exit codes: 1 failed, 2 wrong usage, 3 the node that was asked is there, but full.

use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use spacetime_network::config::ConfigErrors;
use spacetime_network::driver::store::{DanglingLink, NotAFile};

use crate::safe_text::clean;

/// Why a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line, the environment or the configuration file is wrong.
    Usage(String),
    /// It was tried and did not work.
    Failed(String),
    /// The node that was asked is there, and has no place for us: not the same to a health check as a dead one.
    Full(String),
    /// Whoever read our standard output has left: nothing to say, and nobody to say it to.
    OutputClosed,
}

impl Failure {
    /// "cannot `operation`: `happened`; `remedy`".
    pub(crate) fn new(operation: impl Display, happened: impl Display, remedy: impl Display) -> Self {
        Failure::Failed(one_line(&format!("cannot {operation}: {happened}; {remedy}")))
    }

    /// "cannot `operation`: `happened`", where the cause says by itself what to do.
    pub(crate) fn plain(operation: impl Display, happened: impl Display) -> Self {
        Failure::Failed(one_line(&format!("cannot {operation}: {happened}")))
    }

    /// "cannot `operation`: `remedy`", of a node that has no place for us.
    pub(crate) fn full(operation: impl Display, remedy: impl Display) -> Self {
        Failure::Full(one_line(&format!("cannot {operation}: {remedy}")))
    }

    /// A wrong value or a wrong combination of values.
    pub(crate) fn usage(what: impl Display) -> Self {
        Failure::Usage(one_line(&what.to_string()))
    }

    /// Settings that the library does not take: all of them, with what each must be.
    pub(crate) fn settings(errors: &ConfigErrors) -> Self {
        Failure::usage(format_args!("settings that cannot work: {errors}"))
    }

    /// What an error on standard output means.
    pub(crate) fn from_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::new("write to standard output", error, "check where it is redirected to")
        }
    }

    /// Prints the line on standard error and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Failure::OutputClosed => ExitCode::SUCCESS,
            Failure::Failed(line) => {
                say(line);
                ExitCode::from(1)
            }
            Failure::Usage(line) => {
                say(line);
                ExitCode::from(2)
            }
            Failure::Full(line) => {
                say(line);
                ExitCode::from(3)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(line) | Failure::Failed(line) | Failure::Full(line) => f.write_str(line),
            Failure::OutputClosed => f.write_str("standard output is closed"),
        }
    }
}

fn say(line: &str) {
    use io::Write;
    // A closed standard error must not turn a report into a panic, as `eprintln!` would.
    let _ = writeln!(io::stderr(), "error: {}", clean(line));
}

/// What to do when a file could not be read or written.
pub(crate) fn disk_remedy(error: &io::Error) -> &'static str {
    if DanglingLink::behind(error).is_some() {
        return "bring that back (is its disk mounted?), or remove the link to begin anew";
    }
    if NotAFile::behind(error).is_some() {
        return "bring back the file that was there, or move that away";
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        io::ErrorKind::FileTooLarge => "make room: the file may not become larger (see ulimit -f)",
        io::ErrorKind::ReadOnlyFilesystem => "make the file system writable, or choose another --data-dir",
        io::ErrorKind::PermissionDenied => "make the directory writable for this user, or choose another --data-dir",
        _ => "look at the directory and at the disk's health",
    }
}

/// What to do when a file could not be read.
pub(crate) fn read_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "make it readable for this user",
        io::ErrorKind::FileTooLarge => "it is larger than any such file: move it away",
        _ => disk_remedy(error),
    }
}

/// Joins what other libraries print on several lines, and makes what strangers said safe to print.
pub(crate) fn one_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_its_cause_prints() {
        let failure = Failure::new("open x", "line one\n  line two\x1b[31m", "try y");
        assert_eq!(failure.to_string(), "cannot open x: line one line two\\u{1b}[31m; try y");
    }

    #[test]
    fn settings_that_cannot_work_are_all_told_in_one_line() {
        let mut config = spacetime_network::proto::Config::default();
        (config.version, config.serving_rate) = (3, 0);
        let failure = Failure::settings(&config.validate().unwrap_err());
        let told = "settings that cannot work: version must be 1 or 2, not 3; \
                    serving_rate must be more than zero, or no peer ever gets a block";
        assert_eq!(failure, Failure::Usage(told.to_owned()));
    }

    #[test]
    fn a_reader_that_left_is_no_failure_to_talk_about() {
        let left = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from_output(&left), Failure::OutputClosed);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(Failure::from_output(&full), Failure::Failed(_)));
    }

    #[test]
    fn room_is_asked_for_only_where_there_is_none() {
        let remedy = |kind: io::ErrorKind| disk_remedy(&kind.into());
        assert_eq!(remedy(io::ErrorKind::StorageFull), "make room on the disk");
        for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
            assert!(remedy(kind).contains("writable"), "{kind}");
        }
        assert!(!remedy(io::ErrorKind::IsADirectory).contains("room"));
    }
}
