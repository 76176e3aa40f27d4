//! What is known of finished tasks, so that their results can be made again.
//!
//! A task whose results lie in shared memory is kept with its spec while one of these is referred
//! to, or while another kept task takes one of them: then it is run again should the last copy be
//! lost. Small values in the spec are kept with it, those in shared memory are not: they are made
//! again, too. What could not be (it was put, or its task has no retries) is held instead, as Ray
//! holds it. All of that together is bounded in bytes; the oldest tasks are forgotten first.
//!
//! Invariant, checked by [`Lineage::validate`]:
//! - LI-1: `users` counts the arguments of kept tasks that are results of each task.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::{ObjectId, TaskId, limits};

use crate::core::tasks::Task;

/// Why a lost object is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreconstructable {
    /// It was put, or its task put it.
    Put,
    /// Its task was submitted without retries.
    NoRetries,
    /// All retries of its task are used.
    AttemptsExceeded,
    /// What was known of its task was forgotten, because all of that took too much memory.
    Evicted,
    /// Nothing is known of its task.
    NotFound,
    /// Its task was cancelled.
    Cancelled,
}

impl Unreconstructable {
    /// The failure in the place of the object, with why its copy is lost, where that is known.
    pub fn failure(self, object: &ObjectId, reason: &str) -> Failure {
        let (kind, why) = match self {
            Self::Put => (
                FailureKind::UnreconstructablePut,
                "it was stored by ray.put(), so that there is no task that could make it again. \
                 Return it from a task instead",
            ),
            Self::NoRetries => (
                FailureKind::UnreconstructableNoRetries,
                "its task has max_retries=0 (a method: max_task_retries=0). Allow retries with \
                 @ray.remote(max_retries=N)",
            ),
            Self::AttemptsExceeded => (
                FailureKind::UnreconstructableAttempts,
                "all retries of its task are used. Allow more with @ray.remote(max_retries=N)",
            ),
            Self::Evicted => (
                FailureKind::UnreconstructableEvicted,
                "what was known of its task was forgotten to save memory. Allow more with the \
                 environment variable RAY_max_lineage_bytes",
            ),
            Self::NotFound => (
                FailureKind::UnreconstructableNotFound,
                "nothing is known of its task any more (for a method: its actor is gone)",
            ),
            Self::Cancelled => (
                FailureKind::UnreconstructableCancelled,
                "its task was cancelled",
            ),
        };
        let mut text = format!("The object {object} is lost, and cannot be made again: {why}.");
        if !reason.is_empty() {
            text.push_str(" Why it is lost: ");
            text.push_str(reason);
        }
        Failure::new(kind, object.to_hex(), text)
    }
}

/// A finished task that can be run again.
pub(crate) struct Kept {
    pub task: Task,
    bytes: u64,
    /// Results in shared memory that are referred to.
    results: u32,
    /// The tasks of arguments that are made again with this one.
    uses: SmallVec<[TaskId; 2]>,
}

/// All finished tasks that can be run again.
pub struct Lineage {
    kept: FxHashMap<TaskId, Kept>,
    /// How many arguments of kept tasks are results of a task.
    users: FxHashMap<TaskId, u32>,
    /// From the oldest to the newest; some are not kept any more.
    order: VecDeque<TaskId>,
    bytes: u64,
    pub limit_bytes: u64,
}

/// What is to be let go of with tasks that are not kept any more.
#[derive(Default)]
pub(crate) struct Dropped {
    pub held: Vec<ObjectId>,
    /// Tasks that had to go although somebody refers to results of theirs, of which each has so
    /// many.
    pub evicted: Vec<(TaskId, u32)>,
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            kept: FxHashMap::default(),
            users: FxHashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            limit_bytes: limits::LINEAGE_BYTES,
        }
    }
}

