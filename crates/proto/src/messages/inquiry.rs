//! Questions about what processes hold, wait for and run. They are asked by people and by those who
//! have been blocked for long, never on the way of a call, and are passed on by the node, which has
//! a connection to every process.
//!
//! Times are ages: how long ago, in microseconds by the clock of whoever reports.

use bytes::Bytes;

use crate::failure::{DeathCause, FailureKind};
use crate::ids::{
    ActorId, FunctionId, JobId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId,
};
use crate::resources::Resources;

/// Anyone to its node, or one node to another: what do these processes know?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Inquiry {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// Only what concerns these objects, tasks and actors (their ids); none: everything.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub subjects: Vec<Bytes>,
    /// Whom to ask; none: every process of the node.
    #[prost(message, repeated, tag = "3")]
    pub processes: Vec<WorkerId>,
    /// Entries of each kind that a process reports at most.
    #[prost(uint32, tag = "4")]
    pub limit: u32,
    /// Also what the node knows, and the memory of its processes.
    #[prost(bool, tag = "5")]
    pub with_node: bool,
    /// Tasks that are through, which a process reports at most.
    #[prost(uint32, tag = "6")]
    pub ended_limit: u32,
    /// The other nodes of the cluster are asked, too.
    #[prost(bool, tag = "7")]
    pub is_for_all: bool,
    /// With [`Inquiry::with_node`]: also its workers that have ended.
    #[prost(bool, tag = "8")]
    pub with_ended_workers: bool,
}

/// Node to a process: what do you know?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReportRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub subjects: Vec<Bytes>,
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    /// Tasks that are through, which are reported at most.
    #[prost(uint32, tag = "4")]
    pub ended_limit: u32,
}

/// A process to its node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProcessReported {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub report: ProcessReport,
}

/// Node to whoever asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InquiryAnswered {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub processes: Vec<ProcessReport>,
    /// Those that did not answer in time, or are not there.
    #[prost(message, repeated, tag = "3")]
    pub silent: Vec<WorkerReport>,
    /// With [`Inquiry::with_node`]: the node that was asked, then the others.
    #[prost(message, repeated, tag = "4")]
    pub nodes: Vec<NodeReport>,
}

/// How many calls a process runs beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Concurrency {
    /// One by one, in order.
    Serial = 0,
    Threads = 1,
    /// As coroutines of one event loop.
    Coroutines = 2,
}

/// What one driver or worker knows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProcessReport {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(bool, tag = "3")]
    pub is_driver: bool,
    /// The actor that the process is.
    #[prost(message, optional, tag = "4")]
    pub actor: Option<ActorId>,
    #[prost(enumeration = "Concurrency", tag = "5")]
    pub concurrency: i32,
    /// Threads that run calls.
    #[prost(uint32, tag = "6")]
    pub threads: u32,
    #[prost(message, repeated, tag = "7")]
    pub objects: Vec<ObjectReport>,
    /// Tasks that it owns and that are not through.
    #[prost(message, repeated, tag = "8")]
    pub tasks: Vec<TaskReport>,
    #[prost(message, repeated, tag = "9")]
    pub running: Vec<RunningReport>,
    /// Tasks of others that wait here for their turn, in order.
    #[prost(message, repeated, tag = "10")]
    pub queued: Vec<TaskId>,
    #[prost(message, repeated, tag = "11")]
    pub waits: Vec<WaitReport>,
    /// There is more than the limit allowed to say.
    #[prost(bool, tag = "12")]
    pub is_cut: bool,
    #[prost(message, required, tag = "13")]
    pub job: JobId,
    /// Tasks that it owned and that are through, the newest ones, in the order of their ends.
    #[prost(message, repeated, tag = "14")]
    pub ended: Vec<EndedReport>,
    /// Where it runs.
    #[prost(message, required, tag = "15")]
    pub node: NodeId,
}

