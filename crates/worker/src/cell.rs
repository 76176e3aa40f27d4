//! The meeting point of those who wait for an object and those who make it.
//!
//! A cell is shared by the object table, by every handle of the process and by waiting threads, so
//! that asking whether an object is ready is one atomic load, without a lock or a look-up.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use whipray_proto::{ObjectId, ObjectValue, SharedLocation};

use crate::shared::SharedView;

/// What is told when an object becomes ready.
pub enum Waiter {
    /// A thread that waits for several objects: one less.
    Count(Arc<WaitSet>),
    /// Called once, without any lock held.
    Callback(Box<dyn FnOnce() + Send>),
}

/// Mostly there is one.
pub type Waiters = SmallVec<[Waiter; 1]>;

/// How many objects a waiting thread still waits for.
#[derive(Default)]
pub struct WaitSet {
    remaining: AtomicUsize,
    ends_on_error: bool,
}

impl WaitSet {
    /// A set that waits for `count` objects.
    pub fn new(count: usize) -> Self {
        Self {
            remaining: AtomicUsize::new(count),
            ends_on_error: false,
        }
    }

    /// A set that waits for `count` objects, or for the first of them that is an error.
    pub fn until_error(count: usize) -> Self {
        Self {
            ends_on_error: true,
            ..Self::new(count)
        }
    }

    /// Whether nothing is left to wait for.
    pub fn is_done(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }

    /// One of the objects is an error.
    pub fn on_error(&self) {
        if self.ends_on_error {
            self.remaining.store(0, Ordering::Release);
        }
    }

    /// One object less. Never goes below zero, since a wait for some of many ends early.
    pub fn count_down(&self) {
        let _ = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                Some(left.saturating_sub(1))
            });
    }
}

/// A value as it is kept. There may be a million: the small ones without references or failure,
/// which most are, take no more room than their bytes.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Inline(Bytes),
    Other(Box<ObjectValue>),
}

