//! Names that are almost right: a key of the file, a variable of the environment.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::settings::{flag_name, variable};

/// A line for each variable that is meant for this program and is none of its settings: misspelled, it would do nothing and
/// nobody would know.
pub(super) fn unknown_variables(
    definition: &clap::Command,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<String> {
    let commands = std::iter::once(definition).chain(definition.get_subcommands());
    let known: BTreeSet<String> =
        commands.flat_map(clap::Command::get_arguments).filter_map(flag_name).map(variable).collect();
    let known: Vec<String> = known.into_iter().collect();
    let mut warnings: Vec<String> = environment
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("SPACETIME_NODE_") && !known.contains(name) && !is_of_a_service(name))
        .map(|name| {
            let near = closest(&name, &known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            format!("warning: the environment variable {name} is no setting and does nothing{near}")
        })
        .collect();
    warnings.sort();
    warnings
}

/// What Kubernetes and Docker say of a service or a container of this program's name.
fn is_of_a_service(name: &str) -> bool {
    let rest = name.strip_prefix("SPACETIME_NODE_").unwrap_or(name);
    let is_port = |text: &str| {
        let mut parts = text.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    rest == "PORT"
        || rest == "NAME"
        || rest.starts_with("SERVICE_")
        || rest.starts_with("ENV_")
        || rest.strip_prefix("PORT_").is_some_and(is_port)
}

/// The name that a typing error was likely meant to be.
pub(super) fn closest<'a>(wrong: &str, names: &'a [String]) -> Option<&'a str> {
    // What all variables begin with says nothing.
    let part = |name: &str| name.strip_prefix("SPACETIME_NODE_").unwrap_or(name).to_owned();
    let wrong = part(wrong);
    names
        .iter()
        .map(|name| (distance(&wrong, &part(name)), name.as_str()))
        .min()
        .filter(|(edits, name)| *edits <= part(name).len().max(wrong.len()) / 2)
        .map(|(_, name)| name)
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
mod tests {
    use super::*;
    use crate::settings::definition;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("listen", "listen"), 0);
    }

    #[test]
    fn a_misspelled_variable_is_named_with_the_likely_one_and_those_of_others_are_not() {
        let warnings = |names: &[(&str, &str)]| {
            let environment = names.iter().map(|(name, value)| (OsString::from(*name), OsString::from(*value)));
            unknown_variables(&definition(), environment)
        };
        let found = warnings(&[("SPACETIME_NODE_LISTN", "x"), ("SPACETIME_NODE_LOGLEVEL", "x"), ("HOME", "x")]);
        let tail = |near: &str| format!("is no setting and does nothing; did you mean {near}?");
        assert!(found[0].ends_with(&format!("LISTN {}", tail("SPACETIME_NODE_LISTEN"))), "{found:?}");
        assert!(found[1].ends_with(&format!("LOGLEVEL {}", tail("SPACETIME_NODE_LOG_LEVEL"))), "{found:?}");
        let silent = [
            ("SPACETIME_NODE_CONFIG", "x"),
            ("SPACETIME_NODE_AMOUNT", "1"),
            ("SPACETIME_NODE_LISTN", ""),
            ("SPACETIME_NODE_SERVICE_HOST", "10.0.0.1"),
            ("SPACETIME_NODE_SERVICE_PORT_P2P", "1"),
            ("SPACETIME_NODE_PORT", "tcp://10.0.0.1:8333"),
            ("SPACETIME_NODE_PORT_8333_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(warnings(&silent), Vec::<String>::new());
    }
}