/// One object that a process refers to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectReport {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub owner: WorkerId,
    #[prost(bool, tag = "3")]
    pub is_ready: bool,
    #[prost(bool, tag = "4")]
    pub is_error: bool,
    #[prost(uint64, tag = "5")]
    pub size_bytes: u64,
    /// Its value lies in shared memory.
    #[prost(bool, tag = "6")]
    pub is_shared: bool,
    /// References of the process's own program.
    #[prost(uint32, tag = "7")]
    pub local: u32,
    /// Tasks under way that have it as an argument.
    #[prost(uint32, tag = "8")]
    pub by_tasks: u32,
    /// Objects whose values contain it.
    #[prost(uint32, tag = "9")]
    pub by_objects: u32,
    /// Other processes that refer to it, as far as the owner was told.
    #[prost(uint32, tag = "10")]
    pub borrowers: u32,
    /// Views of its memory that the process holds.
    #[prost(bool, tag = "11")]
    pub is_pinned: bool,
    /// It stands for the handles of an actor.
    #[prost(bool, tag = "12")]
    pub is_actor_handle: bool,
    /// Where it was made, where that is recorded.
    #[prost(string, tag = "13")]
    pub call_site: String,
    /// The nodes that have its value in shared memory, as far as the process knows.
    #[prost(message, repeated, tag = "14")]
    pub nodes: Vec<NodeId>,
}

/// Where a task of its owner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskStage {
    WaitsForArguments = 0,
    /// In the owner's queue, for a leased worker.
    WaitsForLease = 1,
    /// In the owner's queue, behind a call of the same actor that waits for its arguments.
    BehindCall = 2,
    /// In the owner's queue, until the actor is alive.
    WaitsForActor = 3,
    /// Sent to its worker.
    Pushed = 4,
    /// Its worker was ended for its memory; it runs again after a pause.
    WaitsForMemory = 5,
}

/// An object and who knows about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ObjectAt {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub owner: WorkerId,
}

/// One task, as its owner sees it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskReport {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(enumeration = "TaskStage", tag = "3")]
    pub stage: i32,
    /// Since its submission.
    #[prost(uint64, tag = "4")]
    pub age_us: u64,
    /// Arguments that are not there.
    #[prost(message, repeated, tag = "5")]
    pub missing: Vec<ObjectAt>,
    #[prost(message, required, tag = "6")]
    pub resources: Resources,
    /// The owner's number of its scheduling class, for its demand at the node.
    #[prost(uint64, tag = "7")]
    pub class: u64,
    /// Where it was sent.
    #[prost(message, optional, tag = "8")]
    pub worker: Option<WorkerId>,
    #[prost(uint32, tag = "9")]
    pub attempt: u32,
    #[prost(bool, tag = "10")]
    pub is_actor_method: bool,
    /// The call before it that waits for its arguments.
    #[prost(message, optional, tag = "11")]
    pub behind: Option<TaskId>,
    /// Until it is tried again.
    #[prost(uint64, tag = "12")]
    pub due_in_us: u64,
    #[prost(message, required, tag = "13")]
    pub parent: TaskId,
    /// Its function; the actor's class for a call of one.
    #[prost(message, required, tag = "14")]
    pub function: FunctionId,
    /// The method, for a call of an actor.
    #[prost(string, tag = "15")]
    pub method: String,
    /// The placement group that it is to run in.
    #[prost(message, optional, tag = "16")]
    pub group: Option<PlacementGroupId>,
}

/// How a task came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskEnd {
    Returned = 0,
    /// Its code raised an exception.
    Raised = 1,
    /// The engine failed it.
    Failed = 2,
}

/// A task that is through.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndedReport {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, required, tag = "3")]
    pub parent: TaskId,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    #[prost(bool, tag = "5")]
    pub is_actor_method: bool,
    /// The worker that ran it last; none where it never ran.
    #[prost(message, optional, tag = "6")]
    pub worker: Option<WorkerId>,
    /// In microseconds of the owner's system clock.
    #[prost(uint64, tag = "7")]
    pub submitted_at_us: u64,
    /// In microseconds of the worker's system clock, like the next; zero where it never ran.
    #[prost(uint64, tag = "8")]
    pub started_at_us: u64,
    #[prost(uint64, tag = "9")]
    pub ended_at_us: u64,
    #[prost(enumeration = "TaskEnd", tag = "10")]
    pub end: i32,
    /// With [`TaskEnd::Failed`].
    #[prost(enumeration = "FailureKind", tag = "11")]
    pub failure: i32,
    /// Its function; the actor's class for a call of one.
    #[prost(message, required, tag = "12")]
    pub function: FunctionId,
    /// The method, for a call of an actor.
    #[prost(string, tag = "13")]
    pub method: String,
    /// The placement group that it was to run in.
    #[prost(message, optional, tag = "14")]
    pub group: Option<PlacementGroupId>,
    /// With [`TaskEnd::Failed`] the sentence, with [`TaskEnd::Raised`] the pickled exception; empty
    /// where it is a large one.
    #[prost(bytes = "bytes", tag = "15")]
    pub error: Bytes,
}

