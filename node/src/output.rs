//! Standard output: results, as lines for people or as one JSON document for scripts.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;

/// Prints one line and flushes it, so that a script that waits for it sees it now.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::from_output(&error))
}

/// Prints lines, flushed once at the end.
pub(crate) fn lines<T: Display>(texts: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    texts
        .into_iter()
        .try_for_each(|text| writeln!(out, "{text}"))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from_output(&error))
}

/// Prints one JSON document on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new("write the result as JSON", error, "run without --json"))?;
    line(text)
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
    let _ = writeln!(io::stderr(), "{text}");
}

/// Milliseconds, to the microsecond: more is noise of the clock and the scheduler.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// A remote text with its control characters escaped, so that it cannot steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
