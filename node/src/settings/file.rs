//! The `--config` file: flags by their names without the dashes, one file for all commands. What is wrong with it is said
//! with the line.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{ArgAction, ArgMatches};
use toml::Value;
use toml::de::DeTable;

use crate::failure::{Failure, disk_remedy};
use crate::settings::spelling::closest;
use crate::settings::{flag_name, is_of_another, keys, renamed};

/// The values of a file, as the texts that the flags would be given.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    values: BTreeMap<String, Setting>,
}

/// One key's.
#[derive(Debug)]
struct Setting {
    line: usize,
    texts: Vec<String>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "check its path",
                _ => disk_remedy(&error),
            };
            Failure::usage(format!("cannot read --config {name}: {error}; {remedy}"))
        })?;
        let at = |line: usize, what: &str| Failure::usage(format!("{name} line {line}: {what}"));
        // Some editors begin any text with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = whole.iter().filter(|byte| **byte == b'\n').count() + 1;
            at(line, "not UTF-8: save the file in that encoding, not in Latin-1 or UTF-16")
        })?;
        let line_of = |offset: usize| text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
        let wrong = |error: toml::de::Error| {
            let span = error.span().unwrap_or_default();
            let line = line_of(span.start);
            // The number is right, and its reader says of it what it says of anything that it cannot read.
            match text.get(span).filter(|value| is_whole_number(value)) {
                Some(number) => at(line, &format!("{number} is out of range: a number here is at most {}", i64::MAX)),
                None => at(line, &format!("not TOML: {}", error.message())),
            }
        };
        // Twice: only the one parse knows lines, and only the other one reads numbers.
        let lines = DeTable::parse(text).map_err(wrong)?;
        let mut table: toml::Table = text.parse().map_err(wrong)?;
        let mut values = BTreeMap::new();
        for key in lines.get_ref().keys() {
            let line = line_of(key.span().start);
            let key: &str = key.get_ref();
            let texts = match table.remove(key) {
                Some(Value::Table(_)) | None => {
                    let what = format!("{key} is a section or a table: keys stand at the top of the file, without one");
                    return Err(at(line, &what));
                }
                Some(value) => texts(&value).ok_or_else(|| {
                    at(line, &format!("{key} must be a text, a number, true, false or a list of them"))
                })?,
            };
            values.insert(key.to_owned(), Setting { line, texts });
        }
        Ok(File { name, values })
    }

    /// The file, and the line of a key that is in it.
    pub(super) fn place(&self, key: Option<&str>) -> String {
        match key.and_then(|key| self.values.get(key)) {
            Some(setting) => format!("{} line {}", self.name, setting.line),
            None => self.name.clone(),
        }
    }

    /// The key that holds a flag's value: that of its old name, where only that is there and holds what it held then.
    pub(super) fn key_of<'a>(&self, command: &str, flag: &'a str) -> &'a str {
        match renamed::former(command, flag) {
            Some(old) if !self.values.contains_key(flag) && self.is_meant(command, old) => old,
            _ => flag,
        }
    }

    fn is_meant(&self, command: &str, key: &str) -> bool {
        self.values.get(key).is_some_and(|setting| !is_of_another(command, key, &setting.texts))
    }

    /// Makes the file's values the defaults of the chosen command.
    pub(super) fn apply(&self, mut definition: clap::Command, first: &ArgMatches) -> Result<clap::Command, Failure> {
        let known = keys(&definition);
        for key in self.values.keys() {
            if !known.contains(key) {
                let wanted = key.replace('_', "-").to_ascii_lowercase();
                let hint = closest(&wanted, &known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(Failure::usage(format!("{}: unknown key {key}{hint}", self.place(Some(key)))));
            }
        }
        let Some((chosen, _)) = first.subcommand() else { return Ok(definition) };
        let mut problem = None;
        definition = definition.mut_subcommand(chosen, |command| {
            command.mut_args(|arg| {
                let Some(flag) = flag_name(&arg) else { return arg };
                let key = self.key_of(chosen, flag);
                let Some(setting) = self.values.get(key).filter(|_| self.is_meant(chosen, key)) else { return arg };
                if arg.is_required_set() {
                    return arg;
                }
                if key != flag {
                    renamed::warn_of_key(&self.place(Some(key)));
                }
                let several = matches!(arg.get_action(), ArgAction::Append);
                if !several && setting.texts.len() != 1 {
                    problem = Some(format!("{}: {key} takes one value", self.place(Some(key))));
                    return arg;
                }
                let texts: Vec<&'static str> = setting.texts.iter().map(|text| &*text.clone().leak()).collect();
                arg.default_values(texts)
            })
        });
        problem.map_or(Ok(definition), |text| Err(Failure::usage(text)))
    }
}

/// A decimal number as TOML writes it.
fn is_whole_number(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-']);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|c| c.is_ascii_digit() || c == b'_')
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}
