//! What can still go on, by what was surveyed.
//!
//! The least set of tasks that can go on: one does if what it waits for does, and one of which
//! nothing is known does, too. Whatever is left waits for itself, over others. A wait for some of
//! many, threads that are free, coroutines that only await, and waits with a timeout can go on; so
//! nothing is reported that would not stand for ever.

use rustc_hash::FxHashSet;
use whipray_proto::messages::inquiry::{
    Concurrency, ObjectAt, ProcessReport, TaskStage, WaitReport,
};
use whipray_proto::{TaskId, WorkerId};

use crate::survey::Survey;

/// Why a task cannot go on, and for which one it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It waits in `get`, in this process.
    Get {
        process: WorkerId,
        task: TaskId,
    },
    Argument {
        task: TaskId,
    },
    /// It is behind a call that waits for its arguments.
    Behind {
        task: TaskId,
    },
    /// Its process runs this one first.
    Runs {
        process: WorkerId,
        task: TaskId,
    },
    /// The constructor of its actor waits for this one in `get`.
    Constructor {
        process: WorkerId,
        task: TaskId,
    },
}

impl Obstacle {
    pub fn task(&self) -> TaskId {
        match self {
            Self::Get { task, .. }
            | Self::Argument { task }
            | Self::Behind { task }
            | Self::Runs { task, .. }
            | Self::Constructor { task, .. } => *task,
        }
    }
}

/// The tasks that can go on.
pub struct Progress<'a> {
    survey: &'a Survey,
    able: FxHashSet<TaskId>,
}

impl<'a> Progress<'a> {
    pub fn of(survey: &'a Survey) -> Self {
        let mut progress = Self {
            survey,
            able: FxHashSet::default(),
        };
        loop {
            let tasks = survey.tasks.keys();
            let fresh: Vec<TaskId> = tasks
                .filter(|task| !progress.able.contains(task) && progress.obstacle(task).is_none())
                .copied()
                .collect();
            if fresh.is_empty() {
                return progress;
            }
            progress.able.extend(fresh);
        }
    }

    /// The tasks that cannot, in the order of their ids.
    pub fn stuck(&self) -> Vec<TaskId> {
        let tasks = self.survey.tasks.keys();
        let stuck = tasks.filter(|task| !self.able.contains(task));
        let mut stuck: Vec<TaskId> = stuck.copied().collect();
        stuck.sort_unstable();
        stuck
    }

    /// Whether an object will be there.
    pub fn is_coming(&self, at: &ObjectAt) -> bool {
        let task = at.object.task();
        let is_ready = || {
            let report = self.survey.objects.get(&at.object);
            report.is_none_or(|report| report.is_ready)
        };
        match self.survey.tasks.contains_key(&task) {
            true => self.able.contains(&task) || is_ready(),
            false => true,
        }
    }

    /// What keeps a task from going on; `None` where nothing does for ever.
    pub fn obstacle(&self, task: &TaskId) -> Option<Obstacle> {
        let (_, report) = self.survey.tasks.get(task)?;
        match report.stage() {
            TaskStage::WaitsForArguments => {
                let mut missing = report.missing.iter();
                let task = missing.find(|at| !self.is_coming(at))?.object.task();
                Some(Obstacle::Argument { task })
            }
            TaskStage::BehindCall => {
                let task = report.behind?;
                let is_known = self.survey.tasks.contains_key(&task);
                (is_known && !self.able.contains(&task)).then_some(Obstacle::Behind { task })
            }
            TaskStage::WaitsForLease | TaskStage::WaitsForMemory => None,
            TaskStage::WaitsForActor => {
                let process = self.survey.process_of(&task.actor())?;
                let report = self.survey.processes.get(&process)?;
                if !report.running.is_empty() {
                    return None;
                }
                let task = self.blocked(report.waits.iter())?;
                Some(Obstacle::Constructor { process, task })
            }
            TaskStage::Pushed => {
                let process = self.survey.processes.get(&report.worker?)?;
                self.obstacle_in(process, task)
            }
        }
    }

    fn obstacle_in(&self, process: &ProcessReport, task: &TaskId) -> Option<Obstacle> {
        if process.running.iter().any(|running| running.task == *task) {
            return self.obstacle_of_running(process, task);
        }
        if !process.queued.contains(task) {
            return None; // On its way.
        }
        match process.concurrency() {
            Concurrency::Serial => {
                let mut running = process.running.iter();
                let first =
                    running.find(|it| self.obstacle_of_running(process, &it.task).is_some())?;
                Some(Obstacle::Runs {
                    process: process.worker,
                    task: first.task,
                })
            }
            Concurrency::Threads => None,
            Concurrency::Coroutines => self.blocked_loop(process, task),
        }
    }

    fn obstacle_of_running(&self, process: &ProcessReport, task: &TaskId) -> Option<Obstacle> {
        let own = || process.waits.iter().filter(|wait| wait.task == *task);
        if own().next().is_some() {
            let task = self.blocked(own())?;
            return Some(Obstacle::Get {
                process: process.worker,
                task,
            });
        }
        match process.concurrency() {
            Concurrency::Serial => None,
            Concurrency::Threads => {
                // A call without a thread waits for any of those that have one.
                let tasks: FxHashSet<TaskId> = process.waits.iter().map(|wait| wait.task).collect();
                if tasks.len() < process.threads as usize {
                    return None;
                }
                self.blocked(process.waits.iter())?;
                Some(Obstacle::Runs {
                    process: process.worker,
                    task: process.waits.first()?.task,
                })
            }
            Concurrency::Coroutines => self.blocked_loop(process, task),
        }
    }

    /// The event loop of a process is blocked by a task, and with it all others.
    fn blocked_loop(&self, process: &ProcessReport, task: &TaskId) -> Option<Obstacle> {
        let wait = process.waits.iter().find(|wait| wait.is_loop)?;
        if wait.task == *task {
            return None;
        }
        self.blocked(std::iter::once(wait))?;
        Some(Obstacle::Runs {
            process: process.worker,
            task: wait.task,
        })
    }

    /// For what all of these wait in vain; `None` where one of them does not.
    fn blocked<'w>(&self, waits: impl Iterator<Item = &'w WaitReport>) -> Option<TaskId> {
        let mut first = None;
        for wait in waits {
            let coming = wait.objects.iter().filter(|at| self.is_coming(at)).count();
            if wait.has_timeout || coming >= wait.needed as usize {
                return None;
            }
            let mut objects = wait.objects.iter();
            let missing = objects.find(|at| !self.is_coming(at))?;
            first.get_or_insert(missing.object.task());
        }
        first
    }
}
