//! What is wrong with settings: everything at once, each with the setting's name and what to do about it.
//!
//! Whatever takes settings has a `validate` that looks at all of them and at the parts they contain, and is called where they
//! are put to use: by [`Driver::new`](crate::driver::Driver::new) and by [`Node::new`](crate::proto::Node::new). Whoever
//! reads settings from a file or a command line may call it earlier.

use core::fmt;
use std::borrow::Cow;

/// One setting that cannot work. Displayed as a sentence: the setting, then the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field's name, with those of the parts it lies in: `outbox.high`.
    pub setting: Cow<'static, str>,
    /// What the setting must be, and why where that is not plain.
    pub remedy: Cow<'static, str>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with some settings: at least one [`ConfigError`], in the order in which they were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, one by one.
    pub fn iter(&self) -> core::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// Is something wrong with this setting?
    pub fn names(&self, setting: &str) -> bool {
        self.iter().any(|error| error.setting == setting)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = core::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A check of settings under way: it goes on after an error.
#[derive(Debug, Default)]
pub(crate) struct ConfigCheck(Vec<ConfigError>);

impl ConfigCheck {
    /// The setting must be so.
    pub(crate) fn require(
        &mut self,
        holds: bool,
        setting: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) {
        if !holds {
            self.0.push(ConfigError { setting: setting.into(), remedy: remedy.into() });
        }
    }

    /// What the check of a part under this name says.
    pub(crate) fn part(&mut self, name: &str, outcome: Result<(), ConfigErrors>) {
        for ConfigError { setting, remedy } in outcome.err().into_iter().flatten() {
            self.0.push(ConfigError { setting: format!("{name}.{setting}").into(), remedy });
        }
    }

    /// Everything that was found.
    pub(crate) fn finish(self) -> Result<(), ConfigErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigErrors(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: u32, high: u32) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        check.require(low >= 1, "low", "must be at least 1");
        check.require(low <= high, "low", format!("must not be above {high}"));
        check.finish()
    }

    #[test]
    fn settings_that_work_are_no_error_and_a_check_goes_on_after_one_that_does_not() {
        assert_eq!(check(1, 2), Ok(()));
        let mut whole = ConfigCheck::default();
        whole.part("first", check(0, 2));
        whole.part("second", check(2, 2));
        whole.part("third", check(3, 2));
        let errors = whole.finish().unwrap_err();
        assert_eq!(errors.to_string(), "first.low must be at least 1; third.low must not be above 2");
        assert!(errors.names("third.low") && !errors.names("second.low") && !errors.names("low"));
    }
}
