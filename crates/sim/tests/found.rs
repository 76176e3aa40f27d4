//! One story for each defect that simulation has found, as small as it can be told. Each is lived
//! through with many different delays; the seed that told it first is named, as its scenario was
//! generated then.

use whipray_sim::scenario::{
    ActorOptions, Driver, Fault, NodeShape, Passed, Placement, Plan, Result, Size, Step,
    TaskOptions,
};
use whipray_sim::{Scenario, run};

/// Plans that every story may use.
const NOTHING: usize = 0;
const SMALL: usize = 1;
const LARGE: usize = 2;
const SLOW: usize = 3;
const SHARED_BYTES: u64 = 200_000;

fn small() -> Result {
    Result {
        size: Size::Inline,
        inside: vec![],
        actors: vec![],
    }
}

fn large() -> Result {
    Result {
        size: Size::Shared(SHARED_BYTES),
        ..small()
    }
}

fn plan(steps: Vec<Step>, results: Vec<Result>) -> Plan {
    Plan { steps, results }
}

fn submit(plan: usize, passed: Vec<Passed>) -> Step {
    submit_with(
        plan,
        TaskOptions {
            max_retries: 3,
            ..TaskOptions::default()
        },
        passed,
    )
}

fn submit_with(plan: usize, options: TaskOptions, passed: Vec<Passed>) -> Step {
    let options = TaskOptions {
        cpu_percent: 100,
        ..options
    };
    Step::Submit {
        plan,
        options,
        passed,
    }
}

fn actor(plan: usize, passed: Vec<Passed>) -> Step {
    actor_with(plan, ActorOptions::default(), passed)
}

fn actor_with(plan: usize, options: ActorOptions, passed: Vec<Passed>) -> Step {
    Step::CreateActor {
        plan,
        options,
        passed,
    }
}

fn call(plan: usize, passed: Vec<Passed>) -> Step {
    Step::Call {
        actor: 0,
        plan,
        passed,
    }
}

fn get(object: u32) -> Step {
    Step::Get {
        object,
        timeout: None,
    }
}

fn pause(micros: u64) -> Step {
    Step::Pause { micros }
}

/// Lives a story through with many delays. `plans` follow the common ones; the last one is the
/// driver's.
fn story(cpus: u32, plans: Vec<Plan>, faults: Vec<(u64, Fault)>) {
    let arena = Arena {
        arena_bytes: 1 << 30,
        spills: false,
    };
    story_with(arena, cpus, plans, faults);
}

struct Arena {
    arena_bytes: u64,
    spills: bool,
}

fn story_with(arena: Arena, cpus: u32, plans: Vec<Plan>, faults: Vec<(u64, Fault)>) {
    story_on(arena, cpus, vec![], plans, faults);
}

/// Lives a story through on two machines: the head, where the driver is, and another one.
fn far_story(cpus: u32, far_cpus: u32, plans: Vec<Plan>, faults: Vec<(u64, Fault)>) {
    let arena_bytes = 1 << 30;
    let other = NodeShape {
        at: 0,
        cpus: far_cpus,
        gpus: 0,
        gold: 0,
        arena_bytes,
    };
    let arena = Arena {
        arena_bytes,
        spills: false,
    };
    story_on(arena, cpus, vec![other], plans, faults);
}

fn story_on(
    arena: Arena,
    cpus: u32,
    nodes: Vec<NodeShape>,
    plans: Vec<Plan>,
    faults: Vec<(u64, Fault)>,
) {
    // The other machine is there when the driver begins.
    let at = if nodes.is_empty() { 0 } else { 200_000 };
    let mut all = vec![
        plan(vec![], vec![]),
        plan(vec![], vec![small()]),
        plan(vec![], vec![large()]),
        plan(vec![pause(5_000)], vec![small()]),
    ];
    all.extend(plans);
    for seed in 0..60 {
        let scenario = Scenario {
            seed,
            cpus,
            gpus: 0,
            gold: 0,
            arena_bytes: arena.arena_bytes,
            spills: arena.spills,
            delay_most: [1, 100, 2_000, 20_000][seed as usize % 4],
            far_delay_most: [0, 200, 5_000][seed as usize / 20],
            pause_most: [1, 50, 2_000][seed as usize % 3],
            nodes: nodes.clone(),
            drivers: vec![Driver {
                at,
                machine: 0,
                plan: all.len() - 1,
            }],
            faults: faults.clone(),
            plans: all.clone(),
        };
        let outcome = run(&scenario, false);
        assert!(
            outcome.violations.is_empty(),
            "{}\n{scenario}",
            outcome.violations.join("\n")
        );
    }
}

/// The number of the first plan of a story.
const FIRST: usize = 4;

