//! Tasks and actors as their owners describe them.

use bytes::Bytes;

use crate::generator::GeneratorSpec;
use crate::ids::{ActorId, FunctionId, JobId, ObjectId, PlacementGroupId, TaskId};
use crate::object::{ObjectValue, References, WorkerAddress};
use crate::resources::Resources;
use crate::scheduling::{BundleId, SchedulingStrategy};

/// What a task spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskKind {
    Plain = 0,
    ActorCreation = 1,
    ActorMethod = 2,
}

/// One argument: a value, or an object whose value takes its place before the task runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Argument {
    /// The value; for an object, filled in by the owner once it is known.
    #[prost(message, optional, tag = "1")]
    pub value: Option<ObjectValue>,
    /// Set where the argument is an object.
    #[prost(message, optional, tag = "2")]
    pub object: Option<ObjectId>,
    /// The owner of that object.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<WorkerAddress>,
}

/// One invocation.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskSpec {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(enumeration = "TaskKind", tag = "2")]
    pub kind: i32,
    #[prost(message, required, tag = "3")]
    pub function: FunctionId,
    /// What logs and errors call it: `function` or `Class.method`.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The method, for a call of an actor.
    #[prost(string, tag = "5")]
    pub method: String,
    /// Positional arguments, then the keyword ones.
    #[prost(message, repeated, tag = "6")]
    pub arguments: Vec<Argument>,
    /// Names of the last arguments.
    #[prost(string, repeated, tag = "7")]
    pub keywords: Vec<String>,
    #[prost(uint32, tag = "8")]
    pub num_returns: u32,
    /// Which try this is, from zero.
    #[prost(uint32, tag = "9")]
    pub attempt: u32,
    /// Whether any exception of the user's code is retried, while retries are left.
    #[prost(bool, tag = "10")]
    pub retry_any_exception: bool,
    /// A pickled tuple of exception types that are retried; empty for none.
    #[prost(bytes = "bytes", tag = "11")]
    pub retry_exceptions: Bytes,
    #[prost(string, tag = "12")]
    pub concurrency_group: String,
    /// The task that submitted this one.
    #[prost(message, required, tag = "13")]
    pub parent: TaskId,
    /// Set where the results come one by one.
    #[prost(message, optional, boxed, tag = "20")]
    pub generator: Option<Box<GeneratorSpec>>,
}

impl TaskSpec {
    /// Its size as it travels, which is about what it takes in memory.
    pub fn size_bytes(&self) -> u64 {
        prost::Message::encoded_len(self) as u64
    }

    /// The references inside the values of the arguments, in order, with their owners.
    pub fn brought_references(&self) -> Vec<(ObjectId, WorkerAddress)> {
        self.arguments
            .iter()
            .filter_map(|argument| argument.value.as_ref()?.contained.as_ref())
            .flat_map(|contained| {
                contained
                    .iter()
                    .map(|(object, owner)| (object, owner.clone()))
            })
            .collect()
    }
}

/// What a worker was given for its lease or its actor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Assignment {
    #[prost(message, required, tag = "1")]
    pub resources: Resources,
    /// Indexes of the logical GPUs.
    #[prost(uint32, repeated, tag = "2")]
    pub gpus: Vec<u32>,
    /// The bundle of a placement group that it is part of.
    #[prost(message, optional, tag = "3")]
    pub bundle: Option<BundleId>,
    /// What is submitted from within goes into the same group.
    #[prost(bool, tag = "4")]
    pub captures: bool,
}

/// Everything that it takes to start an actor, now or again after a crash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorSpec {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    /// The constructor's call; its `function` is the class.
    #[prost(message, required, tag = "2")]
    pub creation: TaskSpec,
    #[prost(message, required, tag = "3")]
    pub job: JobId,
    #[prost(string, tag = "4")]
    pub class_name: String,
    /// Empty for an actor without a name.
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(string, tag = "6")]
    pub namespace: String,
    #[prost(bool, tag = "7")]
    pub detached: bool,
    /// Held while the actor lives.
    #[prost(message, required, tag = "8")]
    pub resources: Resources,
    /// What a node must have in total, to be chosen.
    #[prost(message, required, tag = "9")]
    pub placement: Resources,
    /// Below zero: without end.
    #[prost(int32, tag = "10")]
    pub max_restarts: i32,
    #[prost(int32, tag = "11")]
    pub max_task_retries: i32,
    #[prost(uint32, tag = "12")]
    pub max_concurrency: u32,
    #[prost(bool, tag = "13")]
    pub is_async: bool,
    /// Names and sizes of concurrency groups.
    #[prost(btree_map = "string, uint32", tag = "14")]
    pub concurrency_groups: std::collections::BTreeMap<String, u32>,
    /// What the holder of a handle must know of the class (methods and their options), pickled.
    #[prost(bytes = "bytes", tag = "15")]
    pub handle: Bytes,
    #[prost(message, required, tag = "16")]
    pub owner: WorkerAddress,
    /// Variables of the environment that the process must have.
    #[prost(btree_map = "string, string", tag = "17")]
    pub environment: std::collections::BTreeMap<String, String>,
    /// Calls that a caller may have pending; zero for no limit.
    #[prost(uint32, tag = "18")]
    pub max_pending_calls: u32,
    /// Where it may run; absent for the default.
    #[prost(message, optional, boxed, tag = "19")]
    pub strategy: Option<Box<SchedulingStrategy>>,
}

impl ActorSpec {
    /// The placement group that it runs in.
    pub fn group(&self) -> Option<PlacementGroupId> {
        let strategy = self.strategy.as_ref()?;
        strategy.group.as_ref().map(|place| place.group)
    }

    /// What a node must have for it: of each resource the larger amount.
    pub fn wanted(&self) -> Resources {
        let mut wanted = self.resources.clone();
        for (name, units) in &self.placement.amounts {
            wanted.set(name, wanted.units(name).max(*units));
        }
        wanted
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskOutcome {
    /// It returned; `returns` has its values.
    Returned = 0,
    /// The user's code raised; each of `returns` has the exception.
    Raised = 1,
    /// It raised, and the exception is one that is to be retried.
    RaisedRetryable = 2,
    /// It was cancelled before or while it ran.
    Cancelled = 3,
    /// It did not run and is handed back, because the worker is blocked or was asked for it.
    HandedBack = 4,
    /// It did not run, because `lost` of its arguments are not in shared memory any more.
    ArgumentsLost = 10,
}

/// The answer to one pushed task.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskReply {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(enumeration = "TaskOutcome", tag = "2")]
    pub outcome: i32,
    #[prost(message, repeated, tag = "3")]
    pub returns: Vec<ObjectValue>,
    /// References of the caller that the executor keeps beyond the task.
    #[prost(message, optional, tag = "4")]
    pub kept: Option<References>,
    #[prost(uint64, tag = "5")]
    pub duration_us: u64,
    /// With [`TaskOutcome::ArgumentsLost`].
    #[prost(message, repeated, tag = "10")]
    pub lost: Vec<ObjectId>,
    /// When it ended, in microseconds of the system's clock.
    #[prost(uint64, tag = "11")]
    pub ended_at_us: u64,
}
