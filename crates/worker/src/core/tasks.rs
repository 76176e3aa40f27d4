//! Plain tasks of this owner: where each one is, and which leased worker runs it.
//!
//! | state | where it is found |
//! | --- | --- |
//! | waits for objects | only in `tasks`, with `missing` above zero |
//! | queued | in `queue` of its class |
//! | pushed | in `in_flight` of one lease |
//! | waits for memory | in `waiting` of [`super::oom_retries::OomRetries`] |
//!
//! Invariants, checked by [`TaskTable::validate`]:
//! - TT-1: a task is in exactly one of these places.
//! - TT-2: `outstanding` of a class counts its queued and pushed tasks.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use whipray_proto::messages::lease::{IdleReturned, LeaseReturn, LeaseTarget, SchedulingClass};
use whipray_proto::task::TaskKind;
use whipray_proto::{
    Assignment, LeaseId, NodeId, ObjectId, PlacementGroupId, TaskId, TaskSpec, WorkerAddress,
    WorkerId, limits,
};

use crate::core::effect::Effect;
use crate::core::estimate::Durations;
use crate::core::streams::Stream;

/// Microseconds since the connection began.
pub type Micros = u64;

/// A task of ours, plain or of an actor, from its submission to its end.
pub struct Task {
    pub spec: TaskSpec,
    pub class: u32,
    /// Retries left; below zero: without end.
    pub retries_left: i32,
    pub retries_used: u32,
    pub max_calls: u32,
    /// Objects that it depends on and that are not there yet.
    pub missing: u32,
    /// What it keeps alive while it is under way.
    pub held: SmallVec<[ObjectId; 2]>,
    pub is_cancelled: bool,
    /// Its worker is to be ended once it runs.
    pub is_forced: bool,
    /// It was in a worker that died, behind others: perhaps it ran, and perhaps it is the cause.
    pub is_suspect: bool,
    pub submitted: Micros,
    /// How often it ran again because its worker was ended for its memory.
    pub oom_retries_used: u32,
    /// Where its results come one by one.
    pub stream: Option<Arc<Stream>>,
}

impl Task {
    /// Whether it has a worker for itself: what waits behind others may run twice where answers are
    /// lost with the worker, and a task without retries must not.
    fn is_alone(&self) -> bool {
        self.is_suspect || self.retries_left == 0
    }
}

/// Whether a lease takes more tasks, and what becomes of it after its last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// Others wait, and it was ours for long enough.
    Return,
    /// Its worker served as many calls as it may.
    EndWorker,
}

/// A worker that is ours for a while.
pub struct Lease {
    pub id: LeaseId,
    pub class: u32,
    pub worker: WorkerAddress,
    /// Sent with the first task.
    pub assignment: Option<Assignment>,
    pub in_flight: VecDeque<TaskId>,
    /// The sum of the expected durations of what is in flight.
    expected_us: u64,
    idle_since: Micros,
    last_progress: Micros,
    /// It handed tasks back, because it waits for others: nothing more until it answers.
    is_stalled: bool,
    is_reclaiming: bool,
    /// Its process is gone; the node's word on why is on its way.
    pub is_lost: bool,
    calls: u32,
    granted_at: Micros,
    ending: Ending,
}

struct Class {
    definition: SchedulingClass,
    /// The class without a node to be near to: itself, where it names none.
    base: u32,
    queue: VecDeque<TaskId>,
    leases: Vec<LeaseId>,
    target_sent: u32,
    outstanding: u32,
    example: String,
}

/// All plain tasks, and the entries of actor tasks.
#[derive(Default)]
pub struct TaskTable {
    pub tasks: FxHashMap<TaskId, Task>,
    classes: Vec<Class>,
    class_numbers: FxHashMap<SchedulingClass, u32>,
    pub leases: FxHashMap<LeaseId, Lease>,
    by_worker: FxHashMap<WorkerId, SmallVec<[LeaseId; 1]>>,
    /// Classes whose lease target may have changed.
    dirty: Vec<u32>,
}

impl TaskTable {
    /// The number of a scheduling class.
    pub fn class(&mut self, definition: &SchedulingClass) -> u32 {
        if let Some(number) = self.class_numbers.get(definition) {
            return *number;
        }
        let number = self.classes.len() as u32;
        self.class_numbers.insert(definition.clone(), number);
        self.classes.push(Class {
            definition: definition.clone(),
            base: number,
            queue: VecDeque::new(),
            leases: Vec::new(),
            target_sent: 0,
            outstanding: 0,
            example: String::new(),
        });
        number
    }

