//! What this process knows, for those who ask. Never on the way of a call: everything is counted
//! together when somebody wants to know it.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::messages::inquiry::{
    ObjectAt, ObjectReport, ProcessReport, ReportRequest, RunningReport, TaskReport, TaskStage,
};
use whipray_proto::task::TaskKind;
use whipray_proto::{ActorId, ObjectId, TaskId, WorkerId};

use crate::core::Core;
use crate::core::objects::{ObjectEntry, Ownership, is_handle_object};
use crate::core::tasks::{Micros, Task};

/// Where a call of an actor stands at its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPlace {
    /// Sent to the actor's process.
    Sent(Option<WorkerId>),
    /// Behind this one, which waits for its arguments.
    Behind(TaskId),
    /// Until the actor is alive.
    NotAlive,
}

/// What the question is about.
enum Subjects {
    All,
    These {
        objects: FxHashSet<ObjectId>,
        tasks: FxHashSet<TaskId>,
        actors: FxHashSet<ActorId>,
    },
}

impl Subjects {
    fn of(ids: &[Bytes]) -> Self {
        if ids.is_empty() {
            return Self::All;
        }
        let (mut objects, mut tasks) = (FxHashSet::default(), FxHashSet::default());
        let mut actors = FxHashSet::default();
        for id in ids {
            if let Some(object) = ObjectId::from_slice(id) {
                objects.insert(object);
                tasks.insert(object.task());
            } else if let Some(task) = TaskId::from_slice(id) {
                tasks.insert(task);
            } else if let Some(actor) = ActorId::from_slice(id) {
                actors.insert(actor);
            }
        }
        Self::These {
            objects,
            tasks,
            actors,
        }
    }

    fn has_task(&self, task: &TaskId) -> bool {
        match self {
            Self::All => true,
            Self::These { tasks, .. } => tasks.contains(task),
        }
    }

    /// Whether the constructor of an actor is asked about.
    fn has_creation(&self, task: &TaskId) -> bool {
        match self {
            Self::All => true,
            Self::These { tasks, actors, .. } => {
                tasks.contains(task) || actors.contains(&task.actor())
            }
        }
    }

    fn has_object(&self, object: &ObjectId) -> bool {
        match self {
            Self::All => true,
            Self::These { objects, .. } => objects.contains(object),
        }
    }
}

impl Core {
    /// What is known here of the subjects of a question.
    pub fn report(&self, request: &ReportRequest, now: Micros) -> ProcessReport {
        let subjects = Subjects::of(&request.subjects);
        let limit = request.limit as usize;
        let mut report = ProcessReport {
            worker: self.me.worker,
            node: self.me.node,
            ..ProcessReport::default()
        };
        report.objects = self.report_objects(&subjects, limit);
        report.tasks = self.report_tasks(&subjects, limit, now);
        let running = self.execution.running(now).take(limit);
        report.running = running
            .map(|(task, caller, age_us)| RunningReport {
                task,
                age_us,
                caller,
            })
            .collect();
        report.queued = self.execution.queued().take(limit).collect();
        let ended = self
            .history
            .report(request.ended_limit as usize, self.began_at_us);
        report.ended = ended.collect();
        report.is_cut = report.objects.len() == limit
            || report.tasks.len() == limit
            || report.queued.len() == limit;
        report
    }

    fn report_objects(&self, subjects: &Subjects, limit: usize) -> Vec<ObjectReport> {
        let counts = match subjects {
            Subjects::All => self.count_references(),
            Subjects::These { .. } => FxHashMap::default(),
        };
        let wanted = self.objects.entries();
        let wanted = wanted.filter(|(object, _)| subjects.has_object(object));
        wanted
            .take(limit)
            .map(|(object, entry)| {
                let (by_tasks, by_objects) = counts.get(object).copied().unwrap_or_default();
                self.report_object(*object, entry, by_tasks, by_objects)
            })
            .collect()
    }

    fn report_object(
        &self,
        object: ObjectId,
        entry: &ObjectEntry,
        by_tasks: u32,
        by_objects: u32,
    ) -> ObjectReport {
        let value = entry.cell.value();
        let shared = value.as_ref().and_then(|value| value.shared.as_ref());
        let (owner, borrowers) = match &entry.ownership {
            Ownership::Ours { borrowers } => (self.me.worker, borrowers.borrowers()),
            Ownership::Borrowed { owner, .. } => (owner.worker, 0),
        };
        ObjectReport {
            object,
            owner,
            is_ready: value.is_some(),
            is_error: value.as_ref().is_some_and(|value| value.is_error),
            size_bytes: match (shared, &value) {
                (Some(shared), _) => shared.size_bytes,
                (None, Some(value)) => value.data.len() as u64,
                (None, None) => 0,
            },
            is_shared: shared.is_some(),
            local: entry.local.saturating_sub(by_tasks + by_objects),
            by_tasks,
            by_objects,
            borrowers,
            is_pinned: entry.cell.is_read(),
            is_actor_handle: is_handle_object(&object),
            nodes: self.objects.nodes_of(&object),
            call_site: self.objects.call_site(&object).to_owned(),
        }
    }

