//! Waiting for objects.

use std::sync::Arc;
use std::time::Duration;

use whipray_proto::{TaskId, limits};

use crate::cell::{WaitSet, Waiter};
use crate::handle::ObjectHandle;
use crate::shell::blocked::Wanted;
use crate::shell::runtime::{Runtime, WaitOutcome};

impl Runtime {
    /// Blocks until all objects are there, or one of them is an error: the first error ends a wait
    /// for many, since it is what the wait will raise.
    pub fn wait_all(
        &self,
        handles: &[&ObjectHandle],
        timeout: Option<Duration>,
        task: Option<TaskId>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        let missing: Vec<&ObjectHandle> = handles
            .iter()
            .copied()
            .filter(|handle| !handle.is_ready())
            .collect();
        if missing.is_empty() || self.has_error(handles) {
            return WaitOutcome::Ready;
        }
        let set = WaitSet::until_error(missing.len());
        let wanted = Wanted {
            missing: &missing,
            needed: missing.len(),
            task,
        };
        self.wait_for(&wanted, set, timeout, interrupt)
    }

    /// Blocks until `count` of the objects are there; ask each handle afterwards.
    pub fn wait_some(
        &self,
        handles: &[&ObjectHandle],
        count: usize,
        timeout: Option<Duration>,
        task: Option<TaskId>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        let missing: Vec<&ObjectHandle> = handles
            .iter()
            .copied()
            .filter(|handle| !handle.is_ready())
            .collect();
        let needed = count.saturating_sub(handles.len() - missing.len());
        if needed == 0 {
            return WaitOutcome::Ready;
        }
        let wanted = Wanted {
            missing: &missing,
            needed,
            task,
        };
        self.wait_for(&wanted, WaitSet::new(needed), timeout, interrupt)
    }

    fn has_error(&self, handles: &[&ObjectHandle]) -> bool {
        handles
            .iter()
            .any(|handle| handle.is_ready() && handle.cell().is_error())
    }

    fn wait_for(
        &self,
        wanted: &Wanted<'_>,
        set: WaitSet,
        timeout: Option<Duration>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        let set = Arc::new(set);
        let missing = wanted.missing;
        self.subscribe(missing);
        for handle in missing {
            if let Some(Waiter::Count(set)) = handle.cell().wait(Waiter::Count(set.clone())) {
                if handle.cell().is_error() {
                    set.on_error();
                }
                set.count_down();
            }
        }
        let outcome = self.wait_in_task(&|| set.is_done(), timeout, wanted, interrupt);
        for handle in missing {
            if !handle.is_ready() {
                handle.cell().forget(&set);
            }
        }
        outcome
    }

    /// Asks the owners of borrowed objects for their values.
    pub(crate) fn subscribe(&self, handles: &[&ObjectHandle]) {
        if !handles.iter().any(|handle| handle.cell().is_borrowed()) {
            return;
        }
        let mut state = self.state.lock();
        let core = &mut state.core;
        for handle in handles.iter().filter(|handle| handle.cell().is_borrowed()) {
            core.objects.subscribe(&handle.id(), &mut core.effects);
        }
        if state.core.effects.is_empty() {
            return;
        }
        self.commit(state);
    }

    pub(crate) fn wait_in_task(
        &self,
        is_done: &dyn Fn() -> bool,
        timeout: Option<Duration>,
        wanted: &Wanted<'_>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        if wanted.task.is_none() {
            return match timeout {
                Some(_) => self.wait_looking(is_done, timeout, wanted.is_single(), interrupt),
                None => self.wait_and_probe(is_done, wanted, interrupt),
            };
        }
        let grace = timeout.map_or(limits::BLOCKED_GRACE, |timeout| {
            timeout.min(limits::BLOCKED_GRACE)
        });
        let outcome = self.wait_looking(is_done, Some(grace), wanted.is_single(), interrupt);
        if outcome != WaitOutcome::TimedOut || timeout == Some(grace) {
            return outcome;
        }
        let mut state = self.state.lock();
        let number = state.on_blocked(wanted, timeout.is_some(), &self.poller);
        self.commit(state);
        let outcome = match timeout {
            Some(timeout) => {
                let rest = timeout.saturating_sub(grace);
                self.wait_until(is_done, Some(rest), interrupt)
            }
            None => self.wait_and_probe(is_done, wanted, interrupt),
        };
        let mut state = self.state.lock();
        state.on_unblocked(number, &self.poller);
        self.commit(state);
        outcome
    }
}
