//! How much memory is in use: `/proc`, and control groups of version 1 and 2.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use crate::core::MachineMemory;

/// Where readings of memory come from.
pub trait MemorySource {
    /// The memory of what bounds the node most: the machine, a control group, or what the node was
    /// given. `workers` are the processes of the node. `None` where the system does not tell.
    fn machine(&self, workers: &[u32]) -> Option<MachineMemory>;

    /// What a process has for itself, without what it shares with others, in bytes; `None` where it
    /// is gone.
    fn resident_bytes(&self, pid: u32) -> Option<u64>;
}

/// The memory of this machine.
#[derive(Debug)]
pub struct SystemMemory {
    proc: PathBuf,
    groups: Vec<Group>,
    page_bytes: u64,
    /// What all workers together may use.
    workers_limit_bytes: Option<u64>,
}

/// A control group that bounds the daemon and its workers, if it has a limit.
#[derive(Debug)]
struct Group {
    limit: PathBuf,
    usage: PathBuf,
    statistics: PathBuf,
    /// What the pages of files are counted as, which the kernel drops when it needs room.
    cache_keys: [&'static str; 2],
}

impl SystemMemory {
    /// `workers_limit_bytes`: what all workers of the node may use together, where they are to have
    /// less than the machine.
    pub fn new(workers_limit_bytes: Option<u64>) -> Self {
        Self::below(Path::new("/"), workers_limit_bytes)
    }

    fn below(root: &Path, workers_limit_bytes: Option<u64>) -> Self {
        let proc = root.join("proc");
        Self {
            groups: groups(
                root,
                &read_to_string(proc.join("self/cgroup")).unwrap_or_default(),
            ),
            proc,
            page_bytes: rustix::param::page_size() as u64,
            workers_limit_bytes,
        }
    }

    fn total(&self) -> Option<MachineMemory> {
        let text = read_to_string(self.proc.join("meminfo")).ok()?;
        let total_bytes = kilobytes(&text, "MemTotal:")?;
        let available = kilobytes(&text, "MemAvailable:")?;
        Some(MachineMemory {
            used_bytes: total_bytes.saturating_sub(available),
            total_bytes,
            scope: "the machine",
        })
    }

    fn of_workers(&self, workers: &[u32]) -> Option<MachineMemory> {
        Some(MachineMemory {
            total_bytes: self.workers_limit_bytes?,
            used_bytes: workers
                .iter()
                .filter_map(|pid| self.resident_bytes(*pid))
                .sum(),
            scope: "the workers of the node (WHIPRAY_MEMORY_LIMIT_BYTES)",
        })
    }
}

impl MemorySource for SystemMemory {
    fn machine(&self, workers: &[u32]) -> Option<MachineMemory> {
        let groups = self.groups.iter().map(Group::read);
        [self.total(), self.of_workers(workers)]
            .into_iter()
            .chain(groups)
            .flatten()
            .filter(|memory| memory.total_bytes > 0)
            .max_by_key(|memory| {
                u128::from(memory.used_bytes) * 1_000_000 / u128::from(memory.total_bytes)
            })
    }

