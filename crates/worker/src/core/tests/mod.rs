//! Scenarios: events in, effects out. Every message that an effect carries is encoded and decoded,
//! so that the wire format is exercised by each of them, and invariants are checked at the end.

mod actor_scenarios;
mod copy_scenarios;
mod far_scenarios;
mod lineage_scenarios;
mod moving_scenarios;
mod oom_scenarios;
mod reference_scenarios;
mod stream_scenarios;
mod task_scenarios;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use whipray_proto::messages::lease::{LeaseGranted, LeaseLost, SchedulingClass};
use whipray_proto::task::{TaskOutcome, TaskReply};
use whipray_proto::{
    ActorId, DeathCause, DeathKind, FunctionId, JobId, LeaseId, Message, NodeId, ObjectId,
    ObjectValue, Resources, TaskId, WorkerAddress, WorkerId,
};

use super::effect::Effect;
use super::{Call, Core, CoreArgument};
use crate::cell::ObjectCell;
use crate::template::{ClassSlot, TaskTemplate};

pub(super) fn address(name: &str) -> WorkerAddress {
    let mut bytes = [0; 28];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    WorkerAddress {
        worker: WorkerId::from_array(bytes),
        node: NodeId::from_array([1; 28]),
        endpoint: format!("unix:@{name}"),
        node_endpoint: String::new(),
    }
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

/// A process on another node than the owner's, which is 1.
pub(super) fn far_address(name: &str, number: u8) -> WorkerAddress {
    WorkerAddress {
        node: node(number),
        ..address(name)
    }
}

pub(super) fn template() -> TaskTemplate {
    TaskTemplate {
        function: FunctionId::from_array([7; 28]),
        name: "f".into(),
        method: String::new(),
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

pub(super) fn value(text: &str) -> ObjectValue {
    ObjectValue::inline(Bytes::copy_from_slice(text.as_bytes()))
}

fn through_the_wire(message: &Message) -> Message {
    let mut buffer = BytesMut::new();
    message.encode_frame(&mut buffer);
    let decoded = Message::decode_frame(&buffer).unwrap();
    assert_eq!(&decoded, message);
    decoded
}

/// A core with a clock that stands still until it is moved.
pub(super) struct TestOwner {
    pub core: Core,
    pub now: u64,
    next: u64,
}

impl TestOwner {
    pub fn new(name: &str) -> Self {
        Self {
            core: Core::new(address(name), 1),
            now: 0,
            next: 1,
        }
    }

    pub fn me(&self) -> WorkerAddress {
        self.core.me.clone()
    }

    fn call(&mut self, actor: ActorId, arguments: Vec<CoreArgument>) -> Call {
        self.next += 1;
        Call {
            task: TaskId::of(self.next, actor),
            parent: TaskId::default(),
            arguments,
            keywords: Vec::new(),
            stream: None,
        }
    }

    pub fn submit(&mut self, template: &TaskTemplate) -> Arc<ObjectCell> {
        self.submit_with(template, Vec::new())
    }

    pub fn submit_with(
        &mut self,
        template: &TaskTemplate,
        arguments: Vec<CoreArgument>,
    ) -> Arc<ObjectCell> {
        let call = self.call(ActorId::none_of(JobId::from_number(1)), arguments);
        self.core.submit(template, call, self.now).remove(0)
    }

    pub fn call_actor(&mut self, actor: ActorId, template: &TaskTemplate) -> Arc<ObjectCell> {
        let call = self.call(actor, Vec::new());
        self.core
            .submit_actor(actor, template, call, self.now)
            .remove(0)
    }

    pub fn put(&mut self, text: &str, contained: &[ObjectId]) -> ObjectId {
        self.next += 1;
        let id = TaskId::of(self.next, ActorId::none_of(JobId::from_number(1))).return_id(9);
        let mut value = value(text);
        value.contained = self.core.references(contained);
        self.core
            .objects
            .insert_ours(Arc::new(ObjectCell::ready(id, value)), contained);
        id
    }

    pub fn grant(&mut self, number: u64, worker: &str) {
        self.grant_of(0, number, address(worker));
    }

    pub fn grant_of(&mut self, class: u64, number: u64, worker: WorkerAddress) {
        let granted = LeaseGranted {
            class,
            lease: LeaseId { number },
            worker,
            ..LeaseGranted::default()
        };
        self.core.on_node_message(granted.into(), self.now);
    }

    pub fn lose(&mut self, number: u64) {
        let cause = DeathCause {
            kind: DeathKind::Signalled as i32,
            signal: 9,
            ..Default::default()
        };
        let lost = LeaseLost {
            lease: LeaseId { number },
            cause,
        };
        self.core.on_node_message(lost.into(), self.now);
    }

    pub fn peer(&mut self, from: &WorkerAddress, message: impl Into<Message>) {
        self.core.on_peer_message(from, message.into(), self.now);
    }

    /// The worker answers a task with a value.
    pub fn answer(&mut self, worker: &str, object: ObjectId, text: &str) {
        self.reply(worker, object, TaskOutcome::Returned, vec![value(text)], 10);
    }

    pub fn reply(
        &mut self,
        worker: &str,
        object: ObjectId,
        outcome: TaskOutcome,
        returns: Vec<ObjectValue>,
        duration_us: u64,
    ) {
        let reply = TaskReply {
            task: object.task(),
            outcome: outcome as i32,
            returns,
            duration_us,
            ..TaskReply::default()
        };
        let message = whipray_proto::messages::execution::TaskReplied { reply };
        self.peer(&address(worker), message);
    }

    /// All effects since the last call, after what is told once per batch. Pushes are sent.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.core.settle();
        let effects = std::mem::take(&mut self.core.effects);
        for effect in &effects {
            if let Effect::Push { to, task, .. } = effect {
                self.core.tasks.take_push(to, task);
            }
        }
        effects
    }

    /// The names of the messages to the node.
    pub fn told_node(&mut self) -> Vec<Message> {
        self.effects()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::ToNode(message) => Some(through_the_wire(&message)),
                _ => None,
            })
            .collect()
    }

    /// The messages to peers, each with the endpoint.
    pub fn told_peers(&mut self) -> Vec<(String, Message)> {
        self.effects()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::ToPeer(to, message) => Some((to.endpoint, through_the_wire(&message))),
                _ => None,
            })
            .collect()
    }

    /// The pushes: worker and task.
    pub fn pushes(&mut self) -> Vec<(WorkerId, TaskId)> {
        self.effects()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Push { to, task, .. } => Some((to, task)),
                _ => None,
            })
            .collect()
    }

    /// Everything is over: nothing may be left behind.
    pub fn check_empty(&self) {
        self.core.validate().unwrap();
        assert!(self.core.objects.is_empty(), "objects are left");
        assert!(self.core.tasks.tasks.is_empty(), "tasks are left");
    }
}

pub(super) fn text(cell: &ObjectCell) -> String {
    String::from_utf8(cell.value().unwrap().data.to_vec()).unwrap()
}

pub(super) fn failure_message(cell: &ObjectCell) -> String {
    cell.value().unwrap().failure.unwrap().message
}