    /// The class of tasks like those of `number` that are rather to run on a node, or anywhere. What
    /// has a strategy says itself where it runs.
    pub fn class_near(&mut self, number: u32, near: Option<NodeId>) -> u32 {
        let Some(base) = self.classes.get(number as usize).map(|class| class.base) else {
            return number;
        };
        let Some(definition) = self.classes.get(base as usize).map(|it| &it.definition) else {
            return number;
        };
        if near.is_none() || definition.strategy.is_some() {
            return base;
        }
        let definition = SchedulingClass {
            near,
            ..definition.clone()
        };
        let number = self.class(&definition);
        if let Some(class) = self.classes.get_mut(number as usize) {
            class.base = base;
        }
        number
    }

    /// Puts a task whose objects are all there into its queue.
    pub fn enqueue(&mut self, task: TaskId, at_front: bool) {
        let Some(entry) = self.tasks.get(&task) else {
            return;
        };
        let Some(class) = self.classes.get_mut(entry.class as usize) else {
            return;
        };
        if class.example.is_empty() {
            class.example = entry.spec.name.clone();
        }
        if at_front {
            class.queue.push_front(task);
        } else {
            class.queue.push_back(task);
        }
        class.outstanding += 1;
        self.dirty.push(entry.class);
    }

    /// Pushes queued tasks of a class to its leases: to idle ones first, deeper only where tasks
    /// are known to be short.
    pub fn pump(
        &mut self,
        number: u32,
        durations: &Durations,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) {
        loop {
            let Some(class) = self.classes.get_mut(number as usize) else {
                return;
            };
            let Some(task) = class.queue.front().copied() else {
                return;
            };
            let Some(entry) = self.tasks.get(&task) else {
                class.queue.pop_front();
                continue;
            };
            let expected = durations.average_us(&entry.spec.function);
            let mut best: Option<(usize, LeaseId)> = None;
            for id in &class.leases {
                let Some(lease) = self.leases.get(id) else {
                    continue;
                };
                if !has_room(lease, expected) || !may_follow(entry, lease, &self.tasks) {
                    continue;
                }
                let depth = lease.in_flight.len();
                if best.is_none_or(|(least, _)| depth < least) {
                    best = Some((depth, *id));
                    if depth == 0 {
                        break;
                    }
                }
            }
            let Some((depth, id)) = best else { return };
            let Some(lease) = self.leases.get_mut(&id) else {
                return;
            };
            class.queue.pop_front();
            if depth == 0 {
                lease.last_progress = now;
            }
            lease.in_flight.push_back(task);
            lease.expected_us += expected.unwrap_or(0);
            lease.calls += 1;
            if entry.max_calls > 0 && lease.calls >= entry.max_calls {
                lease.ending = Ending::EndWorker;
            }
            effects.push(Effect::Push {
                to: lease.worker.worker,
                task,
                is_urgent: depth == 0,
            });
        }
    }

