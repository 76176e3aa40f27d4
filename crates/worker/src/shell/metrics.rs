//! The metrics of this process, whatever it is connected to, and what the node is told of them.
//!
//! They have a lock of their own, so that to count something never waits for the engine. It is the
//! inner one of the two: it is taken while the state is locked, and never the other way round.
//!
//! A process says that it has metrics with the first of them, and is asked from then on when somebody
//! wants to see them. So that a kill does not take all that it has counted, it also says its values by
//! itself soon after they changed; and it hands them over when it leaves. What is handed over is
//! counted by the node: the process begins again, for the node that it connects to next.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use whipray_proto::limits;
use whipray_proto::messages::metrics::MetricsReported;

use crate::core::metrics::{Definition, MetricNumber, Registry, TagValues};
use crate::shell::runtime::Runtime;

struct Shared {
    registry: Registry,
    /// Room for the tags of the value that is recorded.
    tags: TagValues,
}

/// A lock of the standard library: in a forked child it can be released by whoever held it in the
/// parent, since it is never handed over to a thread that waits.
static SHARED: Mutex<Shared> = Mutex::new(Shared {
    registry: Registry::new(),
    tags: TagValues::new(),
});

/// There are metrics; programs without any never take the lock.
static HAS_METRICS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Held while this thread forks.
    static HELD: Cell<Option<MutexGuard<'static, Shared>>> = const { Cell::new(None) };
}

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The metric of this definition, which may be there already; `None` where there are too many.
pub fn register(definition: Definition) -> Option<MetricNumber> {
    let number = shared().registry.register(definition);
    HAS_METRICS.store(true, Ordering::Release);
    number
}

/// Adds to a counter, sets a gauge, or counts a value of a histogram. `write_tags` gives the values of
/// its tags in the order of their keys; it runs under the lock and must not come back here.
///
/// # Errors
/// What `write_tags` returns; nothing is recorded then.
pub fn record<E>(
    number: MetricNumber,
    value: f64,
    write_tags: impl FnOnce(&mut TagValues) -> Result<(), E>,
) -> Result<(), E> {
    let mut shared = shared();
    let Shared { registry, tags } = &mut *shared;
    tags.clear();
    write_tags(tags)?;
    registry.record(number, tags, value);
    Ok(())
}

/// All values, for the node.
pub(crate) fn report(request: u64) -> MetricsReported {
    shared().registry.report(request)
}

/// Before this process is forked: the values are held, so that the child gets whole ones. Must be
/// followed by one of the two calls below, in the same thread.
pub fn before_fork() {
    HELD.set(Some(shared()));
}

/// After a fork, in the process that went on.
pub fn after_fork_in_parent() {
    drop(HELD.take());
}

/// After a fork, in the child: the metrics are its own as well, what was counted is the parent's.
pub fn after_fork_in_child() {
    if let Some(mut held) = HELD.take() {
        held.registry.forget_values();
    }
}

/// What the node knows of the metrics of this process.
#[derive(Default)]
pub(crate) struct MetricsLink {
    is_announced: AtomicBool,
    /// Since when there are values that it was not told of, as far as somebody has looked. Locked by
    /// whoever says something unasked, so that nothing is said in the wrong order.
    unsaid_since: parking_lot::Mutex<Option<Instant>>,
}

impl Runtime {
    /// The node hears, once, that there are metrics here, if there are.
    pub fn announce_metrics(&self) {
        if HAS_METRICS.load(Ordering::Acquire)
            && !self.metrics.is_announced.swap(true, Ordering::AcqRel)
        {
            self.to_node(report(0).into());
        }
    }

    /// The last words on metrics before this process leaves: the node counts them from here on.
    pub fn hand_over_metrics(&self) {
        if !self.metrics.is_announced.load(Ordering::Acquire) || self.is_over() {
            return;
        }
        let _unsaid = self.metrics.unsaid_since.lock();
        let last = {
            let mut shared = shared();
            let last = shared.registry.report(0);
            shared.registry.forget_values();
            last
        };
        self.to_node(last.into());
    }

    /// Says values that have been kept for long.
    pub(crate) fn say_metrics_when_due(&self) {
        if !self.metrics.is_announced.load(Ordering::Relaxed) {
            return;
        }
        let mut unsaid_since = self.metrics.unsaid_since.lock();
        let said = {
            let mut shared = shared();
            if !shared.registry.is_changed() {
                *unsaid_since = None;
                return;
            }
            let since = unsaid_since.get_or_insert_with(Instant::now);
            if since.elapsed() < limits::METRICS_UNSAID {
                return;
            }
            *unsaid_since = None;
            shared.registry.report(0)
        };
        self.to_node(said.into());
    }
}
