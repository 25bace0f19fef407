//! Standard output: results, as lines for people or as one JSON document for scripts. What is printed here is made safe here.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::safe_text::{clean, clean_json, clean_lines};

/// What a terminal that was closed says to a write; it has no kind of its own.
const EIO: i32 = 5;

/// Prints one line and flushes it, so that a script that waits for it sees it now.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    write(clean(&text.to_string())).map_err(|error| Failure::from_output(&error))
}

/// Prints a line for whoever started the program. When they have left, or closed their terminal, that is no failure.
pub(crate) fn announce(text: impl Display) -> Result<(), Failure> {
    match write(clean(&text.to_string())) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && error.raw_os_error() != Some(EIO) => {
            Err(Failure::from_output(&error))
        }
        _ => Ok(()),
    }
}

/// Prints a text of our own that has several lines.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    write(clean_lines(text)).map_err(|error| Failure::from_output(&error))
}

/// Prints lines, flushed once at the end.
pub(crate) fn lines<T: Display>(texts: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    texts
        .into_iter()
        .try_for_each(|text| writeln!(out, "{}", clean(&text.to_string())))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from_output(&error))
}

fn write(text: String) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Prints one JSON document on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new("write the result as JSON", error, "run without --json"))?;
    write(clean_json(&text)).map_err(|error| Failure::from_output(&error))
}

/// Prints a result once: as JSON when it was asked for, otherwise as the lines that `text` makes of it.
pub(crate) fn result<T: Serialize>(
    as_json: bool,
    value: &T,
    text: impl FnOnce(&T) -> Vec<String>,
) -> Result<(), Failure> {
    if as_json { json(value) } else { lines(text(value)) }
}

/// A note on standard error for whoever watches; lost when nobody does.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", clean(&text.to_string()));
}

/// Milliseconds, to the microsecond: more is noise of the clock and the scheduler.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
