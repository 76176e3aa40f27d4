//! Why something failed: one typed cause, whose text is what the user reads.

use crate::ids::{NodeId, WorkerId};

/// How a worker process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum DeathKind {
    Unknown = 0,
    /// The process ended by itself with an exit code.
    Exited = 1,
    /// The process was ended by a signal that the engine did not send.
    Signalled = 2,
    /// The kernel or the memory monitor ended it for its memory.
    OutOfMemory = 3,
    /// `kill()` or `cancel(force=True)`.
    Killed = 4,
    /// The actor left by `exit_actor()`, or ended normally.
    ActorExit = 5,
    /// No handle of the actor was left.
    OutOfScope = 6,
    /// The constructor of the actor raised.
    ConstructorFailed = 7,
    /// The owner of the actor, or the driver of the job, is gone.
    OwnerDied = 8,
    /// The node daemon is gone.
    NodeDied = 9,
    /// The process did not start, or never said hello.
    StartFailed = 10,
    /// The template process was lost, and its workers with it.
    TemplateDied = 11,
    /// The placement group that it ran in was removed.
    PlacementGroupRemoved = 12,
    /// There is no place where it may run, and none can come.
    Unschedulable = 13,
}

/// A process and its memory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemoryUse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// The task's function or the actor's class.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What is its own: without what it shares with others, such as the object store.
    #[prost(uint64, tag = "3")]
    pub resident_bytes: u64,
    /// What it asked for with `memory=`; zero where it did not.
    #[prost(uint64, tag = "4")]
    pub requested_bytes: u64,
}

/// Why the memory monitor of a node ended a process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemoryVerdict {
    #[prost(uint64, tag = "1")]
    pub used_bytes: u64,
    #[prost(uint64, tag = "2")]
    pub total_bytes: u64,
    /// Thousandths of the total above which processes are ended.
    #[prost(uint32, tag = "3")]
    pub threshold_permille: u32,
    /// What the total is the memory of: `the machine`, `its control group`, ...
    #[prost(string, tag = "4")]
    pub scope: String,
    #[prost(message, required, tag = "5")]
    pub victim: MemoryUse,
    /// The processes of the node that used most, the largest first.
    #[prost(message, repeated, tag = "6")]
    pub consumers: Vec<MemoryUse>,
}

impl MemoryVerdict {
    /// What happened, as a sentence without an end.
    pub fn sentence(&self) -> String {
        let asked = match self.victim.requested_bytes {
            0 => "had not asked for any (memory=)".to_owned(),
            requested => format!("had asked for {}", bytes(requested)),
        };
        format!(
            "{} used {} of {} ({}%, the threshold is {}%), and {} (pid {}) was furthest above its \
             own request: it used {} and {asked}",
            self.scope,
            bytes(self.used_bytes),
            bytes(self.total_bytes),
            percent(self.used_bytes.saturating_mul(1000) / self.total_bytes.max(1)),
            percent(u64::from(self.threshold_permille)),
            self.victim.name,
            self.victim.pid,
            bytes(self.victim.resident_bytes),
        )
    }

    /// Who used most, and what to do about it; lines that follow the rest of a report.
    pub fn advice(&self) -> String {
        let mut text = String::from("\nmost memory was used by:");
        for consumer in &self.consumers {
            let MemoryUse { pid, name, .. } = consumer;
            let resident = bytes(consumer.resident_bytes);
            text.push_str(&format!("\n    {resident:>10}  {name} (pid {pid})"));
            if consumer.requested_bytes > 0 {
                let requested = bytes(consumer.requested_bytes);
                text.push_str(&format!(", asked for {requested}"));
            }
        }
        text.push_str(
            "\nGive it less to do at once, say what it needs (memory=<bytes>, so that fewer run \
             beside each other), or use a machine with more memory. RAY_memory_usage_threshold \
             sets the threshold, RAY_memory_monitor_refresh_ms=0 turns the monitor off.",
        );
        text
    }
}

/// `95.3` of 953 thousandths.
fn percent(permille: u64) -> String {
    format!("{}.{}", permille / 10, permille % 10)
}

/// `1.5 GiB`
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = count as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// The death of one worker process, as its node saw it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeathCause {
    #[prost(enumeration = "DeathKind", tag = "1")]
    pub kind: i32,
    #[prost(int32, tag = "2")]
    pub exit_code: i32,
    #[prost(int32, tag = "3")]
    pub signal: i32,
    #[prost(uint32, tag = "4")]
    pub pid: u32,
    #[prost(message, required, tag = "5")]
    pub worker: WorkerId,
    #[prost(message, required, tag = "6")]
    pub node: NodeId,
    #[prost(string, tag = "7")]
    pub node_ip: String,
    /// The last lines of its standard error.
    #[prost(string, repeated, tag = "8")]
    pub stderr_tail: Vec<String>,
    /// What else is known, as a sentence.
    #[prost(string, tag = "9")]
    pub detail: String,
    /// Set where the memory monitor ended it.
    #[prost(message, optional, boxed, tag = "10")]
    pub memory: Option<Box<MemoryVerdict>>,
}

