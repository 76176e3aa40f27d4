//! Tasks of ours that are through, each try of them, for those who ask what has been: the newest ones,
//! in a ring.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use whipray_proto::failure::FailureKind;
use whipray_proto::messages::inquiry::{EndedReport, TaskEnd};
use whipray_proto::task::{TaskKind, TaskReply};
use whipray_proto::{FunctionId, ObjectValue, PlacementGroupId, TaskId, WorkerId, limits};

use crate::core::tasks::{Micros, Task};

/// Where and when a task ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// `None`: it came to its end without having run.
    pub worker: Option<WorkerId>,
    /// `None`: its worker is gone, and has not told.
    pub duration_us: Option<u64>,
    /// In microseconds of the worker's system clock.
    pub ended_at_us: u64,
}

impl Run {
    /// What the worker says of it.
    pub fn of(worker: WorkerId, reply: &TaskReply) -> Self {
        Self {
            worker: Some(worker),
            duration_us: Some(reply.duration_us),
            ended_at_us: reply.ended_at_us,
        }
    }
}

/// How a task came to its end, as its results tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Returned,
    Raised,
    Failed(FailureKind),
}

impl End {
    pub fn of(returns: &[ObjectValue]) -> Self {
        for value in returns {
            if let Some(failure) = &value.failure {
                return Self::Failed(failure.kind());
            }
            if value.is_error {
                return Self::Raised;
            }
        }
        Self::Returned
    }
}

/// What an owner knows of the end of a task, or of one try of it.
#[derive(Clone, Debug)]
pub struct Ending {
    pub run: Run,
    pub end: End,
    /// The sentence of the failure, or the pickled exception.
    pub error: Bytes,
}

impl Ending {
    /// Of what came with these results.
    pub fn of(run: Run, returns: &[ObjectValue]) -> Self {
        let end = End::of(returns);
        let error = match end {
            End::Returned => Bytes::new(),
            End::Raised | End::Failed(_) => error_of(returns),
        };
        Self { run, end, error }
    }
}

/// What is remembered of the error among the results of a task.
fn error_of(returns: &[ObjectValue]) -> Bytes {
    let mut errors = returns.iter().filter_map(|value| match &value.failure {
        Some(failure) => Some(failure.message.as_bytes()),
        None => value.is_error.then_some(&value.data[..]),
    });
    errors.next().map_or_else(Bytes::new, kept)
}

/// An error as it is remembered: a large one is not.
pub fn kept(error: &[u8]) -> Bytes {
    match error.len() <= limits::ENDED_ERROR_BYTES {
        true => Bytes::copy_from_slice(error),
        false => Bytes::new(),
    }
}

struct Ended {
    task: TaskId,
    name: String,
    parent: TaskId,
    attempt: u32,
    is_actor_method: bool,
    submitted: Micros,
    run: Run,
    end: End,
    function: FunctionId,
    method: String,
    group: Option<PlacementGroupId>,
}

/// The last [`limits::ENDED_TASKS`] tries of tasks that are through, and the last [`limits::ENDED_ERRORS`] of
/// their errors.
#[derive(Default)]
pub struct History {
    ended: VecDeque<Ended>,
    errors: VecDeque<((TaskId, u32), Bytes)>,
}

impl History {
    /// A task is through, or one try of it. Its names are its own and that of its method.
    pub fn add(
        &mut self,
        (name, method): (String, String),
        task: &Task,
        group: Option<PlacementGroupId>,
        Ending { run, end, error }: Ending,
    ) {
        if self.ended.len() == limits::ENDED_TASKS {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended {
            task: task.spec.task,
            name,
            parent: task.spec.parent,
            attempt: task.spec.attempt,
            is_actor_method: task.spec.kind() == TaskKind::ActorMethod,
            submitted: task.submitted,
            run,
            end,
            function: task.spec.function,
            method,
            group,
        });
        if !error.is_empty() {
            if self.errors.len() == limits::ENDED_ERRORS {
                self.errors.pop_front();
            }
            let attempt = (task.spec.task, task.spec.attempt);
            self.errors.push_back((attempt, error));
        }
    }

