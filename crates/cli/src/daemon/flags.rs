//! Settings of the engine by name, as Ray has them: `_system_config`, then `RAY_...` variables.

use std::collections::BTreeMap;

use serde_json::Value;

/// A setting whose value makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name} must be {wanted}, and is {value}")]
pub struct FlagError {
    name: String,
    wanted: &'static str,
    value: String,
}

/// Looks settings up.
pub struct Flags<'a> {
    system_config: &'a BTreeMap<String, Value>,
    variable: fn(&str) -> Option<String>,
}

impl<'a> Flags<'a> {
    /// The settings of a daemon with this `_system_config`, and the environment of this process.
    pub fn new(system_config: &'a BTreeMap<String, Value>) -> Self {
        Self {
            system_config,
            variable: |name| std::env::var(name).ok(),
        }
    }

    /// The setting as text; JSON that is no text as it is written. Empty ones count as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = match self.system_config.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => (self.variable)(&format!("RAY_{name}"))?,
            Some(other) => other.to_string(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&self, name: &str) -> Result<Option<f64>, FlagError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
            _ => Err(wrong(name, "a number", text)),
        }
    }

    /// A truth.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, FlagError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(wrong(name, "true or false", text)),
        }
    }
}

fn wrong(name: &str, wanted: &'static str, value: String) -> FlagError {
    FlagError {
        name: name.to_owned(),
        wanted,
        value,
    }
}

#[cfg(test)]
impl<'a> Flags<'a> {
    /// Without any variables of the environment.
    pub fn alone(system_config: &'a BTreeMap<String, Value>) -> Self {
        Self {
            system_config,
            variable: |_| None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_before_variables() -> Result<(), FlagError> {
        let config = BTreeMap::from([
            ("max_io_workers".to_owned(), Value::from(2)),
            ("verbose".to_owned(), Value::from(true)),
            ("word".to_owned(), Value::from("some")),
        ]);
        let flags = Flags {
            variable: |name| (name == "RAY_min_spilling_size").then(|| "7".to_owned()),
            ..Flags::alone(&config)
        };
        assert_eq!(flags.number("max_io_workers")?, Some(2.0));
        assert_eq!(flags.number("min_spilling_size")?, Some(7.0));
        assert_eq!(flags.truth("verbose")?, Some(true));
        assert_eq!(flags.text("absent"), None);
        assert!(flags.number("word").is_err() && flags.truth("word").is_err());
        Ok(())
    }
}
