//! What the machine has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// CPUs that this process may use, by affinity and control group.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory of the machine, or of the control group where that has less, in bytes.
pub fn total_memory() -> u64 {
    let total = meminfo("MemTotal:").unwrap_or(0);
    group_limit().map_or(total, |limit| limit.min(total))
}

/// Memory that is free or can be freed, in bytes.
pub fn available_memory() -> u64 {
    let available = meminfo("MemAvailable:").unwrap_or(0);
    let in_group = group_limit().map(|limit| limit.saturating_sub(group_usage()));
    in_group.map_or(available, |left| left.min(available))
}

fn meminfo(key: &str) -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, key)
}

fn parse_meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The limit of the control group, version 2 or 1; `None` where there is none.
fn group_limit() -> Option<u64> {
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn group_usage() -> u64 {
    let files = [
        "/sys/fs/cgroup/memory.current",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ];
    files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
        .unwrap_or(0)
}

/// The name of the machine.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Lets the daemon have as many files open as the system allows it at most: each worker needs one.
/// Returns what was allowed before, which is what its children get.
pub fn raise_file_limit() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    // Where it is not allowed, the lower limit stays, and accepting more clients fails then.
    let _ = setrlimit(Resource::Nofile, raised);
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(parse_meminfo(text, "MemAvailable:"), Some(1024 * 1024));
        assert_eq!(parse_meminfo(text, "Swap:"), None);
    }
}