/// Seed 3. The caller of a task asks for its result in shared memory as soon as it has the answer;
/// the executor's word that it is written travels to the node on another socket. A pin that came
/// before the seal found nothing, and `get` raised.
#[test]
fn a_pin_may_overtake_the_seal() {
    let steps = vec![submit(LARGE, vec![]), get(0)];
    story(2, vec![plan(steps, vec![])], vec![]);
}

/// Seed 18. The last handle of an actor went before the objects for its constructor were there: the
/// control was told that it is out of scope first, and that it exists later. It lived for ever.
#[test]
fn an_actor_that_nobody_holds_is_not_born_later() {
    let steps = vec![
        submit(SLOW, vec![]),
        actor(NOTHING, vec![Passed::Object(0)]),
    ];
    story(2, vec![plan(steps, vec![])], vec![]);
}

/// Seed 596. A task got the handle of an actor whose constructor still waited for an object, and
/// heard from the control that there is no such actor.
#[test]
fn a_handle_may_be_faster_than_its_actor() {
    let user = plan(vec![call(SMALL, vec![]), get(0)], vec![small()]);
    let steps = vec![
        submit(SLOW, vec![]),
        actor(NOTHING, vec![Passed::Object(0)]),
        submit(FIRST, vec![Passed::ActorInside(0)]),
        Step::WaitAll,
    ];
    story(2, vec![user, plan(steps, vec![])], vec![]);
}

/// Seed 202. A task that held the only CPU created a named actor from the result of another task,
/// and waited for the name, which was only granted once that result was there.
#[test]
fn a_name_is_granted_before_the_objects_are_there() {
    let options = ActorOptions {
        name: 1,
        ..ActorOptions::default()
    };
    let steps = vec![
        submit(SMALL, vec![]),
        actor_with(NOTHING, options, vec![Passed::Object(0)]),
    ];
    let parent = plan(steps, vec![]);
    story(
        1,
        vec![parent, plan(vec![submit(FIRST, vec![])], vec![])],
        vec![],
    );
}

/// Seed 43. While a task ran long with others behind it in its worker, and no other worker was
/// there to help, the owner's next deadline lay in the past: its thread never slept.
#[test]
fn an_owner_sleeps_while_nobody_can_help() {
    let slow = plan(vec![pause(500_000)], vec![small()]);
    let mut steps: Vec<Step> = (0..3).map(|_| submit(SMALL, vec![])).collect();
    steps.push(Step::WaitAll);
    steps.push(submit(FIRST, vec![]));
    steps.extend((0..4).map(|_| submit(SMALL, vec![])));
    steps.push(Step::WaitAll);
    story(1, vec![slow, plan(steps, vec![])], vec![]);
}

/// Seeds 73 and 47. Workers beyond the number of CPUs are asked to leave after a while: nobody
/// listened, and where nobody had returned a lease at the right moment, nobody asked.
#[test]
fn idle_workers_leave() {
    let steps = (0..8)
        .map(|number| {
            let options = TaskOptions {
                environment: number % 3,
                ..TaskOptions::default()
            };
            submit_with(SMALL, options, vec![])
        })
        .collect();
    story(1, vec![plan(steps, vec![])], vec![]);
}

/// Seed 132. The grant of a worker and its loss came together: the task that was about to be sent
/// was charged with a crash, and failed where it had no retry.
#[test]
fn a_task_that_was_never_sent_does_not_fail() {
    let steps = vec![submit_with(SMALL, TaskOptions::default(), vec![]), get(0)];
    let faults = (0..5).map(|pick| {
        (
            3_000 * u64::from(pick),
            Fault::KillWorker { pick, signal: 11 },
        )
    });
    story(1, vec![plan(steps, vec![])], faults.collect());
}

/// Seed 177. A borrower let go and left; the news of its end was faster than its last word, which
/// then counted below zero in its owner's account for ever.
#[test]
fn the_last_word_of_a_borrower_may_come_after_its_end() {
    let keeper = plan(vec![Step::Keep { object: 0 }], vec![]);
    let dropper = plan(vec![Step::DropKept { pick: 0 }], vec![]);
    let once = TaskOptions {
        max_calls: 2,
        ..TaskOptions::default()
    };
    let steps = vec![
        submit(LARGE, vec![]),
        get(0),
        submit_with(FIRST, once.clone(), vec![Passed::Inside(vec![0])]),
        Step::WaitAll,
        submit_with(FIRST + 1, once, vec![]),
        Step::WaitAll,
    ];
    story(1, vec![keeper, dropper, plan(steps, vec![])], vec![]);
}

