//! Whether the kernel ended processes for their memory.

use std::path::PathBuf;

/// Counts the processes that the kernel ended for want of memory: in the control group of the
/// daemon where there is one, else on the machine.
#[derive(Debug)]
pub struct MemoryEvents {
    source: PathBuf,
    seen: u64,
}

impl MemoryEvents {
    /// Counts from now on.
    pub fn new() -> Self {
        let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = group.lines().find_map(|line| line.strip_prefix("0::/"));
        let source = own
            .map(|path| {
                PathBuf::from("/sys/fs/cgroup")
                    .join(path)
                    .join("memory.events")
            })
            .filter(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from("/proc/vmstat"));
        let mut events = Self { source, seen: 0 };
        events.seen = events.count();
        events
    }

    /// Whether there were any since the last call.
    pub fn has_new(&mut self) -> bool {
        let count = self.count();
        let is_new = count > self.seen;
        self.seen = count;
        is_new
    }

    fn count(&self) -> u64 {
        let text = std::fs::read_to_string(&self.source).unwrap_or_default();
        parse(&text)
    }
}

fn parse(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_others() {
        assert_eq!(parse("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(parse(""), 0);
    }
}
