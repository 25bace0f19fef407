//! Where a flag's value comes from: the command line beats the environment, which beats the `--config` file, which beats
//! the default.
//!
//! clap knows the first two and the last. The file is slipped in between by making its values the defaults of this run,
//! so that they go through the same checks as flags. One file serves all commands: a key of another command is left
//! alone, a key of none is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::value::Endpoint;

/// Flags that have no environment variable and no key in the file.
const ONLY_ON_THE_COMMAND_LINE: [&str; 2] = ["help", "version"];
/// Pairs of which only one can hold; the one from the stronger source does.
const EXCLUSIVE: [(&str, &str); 1] = [("listen", "no_listen")];

/// What was asked for, or what to print instead.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A command to run.
    Run(Box<Command>),
    /// Help or version, for standard output.
    Text(String),
}

/// Reads the command line, the environment and the file that they name.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let first = match definition().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error, None),
    };
    let Some(path) = first.get_one::<std::path::PathBuf>("config").cloned() else {
        return command(&first);
    };
    let file = File::read(&path)?;
    match file.apply(definition(), &first)?.try_get_matches_from(&arguments) {
        Ok(matches) => command(&matches),
        // Without the file there was nothing wrong, so it is the file that is.
        Err(error) => refused(&error, Some(&path)),
    }
}

/// The command line with an environment variable for every flag.
pub(crate) fn definition() -> clap::Command {
    let with_environment = |command: clap::Command| {
        let chosen = command.get_name().to_owned();
        command.mut_args(|arg| match flag_name(&arg) {
            Some(name) => {
                // Names live as long as the process, which makes them once or twice.
                let variable: &'static str =
                    format!("SPACETIME_NODE_{}", name.to_ascii_uppercase().replace('-', "_")).leak();
                if std::env::var(variable).is_ok_and(|text| is_of_another(&chosen, name, &[text])) {
                    return arg;
                }
                let arg = arg.env(variable).hide_env_values(true);
                if is_switch(&arg) { arg.value_parser(clap::builder::BoolishValueParser::new()) } else { arg }
            }
            None => arg,
        })
    };
    with_environment(Cli::command()).mut_subcommands(with_environment)
}

/// The flag's name in the environment and in a file. A flag that hides its environment variable has neither.
fn flag_name(arg: &Arg) -> Option<&str> {
    arg.get_long().filter(|_| !arg.is_hide_env_set()).filter(|name| !ONLY_ON_THE_COMMAND_LINE.contains(name))
}

/// Whether the values are meant for another command: a seed of `run` is an address, one of `simulate` a number.
fn is_of_another(command: &str, flag: &str, texts: &[String]) -> bool {
    let mut parts = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    match (command, flag) {
        ("simulate", "seed") => parts.any(|part| part.parse::<Endpoint>().is_ok()),
        ("run", "seed") => parts.all(|part| part.parse::<u64>().is_ok()),
        _ => false,
    }
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn command(matches: &ArgMatches) -> Result<Asked, Failure> {
    let mut cli = Cli::from_arg_matches(matches).map_err(|error| Failure::usage(flatten(&error)))?;
    if let (Command::Run(run), Some((_, matches))) = (&mut cli.command, matches.subcommand()) {
        for (one, other) in EXCLUSIVE {
            match winner(matches, one, other)? {
                Some("no_listen") => run.listen.clear(),
                Some(_) => run.no_listen = false,
                None => {}
            }
        }
    }
    Ok(Asked::Run(Box::new(cli.command)))
}

/// Which of two flags that exclude each other holds, when both are set.
fn winner<'a>(matches: &ArgMatches, one: &'a str, other: &'a str) -> Result<Option<&'a str>, Failure> {
    let strength = |name: &str| match matches.value_source(name) {
        Some(ValueSource::CommandLine) => 3,
        Some(ValueSource::EnvVariable) => 2,
        Some(_) => 1,
        None => 0,
    };
    let set = |name: &str| match matches.try_get_one::<bool>(name) {
        Ok(switch) => switch.copied().unwrap_or(false),
        Err(_) => true,
    };
    let (a, b) = (if set(one) { strength(one) } else { 0 }, if set(other) { strength(other) } else { 0 });
    match (a, b) {
        (0, _) | (_, 0) => Ok(None),
        (a, b) if a > b => Ok(Some(one)),
        (a, b) if a < b => Ok(Some(other)),
        _ => Err(Failure::usage(format!(
            "--{} and --{} exclude each other: give one of them",
            one.replace('_', "-"),
            other.replace('_', "-")
        ))),
    }
}

fn refused(error: &clap::Error, file: Option<&Path>) -> Result<Asked, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Asked::Text(error.render().to_string())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::usage("no command was given; try spacetime-node --help"))
        }
        _ => match file {
            Some(path) => Err(Failure::usage(format!("{}: {}", path.display(), flatten(error)))),
            None => Err(Failure::usage(flatten(error))),
        },
    }
}

