//! What the environment of a process says of its tasks, with Ray's names.

use whipray_proto::limits;

use crate::core::oom_retries::OomRetries;
use crate::core::tasks::Micros;

/// How long tasks pause before they are tried again, and how often those are whose workers were ended
/// for their memory. What is no number counts as
/// not said.
pub(crate) fn oom_retries() -> OomRetries {
    let mut settings = OomRetries::default();
    if let Some(most) = number("RAY_task_oom_retries") {
        settings.most = i32::try_from(most).unwrap_or(-1);
    }
    if let Some(pause_ms) = number("RAY_task_oom_retry_delay_base_ms") {
        settings.pause = Micros::try_from(pause_ms).unwrap_or(0).saturating_mul(1000);
    }
    if let Some(pause_ms) = number("RAY_task_retry_delay_ms") {
        let pause_ms = Micros::try_from(pause_ms).unwrap_or(0);
        settings.pause_of_others = pause_ms.saturating_mul(1000);
    }
    settings
}

/// How many bytes of finished tasks are kept, so that their results can be made again.
pub(crate) fn lineage_bytes() -> u64 {
    let said = number("RAY_max_lineage_bytes").and_then(|bytes| u64::try_from(bytes).ok());
    said.unwrap_or(limits::LINEAGE_BYTES)
}

fn number(name: &str) -> Option<i64> {
    std::env::var(name).ok()?.trim().parse().ok()
}
