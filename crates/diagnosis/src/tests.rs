//! Stories of tasks that wait: who is found to wait for itself, and, above all, who is not.

use std::collections::BTreeMap;

use whipray_proto::messages::actor::ActorState;
use whipray_proto::messages::cluster::{ActorStatus, StatusReply};
use whipray_proto::messages::inquiry::*;
use whipray_proto::resources::CPU;
use whipray_proto::{ActorId, ObjectId, Resources, TaskId, WorkerId};

use super::*;

fn process_id(number: u8) -> WorkerId {
    WorkerId::from_array([number; 28])
}

fn actor_id(number: u8) -> ActorId {
    ActorId::from_array([number; 16])
}

/// Task `number` of actor (or worker) `place`.
fn task_id(number: u64, place: u8) -> TaskId {
    TaskId::of(number, actor_id(place))
}

fn at(task: TaskId, owner: u8) -> ObjectAt {
    ObjectAt {
        object: task.return_id(1),
        owner: process_id(owner),
    }
}

/// Something that happens to the world.
type Change = fn(&mut World);

/// Processes that answer with what they know, and nothing else.
#[derive(Clone, Default)]
struct World {
    processes: BTreeMap<u8, ProcessReport>,
    node: NodeReport,
    status: StatusReply,
    questions: usize,
    /// Done to the world after this many questions.
    change: Option<(usize, Change)>,
}

impl World {
    fn process(&mut self, number: u8) -> &mut ProcessReport {
        self.processes
            .entry(number)
            .or_insert_with(|| ProcessReport {
                worker: process_id(number),
                pid: u32::from(number),
                threads: 1,
                ..ProcessReport::default()
            })
    }

    /// `owner` has sent a task to `to`.
    fn pushed(&mut self, owner: u8, task: TaskId, to: u8) {
        let report = TaskReport {
            task,
            name: format!("t{}", task.unique()),
            stage: TaskStage::Pushed as i32,
            worker: Some(process_id(to)),
            ..TaskReport::default()
        };
        self.owns(owner, report);
    }

    /// `owner` waits for the result of a task.
    fn owns(&mut self, owner: u8, task: TaskReport) {
        let object = ObjectReport {
            object: task.task.return_id(1),
            owner: process_id(owner),
            ..ObjectReport::default()
        };
        self.process(owner).objects.push(object);
        self.process(owner).tasks.push(task);
    }

    /// The same, and it runs there.
    fn runs(&mut self, owner: u8, task: TaskId, to: u8) {
        self.pushed(owner, task, to);
        self.process(to).running.push(RunningReport {
            task,
            age_us: 5,
            caller: process_id(owner),
        });
    }

    /// The same, and it waits there for its turn.
    fn queues(&mut self, owner: u8, task: TaskId, to: u8) {
        self.pushed(owner, task, to);
        self.process(to).queued.push(task);
    }

    /// A task that runs in `process` is blocked until all of these are there.
    fn blocks(&mut self, process: u8, task: TaskId, objects: &[ObjectAt]) -> &mut WaitReport {
        let waits = &mut self.process(process).waits;
        waits.push(WaitReport {
            number: waits.len() as u64 + 1,
            task,
            objects: objects.to_vec(),
            needed: objects.len() as u32,
            ..WaitReport::default()
        });
        waits.last_mut().unwrap()
    }
}

impl Cluster for World {
    fn inquire(&mut self, inquiry: Inquiry) -> Option<InquiryAnswered> {
        self.questions += 1;
        if let Some((after, change)) = self.change
            && self.questions > after
        {
            self.change = None;
            change(self);
        }
        assert!(
            !inquiry.subjects.is_empty(),
            "nobody may be asked for everything"
        );
        let is_asked = |process: &ProcessReport| {
            inquiry.processes.is_empty() || inquiry.processes.contains(&process.worker)
        };
        let has = |id: &[u8]| inquiry.subjects.iter().any(|subject| subject == id);
        let processes = self.processes.values().filter(|it| is_asked(it)).cloned();
        let processes = processes.map(|mut process| {
            process.objects.retain(|it| has(&it.object.to_array()));
            process
                .tasks
                .retain(|it| has(&it.task.to_array()) || has(&it.task.return_id(1).to_array()));
            process
        });
        let known = |worker: &&WorkerId| self.processes.values().any(|it| it.worker == **worker);
        let silent = inquiry.processes.iter().filter(|worker| !known(worker));
        Some(InquiryAnswered {
            processes: processes.collect(),
            silent: silent
                .map(|worker| WorkerReport {
                    worker: *worker,
                    ..WorkerReport::default()
                })
                .collect(),
            nodes: inquiry
                .with_node
                .then(|| self.node.clone())
                .into_iter()
                .collect(),
            ..InquiryAnswered::default()
        })
    }