/// A task that a process runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RunningReport {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(uint64, tag = "2")]
    pub age_us: u64,
    /// Its owner.
    #[prost(message, required, tag = "3")]
    pub caller: WorkerId,
}

/// A thread that is blocked in `get` or `wait`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WaitReport {
    /// Tells this wait from every other one of the process.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The task that waits; the driver's own where it is the program.
    #[prost(message, required, tag = "2")]
    pub task: TaskId,
    /// What it waits for and is not there, as far as there is room to say.
    #[prost(message, repeated, tag = "3")]
    pub objects: Vec<ObjectAt>,
    /// How many of these must come.
    #[prost(uint32, tag = "4")]
    pub needed: u32,
    /// It ends by itself.
    #[prost(bool, tag = "5")]
    pub has_timeout: bool,
    #[prost(uint64, tag = "6")]
    pub age_us: u64,
    /// The thread is the one that runs the event loop, and nothing else runs meanwhile.
    #[prost(bool, tag = "7")]
    pub is_loop: bool,
}

/// What a node knows of itself and its processes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeReport {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(string, tag = "2")]
    pub ip: String,
    #[prost(message, required, tag = "3")]
    pub total: Resources,
    #[prost(message, required, tag = "4")]
    pub available: Resources,
    #[prost(message, repeated, tag = "5")]
    pub workers: Vec<WorkerReport>,
    #[prost(message, repeated, tag = "6")]
    pub demands: Vec<DemandReport>,
    #[prost(message, repeated, tag = "7")]
    pub placements: Vec<PlacementReport>,
    /// Its workers that have ended, the last ones, in the order of their ends.
    #[prost(message, repeated, tag = "8")]
    pub ended: Vec<EndedWorker>,
}

/// A worker process that is gone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndedWorker {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
    /// Since its end.
    #[prost(uint64, tag = "3")]
    pub age_us: u64,
}

/// What a worker process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum WorkerStage {
    Starting = 0,
    Idle = 1,
    Leased = 2,
    Actor = 3,
    /// It is on its way out.
    Ending = 4,
    /// No worker: a driver, or the command line.
    Client = 5,
}

/// One process of a node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerReport {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(enumeration = "WorkerStage", tag = "3")]
    pub stage: i32,
    /// The task's function or the actor's class.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Who leased it.
    #[prost(message, optional, tag = "5")]
    pub holder: Option<WorkerId>,
    #[prost(message, optional, tag = "6")]
    pub actor: Option<ActorId>,
    /// What it holds of the node.
    #[prost(message, required, tag = "7")]
    pub resources: Resources,
    /// It waits for others, and its CPUs are lent out.
    #[prost(bool, tag = "8")]
    pub is_blocked: bool,
    #[prost(message, optional, tag = "9")]
    pub job: Option<JobId>,
    /// Since it was started.
    #[prost(uint64, tag = "10")]
    pub age_us: u64,
}

/// What an owner wants of one scheduling class and does not have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DemandReport {
    #[prost(message, required, tag = "1")]
    pub owner: WorkerId,
    #[prost(uint64, tag = "2")]
    pub class: u64,
    #[prost(message, required, tag = "3")]
    pub resources: Resources,
    /// Leases that it holds.
    #[prost(uint32, tag = "4")]
    pub held: u32,
    #[prost(uint32, tag = "5")]
    pub wanted: u32,
    #[prost(bool, tag = "6")]
    pub is_infeasible: bool,
    /// A sentence that names what is missing.
    #[prost(string, tag = "7")]
    pub reason: String,
    /// Since when it has no lease at all; zero where it has one.
    #[prost(uint64, tag = "8")]
    pub age_us: u64,
    #[prost(string, tag = "9")]
    pub example: String,
    /// Its resources are there; a worker process is on its way.
    #[prost(bool, tag = "10")]
    pub awaits_worker: bool,
}