impl Held {
    fn new(value: ObjectValue) -> Self {
        let is_plain = value.shared.is_none() && value.contained.is_none() && !value.is_error;
        if is_plain && value.failure.is_none() {
            return Self::Inline(value.data);
        }
        Self::Other(Box::new(value))
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn value(&self) -> Option<ObjectValue> {
        match self {
            Self::Nothing => None,
            Self::Inline(data) => Some(ObjectValue::inline(data.clone())),
            Self::Other(value) => Some((**value).clone()),
        }
    }
}

#[derive(Default)]
struct CellState {
    value: Held,
    waiters: Waiters,
    /// The creator keeps its own mapping alive with the object.
    own_view: Option<Arc<SharedView>>,
    /// A mapping that readers of this process hold.
    view: Weak<SharedView>,
}

/// One object as this process knows it.
pub struct ObjectCell {
    id: ObjectId,
    ready: AtomicBool,
    /// Somebody looked at the value, or handed it on.
    seen: AtomicBool,
    /// Another process owns the object: its value has to be asked for.
    is_borrowed: bool,
    /// Who looked at it last; see [`Self::mark`].
    mark: AtomicU64,
    state: Mutex<CellState>,
}

impl ObjectCell {
    /// A cell whose value is not there yet.
    pub fn pending(id: ObjectId) -> Self {
        Self {
            id,
            ready: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            is_borrowed: false,
            mark: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// A cell for the value of another owner's object.
    pub fn borrowed(id: ObjectId) -> Self {
        Self {
            is_borrowed: true,
            ..Self::pending(id)
        }
    }

    /// A cell with its value.
    pub fn ready(id: ObjectId, value: ObjectValue) -> Self {
        let state = CellState {
            value: Held::new(value),
            ..CellState::default()
        };
        Self {
            ready: AtomicBool::new(true),
            state: Mutex::new(state),
            ..Self::pending(id)
        }
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Whether the value (or an error in its place) is there.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether another process owns the object.
    pub fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    /// Leaves a mark that nobody else uses; whether it was not there before. So a list of objects
    /// is found to name one of them twice at the price of a store for each.
    pub fn mark(&self, mark: u64) -> bool {
        if self.mark.load(Ordering::Relaxed) == mark {
            return false;
        }
        self.mark.store(mark, Ordering::Relaxed);
        true
    }

    /// The value, where it is there. Small values are cheap to clone.
    pub fn value(&self) -> Option<ObjectValue> {
        if !self.seen.load(Ordering::Relaxed) {
            self.seen.store(true, Ordering::Relaxed);
        }
        self.state.lock().value.value()
    }

    /// Nobody has to look at the value.
    pub fn mark_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// Whether the value is there, and an error. Does not count as looking at it.
    pub fn is_error(&self) -> bool {
        matches!(&self.state.lock().value, Held::Other(value) if value.is_error)
    }

    /// Whether the value is there, and lies in shared memory. Does not count as looking at it.
    pub fn is_shared(&self) -> bool {
        matches!(&self.state.lock().value, Held::Other(value) if value.shared.is_some())
    }

    /// Where the value lies in shared memory, if it does.
    pub fn location(&self) -> Option<SharedLocation> {
        match &self.state.lock().value {
            Held::Other(value) => value.shared,
            _ => None,
        }
    }

    /// The exception of a task that nobody has looked at.
    pub fn unseen_exception(&self) -> Option<ObjectValue> {
        if self.seen.load(Ordering::Relaxed) {
            return None;
        }
        match &self.state.lock().value {
            Held::Other(value) if is_exception(value) => Some((**value).clone()),
            _ => None,
        }
    }

    /// Sets the value and returns who is to be told. A second value is ignored.
    pub fn complete(&self, value: ObjectValue) -> Waiters {
        let mut state = self.state.lock();
        if state.value.is_there() {
            return Waiters::new();
        }
        let waiters = std::mem::take(&mut state.waiters);
        if value.is_error {
            for waiter in &waiters {
                if let Waiter::Count(set) = waiter {
                    set.on_error();
                }
            }
        }
        state.value = Held::new(value);
        self.ready.store(true, Ordering::Release);
        waiters
    }

    /// The value turned out to be lost, and is awaited anew.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        self.ready.store(false, Ordering::Release);
        state.value = Held::Nothing;
        state.own_view = None;
        state.view = Weak::new();
    }

    /// Another copy of the value is the one to read from now on.
    pub fn relocate(&self, location: SharedLocation) {
        if let Held::Other(value) = &mut self.state.lock().value
            && value.shared.is_some()
        {
            value.shared = Some(location);
        }
    }

    /// The copy of this process's own goes; the value may be lost with it.
    pub fn drop_own_view(&self) -> Option<Arc<SharedView>> {
        self.state.lock().own_view.take()
    }

    /// Sets an error in the place of the value.
    pub fn replace(&self, value: ObjectValue) {
        let mut state = self.state.lock();
        state.value = Held::new(value);
        state.own_view = None;
    }

    /// Adds a waiter; gives it back where the value is there already.
    pub fn wait(&self, waiter: Waiter) -> Option<Waiter> {
        let mut state = self.state.lock();
        if state.value.is_there() {
            return Some(waiter);
        }
        state.waiters.push(waiter);
        None
    }

    /// Takes back what a wait that ended early has left behind.
    pub fn forget(&self, set: &Arc<WaitSet>) {
        let mut state = self.state.lock();
        state.waiters.retain(|waiter| match waiter {
            Waiter::Count(other) => !Arc::ptr_eq(other, set),
            Waiter::Callback(_) => true,
        });
    }

    /// The mapping of the value, where this process has one.
    pub fn view(&self) -> Option<Arc<SharedView>> {
        let state = self.state.lock();
        state.own_view.clone().or_else(|| state.view.upgrade())
    }

    /// Whether readers hold the mapping, beside the object itself.
    pub fn is_read(&self) -> bool {
        let state = self.state.lock();
        match &state.own_view {
            Some(view) => Arc::strong_count(view) > 1,
            None => state.view.strong_count() > 0,
        }
    }

    /// Remembers a mapping for other readers, without keeping it alive.
    pub fn remember_view(&self, view: &Arc<SharedView>) {
        self.state.lock().view = Arc::downgrade(view);
    }

    /// Keeps the creator's mapping for its readers alone, no longer as long as the object.
    pub fn release_own_view(&self) {
        let mut state = self.state.lock();
        if let Some(view) = state.own_view.take() {
            state.view = Arc::downgrade(&view);
        }
    }

    /// Keeps the creator's mapping as long as the object.
    pub fn keep_view(&self, view: Arc<SharedView>) {
        self.state.lock().own_view = Some(view);
    }
}

/// Whether a value is an exception of the user's code, and not a failure that the engine reports.
pub fn is_exception(value: &ObjectValue) -> bool {
    value.is_error && value.failure.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::{ActorId, JobId, TaskId};

    fn cell() -> ObjectCell {
        let task = TaskId::of(1, ActorId::none_of(JobId::from_number(1)));
        ObjectCell::pending(task.return_id(1))
    }

    #[test]
    fn waiters_are_told_once() {
        let cell = cell();
        let set = Arc::new(WaitSet::new(1));
        assert!(cell.wait(Waiter::Count(set.clone())).is_none());
        assert_eq!(cell.complete(ObjectValue::default()).len(), 1);
        assert!(cell.complete(ObjectValue::default()).is_empty());
        assert!(cell.is_ready());
        assert!(cell.wait(Waiter::Count(set)).is_some());
    }

    #[test]
    fn a_wait_that_gave_up_leaves_nothing() {
        let cell = cell();
        let set = Arc::new(WaitSet::new(1));
        assert!(cell.wait(Waiter::Count(set.clone())).is_none());
        cell.forget(&set);
        assert!(cell.complete(ObjectValue::default()).is_empty());
    }

    #[test]
    fn an_error_ends_a_wait_for_all() {
        let (first, second) = (cell(), cell());
        let set = Arc::new(WaitSet::until_error(2));
        assert!(first.wait(Waiter::Count(set.clone())).is_none());
        assert!(second.wait(Waiter::Count(set.clone())).is_none());
        let error = ObjectValue {
            is_error: true,
            ..ObjectValue::default()
        };
        second.complete(error);
        assert!(set.is_done());
        assert!(second.unseen_exception().is_some());
        second.value();
        assert!(second.unseen_exception().is_none());
    }

    #[test]
    fn a_mark_is_left_once() {
        let cell = cell();
        assert!(cell.mark(1));
        assert!(!cell.mark(1));
        assert!(cell.mark(2));
    }

    #[test]
    fn a_set_never_goes_below_zero() {
        let set = WaitSet::new(1);
        set.count_down();
        set.count_down();
        assert!(set.is_done());
    }
}