    fn status(&mut self) -> Option<StatusReply> {
        Some(self.status.clone())
    }
}

/// Actor 1 runs `t1`, which waits for `t2` of actor 2, which waits for `t3`, which waits in the
/// queue of actor 1. The driver, process 9, called `t1`.
fn two_actors() -> (World, ObjectAt) {
    let mut world = World::default();
    let (t1, t2, t3) = (task_id(1, 1), task_id(2, 2), task_id(3, 1));
    world.runs(9, t1, 1);
    world.runs(1, t2, 2);
    world.queues(2, t3, 1);
    world.blocks(1, t1, &[at(t2, 1)]);
    world.blocks(2, t2, &[at(t3, 2)]);
    (world, at(t1, 9))
}

fn members(world: &mut World, object: ObjectAt) -> Option<Vec<String>> {
    find_cycle(world, &[object]).map(|cycle| cycle.members)
}

#[test]
fn two_actors_that_wait_for_each_other_are_found_with_all_members() {
    let (mut world, object) = two_actors();
    assert_eq!(
        members(&mut world, object),
        Some(vec![
            "t1 (pid 1) waits in get for t2".to_owned(),
            "t2 (pid 2) waits in get for t3".to_owned(),
            "t3 waits in process 1 until t1 is through".to_owned(),
        ])
    );
}

#[test]
fn whoever_looks_finds_the_same_cycle() {
    let (mut world, object) = two_actors();
    let of_driver = find_cycle(&mut world, &[object]);
    let of_member = find_cycle(&mut world, &[at(task_id(3, 1), 2)]);
    assert!(of_driver.is_some());
    assert_eq!(of_driver, of_member);
}

#[test]
fn an_actor_that_waits_for_its_own_queue_is_found() {
    let mut world = World::default();
    let (t1, t2) = (task_id(1, 1), task_id(2, 1));
    world.runs(9, t1, 1);
    world.queues(1, t2, 1);
    world.blocks(1, t1, &[at(t2, 1)]);
    assert_eq!(members(&mut world, at(t1, 9)).map_or(0, |it| it.len()), 2);
}

