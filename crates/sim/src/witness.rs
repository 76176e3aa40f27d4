//! What an observer outside of all processes sees, and what it finds wrong while it happens.
//!
//! Checked here, at the moment of the event:
//! - W-1: a task runs no more often than its retries and the deaths that it met allow.
//! - W-2: the calls of one caller begin in their order, in each life of an actor.
//! - W-3: an actor has one process at a time.
//! - W-4: a failure that a program gets has a reason that really happened.
//! - W-5: a value is the one of its object, and its memory is not written to while it is read.
//! - W-7: an object that a program reads is in the store.
//! - W-8: what is bound to a node runs there.
//! - W-9: once a life of an actor has answered a caller, no earlier one does.
//! - D-1: a node that was to go is gone by its deadline.
//! - W-6: an object that a program holds is known to its owner (while nobody crashes).

use std::collections::{BTreeMap, BTreeSet};

use whipray_proto::failure::{DeathKind, Failure, FailureKind};
use whipray_proto::{ActorId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId};

use crate::scenario::ActorOptions;

/// One invocation, from its submission on.
#[derive(Clone, Debug, Default)]
pub struct TaskRecord {
    pub owner: usize,
    pub actor: Option<ActorId>,
    /// The place among the calls of its owner to its actor.
    pub place: u64,
    pub max_retries: i32,
    pub retries_exceptions: bool,
    pub parent: Option<TaskId>,
    pub is_cancelled: bool,
    pub cancels_children: bool,
    /// Whether the caller's handle keeps the actor alive.
    pub is_weak: bool,
    pub pushed_to: Vec<usize>,
    /// Process and attempt of each time that it began.
    pub begun: Vec<(usize, u32)>,
    pub raised: u32,
    /// How often it was handed back, because arguments were not in the store.
    pub handed_back: u32,
    /// The placement group that it runs in.
    pub group: Option<PlacementGroupId>,
    /// The only node that it may run on.
    pub bound_to: Option<NodeId>,
}

/// One actor.
#[derive(Clone, Debug)]
pub struct ActorRecord {
    pub owner: usize,
    pub options: ActorOptions,
    pub is_kill_asked: bool,
    pub has_raised: bool,
    pub has_exited: bool,
    /// The control has ended it; its process may live a moment longer.
    pub is_ended: bool,
    /// Processes that it has or had, in order.
    pub lives: Vec<usize>,
    /// Lives that ended, some of them before they had a process.
    pub ended_lives: u32,
    /// The placement group that it lives in.
    pub group: Option<PlacementGroupId>,
    /// The only node that it may live on.
    pub bound_to: Option<NodeId>,
    /// For each caller the latest life that has answered it.
    answered: BTreeMap<usize, usize>,
    /// For each caller the last place that began, in this life.
    begun_places: BTreeMap<usize, u64>,
    /// For each caller the last place that was given out.
    places: BTreeMap<usize, u64>,
}

/// A range of the arena, or of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub size_bytes: u64,
    pub object: ObjectId,
}

fn is_gone(
    gone: &BTreeSet<usize>,
    dead_daemons: &BTreeSet<usize>,
    homes: &[usize],
    process: usize,
) -> bool {
    gone.contains(&process) || dead_daemons.contains(&homes[process])
}

/// Files lie behind the arena, each at a distance of its own.
const FILE_DISTANCE: u64 = 1 << 40;

/// Where a part of a file is for the witness; of the arena, where there is no path.
pub fn place(path: &str, offset: u64) -> u64 {
    let file: u64 = path.parse().unwrap_or(0);
    FILE_DISTANCE * file + offset
}

