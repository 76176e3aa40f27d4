//! What is due, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use whipray_proto::WorkerId;

/// Microseconds since some moment; the shell's clock.
pub type Micros = u64;

/// What happens at its time, unless it has become pointless by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A worker that has not said hello by now does not start.
    WorkerStart(WorkerId),
    /// A worker that lost its connection, and whose exit status has not come, is ended.
    WorkerLost(WorkerId),
    /// Workers that are idle for long, and too many, are asked to leave.
    TrimIdle,
    /// Holders of leases are asked for idle ones.
    Reclaim,
    /// Holders of leases that have not said that idle ones are back are waited for no longer.
    IdleAnswers,
    /// Owners that still have no lease hear why.
    PendingNotice,
    /// The store looks at the requests that wait for room.
    Store,
    /// Another worker is tried after failures.
    SpawnRetry,
    /// What was saved for someone is everybody's again.
    Saving,
    /// The memory of the machine is looked at.
    Memory,
    /// A question is answered with what has come until now.
    Inquiry(u64),
    /// Values of metrics are waited for no longer.
    Metrics(u64),
    /// Control hears what is free now.
    View,
    /// The autoscaler hears what waits here.
    Wants,
    /// The node of a watched process is waited for no longer.
    NodeUnheard(WorkerId),
    /// What still runs on a node that is to go has had its time.
    Drained,
    /// Objects that no node could take are tried again.
    Moves,
    /// The word of an owner on an object that was taken over is waited for no longer.
    Take(u64),
}

/// Pending timers. One that is no longer wanted stays, and is found pointless when it fires: that
/// costs one wake-up, where a search would cost each event.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Micros, Timer)>>,
}

impl Timers {
    pub fn set(&mut self, at: Micros, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// When the next timer fires.
    pub fn next(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due.
    pub fn take_due(&mut self, now: Micros) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}

/// A duration in microseconds.
pub fn micros(duration: std::time::Duration) -> Micros {
    duration.as_micros() as Micros
}
