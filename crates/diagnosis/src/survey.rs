//! Reports on everything that something waits for, collected from process to process.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::messages::inquiry::{
    Inquiry, NodeReport, ObjectAt, ObjectReport, ProcessReport, TaskReport, TaskStage,
};
use whipray_proto::{ActorId, ObjectId, TaskId, WorkerId};

use crate::Cluster;

/// How many processes a wait is followed through.
const ROUNDS: usize = 32;

/// Entries of each kind that a process reports.
const ENTRIES: u32 = 1000;

/// What is known so far.
#[derive(Debug, Default)]
pub struct Survey {
    pub tasks: FxHashMap<TaskId, (WorkerId, TaskReport)>,
    /// As their owners see them.
    pub objects: FxHashMap<ObjectId, ObjectReport>,
    pub processes: FxHashMap<WorkerId, ProcessReport>,
    pub silent: FxHashSet<WorkerId>,
    pub nodes: Vec<NodeReport>,
    asked: FxHashSet<(WorkerId, Bytes)>,
    next: FxHashSet<(WorkerId, Bytes)>,
    wants_node: bool,
}

impl Survey {
    /// Follows what these objects wait for.
    pub fn of_objects(cluster: &mut dyn Cluster, objects: &[ObjectAt]) -> Self {
        let mut survey = Self::default();
        survey.want_objects(objects);
        survey.follow(cluster);
        survey
    }

    /// Asks everybody about something, and follows what it waits for.
    pub fn of_subjects(cluster: &mut dyn Cluster, subjects: Vec<Bytes>) -> Self {
        let mut survey = Self::default();
        survey.ask(cluster, subjects, Vec::new(), true);
        survey.follow(cluster);
        survey
    }

    /// The process that an actor is.
    pub fn process_of(&self, actor: &ActorId) -> Option<WorkerId> {
        let mut workers = self.nodes.iter().flat_map(|node| &node.workers);
        workers
            .find(|worker| worker.actor.as_ref() == Some(actor))
            .map(|worker| worker.worker)
    }

    /// What people call a task.
    pub fn name(&self, task: &TaskId) -> String {
        match self.tasks.get(task) {
            Some((_, report)) => report.name.clone(),
            None => format!("task {task}"),
        }
    }

    fn follow(&mut self, cluster: &mut dyn Cluster) {
        for _ in 0..ROUNDS {
            if self.next.is_empty() {
                return;
            }
            let next = std::mem::take(&mut self.next);
            let processes: FxHashSet<WorkerId> = next.iter().map(|(process, _)| *process).collect();
            let subjects: FxHashSet<Bytes> = next.iter().map(|(_, id)| id.clone()).collect();
            self.asked.extend(next);
            let with_node = std::mem::take(&mut self.wants_node);
            let (subjects, processes) = (subjects.into_iter(), processes.into_iter());
            if !self.ask(cluster, subjects.collect(), processes.collect(), with_node) {
                return;
            }
        }
    }

    /// Whether there was an answer.
    fn ask(
        &mut self,
        cluster: &mut dyn Cluster,
        subjects: Vec<Bytes>,
        processes: Vec<WorkerId>,
        with_node: bool,
    ) -> bool {
        let inquiry = Inquiry {
            subjects,
            processes,
            limit: ENTRIES,
            with_node,
            is_for_all: true,
            ..Inquiry::default()
        };
        let Some(answer) = cluster.inquire(inquiry) else {
            return false;
        };
        self.silent.extend(answer.silent.iter().map(|it| it.worker));
        self.nodes.extend(answer.nodes);
        for report in answer.processes {
            self.take(report);
        }
        true
    }

    fn take(&mut self, mut report: ProcessReport) {
        let process = report.worker;
        for object in std::mem::take(&mut report.objects) {
            if object.owner == process {
                self.objects.insert(object.object, object);
            } else {
                let owner = object.owner;
                let object = object.object;
                self.want_objects(&[ObjectAt { object, owner }]);
            }
        }
        for task in std::mem::take(&mut report.tasks) {
            self.want_objects(&task.missing);
            let id = task_bytes(&task.task);
            if let Some(worker) = task.worker {
                self.want(worker, id);
            } else if let Some(behind) = task.behind {
                self.want(process, task_bytes(&behind));
            } else if task.stage() == TaskStage::WaitsForActor {
                match self.process_of(&task.task.actor()) {
                    Some(worker) => self.want(worker, id),
                    None if self.nodes.is_empty() => {
                        // Once more, when the node has said where the actor is.
                        self.wants_node = true;
                        self.next.insert((process, id));
                    }
                    None => {}
                }
            }
            self.tasks.insert(task.task, (process, task));
        }
        for wait in &report.waits {
            self.want_objects(&wait.objects);
        }
        // Only their owners know what these are called, and what they wait for.
        let is_few = report.running.len() <= 2;
        for running in report
            .running
            .iter()
            .filter(|running| is_few || report.waits.iter().any(|wait| wait.task == running.task))
        {
            self.want(running.caller, task_bytes(&running.task));
        }
        self.processes.insert(process, report);
    }

    fn want_objects(&mut self, objects: &[ObjectAt]) {
        for ObjectAt { object, owner } in objects {
            self.want(*owner, Bytes::copy_from_slice(&object.to_array()));
        }
    }

    fn want(&mut self, process: WorkerId, subject: Bytes) {
        let pair = (process, subject);
        if !self.asked.contains(&pair) {
            self.next.insert(pair);
        }
    }
}

fn task_bytes(task: &TaskId) -> Bytes {
    Bytes::copy_from_slice(&task.to_array())
}