/// Seed 232. A worker ran a task of its own and got a reference to an object of its own returned:
/// nobody held the object on its way, and `get` waited for ever for a value that was gone.
#[test]
fn a_process_may_return_its_own_object_to_itself() {
    let inner = plan(
        vec![Step::Put {
            size: Size::Inline,
            inside: vec![],
        }],
        vec![Result {
            inside: vec![0],
            ..small()
        }],
    );
    let outer = plan(
        vec![submit(FIRST, vec![])],
        vec![Result {
            inside: vec![0],
            ..small()
        }],
    );
    let steps = vec![submit(FIRST + 1, vec![]), get(0), get(1), get(2)];
    story(1, vec![inner, outer, plan(steps, vec![])], vec![]);
}

/// Seed 412. A worker ended one task, began the next and died, and the first answer was lost with
/// it: the finished task was charged, and a task without retries ran twice.
#[test]
fn tasks_behind_others_run_no_more_often_than_they_may() {
    let fatal = plan(
        vec![Step::Crash {
            status: 9,
            tries: 2,
        }],
        vec![small()],
    );
    let mut steps: Vec<Step> = (0..2).map(|_| submit(SMALL, vec![])).collect();
    steps.push(Step::WaitAll);
    for number in 0..12 {
        let max_retries = if number % 2 == 0 { 0 } else { 3 };
        let options = TaskOptions {
            max_retries,
            ..TaskOptions::default()
        };
        let plan = if number % 4 == 3 { FIRST } else { SMALL };
        steps.push(submit_with(plan, options, vec![]));
    }
    steps.push(Step::WaitAll);
    story(1, vec![fatal, plan(steps, vec![])], vec![]);
}

/// Seed 372. A worker that had served its calls was sent away while its last result was sealed in
/// its socket, but not yet in the store.
#[test]
fn a_worker_is_read_to_its_end() {
    let options = TaskOptions {
        max_calls: 1,
        ..TaskOptions::default()
    };
    let steps = vec![submit_with(LARGE, options, vec![]), get(0)];
    story(1, vec![plan(steps, vec![])], vec![]);
}

/// Seed 390. A worker sealed its result and died before it answered: the task failed, and the
/// sealed copy stayed in the store.
#[test]
fn what_a_dead_worker_sealed_does_not_stay() {
    let steps = (0..4)
        .map(|_| submit_with(LARGE, TaskOptions::default(), vec![]))
        .collect();
    let faults = (0..20u32).map(|number| {
        (
            1_500 * u64::from(number),
            Fault::KillWorker {
                pick: number,
                signal: 9,
            },
        )
    });
    story(2, vec![plan(steps, vec![])], faults.collect());
}

/// Seed 604. A call of an actor raised and was tried again, behind a later call that took its
/// result: neither was ever sent.
#[test]
fn a_call_that_is_tried_again_is_not_held_up_by_those_that_wait_for_it() {
    let shaky = plan(vec![Step::Raise { tries: 1 }], vec![small()]);
    let options = ActorOptions {
        max_restarts: 1,
        max_task_retries: 3,
        retries_exceptions: true,
        ..ActorOptions::default()
    };
    let steps = vec![
        actor_with(NOTHING, options, vec![]),
        call(FIRST, vec![]),
        call(SMALL, vec![Passed::Object(0)]),
        Step::WaitAll,
    ];
    story(2, vec![shaky, plan(steps, vec![])], vec![]);
}

/// Seed 3648. A borrower asked for an object in shared memory, gave up and let go of it; when the
/// value came all the same, it freed the owner's memory.
#[test]
fn a_borrower_does_not_free_what_is_not_its_own() {
    let impatient = plan(
        vec![
            Step::Get {
                object: 0,
                timeout: Some(10),
            },
            Step::Drop { object: 0 },
        ],
        vec![],
    );
    let slow = plan(vec![pause(3_000)], vec![large()]);
    let steps = vec![
        submit(FIRST + 1, vec![]),
        submit(FIRST, vec![Passed::Inside(vec![0])]),
        pause(10_000),
        get(0),
    ];
    story(2, vec![impatient, slow, plan(steps, vec![])], vec![]);
}