/// An actor that has no process yet.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PlacementReport {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(string, tag = "2")]
    pub class_name: String,
    #[prost(message, required, tag = "3")]
    pub resources: Resources,
    #[prost(bool, tag = "4")]
    pub is_infeasible: bool,
    /// A sentence that names what is missing; empty where a process is on its way.
    #[prost(string, tag = "5")]
    pub reason: String,
    #[prost(uint64, tag = "6")]
    pub age_us: u64,
}

/// A process to its node: these wait for each other, and nobody of them will ever go on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CycleFound {
    #[prost(message, required, tag = "1")]
    pub job: JobId,
    /// One sentence for each member, in the order of the cycle.
    #[prost(string, repeated, tag = "2")]
    pub members: Vec<String>,
    /// The same for everybody who finds the cycle.
    #[prost(uint64, tag = "3")]
    pub signature: u64,
}

/// Why something is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    /// Nobody who was asked knows of it.
    NotKnown = 0,
    /// The value is there.
    Available = 1,
    /// An error is there in the place of the value.
    Failed = 2,
    /// An argument is not there yet.
    WaitsForArguments = 3,
    /// Queued at its owner: no resources are free.
    WaitsForResources = 4,
    /// Queued at its owner: no node could ever run it.
    Infeasible = 5,
    /// Its resources are there, and a worker process is on its way.
    WaitsForWorker = 6,
    /// Queued at its owner, behind others of its kind that hold the leases.
    WaitsForTurn = 7,
    /// Its worker was ended for its memory; it is tried again after a pause.
    WaitsForMemory = 8,
    /// Behind a call of the same caller that waits for its arguments.
    BehindCall = 9,
    /// Sent to a worker, behind others that it runs first.
    QueuedInWorker = 10,
    /// On its way between two processes.
    OnItsWay = 11,
    Running = 12,
    /// Runs, and waits in `get` or `wait` for something else.
    BlockedInGet = 13,
    /// The actor waits for the arguments of its constructor, or for a process.
    ActorPending = 14,
    /// Its constructor runs.
    ActorStarting = 15,
    ActorAlive = 16,
    ActorRestarting = 17,
    ActorDead = 18,
    /// The process that knows did not answer.
    OwnerSilent = 19,
    /// It waits for itself, over others.
    Deadlock = 20,
}

impl Reason {
    /// `WAITS_FOR_ARGUMENTS`: what users see and programs compare.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotKnown => "NOT_KNOWN",
            Self::Available => "AVAILABLE",
            Self::Failed => "FAILED",
            Self::WaitsForArguments => "WAITS_FOR_ARGUMENTS",
            Self::WaitsForResources => "WAITS_FOR_RESOURCES",
            Self::Infeasible => "INFEASIBLE",
            Self::WaitsForWorker => "WAITS_FOR_WORKER",
            Self::WaitsForTurn => "WAITS_FOR_TURN",
            Self::WaitsForMemory => "WAITS_FOR_MEMORY",
            Self::BehindCall => "BEHIND_CALL",
            Self::QueuedInWorker => "QUEUED_IN_WORKER",
            Self::OnItsWay => "ON_ITS_WAY",
            Self::Running => "RUNNING",
            Self::BlockedInGet => "BLOCKED_IN_GET",
            Self::ActorPending => "ACTOR_PENDING",
            Self::ActorStarting => "ACTOR_STARTING",
            Self::ActorAlive => "ACTOR_ALIVE",
            Self::ActorRestarting => "ACTOR_RESTARTING",
            Self::ActorDead => "ACTOR_DEAD",
            Self::OwnerSilent => "OWNER_SILENT",
            Self::Deadlock => "DEADLOCK",
        }
    }
}