    /// These tasks were in a worker that died: each of them runs alone from now on.
    pub fn suspect<'a>(&mut self, tasks: impl IntoIterator<Item = &'a TaskId>) {
        for task in tasks {
            if let Some(task) = self.tasks.get_mut(task) {
                task.is_suspect = true;
            }
        }
    }

    /// A worker is ours.
    pub fn on_granted(
        &mut self,
        number: u64,
        id: LeaseId,
        worker: WorkerAddress,
        assignment: Assignment,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) -> Option<u32> {
        let number = u32::try_from(number).ok()?;
        let Some(class) = self.classes.get_mut(number as usize) else {
            effects.push(Effect::ToNode(
                LeaseReturn {
                    lease: id,
                    end_worker: false,
                }
                .into(),
            ));
            return None;
        };
        class.leases.push(id);
        self.by_worker.entry(worker.worker).or_default().push(id);
        self.leases.insert(
            id,
            Lease {
                id,
                class: number,
                worker,
                assignment: Some(assignment),
                in_flight: VecDeque::new(),
                expected_us: 0,
                idle_since: now,
                last_progress: now,
                is_stalled: false,
                is_reclaiming: false,
                is_lost: false,
                calls: 0,
                granted_at: now,
                ending: Ending::No,
            },
        );
        Some(number)
    }

    /// The lease that a task was pushed to: the task is taken out of it.
    pub fn take_in_flight(
        &mut self,
        worker: &WorkerId,
        task: &TaskId,
        durations: &Durations,
        is_handed_back: bool,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(ids) = self.by_worker.get(worker) else {
            return false;
        };
        for id in ids.clone() {
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            // Answers come in the order of the tasks, but for what is handed back from the end.
            let position = if lease.in_flight.front() == Some(task) {
                0
            } else {
                match lease.in_flight.iter().rposition(|other| other == task) {
                    Some(position) => position,
                    None => continue,
                }
            };
            lease.in_flight.remove(position);
            let expected = self
                .tasks
                .get(task)
                .and_then(|task| durations.average_us(&task.spec.function))
                .unwrap_or(0);
            lease.expected_us = lease.expected_us.saturating_sub(expected);
            if is_handed_back {
                lease.is_stalled = !lease.in_flight.is_empty();
            } else {
                lease.is_stalled = false;
                lease.is_reclaiming = false;
            }
            lease.last_progress = now;
            let class = lease.class;
            if let Some(class) = self.classes.get_mut(class as usize) {
                class.outstanding = class.outstanding.saturating_sub(1);
            }
            self.dirty.push(class);
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            if lease.in_flight.is_empty() {
                lease.idle_since = now;
                lease.expected_us = 0;
                if lease.ending != Ending::No {
                    let end_worker = lease.ending == Ending::EndWorker;
                    self.return_lease(id, end_worker, effects);
                }
            }
            return true;
        }
        false
    }

    fn return_lease(&mut self, id: LeaseId, end_worker: bool, effects: &mut Vec<Effect>) {
        let Some(lease) = self.remove_lease(&id) else {
            return;
        };
        // The target goes first: else the node would grant at once what is given back.
        self.send_target(lease.class, effects);
        effects.push(Effect::ToNode(
            LeaseReturn {
                lease: id,
                end_worker,
            }
            .into(),
        ));
    }

    fn remove_lease(&mut self, id: &LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(id)?;
        if let Some(class) = self.classes.get_mut(lease.class as usize) {
            class.leases.retain(|other| other != id);
        }
        if let Some(ids) = self.by_worker.get_mut(&lease.worker.worker) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_worker.remove(&lease.worker.worker);
            }
        }
        Some(lease)
    }

    fn desired(&self, number: u32) -> Option<u32> {
        let class = self.classes.get(number as usize)?;
        Some(class.outstanding.min(limits::LEASES_PER_CLASS))
    }

    fn send_target(&mut self, number: u32, effects: &mut Vec<Effect>) {
        let Some(desired) = self.desired(number) else {
            return;
        };
        let Some(class) = self.classes.get_mut(number as usize) else {
            return;
        };
        let target = desired.max(class.leases.len() as u32);
        class.target_sent = target;
        effects.push(Effect::ToNode(
            LeaseTarget {
                class: u64::from(number),
                definition: class.definition.clone(),
                target,
                example: class.example.clone(),
                says_if_busy: false,
            }
            .into(),
        ));
    }

    /// Tells the node of every class for which more, or fewer, workers are wanted than it knows.
    pub fn update_targets(&mut self, here: &NodeId, effects: &mut Vec<Effect>) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for number in &dirty {
            let Some(desired) = self.desired(*number) else {
                continue;
            };
            let Some(class) = self.classes.get(*number as usize) else {
                continue;
            };
            let held = class.leases.len() as u32;
            let wants_more = desired > held && desired > class.target_sent;
            let wants_less = class.target_sent > held && desired < class.target_sent;
            if wants_more && class.target_sent <= held {
                // What is idle elsewhere counts as taken there: a task with a mere preference for
                // that node would go to another one.
                self.return_leases(effects, |lease| {
                    lease.class != *number && lease.worker.node != *here
                });
            }
            if wants_more || wants_less {
                self.send_target(*number, effects);
            }
        }
        dirty.clear();
        self.dirty = dirty;
    }

    /// Others wait for what our leases hold: idle ones go back at once, busy ones after their tasks,
    /// if they were ours for long enough. So nobody starves behind a queue that never empties.
    pub fn on_reclaim(&mut self, round: u64, now: Micros, effects: &mut Vec<Effect>) {
        self.return_leases(effects, |_| true);
        if round != 0 {
            effects.push(Effect::ToNode(IdleReturned { round }.into()));
        }
        let turn = limits::LEASE_TURN.as_micros() as u64;
        for lease in self.leases.values_mut() {
            if lease.ending == Ending::No && now.saturating_sub(lease.granted_at) >= turn {
                lease.ending = Ending::Return;
            }
        }
    }

    fn return_leases(&mut self, effects: &mut Vec<Effect>, is_due: impl Fn(&Lease) -> bool) {
        let idle: Vec<LeaseId> = self
            .leases
            .values()
            .filter(|lease| lease.in_flight.is_empty() && !lease.is_lost && is_due(lease))
            .filter(|lease| {
                self.classes
                    .get(lease.class as usize)
                    .is_some_and(|class| class.queue.is_empty())
            })
            .map(|lease| lease.id)
            .collect();
        for id in idle {
            self.return_lease(id, false, effects);
        }
    }

    /// What is due: idle leases go back; tasks that wait behind a long one are asked back where
    /// another worker could run them.
    pub fn on_time(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        let linger = limits::LEASE_LINGER.as_micros() as u64;
        self.return_leases(effects, |lease| {
            now.saturating_sub(lease.idle_since) >= linger
        });
        let patience = limits::PIPELINE_PATIENCE.as_micros() as u64;
        for class in &self.classes {
            if !has_idle(class, &self.leases) {
                continue;
            }
            for id in &class.leases {
                let Some(lease) = self.leases.get_mut(id) else {
                    continue;
                };
                let waiting = lease.in_flight.len().saturating_sub(1);
                if waiting == 0
                    || lease.is_reclaiming
                    || lease.is_lost
                    || now.saturating_sub(lease.last_progress) < patience
                {
                    continue;
                }
                lease.is_reclaiming = true;
                let count = waiting.div_ceil(2) as u32;
                effects.push(Effect::ToPeer(
                    lease.worker.clone(),
                    whipray_proto::messages::execution::ReclaimTasks { count }.into(),
                ));
            }
        }
    }

    /// When [`Self::on_time`] has something to do next. Only what it would do counts: a time that
    /// passes without effect would be due again at once, and for ever.
    pub fn deadline(&self) -> Option<Micros> {
        let linger = limits::LEASE_LINGER.as_micros() as u64;
        let patience = limits::PIPELINE_PATIENCE.as_micros() as u64;
        let of_class = |class: &Class| {
            let can_help = has_idle(class, &self.leases);
            let leases = class.leases.iter().filter_map(|id| self.leases.get(id));
            leases
                .filter(|lease| !lease.is_lost)
                .filter_map(|lease| match lease.in_flight.len() {
                    0 if class.queue.is_empty() => Some(lease.idle_since + linger),
                    0 | 1 => None,
                    _ if lease.is_reclaiming || !can_help => None,
                    _ => Some(lease.last_progress + patience),
                })
                .min()
        };
        self.classes.iter().filter_map(of_class).min()
    }

    /// Leases of a worker whose connection ended; they take no task until the node says why.
    pub fn on_worker_unreachable(&mut self, worker: &WorkerId) -> bool {
        let Some(ids) = self.by_worker.get(worker) else {
            return false;
        };
        for id in ids {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.is_lost = true;
            }
        }
        true
    }

    /// Whether a lease on this worker waits for the node's word.
    pub fn has_lost_lease(&self, worker: &WorkerId) -> bool {
        self.by_worker.contains_key(worker)
    }

    /// Whether the target of a class may have changed.
    pub fn has_dirty_classes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The worker of a lease is dead: its class, what was pushed to it in order, whether the first of
    /// these may have begun, and its node. It cannot have begun where nothing was sent yet.
    pub fn on_lost(&mut self, id: &LeaseId) -> Option<(u32, VecDeque<TaskId>, bool, NodeId)> {
        let lease = self.remove_lease(id)?;
        if let Some(class) = self.classes.get_mut(lease.class as usize) {
            class.outstanding = class
                .outstanding
                .saturating_sub(lease.in_flight.len() as u32);
            // The node took the lease away: its count for us fell by one, its target did not.
        }
        self.dirty.push(lease.class);
        // The assignment goes with the first task.
        let has_begun = lease.assignment.is_none();
        Some((lease.class, lease.in_flight, has_begun, lease.worker.node))
    }

    /// The node will never serve this class, and has forgotten it: its queued tasks are given back.
    pub fn on_refused(&mut self, number: u64) -> VecDeque<TaskId> {
        let class = usize::try_from(number).ok();
        let Some(class) = class.and_then(|number| self.classes.get_mut(number)) else {
            return VecDeque::new();
        };
        let queued = std::mem::take(&mut class.queue);
        class.outstanding = class.outstanding.saturating_sub(queued.len() as u32);
        class.target_sent = 0;
        queued
    }

    /// Takes a task out of its queue; whether it was in one.
    pub fn unqueue(&mut self, task: &TaskId) -> bool {
        let Some(entry) = self.tasks.get(task) else {
            return false;
        };
        let number = entry.class;
        let Some(class) = self.classes.get_mut(number as usize) else {
            return false;
        };
        let Some(position) = class.queue.iter().position(|other| other == task) else {
            return false;
        };
        class.queue.remove(position);
        class.outstanding = class.outstanding.saturating_sub(1);
        self.dirty.push(number);
        true
    }

    /// The leases of workers on a node.
    pub fn leases_on(&self, node: &NodeId) -> Vec<LeaseId> {
        let leases = self.leases.values();
        let its = leases.filter(|lease| lease.worker.node == *node);
        its.map(|lease| lease.id).collect()
    }

    /// The worker that a task was pushed to.
    pub fn worker_of(&self, task: &TaskId) -> Option<&WorkerAddress> {
        self.leases
            .values()
            .find(|lease| lease.in_flight.contains(task))
            .map(|lease| &lease.worker)
    }

    /// Where each pushed task was sent.
    pub fn workers(&self) -> FxHashMap<TaskId, WorkerId> {
        let leases = self.leases.values();
        let pushed = leases.flat_map(|lease| {
            let worker = lease.worker.worker;
            lease.in_flight.iter().map(move |task| (*task, worker))
        });
        pushed.collect()
    }

    /// The task that a worker runs for us, as far as we know: the first that was not answered.
    pub fn first_in(&self, worker: &WorkerId) -> Option<&Task> {
        let mut leases = self.by_worker.get(worker)?.iter();
        let task = leases.find_map(|id| self.leases.get(id)?.in_flight.front())?;
        self.tasks.get(task)
    }

    /// The example and the definition of a class, for messages to people.
    pub fn describe(&self, number: u64) -> Option<(&str, &SchedulingClass)> {
        let class = self.classes.get(usize::try_from(number).ok()?)?;
        Some((&class.example, &class.definition))
    }

    /// The placement group that a task is to run in; that of an actor is not known to its callers.
    pub fn group_of(&self, task: &Task) -> Option<PlacementGroupId> {
        if task.spec.kind() == TaskKind::ActorMethod {
            return None;
        }
        let (_, class) = self.describe(u64::from(task.class))?;
        Some(class.strategy.as_ref()?.group.as_ref()?.group)
    }

    /// What is to be sent with a pushed task: its spec, and with the first one of a lease what the
    /// worker was given.
    pub fn take_push(
        &mut self,
        to: &WorkerId,
        task: &TaskId,
    ) -> Option<(&TaskSpec, Option<Assignment>)> {
        let mut assignment = None;
        for id in self.by_worker.get(to).into_iter().flatten() {
            if let Some(lease) = self.leases.get_mut(id) {
                assignment = lease.assignment.take();
            }
        }
        Some((&self.tasks.get(task)?.spec, assignment))
    }

    /// Checks the invariants TT-1 and TT-2; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        for (number, class) in self.classes.iter().enumerate() {
            let pushed: usize = class
                .leases
                .iter()
                .filter_map(|id| self.leases.get(id))
                .map(|lease| lease.in_flight.len())
                .sum();
            if pushed + class.queue.len() != class.outstanding as usize {
                return Err(format!(
                    "TT-2: class {number} has {} queued and {pushed} pushed tasks, but counts {}",
                    class.queue.len(),
                    class.outstanding
                ));
            }
            for task in &class.queue {
                if self
                    .leases
                    .values()
                    .any(|lease| lease.in_flight.contains(task))
                {
                    return Err(format!("TT-1: {task} is queued and pushed"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a worker of the class could take tasks that wait behind others.
fn has_idle(class: &Class, leases: &FxHashMap<LeaseId, Lease>) -> bool {
    class.queue.is_empty()
        && class.leases.iter().any(|id| {
            leases.get(id).is_some_and(|lease| {
                lease.in_flight.is_empty() && !lease.is_lost && lease.ending == Ending::No
            })
        })
}

/// Whether a task may wait in a worker behind what is there.
fn may_follow(task: &Task, lease: &Lease, tasks: &FxHashMap<TaskId, Task>) -> bool {
    let Some(first) = lease.in_flight.front() else {
        return true;
    };
    let is_first_suspect = tasks.get(first).is_some_and(|first| first.is_suspect);
    !task.is_alone() && !is_first_suspect
}

fn has_room(lease: &Lease, expected: Option<u64>) -> bool {
    if lease.is_lost || lease.is_stalled || lease.ending != Ending::No {
        return false;
    }
    if lease.in_flight.is_empty() {
        return true;
    }
    let Some(expected) = expected else {
        return false;
    };
    lease.in_flight.len() < limits::PIPELINE_DEPTH
        && lease.expected_us + expected <= limits::PIPELINE_WORK.as_micros() as u64
}
