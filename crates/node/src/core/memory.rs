//! The memory monitor: when the machine runs out of memory, the process that is furthest above its
//! own request ends, so that it is neither the innocent nor the whole machine.
//!
//! It looks only while workers have something to do, and the less often the more memory is left.
//! The driver is no process of the node, and is never ended.

use whipray_proto::failure::{MemoryUse, MemoryVerdict};
use whipray_proto::resources::MEMORY;
use whipray_proto::{DeathCause, DeathKind, WorkerId, limits};

use super::leases::Waiter;
use super::timers::{Micros, Timer};
use super::workers::{Work, Worker};
use super::{Effect, Node};

/// When to look, and when to act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySettings {
    /// Thousandths of the memory above which a process is ended.
    pub threshold_permille: u32,
    /// The least time between two looks; zero turns the monitor off.
    pub refresh: Micros,
}

/// The memory of the machine, or of what bounds the node inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    pub used_bytes: u64,
    pub total_bytes: u64,
    /// `the machine`, `its control group`, ...
    pub scope: &'static str,
}

/// What was read of the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    pub machine: MachineMemory,
    /// What each worker has for itself, in bytes, by its pid, where that was asked for.
    pub workers: Option<Vec<(u32, u64)>>,
}

/// What the monitor remembers between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monitor {
    /// A worker got something to do since the last look.
    pub is_wanted: bool,
    is_armed: bool,
    /// Drivers were told that the memory is full of what nobody here can be blamed for.
    is_told: bool,
}

/// Who ends: the process that is furthest above its request. A request covers what a worker is by
/// itself, too, so that small processes are not ended in vain. Where all are within their requests,
/// it is the largest of those that made none; those that keep to their word are left alone.
pub fn choose(candidates: &[MemoryUse]) -> Option<&MemoryUse> {
    let excess = |it: &MemoryUse| {
        let allowed = it.requested_bytes + limits::WORKER_BASE_BYTES;
        it.resident_bytes.saturating_sub(allowed)
    };
    let by_excess = candidates.iter().max_by_key(|it| (excess(it), it.pid))?;
    if excess(by_excess) > 0 {
        return Some(by_excess);
    }
    let silent = candidates.iter().filter(|it| it.requested_bytes == 0);
    silent.max_by_key(|it| (it.resident_bytes, it.pid))
}

impl Node {
    /// Watches the memory from here on, where a worker got something to do.
    pub(super) fn watch_memory(&mut self, now: Micros) {
        let refresh = self.config.memory.refresh;
        let is_wanted = std::mem::take(&mut self.monitor.is_wanted);
        if is_wanted && refresh > 0 && !self.monitor.is_armed {
            self.arm_monitor(now, refresh);
        }
    }

    fn arm_monitor(&mut self, now: Micros, delay: Micros) {
        self.monitor.is_armed = true;
        self.timers.set(now + delay, Timer::Memory);
    }

    /// It is time to look, if there is anybody to look at.
    pub(super) fn on_memory_due(&mut self) {
        self.monitor.is_armed = false;
        let is_busy = |worker: &Worker| !matches!(worker.work, Work::Idle { .. });
        if self.pool.iter().any(|(_, worker)| is_busy(worker)) {
            self.read_memory(false);
        }
    }

    fn read_memory(&mut self, with_each: bool) {
        let pids = self.worker_pids();
        self.effects.push(Effect::ReadMemory { pids, with_each });
    }

    /// The answer to [`Effect::ReadMemory`].
    pub fn on_memory(&mut self, reading: &MemoryReading, now: Micros) {
        let settings = self.config.memory;
        let MachineMemory {
            used_bytes,
            total_bytes,
            ..
        } = reading.machine;
        let threshold = total_bytes / 1000 * u64::from(settings.threshold_permille);
        if used_bytes <= threshold {
            self.monitor.is_told = false;
            return self.arm_monitor(now, pause(settings.refresh, threshold - used_bytes));
        }
        let is_dying = |worker: &Worker| {
            let verdict = worker.verdict.as_ref();
            verdict.is_some_and(|verdict| verdict.kind() == DeathKind::OutOfMemory)
        };
        if self.pool.iter().any(|(_, worker)| is_dying(worker)) {
            return self.arm_monitor(now, settings.refresh);
        }
        let Some(workers) = &reading.workers else {
            return self.read_memory(true);
        };
        self.arm_monitor(now, settings.refresh);
        self.end_culprit(&reading.machine, workers);
    }