impl DeathCause {
    /// A cause with a kind and a sentence, for deaths that no exit status describes.
    pub fn new(kind: DeathKind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind as i32,
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// The cause of a process that the memory monitor ends.
    pub fn of_memory(verdict: MemoryVerdict) -> Self {
        Self {
            memory: Some(Box::new(verdict.clone())),
            ..Self::new(DeathKind::OutOfMemory, verdict.sentence())
        }
    }

    /// The first line of the report: what happened, where.
    pub fn headline(&self) -> String {
        let what = match self.kind() {
            DeathKind::Unknown => "the worker process is gone for an unknown reason".to_owned(),
            DeathKind::Exited => format!("the worker process exited with code {}", self.exit_code),
            DeathKind::Signalled => format!(
                "the worker process was ended by signal {} ({})",
                self.signal,
                signal_name(self.signal)
            ),
            DeathKind::OutOfMemory => "the worker process was killed for its memory".to_owned(),
            DeathKind::Killed => "the worker process was killed on request".to_owned(),
            DeathKind::ActorExit => "the actor exited by itself".to_owned(),
            DeathKind::OutOfScope => "all handles of the actor went out of scope".to_owned(),
            DeathKind::ConstructorFailed => "the constructor of the actor raised".to_owned(),
            DeathKind::OwnerDied => "the process that owned it is gone".to_owned(),
            DeathKind::NodeDied => "the node daemon is gone".to_owned(),
            DeathKind::StartFailed => "the worker process did not start".to_owned(),
            DeathKind::TemplateDied => {
                "the template process of the workers is gone, and its workers with it".to_owned()
            }
            DeathKind::PlacementGroupRemoved => "its placement group was removed".to_owned(),
            DeathKind::Unschedulable => "it cannot be scheduled".to_owned(),
        };
        let mut text = what;
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        if self.pid != 0 {
            text.push_str(&format!(" (pid {}", self.pid));
            if !self.node_ip.is_empty() {
                text.push_str(&format!(", node {}", self.node_ip));
            }
            text.push(')');
        }
        text
    }

    /// The last lines of its standard error, and who used the memory, as an end of a message; empty
    /// where there is neither.
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        if !self.stderr_tail.is_empty() {
            text.push_str("\nlast lines of its standard error:");
            for line in &self.stderr_tail {
                text.push_str("\n    ");
                text.push_str(line);
            }
        }
        if let Some(memory) = &self.memory {
            text.push_str(&memory.advice());
        }
        text
    }

    /// The whole report: the headline and the last words.
    pub fn describe(&self) -> String {
        self.headline() + &self.last_words()
    }
}

/// What the engine reports instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum FailureKind {
    Unspecified = 0,
    WorkerCrashed = 1,
    ActorDied = 2,
    ActorUnavailable = 3,
    TaskCancelled = 4,
    ObjectLost = 5,
    OwnerDied = 6,
    ObjectStoreFull = 7,
    OutOfMemory = 8,
    ObjectFreed = 9,
    RuntimeEnvSetup = 10,
    Unschedulable = 11,
    NodeDied = 12,
    PendingCallsLimit = 13,
    ActorUnschedulable = 14,
    /// The placement group of the task was removed.
    TaskGroupRemoved = 15,
    OutOfDisk = 16,
    // An object is lost and cannot be made again, because
    /// it was put;
    UnreconstructablePut = 30,
    /// its task may not be tried again;
    UnreconstructableNoRetries = 31,
    /// all retries of its task are used;
    UnreconstructableAttempts = 32,
    /// its task was forgotten to save memory;
    UnreconstructableEvicted = 33,
    /// nothing is known of its task;
    UnreconstructableNotFound = 34,
    /// its task was cancelled.
    UnreconstructableCancelled = 35,
    /// The object went because nobody was known to refer to it.
    ReferenceDeleted = 36,
}

/// A failure that the engine reports: its kind decides the exception, its text the message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failure {
    #[prost(enumeration = "FailureKind", tag = "1")]
    pub kind: i32,
    /// The message, complete: what failed, where, why, what to do.
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, optional, boxed, tag = "3")]
    pub cause: Option<Box<DeathCause>>,
    /// The task, actor or object concerned, in hexadecimal.
    #[prost(string, tag = "4")]
    pub subject: String,
    /// A pickled exception, where the failure was caused by one (a constructor that raised).
    #[prost(bytes = "bytes", tag = "5")]
    pub exception: bytes::Bytes,
}

impl Failure {
    /// A failure about `subject` (hexadecimal, may be empty).
    pub fn new(kind: FailureKind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind as i32,
            message: message.into(),
            subject: subject.into(),
            ..Self::default()
        }
    }

    /// The same with the death behind it.
    pub fn because_of(mut self, cause: DeathCause) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => "a signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_with_where_and_the_last_words() {
        let cause = DeathCause {
            kind: DeathKind::Signalled as i32,
            signal: 11,
            pid: 42,
            node_ip: "127.0.0.1".into(),
            stderr_tail: vec!["Segmentation fault".into()],
            ..DeathCause::default()
        };
        assert_eq!(
            cause.describe(),
            "the worker process was ended by signal 11 (SIGSEGV) (pid 42, node 127.0.0.1)\n\
             last lines of its standard error:\n    Segmentation fault"
        );
    }

    #[test]
    fn a_verdict_on_memory_has_numbers_names_and_advice() {
        const GIB: u64 = 1 << 30;
        let victim = MemoryUse {
            pid: 7,
            name: "load".into(),
            resident_bytes: 9 * GIB,
            requested_bytes: GIB,
        };
        let cause = DeathCause::of_memory(MemoryVerdict {
            used_bytes: 15 * GIB + GIB / 2,
            total_bytes: 16 * GIB,
            threshold_permille: 950,
            scope: "the machine".into(),
            victim: victim.clone(),
            consumers: vec![victim],
        });
        assert_eq!(
            cause.headline(),
            "the worker process was killed for its memory: the machine used 15.5 GiB of 16.0 GiB \
             (96.8%, the threshold is 95.0%), and load (pid 7) was furthest above its own request: \
             it used 9.0 GiB and had asked for 1.0 GiB"
        );
        let rest = cause.last_words();
        assert!(
            rest.contains("9.0 GiB  load (pid 7), asked for 1.0 GiB"),
            "{rest}"
        );
    }
}
