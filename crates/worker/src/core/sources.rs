//! Results that come one by one, as their executor sees them: how many there are, and whether the
//! owner has room for more.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use whipray_proto::generator::GeneratorSpec;
use whipray_proto::{TaskId, TaskSpec, WorkerAddress};

use crate::cell::Waiter;

/// A task that runs here and gives its results one by one. Asked by the executing thread without
/// the lock of the core.
pub struct Source {
    pub task: TaskId,
    pub attempt: u32,
    /// The owner of the items.
    pub caller: WorkerAddress,
    window: u32,
    /// Items that were made.
    made: AtomicU32,
    /// Items that the consumer has taken, as far as we know.
    taken: AtomicU32,
    /// The first item that the owner needs.
    wanted_from: AtomicU32,
    is_cancelled: AtomicBool,
    /// When items were written last, in microseconds since the connection began.
    written_us: AtomicU64,
    /// Told once there is room.
    waiter: Mutex<Option<Waiter>>,
}

impl Source {
    /// The source of a task; `None` for one whose results come with its answer.
    pub(super) fn of(spec: &TaskSpec, caller: &WorkerAddress) -> Option<Self> {
        let generator = spec.generator.as_deref()?;
        if generator.mode() != whipray_proto::generator::GeneratorMode::Streaming {
            return None;
        }
        Some(Self {
            task: spec.task,
            attempt: spec.attempt,
            caller: caller.clone(),
            window: generator.window,
            made: AtomicU32::new(0),
            // A consumer that is gone already has room for everything.
            taken: AtomicU32::new(match generator.wanted_from {
                GeneratorSpec::NONE_WANTED => GeneratorSpec::NONE_WANTED,
                _ => generator.taken,
            }),
            wanted_from: AtomicU32::new(generator.wanted_from),
            is_cancelled: AtomicBool::new(false),
            written_us: AtomicU64::new(0),
            waiter: Mutex::new(None),
        })
    }

    /// The index of the next item, where the owner needs that one.
    pub fn wanted(&self) -> Option<u32> {
        let index = self.made.load(Ordering::Relaxed);
        (index >= self.wanted_from.load(Ordering::Relaxed)).then_some(index)
    }

    /// The next item is made.
    pub fn count(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether another item may be made now. A task that is to end has room: it learns of its end
    /// instead.
    pub fn has_room(&self) -> bool {
        if self.window == 0 || self.is_cancelled() {
            return true;
        }
        let made = self.made.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Acquire);
        made.saturating_sub(taken) < self.window
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Whether what was made is to be written at once, because the last write is `gather_us` ago.
    pub fn is_due(&self, now_us: u64, gather_us: u64) -> bool {
        let is_due = now_us >= self.written_us.load(Ordering::Relaxed) + gather_us;
        if is_due {
            self.written_us.store(now_us, Ordering::Relaxed);
        }
        is_due
    }

    /// Has `waiter` told once there is room; gives it back where there is.
    pub fn wait(&self, waiter: Waiter) -> Option<Waiter> {
        let mut waiting = self.waiter.lock();
        if self.has_room() {
            return Some(waiter);
        }
        *waiting = Some(waiter);
        None
    }

    /// The owner's word; who is to be told.
    pub(super) fn on_taken(&self, taken: u32) -> Option<Waiter> {
        if taken == GeneratorSpec::NONE_WANTED {
            self.wanted_from.store(taken, Ordering::Relaxed);
        }
        self.taken.fetch_max(taken, Ordering::Release);
        self.wake()
    }

    /// The task is to end; who is to be told.
    pub(super) fn on_cancel(&self) -> Option<Waiter> {
        self.is_cancelled.store(true, Ordering::Release);
        self.wake()
    }

    fn wake(&self) -> Option<Waiter> {
        let mut waiting = self.waiter.lock();
        if self.has_room() {
            waiting.take()
        } else {
            None
        }
    }
}
