//! What is said of a panic: one line like any other error, without a stack trace.

use std::panic::{self, PanicHookInfo};

use crate::failure::one_line;
use crate::output;

/// Replaces the standard report for this process.
pub(crate) fn in_one_line() {
    panic::set_hook(Box::new(|info| output::note(report(info))));
}

fn report(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let what = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
    let thread = std::thread::current();
    let text = format!(
        "error: cannot go on in thread {}: {what} ({place}); this is a fault of the program: report this line",
        thread.name().unwrap_or("without a name")
    );
    one_line(&text)
}