#[test]
fn a_wait_with_a_timeout_ends_by_itself() {
    let (mut world, object) = two_actors();
    world.process(2).waits[0].has_timeout = true;
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn a_task_that_runs_will_be_through() {
    let (mut world, object) = two_actors();
    world.process(2).waits.clear();
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn an_actor_with_a_free_thread_takes_the_call() {
    let (mut world, object) = two_actors();
    let actor = world.process(1);
    actor.concurrency = Concurrency::Threads as i32;
    actor.threads = 2;
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn a_thread_that_will_be_free_takes_the_call() {
    let (mut world, object) = two_actors();
    let (other, t3) = (task_id(8, 1), task_id(3, 1));
    world.runs(9, other, 1);
    let actor = world.process(1);
    actor.concurrency = Concurrency::Threads as i32;
    actor.threads = 2;
    // All that came is dispatched to the threads; `t3` has none.
    actor.queued.clear();
    actor.running.push(RunningReport {
        task: t3,
        age_us: 1,
        caller: process_id(2),
    });
    assert_eq!(members(&mut world.clone(), object), None, "`t8` runs");
    world.blocks(1, other, &[at(task_id(20, 5), 9)]);
    world.runs(9, task_id(20, 5), 5);
    assert_eq!(
        members(&mut world.clone(), object),
        None,
        "`t8` waits for what runs"
    );
    world.process(1).waits.pop();
    world.blocks(1, other, &[at(task_id(2, 2), 1)]);
    assert!(
        members(&mut world, object).is_some(),
        "both threads are blocked for ever"
    );
}

#[test]
fn coroutines_that_only_await_block_nobody() {
    let (mut world, object) = two_actors();
    let actor = world.process(1);
    actor.concurrency = Concurrency::Coroutines as i32;
    actor.queued.clear();
    actor.waits.clear();
    actor.running.push(RunningReport {
        task: task_id(3, 1),
        age_us: 1,
        caller: process_id(2),
    });
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn a_coroutine_that_blocks_the_loop_blocks_all_others() {
    let (mut world, object) = two_actors();
    let actor = world.process(1);
    actor.concurrency = Concurrency::Coroutines as i32;
    actor.waits[0].is_loop = true;
    assert!(members(&mut world, object).is_some());
}

#[test]
fn one_of_many_is_enough_for_a_wait_for_one() {
    let (mut world, object) = two_actors();
    let other = task_id(7, 7);
    world.runs(1, other, 7);
    let wait = &mut world.process(1).waits[0];
    wait.objects.push(at(other, 1));
    wait.needed = 1;
    assert_eq!(members(&mut world.clone(), object), None);
    world.process(1).waits[0].needed = 2;
    assert!(
        members(&mut world, object).is_some(),
        "one of them never comes"
    );
}

#[test]
fn what_changed_between_two_looks_is_no_cycle() {
    let (mut world, object) = two_actors();
    let questions = {
        let mut world = world.clone();
        Survey::of_objects(&mut world, &[object]);
        world.questions
    };
    // The thread has gone on, and waits again for the same.
    world.change = Some((questions, |world| world.process(2).waits[0].number += 1));
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn whoever_does_not_answer_may_well_go_on() {
    let (mut world, object) = two_actors();
    world.processes.remove(&2);
    assert_eq!(members(&mut world, object), None);
}

#[test]
fn a_call_that_takes_the_result_of_a_later_one_is_found() {
    let mut world = World::default();
    let (t1, t2) = (task_id(1, 1), task_id(2, 1));
    let report = |task: TaskId, stage: TaskStage| TaskReport {
        task,
        name: format!("t{}", task.unique()),
        stage: stage as i32,
        ..TaskReport::default()
    };
    let mut first = report(t1, TaskStage::WaitsForArguments);
    first.missing.push(at(t2, 9));
    let mut second = report(t2, TaskStage::BehindCall);
    second.behind = Some(t1);
    world.owns(9, first);
    world.owns(9, second);
    assert_eq!(
        members(&mut world, at(t1, 9)),
        Some(vec![
            "t1 waits for its argument, a result of t2".to_owned(),
            "t2 waits until t1, called before it, can run".to_owned(),
        ])
    );
}

fn codes(world: &mut World, id: &[u8]) -> Vec<&'static str> {
    let explanation = explain(world, id).unwrap();
    explanation
        .steps
        .iter()
        .map(|step| step.reason.code())
        .collect()
}

#[test]
fn an_explanation_follows_the_wait_to_its_end() {
    let (mut world, object) = two_actors();
    world.process(2).waits.clear();
    assert_eq!(
        codes(&mut world, &object.object.to_array()),
        ["BLOCKED_IN_GET", "RUNNING"]
    );
    let queued = task_id(3, 1);
    assert_eq!(
        codes(&mut world, &queued.to_array()),
        ["QUEUED_IN_WORKER", "BLOCKED_IN_GET", "RUNNING"]
    );
}

#[test]
fn a_cycle_is_the_first_that_is_said() {
    let (mut world, object) = two_actors();
    let explanation = explain(&mut world, &object.object.to_array()).unwrap();
    assert_eq!(explanation.steps[0].reason, Reason::Deadlock);
    assert_eq!(explanation.cycle.len(), 3);
}

#[test]
fn a_queued_task_names_what_is_missing_and_who_holds_it() {
    let mut world = World::default();
    let task = task_id(1, 0);
    world.process(9).tasks.push(TaskReport {
        task,
        name: "f".into(),
        stage: TaskStage::WaitsForLease as i32,
        class: 4,
        ..TaskReport::default()
    });
    let one = Resources::none().with(CPU, 1.0);
    world.node = NodeReport {
        ip: "10.0.0.1".into(),
        total: one.clone(),
        workers: vec![WorkerReport {
            pid: 77,
            name: "Model".into(),
            resources: one.clone(),
            ..WorkerReport::default()
        }],
        demands: vec![DemandReport {
            owner: process_id(9),
            class: 4,
            resources: one,
            wanted: 1,
            reason: "waits for 1 CPU (0 of 1 free)".into(),
            age_us: 3_000_000,
            ..DemandReport::default()
        }],
        ..NodeReport::default()
    };
    let step = explain(&mut world, &task.to_array())
        .unwrap()
        .steps
        .remove(0);
    assert_eq!(step.reason, Reason::WaitsForResources);
    assert_eq!(
        step.text,
        "f waits for 1 CPU (0 of 1 free); held by Model (pid 77) {CPU: 1}"
    );
    assert_eq!(
        (step.age_us, step.authority.as_str()),
        (Some(3_000_000), "the node 10.0.0.1")
    );
}

#[test]
fn a_dead_actor_says_why() {
    let mut world = World::default();
    world.status.actors.push(ActorStatus {
        actor: actor_id(3),
        class_name: "A".into(),
        state: ActorState::Dead as i32,
        death: "killed by `ray.kill`".into(),
        ..ActorStatus::default()
    });
    let steps = explain(&mut world, &actor_id(3).to_array()).unwrap().steps;
    assert_eq!(steps[0].reason, Reason::ActorDead);
    assert!(steps[0].text.contains("killed by `ray.kill`"));
}

#[test]
fn what_nobody_knows_is_said_to_be_unknown() {
    let mut world = World::default();
    let object = ObjectId::from_array([5; 28]);
    assert_eq!(codes(&mut world, &object.to_array()), ["NOT_KNOWN"]);
    assert_eq!(explain(&mut world, &[1, 2, 3]), None);
}
