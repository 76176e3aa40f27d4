//! The stages of a call between its owner and the process that runs it.

use bytes::Bytes;
use smallvec::SmallVec;
use whipray_net::{Connection, ReadOutcome};
use whipray_proto::messages::actor::{ActorState, ActorUpdate};
use whipray_proto::messages::lease::{LeaseGranted, SchedulingClass};
use whipray_proto::task::TaskOutcome;
use whipray_proto::{
    ActorId, FunctionId, JobId, LeaseId, Message, NodeId, ObjectValue, Resources, TaskId,
    WorkerAddress, WorkerId,
};
use whipray_worker::core::effect::Effect;
use whipray_worker::core::{Call, Core, CoreArgument};
use whipray_worker::{ClassSlot, TaskTemplate};

use crate::Stage;

fn address(number: u8) -> WorkerAddress {
    WorkerAddress {
        worker: WorkerId::from_array([number; 28]),
        node: NodeId::from_array([1; 28]),
        node_endpoint: String::new(),
        endpoint: format!("unix:@whipray-worker-{number}"),
    }
}

fn template(method: &str) -> TaskTemplate {
    TaskTemplate {
        function: FunctionId::from_array([7; 28]),
        name: "small_value".into(),
        method: method.into(),
        class: SchedulingClass {
            resources: Resources::none().with("CPU", 1.0),
            ..SchedulingClass::default()
        },
        num_returns: 1,
        max_retries: 3,
        retry_any_exception: false,
        retry_exceptions: Bytes::new(),
        concurrency_group: String::new(),
        max_calls: 0,
        max_pending_calls: 0,
        out_of_order: false,
        generator: None,
        class_slot: ClassSlot::default(),
    }
}

/// An owner and an executor, and the connection between them.
struct Pair {
    owner: Core,
    executor: Core,
    template: TaskTemplate,
    actor: ActorId,
    to_executor: Connection,
    to_owner: Connection,
    calls: u64,
}

impl Pair {
    /// The owner has a lease on the executor; or the executor is an actor, where there is a method.
    fn new(method: &str) -> Self {
        let (to_executor, to_owner) = Connection::pair().expect("a pair of sockets");
        let job = JobId::from_number(1);
        let mut pair = Self {
            owner: Core::new(address(1), 1),
            executor: Core::new(address(2), 1),
            template: template(method),
            actor: ActorId::none_of(job),
            to_executor,
            to_owner,
            calls: 0,
        };
        if !method.is_empty() {
            pair.actor = ActorId::from_array([9; 16]);
            let alive = ActorUpdate {
                actor: pair.actor,
                state: ActorState::Alive as i32,
                incarnation: 1,
                address: Some(address(2)),
                ..ActorUpdate::default()
            };
            pair.owner.actors.ensure(pair.actor);
            pair.owner.on_node_message(alive.into(), 0);
            // A handle of the program's keeps the actor.
            let me = address(1);
            pair.owner.objects.refer(pair.actor.handle_object(), &me);
        }
        pair
    }

    fn submit(&mut self) {
        self.calls += 1;
        let call = Call {
            task: TaskId::of(self.calls, self.actor),
            parent: TaskId::default(),
            arguments: vec![CoreArgument::Value {
                data: Bytes::from_static(b"\x03\x01\x00\x00\x00\x00\x00\x00\x00"),
                contained: SmallVec::new(),
            }],
            keywords: Vec::new(),
            stream: None,
        };
        if self.template.method.is_empty() {
            self.owner.submit(&self.template, call, self.calls);
        } else {
            let cells = self
                .owner
                .submit_actor(self.actor, &self.template, call, self.calls);
            drop(cells);
        }
    }

    /// The node grants the one lease as soon as it is asked for.
    fn grant(&mut self) {
        self.owner.settle();
        let granted = LeaseGranted {
            lease: LeaseId { number: 1 },
            worker: address(2),
            ..LeaseGranted::default()
        };
        self.owner.effects.clear();
        self.owner.on_node_message(granted.into(), self.calls);
    }

    fn push(&mut self) {
        for effect in std::mem::take(&mut self.owner.effects) {
            let Effect::Push { to, task, .. } = effect else {
                continue;
            };
            if self.template.method.is_empty() {
                if let Some((spec, assignment)) = self.owner.tasks.take_push(&to, &task) {
                    self.to_executor.queue_push_task(spec, assignment.as_ref());
                }
            } else if let Some(task) = self.owner.tasks.tasks.get(&task) {
                self.to_executor.queue_push_task(&task.spec, None);
            }
        }
        self.to_executor.flush().expect("room in the socket");
    }

    fn receive(&mut self) {
        let message = read(&mut self.to_owner);
        self.executor
            .on_peer_message(&address(1), message, self.calls);
    }

    fn answer(&mut self) {
        let (queued, _) = self.executor.execution.start(self.calls).expect("a task");
        let value = ObjectValue::inline(Bytes::from_static(b"\x06ok"));
        let returns = vec![(value, SmallVec::new())];
        let task = queued.push.spec.task;
        self.executor.finish_execution(
            task,
            TaskOutcome::Returned,
            returns,
            Vec::new(),
            self.calls,
        );
        for effect in std::mem::take(&mut self.executor.effects) {
            if let Effect::ToPeer(_, message) = effect {
                self.to_owner.queue(&message);
            }
        }
        self.to_owner.flush().expect("room in the socket");
    }

    fn complete(&mut self) {
        let message = read(&mut self.to_executor);
        self.owner.on_peer_message(&address(2), message, self.calls);
        self.owner.settle();
        self.owner.effects.clear();
    }

    fn release(&mut self) {
        let result = TaskId::of(self.calls, self.actor).return_id(1);
        self.owner.release(&result);
        self.owner.settle();
        self.owner.effects.clear();
    }
}

fn read(connection: &mut Connection) -> Message {
    let outcome = connection.read().expect("an open socket");
    assert!(matches!(outcome, ReadOutcome::Drained | ReadOutcome::More));
    let message = connection.next_message().expect("a message of ours");
    message.expect("a whole message")
}

/// Every step of a call, each as a stage of its own.
pub fn stages(kind: &'static str, method: &'static str) -> Vec<Stage> {
    type Step = (&'static str, fn(&mut Pair));
    const STEPS: [Step; 6] = [
        ("submit", Pair::submit),
        ("push", Pair::push),
        ("receive", Pair::receive),
        ("answer", Pair::answer),
        ("complete", Pair::complete),
        ("release", Pair::release),
    ];
    (0..STEPS.len())
        .map(|counted| {
            let mut pair = Pair::new(method);
            let mut is_granted = !method.is_empty();
            let run = move || {
                for (number, (_, step)) in STEPS.iter().enumerate() {
                    if number == counted {
                        crate::valgrind::count(|| step(&mut pair));
                    } else {
                        step(&mut pair);
                    }
                    if !is_granted {
                        is_granted = true;
                        pair.grant();
                    }
                }
            };
            Stage::new(&format!("{kind}.{}", STEPS[counted].0), run)
        })
        .collect()
}
