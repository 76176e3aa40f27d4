//! Tasks whose workers the memory monitor ended: they run again after a pause, and are not charged
//! for it, since another moment may have the memory that this one had not.

use whipray_proto::{TaskId, limits};

use crate::core::Core;
use crate::core::history::Ending;
use crate::core::tasks::{Micros, Task};

/// How such tasks are tried again, and those that wait for their moment.
pub struct OomRetries {
    /// Below zero: without end.
    pub most: i32,
    /// The pause before the first retry; each further one is twice as long.
    pub pause: Micros,
    /// The pause before a retry for any other reason; zero for none.
    pub pause_of_others: Micros,
    waiting: Vec<(Micros, TaskId)>,
}

impl Default for OomRetries {
    fn default() -> Self {
        Self {
            most: -1,
            pause: limits::OOM_RETRY_PAUSE.as_micros() as Micros,
            pause_of_others: 0,
            waiting: Vec::new(),
        }
    }
}

impl OomRetries {
    fn pause_before(&self, used: u32) -> Micros {
        let longest = limits::OOM_RETRY_LONGEST.as_micros() as Micros;
        let doubled = self.pause.checked_shl(used.min(32)).unwrap_or(longest);
        doubled.min(longest)
    }

    /// Has a task that is tried again for another reason wait, too; whether there is a pause.
    pub(super) fn pause_other(&mut self, task: TaskId, now: Micros) -> bool {
        let is_paused = self.pause_of_others > 0;
        if is_paused {
            self.waiting.push((now + self.pause_of_others, task));
        }
        is_paused
    }

    /// Takes a task out of those that wait; whether it was one of them.
    pub fn remove(&mut self, task: &TaskId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(_, waiting)| waiting != task);
        self.waiting.len() != before
    }

    /// When the next task is due.
    pub fn deadline(&self) -> Option<Micros> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// Whether a task waits for its moment, and until when.
    pub fn due_at(&self, task: &TaskId) -> Option<Micros> {
        let found = self.waiting.iter().find(|(_, waiting)| waiting == task);
        found.map(|(at, _)| *at)
    }
}

impl Core {
    /// Has a task wait for its next try; whether it has one. A task without any retry must not run
    /// twice for this reason either.
    pub(super) fn retry_out_of_memory(
        &mut self,
        task: TaskId,
        ending: Ending,
        now: Micros,
    ) -> bool {
        let most = self.oom_retries.most;
        let may_retry = |entry: &Task| {
            let is_spent = most >= 0 && entry.oom_retries_used >= most.unsigned_abs();
            entry.retries_left != 0 && !is_spent
        };
        if !self.tasks.tasks.get(&task).is_some_and(may_retry) {
            return false;
        }
        self.remember_try(task, ending);
        let Some(entry) = self.tasks.tasks.get_mut(&task) else {
            return false;
        };
        let at = now + self.oom_retries.pause_before(entry.oom_retries_used);
        entry.oom_retries_used += 1;
        entry.begin_try();
        self.oom_retries.waiting.push((at, task));
        true
    }

    /// Queues the tasks whose pause is over.
    pub(super) fn retry_due(&mut self, now: Micros) {
        if self.oom_retries.deadline().is_none_or(|due| due > now) {
            return;
        }
        let waiting = std::mem::take(&mut self.oom_retries.waiting);
        let (due, later) = waiting.into_iter().partition(|(at, _)| *at <= now);
        self.oom_retries.waiting = later;
        let due: Vec<(Micros, TaskId)> = due;
        for (_, task) in due {
            if let Some(class) = self.tasks.tasks.get(&task).map(|entry| entry.class) {
                self.tasks.enqueue(task, true);
                self.tasks
                    .pump(class, &self.durations, now, &mut self.effects);
            }
        }
    }
}
