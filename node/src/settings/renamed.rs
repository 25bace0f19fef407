//! The one setting that got another name: `seed` of `run` is `seed-node` now, for a seed is the number of a simulation. The old
//! name is still understood, with a warning, wherever it holds addresses.

use std::ffi::OsString;

use crate::output;
use crate::settings::{is_of_another, is_set, variable};

/// The command that has it.
pub(super) const COMMAND: &str = "run";
const NOW: &str = "seed-node";
const BEFORE: &str = "seed";

/// What a flag was called before.
pub(super) fn former(command: &str, flag: &str) -> Option<&'static str> {
    ((command, flag) == (COMMAND, NOW)).then_some(BEFORE)
}

/// The environment variable of a flag's old name, where it is the one that counts.
pub(super) fn former_variable(command: &str, flag: &str) -> Option<String> {
    let name = former(command, flag).filter(|_| !is_set(&variable(flag)))?;
    let old = variable(name);
    let text = std::env::var(&old).ok().filter(|text| !text.is_empty())?;
    (!is_of_another(command, name, &[text])).then_some(old)
}

/// Tells whoever starts the command which of what he gave has another name now.
pub(super) fn warn(arguments: &[OsString]) {
    let is_old = |argument: &str| argument == "--seed" || argument.starts_with("--seed=");
    if arguments.iter().filter_map(|argument| argument.to_str()).any(is_old) {
        output::note(warning("--seed", "--seed-node"));
    }
    if let Some(old) = former_variable(COMMAND, NOW) {
        output::note(warning(&format!("the environment variable {old}"), &variable(NOW)));
    }
}

/// The same of a key of the file.
pub(super) fn warn_of_key(place: &str) {
    output::note(warning(&format!("{place}: {BEFORE}"), NOW));
}

fn warning(old: &str, new: &str) -> String {
    format!("warning: {old} is the old name of {new}, and that of a simulation's seed: rename it")
}