/// The observer.
#[derive(Default)]
pub struct Witness {
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    pub actors: BTreeMap<ActorId, ActorRecord>,
    pub object_owners: BTreeMap<ObjectId, usize>,
    pub freed: BTreeSet<ObjectId>,
    /// Objects whose copy was lost.
    pub lost: BTreeSet<ObjectId>,
    /// How often one was: some are made again, and lost again.
    losses: i64,
    pub processes: BTreeMap<WorkerId, usize>,
    /// Processes that are gone, in order or not.
    pub gone: BTreeSet<usize>,
    /// What lies where, for each daemon.
    arena: BTreeMap<(usize, u64), Block>,
    /// What came from other nodes, and how much did not.
    pub transfers: Vec<(usize, ObjectId)>,
    pub transfers_failed: u64,
    /// Copies that were fetched, until their owners hear of them.
    untold: BTreeSet<(usize, ObjectId)>,
    /// Daemons to which an object did not come, because a copy that was fetched before had gone
    /// where it was to come from: their readers are told of the next one.
    copies_gone: BTreeSet<(usize, ObjectId)>,
    /// Counts what was written to disk.
    pub spilled: u64,
    views: BTreeMap<(usize, ObjectId), (u64, u32)>,
    /// The daemon of each process.
    pub homes: Vec<usize>,
    /// The node of each daemon.
    pub node_of_daemon: Vec<NodeId>,
    /// The nodes that programs see.
    pub nodes: Vec<NodeId>,
    /// Whether control may give up a node whose processes are still there.
    pub has_separations: bool,
    /// How many daemons have ended.
    pub daemons_ended: u64,
    /// Daemons that were drained, and said that nothing is left: nothing is lost with them.
    pub left_in_order: BTreeSet<usize>,
    /// Workers that ended with one of these: no task ran there any more.
    pub idle_at_end: BTreeSet<usize>,
    /// How often a node said that it has taken an object over.
    pub objects_moved: u64,
    /// Daemons that control has given up.
    pub dead_daemons: BTreeSet<usize>,
    /// Daemons that are to go by a deadline, at which they end what still runs there.
    pub bound_to_go: BTreeSet<usize>,
    /// Processes whose connection to the node has ended.
    pub cut_off: BTreeSet<usize>,
    pub has_crashes: bool,
    /// Connections have ended between processes that live on, and words with them: references may
    /// stay for ever then.
    pub has_cuts: bool,
    /// Placement groups with the process that created each, and whether it has removed it.
    pub groups: BTreeMap<PlacementGroupId, (usize, bool)>,
    /// Objects that become ready with a group.
    pub group_objects: BTreeMap<ObjectId, PlacementGroupId>,
    pub violations: Vec<String>,
    pub failures_seen: BTreeMap<String, u64>,
    pub tasks_begun: u64,
    pub tasks_far: u64,
    pub values_read: u64,
}

impl Witness {
    pub fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Whether a process is gone, or its node given up: nobody counts on it any more.
    pub fn is_gone(&self, process: usize) -> bool {
        is_gone(&self.gone, &self.dead_daemons, &self.homes, process)
    }

    /// Control has given a node up.
    pub fn node_given_up(&mut self, daemon: usize, node: NodeId) {
        self.dead_daemons.insert(daemon);
        self.nodes.retain(|other| *other != node);
        self.has_crashes = true;
    }

    // ---- tasks and actors

    /// An owner sends a task to a worker.
    pub fn pushed(&mut self, task: TaskId, to: WorkerId) {
        if let (Some(record), Some(process)) = (self.tasks.get_mut(&task), self.processes.get(&to))
        {
            record.pushed_to.push(*process);
        }
    }

    /// An object is not in the store any more.
    pub fn lose(&mut self, object: ObjectId) {
        self.losses += 1;
        self.lost.insert(object);
    }

    /// How often a task may have run since a result of it was lost: what was lost had perhaps this one
    /// among the tasks that make it.
    fn remade_most(&self) -> i64 {
        self.losses + 3 * self.daemons_ended as i64 + self.transfers_failed as i64
    }

    pub fn begun(&mut self, task: TaskId, attempt: u32, process: usize) {
        self.tasks_begun += 1;
        let remade = self.remade_most();
        let Some(record) = self.tasks.get_mut(&task) else {
            return self.violation(format!("a task {task} runs that nobody submitted"));
        };
        record.begun.push((process, attempt));
        self.tasks_far += u64::from(self.homes[process] != self.homes[record.owner]);
        let times = record.begun.len() as i64;
        let raises = if record.retries_exceptions {
            i64::from(record.raised)
        } else {
            0
        };
        let deaths = record
            .pushed_to
            .iter()
            .filter(|process| is_gone(&self.gone, &self.dead_daemons, &self.homes, **process))
            .filter(|process| !self.idle_at_end.contains(process))
            .count() as i64;
        let causes = deaths + raises + remade;
        let reasons = if record.max_retries < 0 {
            causes
        } else {
            causes.min(i64::from(record.max_retries))
        };
        // One death may meet a task that waited behind another one, which is charged with it; from
        // then on it runs alone.
        let uncharged = i64::from(record.max_retries != 0 && deaths > 0);
        let handed_back = i64::from(record.handed_back);
        // An owner ends with its node, in the next moment; what it owns there does not move.
        let ends_with_node = self.left_in_order.contains(&self.homes[record.owner]);
        let is_excused = self.has_cuts && record.max_retries != 0 || ends_with_node;
        if times > 1 + reasons + uncharged + handed_back && !is_excused {
            let text = format!(
                "W-1: task {task} begins for the {times}th time (max_retries {}, {deaths} deaths, \
                 {raises} raises); ran in {:?}",
                record.max_retries, record.begun
            );
            self.violation(text);
        }
        let bound_to = self.tasks.get(&task).and_then(|record| record.bound_to);
        if let Some(node) = bound_to {
            self.check_place("task", &task.to_hex(), node, process);
        }
        self.check_order(task, attempt, process);
    }