    fn resident_bytes(&self, pid: u32) -> Option<u64> {
        let text = read_to_string(self.proc.join(pid.to_string()).join("statm")).ok()?;
        let mut pages = text.split_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
        Some(resident.saturating_sub(shared) * self.page_bytes)
    }
}

impl Group {
    fn read(&self) -> Option<MachineMemory> {
        let number = |path: &Path| read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let limit = number(&self.limit)?;
        // A group of version 1 without a limit has one that no machine can meet.
        if limit > 1 << 60 {
            return None;
        }
        let statistics = read_to_string(&self.statistics).unwrap_or_default();
        let cache: u64 = self
            .cache_keys
            .iter()
            .filter_map(|key| {
                let line = statistics
                    .lines()
                    .find_map(|line| line.strip_prefix(*key))?;
                line.trim().parse::<u64>().ok()
            })
            .sum();
        Some(MachineMemory {
            used_bytes: number(&self.usage)?.saturating_sub(cache),
            total_bytes: limit,
            scope: "its control group",
        })
    }
}

/// The groups of `/proc/self/cgroup` and those around them, the innermost first. In a container the
/// path is often that of the host: the files of the group lie at the top then.
fn groups(root: &Path, text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        let mount = root.join("sys/fs/cgroup").join(controllers);
        let path = Path::new(path.trim_start_matches('/'));
        for folder in path.ancestors() {
            let folder = mount.join(folder);
            let group = if is_unified {
                Group {
                    limit: folder.join("memory.max"),
                    usage: folder.join("memory.current"),
                    statistics: folder.join("memory.stat"),
                    cache_keys: ["inactive_file ", "active_file "],
                }
            } else {
                Group {
                    limit: folder.join("memory.limit_in_bytes"),
                    usage: folder.join("memory.usage_in_bytes"),
                    statistics: folder.join("memory.stat"),
                    cache_keys: ["total_inactive_file ", "total_active_file "],
                }
            };
            if group.usage.exists() && group.limit.exists() {
                groups.push(group);
            }
        }
    }
    groups
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    const MIB: u64 = 1 << 20;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:   1048576 kB\nMemFree: 1 kB\nMemAvailable:  786432 kB\n",
    );

    #[test]
    fn a_machine_without_limits_uses_what_is_not_available() {
        let root = root(&[MEMINFO]);
        let memory = SystemMemory::below(root.path(), None).machine(&[]).unwrap();
        assert_eq!(
            (memory.used_bytes, memory.total_bytes),
            (256 * MIB, 1024 * MIB)
        );
        assert_eq!(memory.scope, "the machine");
    }

    #[test]
    fn the_tightest_group_of_version_2_counts_without_its_cache() {
        let root = root(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/pod/box\n"),
            ("sys/fs/cgroup/pod/memory.max", "104857600"),
            ("sys/fs/cgroup/pod/memory.current", "94371840"),
            (
                "sys/fs/cgroup/pod/memory.stat",
                "anon 1\ninactive_file 1048576\nactive_file 1048576\n",
            ),
            ("sys/fs/cgroup/pod/box/memory.max", "max"),
            ("sys/fs/cgroup/pod/box/memory.current", "1"),
        ]);
        let memory = SystemMemory::below(root.path(), None).machine(&[]).unwrap();
        assert_eq!(
            (memory.used_bytes, memory.total_bytes),
            (88 * MIB, 100 * MIB)
        );
        assert_eq!(memory.scope, "its control group");
    }

    #[test]
    fn in_a_container_the_files_of_version_1_lie_at_the_top() {
        let root = root(&[
            MEMINFO,
            (
                "proc/self/cgroup",
                "5:cpu,memory:/docker/1234\n4:cpuset:/\n",
            ),
            (
                "sys/fs/cgroup/cpu,memory/memory.limit_in_bytes",
                "104857600",
            ),
            ("sys/fs/cgroup/cpu,memory/memory.usage_in_bytes", "62914560"),
            (
                "sys/fs/cgroup/cpu,memory/memory.stat",
                "inactive_file 7\ntotal_inactive_file 10485760\n",
            ),
        ]);
        let memory = SystemMemory::below(root.path(), None).machine(&[]).unwrap();
        assert_eq!(
            (memory.used_bytes, memory.total_bytes),
            (50 * MIB, 100 * MIB)
        );
    }

    #[test]
    fn a_group_without_a_limit_does_not_count() {
        let root = root(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1"),
        ]);
        let memory = SystemMemory::below(root.path(), None).machine(&[]).unwrap();
        assert_eq!(memory.scope, "the machine");
    }

    #[test]
    fn workers_with_a_limit_of_their_own_count_by_what_each_has_for_itself() {
        let root = root(&[MEMINFO, ("proc/7/statm", "900 600 100 1 0 1 0\n")]);
        let system = SystemMemory::below(root.path(), Some(MIB));
        let own = 500 * system.page_bytes;
        assert_eq!(system.resident_bytes(7), Some(own));
        assert_eq!(system.resident_bytes(8), None);
        let memory = system.machine(&[7, 8]).unwrap();
        assert_eq!((memory.used_bytes, memory.total_bytes), (own, MIB));
    }
}