/// Seed 973. An actor kept a reference that a call brought, and its caller died before it read the
/// answer, and so before it registered the actor with the owner.
#[test]
fn a_dead_caller_leaves_no_debts() {
    let keeper = plan(vec![Step::KeepActor { actor: 0 }], vec![]);
    let dropper = plan(vec![Step::DropKept { pick: 0 }], vec![]);
    let mut plans = vec![keeper, dropper];
    let mut steps = vec![actor(NOTHING, vec![]), actor(NOTHING, vec![])];
    for micros in [100, 300, 1_000, 3_000, 10_000, 30_000] {
        let call = Step::Call {
            actor: 0,
            plan: FIRST,
            passed: vec![Passed::ActorInside(1)],
        };
        let crash = Step::Crash {
            status: 9,
            tries: 3,
        };
        steps.push(submit(
            FIRST + plans.len(),
            vec![Passed::ActorInside(0), Passed::ActorInside(1)],
        ));
        plans.push(plan(vec![call, pause(micros), crash], vec![]));
    }
    steps.extend([Step::WaitAll, pause(50_000)]);
    steps.extend((0..30).map(|_| call(FIRST + 1, vec![])));
    steps.push(Step::WaitAll);
    plans.push(plan(steps, vec![]));
    story(4, plans, vec![]);
}

/// Seed 2989. The owner of a detached actor left before the objects of its constructor were there:
/// nobody could complete the actor, and it kept its name and its job for ever.
#[test]
fn a_detached_actor_needs_its_owner_until_it_is_complete() {
    let options = ActorOptions {
        name: 1,
        detached: true,
        ..ActorOptions::default()
    };
    let steps = vec![
        submit(SLOW, vec![]),
        actor_with(NOTHING, options, vec![Passed::Object(0)]),
        Step::Leave { says_goodbye: true },
    ];
    story(2, vec![plan(steps, vec![])], vec![]);
}

/// The connection between an owner and an executor ends, and both live on: the owner has the
/// executor ended after a while, so that its tasks and calls end, too.
#[test]
fn a_cut_connection_does_not_hang_anybody() {
    let restarts = ActorOptions {
        max_restarts: 1,
        ..ActorOptions::default()
    };
    let steps = vec![
        actor_with(NOTHING, restarts, vec![]),
        call(SLOW, vec![]),
        call(SLOW, vec![]),
        submit(SLOW, vec![]),
        Step::WaitAll,
    ];
    let cuts = (0..20u32).map(|pick| (2_000 * u64::from(pick), Fault::Cut { pick }));
    story(2, vec![plan(steps, vec![])], cuts.collect());
}

/// Seed 201803. A copy in a bucket could not be brought and counted as lost; its task had no retries.
/// The store kept the copy for as long as the owner lived.
#[test]
fn a_copy_that_could_not_be_brought_does_not_stay() {
    let mut steps: Vec<Step> = (0..8)
        .map(|_| submit_with(LARGE, TaskOptions::default(), vec![]))
        .collect();
    steps.push(Step::WaitAll);
    for _ in 0..3 {
        steps.extend((0..8).map(|object| Step::Get {
            object,
            timeout: None,
        }));
    }
    let arena = Arena {
        arena_bytes: 3 * SHARED_BYTES,
        spills: true,
    };
    story_with(arena, 2, vec![plan(steps, vec![])], vec![]);
}

/// Several machines, seed 31. An actor was placed where its node said at once that it must wait, and
/// was called back for another node that looked free, which was the same one: the daemon of the head
/// spoke to itself without end.
#[test]
fn an_actor_that_has_to_wait_is_not_called_back_without_end() {
    let slow = || plan(vec![pause(50_000)], vec![small()]);
    let holds = ActorOptions {
        cpu_percent: 50,
        ..ActorOptions::default()
    };
    let spread = TaskOptions {
        placement: Placement::Spread,
        ..TaskOptions::default()
    };
    let mut steps: Vec<Step> = (0..6)
        .map(|_| submit_with(FIRST, spread.clone(), vec![]))
        .collect();
    steps.push(pause(1_000));
    for _ in 0..3 {
        steps.push(actor_with(NOTHING, holds.clone(), vec![]));
        steps.push(pause(3_000));
    }
    steps.push(Step::WaitAll);
    far_story(2, 3, vec![slow(), plan(steps, vec![])], vec![]);
}

/// Several machines, seeds 2125 and 2648. A cancel reached an actor of another node while a call ran
/// whose result then was sealed there, and answered that the call was cancelled. The owner knew of no
/// copy, and none was freed.
#[test]
fn what_a_cancelled_call_wrote_on_another_node_is_freed() {
    let far = ActorOptions {
        placement: Placement::On(1),
        max_concurrency: 1,
        ..ActorOptions::default()
    };
    let method = plan(vec![pause(30_000)], vec![large()]);
    let cancel = Step::Cancel {
        object: 1,
        force: false,
        recursive: false,
    };
    let steps = vec![
        actor_with(NOTHING, far, vec![]),
        call(SMALL, vec![]),
        Step::WaitAll,
        call(FIRST, vec![]),
        pause(10_000),
        cancel,
    ];
    far_story(1, 1, vec![method, plan(steps, vec![])], vec![]);
}