    fn check_place(&mut self, what: &str, id: &str, bound_to: NodeId, process: usize) {
        let node = self.node_of_daemon[self.homes[process]];
        if node != bound_to {
            self.violation(format!(
                "W-8: {what} {id} begins on node {node}, and is bound to {bound_to}"
            ));
        }
    }

    fn check_order(&mut self, task: TaskId, attempt: u32, process: usize) {
        let Some(record) = self.tasks.get(&task) else {
            return;
        };
        let (place, owner) = (record.place, record.owner);
        // One that is tried again after an exception, or because of what was lost, be it only the
        // connection, takes its place behind those that came later.
        let is_made_again =
            attempt > 0 && (self.daemons_ended > 0 || self.transfers_failed > 0 || self.has_cuts);
        let is_late = record.raised > 0 && attempt > 0
            || record.handed_back > 0
            || is_made_again
            || !self.lost.is_empty();
        let Some(actor) = record.actor else { return };
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        if entry.lives.last() != Some(&process) {
            // One whose node was given up lives on for as long as it does not know.
            let is_left = entry.lives.contains(&process)
                && is_gone(&self.gone, &self.dead_daemons, &self.homes, process);
            if is_left {
                return;
            }
            let text = format!("W-3: call {task} begins in process {process}, not its actor's");
            return self.violation(text);
        }
        if is_late {
            return;
        }
        let last = entry.begun_places.entry(owner).or_insert(0);
        if place <= *last {
            let text = format!(
                "W-2: call {task} of process {owner} with place {place} begins after place {last}"
            );
            return self.violation(text);
        }
        *last = place;
    }