impl Lineage {
    /// How many tasks are kept, for tests and diagnosis.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub fn is_kept(&self, task: &TaskId) -> bool {
        self.kept.contains_key(task)
    }

    /// Whether kept tasks take results of this one.
    pub fn has_users(&self, task: &TaskId) -> bool {
        self.users.contains_key(task)
    }

    /// Keeps a finished task. `results` of its results are in shared memory and referred to; `uses`
    /// are the tasks of its arguments.
    pub(crate) fn keep(
        &mut self,
        task: Task,
        results: u32,
        uses: SmallVec<[TaskId; 2]>,
    ) -> Dropped {
        let id = task.spec.task;
        let bytes = task.spec.size_bytes();
        for used in &uses {
            *self.users.entry(*used).or_insert(0) += 1;
        }
        self.bytes += bytes;
        self.order.push_back(id);
        let kept = Kept {
            task,
            bytes,
            results,
            uses,
        };
        self.kept.insert(id, kept);
        if self.order.len() > 2 * self.kept.len() + 64 {
            let kept = &self.kept;
            self.order.retain(|task| kept.contains_key(task));
        }
        self.evict()
    }

    fn evict(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(kept) = self.kept.remove(&oldest) {
                let count = kept.task.spec.num_returns;
                dropped.evicted.push((oldest, count));
                self.let_go(kept, &mut dropped);
            }
        }
        dropped
    }

    /// Takes a task out to run it again. What it uses stays until [`Self::let_go_of`].
    pub(crate) fn take(&mut self, task: &TaskId) -> Option<Kept> {
        let kept = self.kept.remove(task)?;
        self.bytes -= kept.bytes;
        Some(kept)
    }

    /// What a task used that was taken out: it holds its arguments by now.
    pub(crate) fn let_go_of(&mut self, uses: SmallVec<[TaskId; 2]>) -> Dropped {
        let mut dropped = Dropped::default();
        self.unuse(uses, &mut dropped);
        dropped
    }

    /// A result of a task in shared memory is not referred to any more.
    pub(crate) fn release(&mut self, task: &TaskId) -> Dropped {
        let mut dropped = Dropped::default();
        if let Some(kept) = self.kept.get_mut(task) {
            kept.results = kept.results.saturating_sub(1);
            if kept.results == 0
                && !self.users.contains_key(task)
                && let Some(kept) = self.kept.remove(task)
            {
                self.let_go(kept, &mut dropped);
            }
        }
        dropped
    }

    fn let_go(&mut self, kept: Kept, dropped: &mut Dropped) {
        self.bytes -= kept.bytes;
        dropped.held.extend(kept.task.held);
        self.unuse(kept.uses, dropped);
    }

    /// Without recursion: chains of tasks may be long.
    fn unuse(&mut self, uses: SmallVec<[TaskId; 2]>, dropped: &mut Dropped) {
        let mut unused = uses.into_vec();
        while let Some(task) = unused.pop() {
            let Some(count) = self.users.get_mut(&task) else {
                continue;
            };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.users.remove(&task);
            let is_wanted = self.kept.get(&task).is_none_or(|kept| kept.results > 0);
            if !is_wanted && let Some(kept) = self.kept.remove(&task) {
                self.bytes -= kept.bytes;
                dropped.held.extend(kept.task.held);
                unused.extend(kept.uses);
            }
        }
    }

    /// Checks the invariant LI-1; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        let mut counted: FxHashMap<TaskId, u32> = FxHashMap::default();
        for used in self.kept.values().flat_map(|kept| &kept.uses) {
            *counted.entry(*used).or_insert(0) += 1;
        }
        if counted != self.users {
            return Err(format!(
                "LI-1: users are {:?}, and should be {counted:?}",
                self.users
            ));
        }
        Ok(())
    }
}

impl Kept {
    /// The tasks of its arguments, taken out.
    pub fn take_uses(&mut self) -> SmallVec<[TaskId; 2]> {
        std::mem::take(&mut self.uses)
    }
}