    fn end_culprit(&mut self, machine: &MachineMemory, workers: &[(u32, u64)]) {
        let mut candidates: Vec<MemoryUse> = workers
            .iter()
            .filter_map(|(pid, resident)| self.memory_use(*pid, *resident))
            .collect();
        candidates.sort_unstable_by_key(|it| std::cmp::Reverse((it.resident_bytes, it.pid)));
        let victim = choose(&candidates).cloned();
        let mut consumers = candidates;
        consumers.truncate(limits::MEMORY_CONSUMERS);
        let verdict = MemoryVerdict {
            used_bytes: machine.used_bytes,
            total_bytes: machine.total_bytes,
            threshold_permille: self.config.memory.threshold_permille,
            scope: machine.scope.to_owned(),
            victim: victim.clone().unwrap_or_default(),
            consumers,
        };
        let worker = victim.and_then(|victim| self.pool.by_pid(victim.pid));
        match worker {
            Some(worker) => self.end_for_memory(worker, verdict),
            None => self.tell_crowded(&verdict),
        }
    }

    fn end_for_memory(&mut self, worker: WorkerId, verdict: MemoryVerdict) {
        let text = format!("a worker process is ended: {}", verdict.sentence());
        tracing::warn!(%worker, text, "out of memory");
        if let Some(job) = self.pool.get(worker).and_then(|entry| entry.job) {
            self.warn_driver(job, text);
        }
        self.end_worker(worker, DeathCause::of_memory(verdict));
    }

    /// Memory is short, and no worker is to blame: whoever can do something about it hears it, once.
    fn tell_crowded(&mut self, verdict: &MemoryVerdict) {
        if std::mem::replace(&mut self.monitor.is_told, true) {
            return;
        }
        let text = format!(
            "memory is short: {} used {} of {} bytes, but every worker keeps to what it asked for, \
             so none is ended. Programs outside of the cluster, or the driver, use the rest.",
            verdict.scope, verdict.used_bytes, verdict.total_bytes
        );
        tracing::warn!(text, "out of memory");
        let jobs: Vec<_> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.warn_driver(job, text.clone());
        }
    }

    /// A worker as a user of memory; `None` for one that is gone.
    pub(super) fn memory_use(&self, pid: u32, resident_bytes: u64) -> Option<MemoryUse> {
        let worker = self.pool.get(self.pool.by_pid(pid)?)?;
        let requested_bytes = match &worker.work {
            Work::Idle { .. } => 0,
            Work::Leased { hold, .. } | Work::Actor { hold, .. } => {
                hold.assignment.resources.amount(MEMORY).max(0.0) as u64
            }
        };
        Some(MemoryUse {
            pid,
            name: self.name_of(worker),
            resident_bytes,
            requested_bytes,
        })
    }

    /// What a worker is there for, as people call it.
    pub(super) fn name_of(&self, worker: &Worker) -> String {
        match &worker.work {
            Work::Idle { .. } => "an idle worker".to_owned(),
            Work::Leased { owner, class, .. } => {
                let (owner, class) = (*owner, *class);
                let demand = self.demands.get(&Waiter::Class { owner, class });
                demand.map_or_else(|| "a task".to_owned(), |demand| demand.example.clone())
            }
            Work::Actor { actor, .. } => {
                let placement = self.placements.get(actor);
                placement.map_or_else(
                    || "an actor".to_owned(),
                    |placement| placement.spec.class_name.clone(),
                )
            }
        }
    }
}

/// How long not to look: no machine fills `left_bytes` in less time.
fn pause(refresh: Micros, left_bytes: u64) -> Micros {
    let fastest = left_bytes / limits::MEMORY_FILL_BYTES_PER_MICROSECOND;
    fastest.clamp(refresh, refresh * limits::MEMORY_PAUSE_FACTOR)
}
