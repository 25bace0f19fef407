//! What the command line asks for.

use std::time::Duration;

/// Seconds of an attack up to which a run is one to try it out, and rests shortly.
const QUICK: u64 = 5;

/// The options after `--`.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How long each attack goes on.
    pub(crate) seconds: Duration,
    /// How long the node is left alone before its memory is looked at again.
    pub(crate) rest: Duration,
    /// One JSON document instead of a line for each attack.
    pub(crate) json: bool,
    /// Which attacks; `all` for every one.
    pub(crate) names: Vec<String>,
}

impl Settings {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let (mut seconds, mut rest, mut json, mut names) = (20, None, false, Vec::new());
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
                value.ok_or_else(|| format!("{argument} wants a whole number of seconds"))
            };
            match argument.as_str() {
                "--seconds" => seconds = number()?.max(1),
                "--rest" => rest = Some(number()?),
                "--json" => json = true,
                // Cargo's own.
                "--bench" => {}
                name if name.starts_with('-') => return Err(format!("{name} is no option")),
                name => names.push(name.to_owned()),
            }
        }
        let rest = rest.unwrap_or(if seconds <= QUICK { seconds } else { 60 });
        Ok(Settings { seconds: Duration::from_secs(seconds), rest: Duration::from_secs(rest), json, names })
    }

    /// Is this attack asked for?
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == "all" || wanted == name)
    }
}
