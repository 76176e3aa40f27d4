//! After how much silence a node is given up: Ray's settings of its health checks.

use std::time::Duration;

use whipray_proto::health::HealthSettings;

use super::flags::{FlagError, Flags};

/// The names of the settings.
pub const FLAGS: &[&str] = &[
    "health_check_period_ms",
    "health_check_timeout_ms",
    "health_check_failure_threshold",
];

/// Ray's values for what is not set where something else is.
const PERIOD_MS: f64 = 3000.0;
const FAILURES: f64 = 5.0;

/// The longest that makes sense: a day.
const LONGEST_MS: f64 = 86_400_000.0;

/// A node is dead once so many checks in a row have failed: each comes a period after the last, and
/// where a timeout is set, a check may take as long. Where nothing is set, our own durations hold.
///
/// # Errors
/// A setting is no number.
pub fn settings(flags: &Flags<'_>) -> Result<HealthSettings, FlagError> {
    let period_ms = flags.number("health_check_period_ms")?;
    let timeout_ms = flags.number("health_check_timeout_ms")?;
    let failures = flags.number("health_check_failure_threshold")?;
    if period_ms.or(timeout_ms).or(failures).is_none() {
        return Ok(HealthSettings::default());
    }
    let check_ms = period_ms.unwrap_or(PERIOD_MS) + timeout_ms.unwrap_or(0.0);
    let dead_ms = (check_ms * failures.unwrap_or(FAILURES)).min(LONGEST_MS);
    Ok(HealthSettings::dead_after(Duration::from_millis(
        dead_ms as u64,
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn dead(config: &[(&str, i64)]) -> Result<Duration, FlagError> {
        let config: BTreeMap<String, Value> = config
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        Ok(settings(&Flags::alone(&config))?.dead)
    }

    #[test]
    fn what_is_set_counts_with_rays_values_for_the_rest() -> Result<(), FlagError> {
        assert_eq!(dead(&[])?, HealthSettings::default().dead);
        assert_eq!(
            dead(&[("health_check_period_ms", 1000)])?,
            Duration::from_secs(5)
        );
        let all = [
            ("health_check_period_ms", 1000),
            ("health_check_timeout_ms", 500),
            ("health_check_failure_threshold", 2),
        ];
        assert_eq!(dead(&all)?, Duration::from_secs(3));
        assert!(dead(&[("health_check_period_ms", -1)]).is_err());
        Ok(())
    }
}