    /// For each object: tasks that take it, and objects that contain it.
    fn count_references(&self) -> FxHashMap<ObjectId, (u32, u32)> {
        let mut counts: FxHashMap<ObjectId, (u32, u32)> = FxHashMap::default();
        let of_tasks = self.tasks.tasks.values().flat_map(|task| &task.held);
        let of_actors = self.creation_held.values().flatten();
        for object in of_tasks.chain(of_actors) {
            counts.entry(*object).or_default().0 += 1;
        }
        for (_, entry) in self.objects.entries() {
            for object in entry.contained() {
                counts.entry(*object).or_default().1 += 1;
            }
        }
        counts
    }

    fn report_tasks(&self, subjects: &Subjects, limit: usize, now: Micros) -> Vec<TaskReport> {
        let places = self.actors.places(&self.tasks);
        let workers = self.tasks.workers();
        let tasks = self.tasks.tasks.iter();
        let tasks = tasks.filter(|(id, _)| subjects.has_task(id)).take(limit);
        let mut reports: Vec<TaskReport> = tasks
            .map(|(id, task)| self.report_task(task, places.get(id), workers.get(id), now))
            .collect();
        let creations = self.creations.iter();
        reports.extend(creations.filter(|(id, _)| subjects.has_creation(id)).map(
            |(id, creation)| TaskReport {
                task: *id,
                name: creation.spec.class_name.clone(),
                stage: TaskStage::WaitsForArguments as i32,
                missing: self.missing(&creation.spec.creation.arguments),
                resources: creation.spec.resources.clone(),
                parent: creation.spec.creation.parent,
                ..TaskReport::default()
            },
        ));
        reports
    }

    fn report_task(
        &self,
        task: &Task,
        place: Option<&CallPlace>,
        worker: Option<&WorkerId>,
        now: Micros,
    ) -> TaskReport {
        let spec = &task.spec;
        let is_actor_method = spec.kind() == TaskKind::ActorMethod;
        let mut report = TaskReport {
            task: spec.task,
            name: spec.name.clone(),
            age_us: now.saturating_sub(task.submitted),
            attempt: spec.attempt,
            parent: spec.parent,
            is_actor_method,
            function: spec.function,
            method: spec.method.clone(),
            group: self.tasks.group_of(task),
            ..TaskReport::default()
        };
        if !is_actor_method {
            report.class = u64::from(task.class);
            let described = self.tasks.describe(report.class);
            report.resources =
                described.map_or_else(Default::default, |(_, class)| class.resources.clone());
        }
        let stage = if task.missing > 0 {
            report.missing = self.missing(&spec.arguments);
            TaskStage::WaitsForArguments
        } else if let Some(due) = self.oom_retries.due_at(&spec.task) {
            report.due_in_us = due.saturating_sub(now);
            TaskStage::WaitsForMemory
        } else {
            match (place, worker) {
                (Some(CallPlace::Sent(worker)), _) => {
                    report.worker = *worker;
                    TaskStage::Pushed
                }
                (Some(CallPlace::Behind(first)), _) => {
                    report.behind = Some(*first);
                    TaskStage::BehindCall
                }
                (Some(CallPlace::NotAlive), _) => TaskStage::WaitsForActor,
                (None, Some(worker)) => {
                    report.worker = Some(*worker);
                    TaskStage::Pushed
                }
                (None, None) if is_actor_method => TaskStage::WaitsForActor,
                (None, None) => TaskStage::WaitsForLease,
            }
        };
        report.stage = stage as i32;
        report
    }

    fn missing(&self, arguments: &[whipray_proto::Argument]) -> Vec<ObjectAt> {
        let objects = arguments.iter().filter_map(|argument| argument.object);
        let missing = objects.filter(|object| {
            let cell = self.objects.cell(object);
            cell.is_some_and(|cell| !cell.is_ready())
        });
        missing
            .filter_map(|object| self.object_at(&object))
            .collect()
    }

    /// An object with its owner, where it is known here.
    pub fn object_at(&self, object: &ObjectId) -> Option<ObjectAt> {
        Some(ObjectAt {
            object: *object,
            owner: self.objects.owner(object)?.worker,
        })
    }
}