/// clap's report on one line: what is wrong, its tips, and where to read more.
fn flatten(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let useful: Vec<&str> = text
        .split("\n\n")
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.strip_prefix("error: ").unwrap_or(part))
        .collect();
    format!("{}; try --help", useful.join("; "))
}

/// The values of a `--config` file, as the texts that the flags would be given.
#[derive(Debug)]
struct File {
    name: String,
    values: BTreeMap<String, Vec<String>>,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read --config {name}: {error}; check its path")))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| Failure::usage(format!("{name} is not TOML: {}", error.message())))?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let texts = texts(&value).ok_or_else(|| {
                Failure::usage(format!("{name}: {key} must be a text, a number, true, false or a list of them"))
            })?;
            values.insert(key, texts);
        }
        Ok(File { name, values })
    }

    /// Makes the file's values the defaults of the chosen command.
    fn apply(&self, mut definition: clap::Command, first: &ArgMatches) -> Result<clap::Command, Failure> {
        let known = keys(&definition);
        for key in self.values.keys() {
            if !known.contains(key) {
                let hint = closest(key, &known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(Failure::usage(format!("{}: unknown key {key}{hint}", self.name)));
            }
        }
        let Some((chosen, _)) = first.subcommand() else { return Ok(definition) };
        let mut problem = None;
        definition = definition.mut_subcommand(chosen, |command| {
            command.mut_args(|arg| {
                let Some(texts) = flag_name(&arg).and_then(|name| self.values.get(name)) else { return arg };
                let other = flag_name(&arg).is_some_and(|name| is_of_another(chosen, name, texts));
                if arg.is_required_set() || other {
                    return arg;
                }
                let several = matches!(arg.get_action(), ArgAction::Append);
                if !several && texts.len() != 1 {
                    problem = flag_name(&arg).map(|name| format!("{}: {name} takes one value", self.name));
                    return arg;
                }
                let texts: Vec<&'static str> = texts.iter().map(|text| &*text.clone().leak()).collect();
                arg.default_values(texts)
            })
        });
        problem.map_or(Ok(definition), |text| Err(Failure::usage(text)))
    }
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    };
    match value {
        toml::Value::Array(items) => items.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

/// Every key that some command has. What must be given on the command line, and `config` itself, are not among them.
fn keys(definition: &clap::Command) -> Vec<String> {
    let mut keys: Vec<String> = definition
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter(|arg| !arg.is_required_set())
        .filter_map(|arg| flag_name(arg).map(str::to_owned))
        .filter(|name| name != "config")
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The key that a typing error was likely meant to be.
fn closest<'a>(wrong: &str, keys: &'a [String]) -> Option<&'a str> {
    let wrong = wrong.replace('_', "-").to_ascii_lowercase();
    keys.iter()
        .map(|key| (distance(&wrong, key), key.as_str()))
        .min()
        .filter(|(edits, key)| *edits <= key.len().max(wrong.len()) / 2)
        .map(|(_, key)| key)
}

/// Insertions, deletions and replacements from one text to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (*cell + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = *cell;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
