//! What happens next: events by time, and in the order of their making where times are equal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use whipray_proto::{ObjectId, WorkerId};
use whipray_store::core::DiskJob;

use crate::network::{Machine, Socket};
use crate::witness::Block;

/// Microseconds of the virtual clock.
pub type Micros = u64;

/// Something that will happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Frames, or the end of a connection, have arrived.
    Readable {
        socket: Socket,
    },
    /// A program goes on.
    Wake {
        process: usize,
        frame: u64,
    },
    /// The background thread of a process writes what was deferred.
    Flush {
        process: usize,
    },
    /// A core has something to do by time.
    CoreTimer {
        process: usize,
    },
    NodeTimer {
        daemon: usize,
    },
    /// The template was asked for a worker, and forks it.
    Fork {
        daemon: usize,
        worker: WorkerId,
        template: u64,
    },
    /// The template tells the daemon something.
    TemplateSays {
        daemon: usize,
        says: TemplateSays,
        template: u64,
    },
    /// A process begins to run.
    Start {
        process: usize,
    },
    /// A signal reaches a process.
    Signal {
        pid: u32,
        signal: i32,
    },
    /// The template is gone, and the daemon sees it.
    TemplateGone {
        daemon: usize,
        template: u64,
    },
    /// A job of the disk comes to its end.
    Disk {
        daemon: usize,
        job: DiskJob,
        /// What its pieces were when it began.
        blocks: Vec<Option<Block>>,
    },
    Driver {
        index: usize,
    },
    /// A machine starts a daemon, which joins the cluster.
    Join {
        machine: Machine,
    },
    /// A daemon is one of its cluster by now, or gives up.
    JoinDue {
        daemon: usize,
    },
    /// Something has come over the stream from one daemon to another one.
    Stream {
        from: usize,
        to: usize,
    },
    /// The head sees that nobody answers where a daemon was.
    StreamBroken {
        daemon: usize,
    },
    /// A daemon sees that the head takes nothing from it any more.
    Refused {
        daemon: usize,
    },
    /// A daemon is to say that it is alive.
    Beat {
        daemon: usize,
    },
    /// The head hears that a daemon is alive.
    Heard {
        daemon: usize,
    },
    /// The answer to that arrives.
    Answered {
        daemon: usize,
    },
    /// A node that was drained must be gone by now.
    DrainOver {
        daemon: usize,
    },
    /// A daemon is asked for an object by another one.
    Wanted {
        daemon: usize,
        by: usize,
        pull: u64,
        object: ObjectId,
    },
    /// The bytes of an object are sent.
    Sent {
        daemon: usize,
        ask: u64,
    },
    /// A transfer to a daemon came to its end.
    Pulled {
        daemon: usize,
        from: usize,
        pull: u64,
        outcome: Result<(), String>,
    },
    /// A transfer that has not ended by now has failed.
    Stalled {
        daemon: usize,
        pull: u64,
    },
    /// Two machines have not heard each other for so long that processes give connections up.
    GiveUp {
        one: Machine,
        other: Machine,
    },
    Fault {
        index: usize,
    },
}

/// What the template of the workers says to the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateSays {
    Spawned { worker: WorkerId, pid: u32 },
    Exited { pid: u32, status: i32 },
}

/// All events to come.
#[derive(Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(Micros, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
}

impl Agenda {
    pub fn add(&mut self, at: Micros, event: Event) {
        self.heap.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    /// The next event and its time.
    pub fn take(&mut self) -> Option<(Micros, Event)> {
        let Reverse((at, number)) = self.heap.pop()?;
        self.events.remove(&number).map(|event| (at, event))
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