    /// The newest ones, oldest first; `began_at_us` is the system's time at which `now` was zero.
    pub fn report(&self, most: usize, began_at_us: u64) -> impl Iterator<Item = EndedReport> {
        let skipped = self.ended.len().saturating_sub(most);
        let errors = self.errors.iter().map(|(attempt, error)| (*attempt, error));
        let errors: FxHashMap<(TaskId, u32), &Bytes> = errors.collect();
        self.ended.iter().skip(skipped).map(move |ended| {
            let ended_at_us = ended.run.ended_at_us;
            let (end, failure) = match ended.end {
                End::Returned => (TaskEnd::Returned, FailureKind::Unspecified),
                End::Raised => (TaskEnd::Raised, FailureKind::Unspecified),
                End::Failed(failure) => (TaskEnd::Failed, failure),
            };
            EndedReport {
                task: ended.task,
                name: ended.name.clone(),
                parent: ended.parent,
                attempt: ended.attempt,
                is_actor_method: ended.is_actor_method,
                worker: ended.run.worker,
                submitted_at_us: began_at_us + ended.submitted,
                started_at_us: match ended.run.duration_us {
                    Some(duration_us) => ended_at_us.saturating_sub(duration_us),
                    None => 0,
                },
                ended_at_us,
                end: end as i32,
                failure: failure as i32,
                function: ended.function,
                method: ended.method.clone(),
                group: ended.group,
                error: errors
                    .get(&(ended.task, ended.attempt))
                    .map_or_else(Bytes::new, |it| (*it).clone()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::{TestOwner, address, template};
    use crate::template::TaskTemplate;
    use whipray_proto::failure::Failure;
    use whipray_proto::messages::actor::{ActorState, ActorUpdate};
    use whipray_proto::messages::lease::LeaseLost;
    use whipray_proto::task::{ActorSpec, TaskOutcome};
    use whipray_proto::{ActorId, DeathCause, DeathKind, JobId, LeaseId};

    fn ended(owner: &TestOwner, most: usize) -> Vec<EndedReport> {
        owner.core.history.report(most, 1_000_000).collect()
    }

    #[test]
    fn a_task_is_remembered_once_it_is_through() {
        let mut owner = TestOwner::new("owner");
        let result = owner.submit(&template());
        owner.grant(1, "w1");
        assert_eq!(ended(&owner, 10), []);
        owner.answer("w1", result.id(), "done");
        let reports = ended(&owner, 10);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].task, result.id().task());
        assert!(!reports[0].name.is_empty());
        assert_eq!(reports[0].end(), TaskEnd::Returned);
        assert!(reports[0].worker.is_some());
    }

    #[test]
    fn each_try_is_remembered_with_its_error() {
        let mut owner = TestOwner::new("owner");
        let template = TaskTemplate {
            max_retries: 2,
            ..template()
        };
        let result = owner.submit(&template);
        owner.grant(1, "w1");
        owner.effects();
        let raised = ObjectValue {
            is_error: true,
            data: "it raised".into(),
            ..ObjectValue::default()
        };
        let outcome = TaskOutcome::RaisedRetryable;
        owner.reply("w1", result.id(), outcome, vec![raised], 10);
        assert_eq!(owner.pushes().len(), 1);
        let cause = DeathCause {
            worker: address("w1").worker,
            ..DeathCause::new(DeathKind::Signalled, "")
        };
        let lost = LeaseLost {
            lease: LeaseId { number: 1 },
            cause,
        };
        owner.core.on_node_message(lost.into(), 500);
        owner.grant(2, "w2");
        owner.answer("w2", result.id(), "done");
        let tries = ended(&owner, 10);
        let ends = tries.iter().map(|report| (report.attempt, report.end()));
        assert_eq!(
            ends.collect::<Vec<_>>(),
            [
                (0, TaskEnd::Raised),
                (1, TaskEnd::Failed),
                (2, TaskEnd::Returned)
            ]
        );
        assert!(tries.iter().all(|report| report.name == "f"));
        assert_eq!(tries[0].error, "it raised");
        assert_eq!(tries[1].failure(), FailureKind::WorkerCrashed);
        let error = String::from_utf8_lossy(&tries[1].error);
        assert!(error.ends_with("It is tried again."), "{error}");
        assert_eq!(tries[1].worker, Some(address("w1").worker));
        // Its worker did not live to tell when it began.
        let times = (tries[1].started_at_us, tries[1].ended_at_us);
        assert_eq!(times, (0, owner.core.began_at_us + 500));
        assert_eq!(tries[2].worker, Some(address("w2").worker));
    }

    #[test]
    fn calls_that_the_end_of_an_actor_met_are_remembered() {
        let mut owner = TestOwner::new("owner");
        let actor = ActorId::new(JobId::from_number(1));
        let spec = ActorSpec {
            actor,
            ..ActorSpec::default()
        };
        owner.core.create_actor(1, spec, Vec::new(), false);
        let update = |state: ActorState, incarnation, worker: Option<&str>| ActorUpdate {
            actor,
            state: state as i32,
            incarnation,
            address: worker.map(address),
            cause: Some(DeathCause {
                worker: address("a0").worker,
                ..DeathCause::new(DeathKind::Exited, "")
            }),
            ..ActorUpdate::default()
        };
        let alive = update(ActorState::Alive, 0, Some("a0"));
        owner.core.on_node_message(alive.into(), 0);
        let method = |max_retries| TaskTemplate {
            method: "add".into(),
            max_retries,
            ..template()
        };
        let calls = [0, 1].map(|max_retries| owner.call_actor(actor, &method(max_retries)));
        let restarting = update(ActorState::Restarting, 1, None);
        owner.core.on_node_message(restarting.into(), 0);
        let mut told = ended(&owner, 10);
        told.sort_by_key(|report| report.task != calls[0].id().task());
        let told: Vec<_> = told
            .iter()
            .map(|report| (report.task, report.attempt, report.worker, report.failure()))
            .collect();
        let worker = Some(address("a0").worker);
        let kind = FailureKind::ActorUnavailable;
        let tasks = calls.map(|call| call.id().task());
        assert_eq!(
            told,
            [(tasks[0], 0, worker, kind), (tasks[1], 0, worker, kind)]
        );
    }

    #[test]
    fn what_never_ran_has_no_beginning() {
        let mut owner = TestOwner::new("owner");
        let result = owner.submit(&template());
        owner.core.cancel(result.id().task(), false, false, 7);
        let reports = ended(&owner, 10);
        assert_eq!(reports[0].end(), TaskEnd::Failed);
        assert_eq!(reports[0].failure(), FailureKind::TaskCancelled);
        assert_eq!((reports[0].worker, reports[0].started_at_us), (None, 0));
    }

    #[test]
    fn the_newest_are_kept_and_told() {
        let mut owner = TestOwner::new("owner");
        let template = template();
        for _ in 0..limits::ENDED_TASKS + 5 {
            let result = owner.submit(&template);
            owner.core.cancel(result.id().task(), false, false, 0);
        }
        let all = ended(&owner, usize::MAX);
        assert_eq!(all.len(), limits::ENDED_TASKS);
        assert_eq!(ended(&owner, 3), all[limits::ENDED_TASKS - 3..]);
        assert_eq!(ended(&owner, 0), []);
    }

    #[test]
    fn the_newest_errors_are_kept() {
        let mut owner = TestOwner::new("owner");
        let template = template();
        for _ in 0..limits::ENDED_ERRORS + 5 {
            let result = owner.submit(&template);
            owner.core.cancel(result.id().task(), false, false, 0);
        }
        let all = ended(&owner, usize::MAX);
        let (old, new) = all.split_at(5);
        assert!(old.iter().all(|report| report.error.is_empty()));
        assert!(new.iter().all(|report| !report.error.is_empty()));
    }

    #[test]
    fn small_errors_are_remembered() {
        let raised = |size| ObjectValue {
            is_error: true,
            data: vec![7; size].into(),
            ..ObjectValue::default()
        };
        let failure = Failure::new(FailureKind::WorkerCrashed, "", "it is gone");
        assert_eq!(error_of(&[raised(3)]), vec![7; 3]);
        assert_eq!(error_of(&[raised(limits::ENDED_ERROR_BYTES + 1)]), "");
        assert_eq!(error_of(&[ObjectValue::failed(failure)]), "it is gone");
        assert_eq!(error_of(&[ObjectValue::default()]), "");
    }

    #[test]
    fn the_end_is_told_by_the_results() {
        let raised = ObjectValue {
            is_error: true,
            ..ObjectValue::default()
        };
        let failure = Failure::new(FailureKind::WorkerCrashed, "", "");
        let failed = ObjectValue::failed(failure);
        assert_eq!(End::of(&[ObjectValue::default()]), End::Returned);
        assert_eq!(End::of(&[ObjectValue::default(), raised]), End::Raised);
        assert_eq!(End::of(&[failed]), End::Failed(FailureKind::WorkerCrashed));
    }
}
