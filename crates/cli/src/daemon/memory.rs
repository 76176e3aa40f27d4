//! How the memory monitor is set: variables of the environment, with Ray's names.

use whipray_node::core::MemorySettings;
use whipray_node::shell::SystemMemory;

use super::StartError;

const THRESHOLD: &str = "RAY_memory_usage_threshold";
const REFRESH: &str = "RAY_memory_monitor_refresh_ms";
const LIMIT: &str = "WHIPRAY_MEMORY_LIMIT_BYTES";

/// What the environment says of the monitor, and where it reads.
///
/// # Errors
/// A variable does not have a number that makes sense.
pub fn of_environment() -> Result<(MemorySettings, SystemMemory), StartError> {
    of_variables(&|name| std::env::var(name).ok())
}

fn of_variables(
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(MemorySettings, SystemMemory), StartError> {
    let threshold = number(variable, THRESHOLD, 0.95, |share| {
        (0.0..=1.0).contains(share)
    })?;
    let refresh = number(variable, REFRESH, 250.0, |pause| (0.0..1e9).contains(pause))?;
    let limit = number(variable, LIMIT, 0.0, |bytes| *bytes >= 0.0)?;
    let settings = MemorySettings {
        threshold_permille: (threshold * 1000.0) as u32,
        refresh: (refresh * 1000.0) as u64,
    };
    let limit = (limit > 0.0).then_some(limit as u64);
    Ok((settings, SystemMemory::new(limit)))
}

fn number(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    default: f64,
    is_good: impl Fn(&f64) -> bool,
) -> Result<f64, StartError> {
    let Some(text) = variable(name).filter(|text| !text.is_empty()) else {
        return Ok(default);
    };
    let value = text.parse().ok().filter(|value| is_good(value));
    value.ok_or(StartError::Variable { name, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, text: &'static str) -> Result<MemorySettings, StartError> {
        let variable = move |asked: &str| (asked == name).then(|| text.to_owned());
        of_variables(&variable).map(|(settings, _)| settings)
    }

    #[test]
    fn the_environment_sets_the_monitor() {
        let default = with("NOTHING", "").unwrap_or_default();
        assert_eq!(
            (default.threshold_permille, default.refresh),
            (950, 250_000)
        );
        assert_eq!(with(REFRESH, "0").unwrap_or_default().refresh, 0);
        assert_eq!(
            with(THRESHOLD, "0.5")
                .unwrap_or_default()
                .threshold_permille,
            500
        );
    }

    #[test]
    fn what_is_no_share_is_refused() {
        let refused = with(THRESHOLD, "95").map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err(
                "the variable RAY_memory_usage_threshold has no value that makes sense: \"95\""
                    .to_owned()
            )
        );
        assert!(with(REFRESH, "soon").is_err());
    }
}
