//! What happens next: events by time, and in the order of their making where times are equal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use whipray_proto::WorkerId;
use whipray_store::core::DiskJob;

use crate::network::Socket;
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
    NodeTimer,
    /// The template was asked for a worker, and forks it.
    Fork {
        worker: WorkerId,
        template: u64,
    },
    /// The template tells the daemon something.
    TemplateSays {
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
        template: u64,
    },
    /// A job of the disk comes to its end.
    Disk {
        job: DiskJob,
        /// What its pieces were when it began.
        blocks: Vec<Option<Block>>,
    },
    Driver {
        index: usize,
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