    /// A program creates an actor.
    pub fn created(&mut self, actor: ActorId, owner: usize, options: ActorOptions) {
        let record = ActorRecord {
            owner,
            options,
            is_kill_asked: false,
            has_raised: false,
            has_exited: false,
            is_ended: false,
            lives: Vec::new(),
            ended_lives: 0,
            group: None,
            bound_to: None,
            answered: BTreeMap::new(),
            begun_places: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        self.actors.insert(actor, record);
    }

    /// The node says that a life of an actor is over.
    pub fn life_ended(&mut self, actor: &ActorId) {
        if let Some(record) = self.actors.get_mut(actor) {
            record.ended_lives += 1;
        }
    }

    /// The place of the next call of `caller` to an actor.
    pub fn next_place(&mut self, actor: ActorId, caller: usize) -> u64 {
        let Some(record) = self.actors.get_mut(&actor) else {
            return 0;
        };
        let place = record.places.entry(caller).or_default();
        *place += 1;
        *place
    }

    /// A process becomes an actor.
    pub fn actor_starts(&mut self, actor: ActorId, incarnation: u32, process: usize) {
        let Some(entry) = self.actors.get_mut(&actor) else {
            return self.violation(format!("actor {actor} starts, and nobody created it"));
        };
        let bound_to = entry.bound_to;
        let before = entry.lives.last().copied();
        let count = entry.lives.len();
        // A life that ended with its node before control knew of it is none.
        let unknown = self.daemons_ended as i64;
        let restarts = entry.options.max_restarts;
        entry.lives.push(process);
        entry.begun_places.clear();
        if let Some(node) = bound_to {
            self.check_place("actor", &actor.to_hex(), node, process);
        }
        let is_over = |before: usize| {
            self.gone.contains(&before) || self.has_separations && self.is_gone(before)
        };
        if let Some(before) = before
            && !is_over(before)
        {
            self.violation(format!(
                "W-3: actor {actor} starts in process {process}, and lives in {before}"
            ));
        }
        if restarts >= 0 && count as i64 > i64::from(restarts) + unknown {
            self.violation(format!(
                "actor {actor} starts for the {}th time, with max_restarts {restarts}",
                count + 1
            ));
        }
        if i64::from(incarnation) + unknown < count as i64 {
            self.violation(format!(
                "actor {actor} has incarnation {incarnation} in its {}th process",
                count + 1
            ));
        }
    }

    /// An answer of an actor's process has reached its caller.
    pub fn answered(&mut self, task: TaskId, process: usize, caller: usize) {
        let Some(actor) = self.tasks.get(&task).and_then(|task| task.actor) else {
            return;
        };
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        let Some(life) = entry.lives.iter().position(|life| *life == process) else {
            return;
        };
        let latest = entry.answered.entry(caller).or_insert(life);
        if life < *latest {
            let text = format!(
                "W-9: process {caller} hears of call {task} from life {life} of actor {actor}, \
                 after life {latest} has answered"
            );
            return self.violation(text);
        }
        *latest = life;
    }

    // ---- failures

    /// A program got a failure of the engine in the place of a value.
    pub fn failed(&mut self, object: ObjectId, failure: &Failure, reader: usize) {
        let kind = failure.kind();
        *self.failures_seen.entry(format!("{kind:?}")).or_default() += 1;
        if let Err(why) = self.judge(object, failure, reader) {
            self.violation(format!(
                "W-4: process {reader} gets {kind:?} for {object}: {why}; it says: {}",
                failure.message
            ));
        }
    }

    fn judge(&self, object: ObjectId, failure: &Failure, reader: usize) -> Result<(), String> {
        let need = |is_so: bool, why: &str| if is_so { Ok(()) } else { Err(why.to_owned()) };
        let task = self.tasks.get(&object.task());
        match failure.kind() {
            FailureKind::WorkerCrashed | FailureKind::OutOfMemory => {
                let Some(task) = task else {
                    return Err("it is the result of no task".into());
                };
                let deaths: BTreeSet<usize> = task
                    .pushed_to
                    .iter()
                    .copied()
                    .filter(|p| self.is_gone(*p))
                    .collect();
                let raised = if task.retries_exceptions {
                    task.raised as usize
                } else {
                    0
                };
                let allowed = usize::try_from(task.max_retries)
                    .map_err(|_| "it has retries without end".to_owned())?;
                let remade = self.remade_most() as usize;
                need(
                    !deaths.is_empty() && deaths.len() + raised + remade > allowed,
                    &format!("{} deaths met it, of {} allowed", deaths.len(), allowed),
                )
            }
            FailureKind::TaskCancelled => {
                need(self.is_cancelled(&object.task()), "nobody cancelled it")
            }
            FailureKind::ActorDied => self.judge_actor_death(object, failure),
            FailureKind::ActorUnavailable => {
                let actor = self.actors.get(&object.task().actor());
                let has_ended = |actor: &ActorRecord| {
                    let mut lives = actor.lives.iter();
                    actor.ended_lives > 0 || lives.any(|life| self.is_gone(*life))
                };
                let has_died = actor.is_some_and(has_ended) || !self.dead_daemons.is_empty();
                need(
                    has_died || self.has_cuts,
                    "no process of the actor has died",
                )
            }
            FailureKind::ObjectLost | FailureKind::ReferenceDeleted => need(
                self.transfers_failed > 0
                    || self.has_crashes
                    || self.freed.contains(&object)
                    || !self.lost.is_empty(),
                "nobody crashed",
            ),
            FailureKind::UnreconstructablePut
            | FailureKind::UnreconstructableNoRetries
            | FailureKind::UnreconstructableAttempts
            | FailureKind::UnreconstructableNotFound
            | FailureKind::UnreconstructableCancelled => need(
                !self.lost.is_empty()
                    || self.daemons_ended > 0
                    || !self.dead_daemons.is_empty()
                    || self.transfers_failed > 0,
                "nothing was lost",
            ),
            FailureKind::OwnerDied => {
                let owner = self.object_owners.get(&object);
                need(
                    owner.is_some_and(|owner| self.is_gone(*owner)),
                    "its owner is alive",
                )
            }
            FailureKind::NodeDied => {
                let has_met = |task: &TaskRecord| {
                    let daemons = task.pushed_to.iter().map(|process| &self.homes[*process]);
                    let is_over = |it: &usize| {
                        self.dead_daemons.contains(it) || self.bound_to_go.contains(it)
                    };
                    daemons.into_iter().any(is_over)
                };
                let owner = self.object_owners.get(&object);
                let is_told = owner.is_some_and(|owner| self.cut_off.contains(owner));
                need(
                    is_told || self.cut_off.contains(&reader) || task.is_some_and(has_met),
                    "its node is there",
                )
            }
            FailureKind::Unschedulable => {
                let bound_to = task.and_then(|task| task.bound_to);
                need(self.is_node_over(bound_to), "its node is there")
            }
            FailureKind::ObjectFreed => need(self.freed.contains(&object), "nobody freed it"),
            FailureKind::TaskGroupRemoved => {
                let of_task = task.and_then(|task| task.group);
                let of_object = self.group_objects.get(&object).copied();
                need(
                    self.is_group_over(of_task.or(of_object)),
                    "its placement group is there",
                )
            }
            FailureKind::ActorUnschedulable => {
                let actor = self.actors.get(&object.task().actor());
                let group = actor.and_then(|actor| actor.group);
                let bound_to = actor.and_then(|actor| actor.bound_to);
                need(
                    self.is_group_over(group) || self.is_node_over(bound_to),
                    "its placement group, or its node, is there",
                )
            }
            other => Err(format!("{other:?} is not to happen here")),
        }
    }

    /// Whether the node that something is bound to is gone, or about to be.
    fn is_node_over(&self, node: Option<NodeId>) -> bool {
        node.is_some_and(|node| !self.nodes.contains(&node))
    }

    /// Whether a group was removed, or is about to be with the driver that created it.
    fn is_group_over(&self, group: Option<PlacementGroupId>) -> bool {
        let record = group.and_then(|group| self.groups.get(&group));
        record.is_some_and(|(owner, is_removed)| *is_removed || self.is_gone(*owner))
            || group.is_some() && self.has_cuts
    }

    fn is_cancelled(&self, task: &TaskId) -> bool {
        let Some(record) = self.tasks.get(task) else {
            return false;
        };
        record.is_cancelled
            || record
                .parent
                .is_some_and(|parent| self.cancels_children(&parent))
    }

    fn cancels_children(&self, task: &TaskId) -> bool {
        let Some(record) = self.tasks.get(task) else {
            return false;
        };
        record.cancels_children
            || record
                .parent
                .is_some_and(|parent| self.cancels_children(&parent))
    }

    /// The store does not know an object that a program reads.
    pub fn not_in_store(&mut self, object: ObjectId, reader: usize) {
        let owner_gone = self
            .object_owners
            .get(&object)
            .is_none_or(|it| self.is_gone(*it));
        let is_excused = self.freed.contains(&object)
            || !self.lost.is_empty()
            || self.copies_gone.contains(&(self.homes[reader], object));
        // What its constructor takes goes with an actor that nobody wants any more.
        let mut actors = self.actors.values();
        let is_ended = actors.any(|it| it.is_ended && it.lives.contains(&reader));
        if !owner_gone && !is_excused && !is_ended && !self.has_crashes {
            self.violation(format!(
                "W-7: process {reader} does not find {object} in the store"
            ));
        }
    }

    fn judge_actor_death(&self, object: ObjectId, failure: &Failure) -> Result<(), String> {
        let actor = object.task().actor();
        let Some(record) = self.actors.get(&actor) else {
            return Err("it is no call of an actor".to_owned());
        };
        let need = |is_so: bool, why: &str| if is_so { Ok(()) } else { Err(why.to_owned()) };
        // A life may end with its node before anybody has heard of it.
        let deaths = i64::from(record.ended_lives) + self.dead_daemons.len() as i64;
        let owner_gone = self.is_gone(record.owner);
        match failure.cause.as_ref().map(|cause| cause.kind()) {
            Some(DeathKind::Killed) => need(record.is_kill_asked, "nobody killed it"),
            Some(DeathKind::ConstructorFailed) => need(record.has_raised, "nothing raised"),
            Some(DeathKind::ActorExit) => need(record.has_exited, "it did not exit"),
            Some(DeathKind::OwnerDied) => {
                need(owner_gone || self.has_crashes, "its owner is alive")
            }
            Some(DeathKind::OutOfScope) => {
                let is_weak = self
                    .tasks
                    .get(&object.task())
                    .is_some_and(|task| task.is_weak);
                need(is_weak || self.has_crashes, "the caller holds a handle")
            }
            Some(DeathKind::PlacementGroupRemoved) => need(
                self.is_group_over(record.group),
                "its placement group is there",
            ),
            Some(DeathKind::StartFailed) => need(self.has_crashes, "nothing crashed"),
            Some(_) => need(
                deaths > i64::from(record.options.max_restarts.max(0))
                    || record.has_exited
                    || record.is_kill_asked,
                "it has restarts left",
            ),
            None => Err("it has no cause".to_owned()),
        }
    }

    // ---- memory

    /// A process writes a new object.
    pub fn writes(&mut self, process: usize, object: ObjectId, offset: u64, size_bytes: u64) {
        let home = self.homes[process];
        self.clear(
            home,
            offset,
            size_bytes,
            &format!("process {process} writes {object}"),
        );
        self.arena
            .insert((home, offset), Block { size_bytes, object });
        self.view(process, object, offset);
    }

    /// An object has come from another node.
    pub fn transferred(&mut self, daemon: usize, offset: u64, block: Block) {
        let what = format!("daemon {daemon} fetches {}", block.object);
        self.clear(daemon, offset, block.size_bytes, &what);
        self.arena.insert((daemon, offset), block);
        self.transfers.push((daemon, block.object));
        self.untold.insert((daemon, block.object));
    }

    /// An object has not come from another node.
    pub fn not_transferred(&mut self, daemon: usize, from: usize, object: ObjectId) {
        self.transfers_failed += 1;
        if self.transfers.contains(&(from, object)) {
            self.copies_gone.insert((daemon, object));
        }
    }

    /// The owner of an object hears of a copy on a node.
    pub fn copy_told(&mut self, node: NodeId, object: ObjectId) {
        if let Some(daemon) = self.node_of_daemon.iter().position(|it| *it == node) {
            self.untold.remove(&(daemon, object));
        }
    }

    /// How many objects a daemon has fetched of which no owner has heard.
    pub fn untold_by(&self, daemon: usize) -> u64 {
        self.untold.iter().filter(|(of, _)| *of == daemon).count() as u64
    }

    /// Something new comes to lie there.
    pub fn clear(&mut self, home: usize, offset: u64, size_bytes: u64, what: &str) {
        let end = offset + size_bytes;
        let overlapping: Vec<u64> = self
            .arena
            .range((home, 0)..(home, end))
            .filter(|((_, start), block)| start + block.size_bytes > offset)
            .map(|((_, start), _)| *start)
            .collect();
        for start in overlapping {
            let reader = self.views.iter().find(|((reader, _), (at, _))| {
                *at == start && self.homes[*reader] == home && !self.gone.contains(reader)
            });
            if let Some(((reader, read), _)) = reader {
                let text = format!("W-5: {what} at {offset}, where process {reader} reads {read}");
                self.violation(text);
            }
            self.arena.remove(&(home, start));
        }
    }

    /// A process maps an object.
    pub fn reads(&mut self, process: usize, object: ObjectId, offset: u64) {
        self.values_read += 1;
        match self.arena.get(&(self.homes[process], offset)) {
            Some(block) if block.object == object => {}
            other => {
                let text = format!(
                    "W-5: process {process} reads {object} at {offset}, and finds {other:?}"
                );
                self.violation(text);
            }
        }
        self.view(process, object, offset);
    }

    /// What lies at a place of a machine.
    pub fn block(&self, daemon: usize, offset: u64) -> Option<Block> {
        self.arena.get(&(daemon, offset)).copied()
    }

    /// The disk has copied something.
    pub fn copied(&mut self, daemon: usize, offset: u64, block: Block) {
        self.spilled += 1;
        self.arena.insert((daemon, offset), block);
    }

    /// What lies in a bucket came to this machine.
    pub fn fetched(&mut self, daemon: usize, from: u64, to: u64) {
        if let Some(block) = self.block(daemon, from) {
            self.arena.insert((daemon, to), block);
        }
    }

    /// What lies in a bucket does not come.
    pub fn not_fetched(&mut self, daemon: usize, from: u64) {
        if let Some(block) = self.block(daemon, from) {
            self.lose(block.object);
        }
    }

    fn view(&mut self, process: usize, object: ObjectId, offset: u64) {
        let view = self.views.entry((process, object)).or_insert((offset, 0));
        // The second copy of a task's result lies elsewhere; the first one is seldom mapped still.
        view.0 = offset;
        view.1 += 1;
    }

    /// A process unmaps an object.
    pub fn unviewed(&mut self, process: usize, object: ObjectId) {
        if let Some(view) = self.views.get_mut(&(process, object)) {
            view.1 -= 1;
            if view.1 == 0 {
                self.views.remove(&(process, object));
            }
        }
    }

    /// A process is gone, and its mappings with it.
    pub fn process_gone(&mut self, process: usize) {
        self.gone.insert(process);
        self.views.retain(|(viewer, _), _| *viewer != process);
    }
}
