//! How long a function takes: the base of how many tasks may wait inside one worker.

use rustc_hash::FxHashMap;
use whipray_proto::FunctionId;

/// Weight of the newest measurement, as a right shift.
const SHIFT: u32 = 2;

/// Moving averages of durations in microseconds, by function.
#[derive(Default)]
pub struct Durations {
    averages_us: FxHashMap<FunctionId, u64>,
}

impl Durations {
    /// The average, or `None` for a function that has not run yet.
    pub fn average_us(&self, function: &FunctionId) -> Option<u64> {
        self.averages_us.get(function).copied()
    }

    /// Learns from one run. Rises at once with a long run and falls slowly, so that a function
    /// whose runs differ is taken for a long one.
    pub fn learn(&mut self, function: FunctionId, duration_us: u64) {
        let average = self.averages_us.entry(function).or_insert(duration_us);
        if duration_us > *average {
            *average = duration_us;
        } else {
            *average -= (*average - duration_us) >> SHIFT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_counts_at_once_and_is_forgotten_slowly() {
        let function = FunctionId::random();
        let mut durations = Durations::default();
        assert_eq!(durations.average_us(&function), None);
        durations.learn(function, 10);
        durations.learn(function, 1000);
        assert_eq!(durations.average_us(&function), Some(1000));
        durations.learn(function, 0);
        assert_eq!(durations.average_us(&function), Some(750));
    }
}
