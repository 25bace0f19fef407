//! Where a flag's value comes from: the command line beats the environment, which beats the `--config` file, which beats
//! the default. An empty variable is as good as none, as scripts and container files set them for "nothing".
//!
//! clap knows the first two and the last. The file is slipped in between by making its values the defaults of this run,
//! so that they go through the same checks as flags. One file serves all commands: a key of another command is left
//! alone, a key of none is an error.

mod file;
mod renamed;
mod spelling;

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::output;
use crate::settings::file::File;
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
    let arguments = with_joined_values(&definition(), arguments);
    for warning in spelling::unknown_variables(&definition(), std::env::vars_os()) {
        output::note(warning);
    }
    let first = match definition().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => return Err(not_text(&definition(), &arguments)),
        Err(error) => return refused(&error, |flag| source_of(flag, &arguments)),
    };
    if first.subcommand_name() == Some(renamed::COMMAND) {
        renamed::warn(&arguments);
    }
    let Some(path) = first.get_one::<std::path::PathBuf>("config").cloned() else {
        return command(&first);
    };
    let file = File::read(&path)?;
    let chosen = first.subcommand_name().unwrap_or_default();
    match file.apply(definition(), &first)?.try_get_matches_from(&arguments) {
        Ok(matches) => command(&matches),
        // Without the file there was nothing wrong, so it is the file that is.
        Err(error) => refused(&error, |flag| Some(file.place(flag.map(|flag| file.key_of(chosen, flag))))),
    }
}

/// A flag and the value behind it in one argument where the value begins with a dash, as a number below zero does: `--count=-1`
/// for `--count -1`. Alone it is taken for a flag that nobody knows, with the advice to write `-- -1`, which helps nobody. That
/// what a flag expects is its value needs no guess: the only flags of one dash ask for help and version.
fn with_joined_values(definition: &clap::Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let commands = std::iter::once(definition).chain(definition.get_subcommands());
    let valued: BTreeSet<String> = commands
        .flat_map(clap::Command::get_arguments)
        .filter(|arg| arg.get_action().takes_values())
        .flat_map(|arg| arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten()))
        .map(|name| format!("--{name}"))
        .collect();
    let is_value = |argument: &OsStr| {
        matches!(argument.as_encoded_bytes(), [b'-', second, ..] if *second != b'-')
            && argument != "-h"
            && argument != "-V"
    };
    let mut joined: Vec<OsString> = Vec::new();
    let mut are_flags_over = false;
    for argument in arguments {
        match joined.last_mut() {
            Some(flag)
                if !are_flags_over
                    && is_value(&argument)
                    && flag.to_str().is_some_and(|flag| valued.contains(flag)) =>
            {
                flag.push("=");
                flag.push(argument);
            }
            _ => {
                are_flags_over |= argument == "--";
                joined.push(argument);
            }
        }
    }
    joined
}

/// The variable that a flag's value came from, when it was not the command line that gave it.
fn source_of(flag: Option<&str>, arguments: &[OsString]) -> Option<String> {
    let flag = flag?;
    let is_given = |name: &str| {
        let is_it = |argument: &str| argument == name || argument.starts_with(&format!("{name}="));
        let mut arguments = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
        arguments.any(is_it)
    };
    if is_given(flag) || renamed::former(renamed::COMMAND, flag).is_some_and(is_given) {
        return None;
    }
    let variable = variable(flag);
    if is_set(&variable) { Some(variable) } else { renamed::former_variable(renamed::COMMAND, flag) }
}

/// What is not UTF-8 and must be, by its name: clap does not say it. Paths need not be.
fn not_text(definition: &clap::Command, arguments: &[OsString]) -> Failure {
    let commands = std::iter::once(definition).chain(definition.get_subcommands());
    let variable = commands
        .flat_map(clap::Command::get_arguments)
        .filter(|arg| arg.get_value_parser().type_id() != TypeId::of::<PathBuf>())
        .filter_map(|arg| flag_name(arg).map(variable))
        .find(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()));
    let argument = arguments.iter().find(|argument| argument.to_str().is_none());
    Failure::usage(match (variable, argument) {
        (Some(name), _) => format!("the environment variable {name} is not UTF-8: set it again in that encoding"),
        (None, Some(argument)) => {
            format!("the argument {} is not UTF-8: give it in that encoding", argument.to_string_lossy())
        }
        (None, None) => "an argument is not UTF-8: give it in that encoding".to_owned(),
    })
}

/// The environment variable of a flag.
fn variable(flag: &str) -> String {
    format!("SPACETIME_NODE_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// The command line with an environment variable for every flag.
pub(crate) fn definition() -> clap::Command {
    let with_environment = |command: clap::Command| {
        let chosen = command.get_name().to_owned();
        command.mut_args(|arg| match flag_name(&arg) {
            Some(name) => {
                let variable = renamed::former_variable(&chosen, name).unwrap_or_else(|| variable(name));
                // Names live as long as the process, which makes them once or twice.
                let variable: &'static str = variable.leak();
                let is_empty = std::env::var_os(variable).is_some_and(|value| value.is_empty());
                if is_empty || std::env::var(variable).is_ok_and(|text| is_of_another(&chosen, name, &[text])) {
                    return arg;
                }
                let arg = arg.env(variable).hide_env_values(true);
                if is_switch(&arg) { arg.value_parser(clap::builder::BoolishValueParser::new()) } else { arg }
            }
            // Else a number below zero is taken for a flag that nobody knows, and not for a height that is none.
            None if arg.is_positional() => arg.allow_negative_numbers(true),
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

/// `place` is asked where the value of a flag came from that is to blame, if one is.
fn refused(error: &clap::Error, place: impl FnOnce(Option<&str>) -> Option<String>) -> Result<Asked, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Asked::Text(error.render().to_string())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::usage("no command was given; try spacetime-node --help"))
        }
        _ => match place(flag_of(error).as_deref()) {
            Some(place) => Err(Failure::usage(format!("{place}: {}", flatten(error)))),
            None => Err(Failure::usage(flatten(error))),
        },
    }
}

/// The name of the flag that an error is about.
fn flag_of(error: &clap::Error) -> Option<String> {
    let ContextValue::String(text) = error.get(ContextKind::InvalidArg)? else { return None };
    let name = text.trim_start_matches("--");
    name.split([' ', '=']).next().map(str::to_owned)
}

/// clap's report on one line: what is wrong, its tips, and where to read more.
fn flatten(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let useful: Vec<&str> = text
        .split("\n\n")
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .filter(|part| !is_tip_for_a_number(part))
        .map(|part| part.strip_prefix("error: ").unwrap_or(part))
        .collect();
    format!("{}; try --help", useful.join("; "))
}

/// "to pass '-1' as a value, use '-- -1'": wherever a number has a place it may be below zero, so this one has none.
fn is_tip_for_a_number(part: &str) -> bool {
    let number = part.strip_prefix("tip: to pass '-").and_then(|rest| rest.split('\'').next());
    number.is_some_and(|text| text.parse::<f64>().is_ok())
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

#[cfg(test)]
mod tests;
