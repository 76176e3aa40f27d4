//! A running piece of a program: a driver's script, a task, or the constructor of an actor.

use std::sync::Arc;

use whipray_proto::messages::actor::StartActor;
use whipray_proto::{
    ActorId, ObjectId, ObjectValue, PlacementGroupId, SharedLocation, TaskId, TaskSpec,
    WorkerAddress,
};
use whipray_worker::cell::{ObjectCell, WaitSet};

use crate::agenda::Micros;

/// A counted reference that a program holds.
#[derive(Clone)]
pub struct Handle {
    pub cell: Arc<ObjectCell>,
}

impl Handle {
    pub fn id(&self) -> ObjectId {
        self.cell.id()
    }
}

/// The handle of an actor; without an object it is a weak one, found by name.
pub struct ActorRef {
    pub actor: ActorId,
    pub handle: Option<Handle>,
}

/// What a frame runs.
pub enum FrameKind {
    Driver,
    Task {
        spec: Box<TaskSpec>,
        caller: WorkerAddress,
    },
    Constructor {
        start: Box<StartActor>,
        brought: Vec<ObjectId>,
    },
}

/// An object in shared memory that is to be mapped.
pub struct Sought {
    pub object: ObjectId,
    /// Where a copy is.
    pub location: SharedLocation,
    pub owner: Option<WorkerAddress>,
}

/// What becomes of the answer to a question.
pub enum Then {
    Bind,
    /// Shared objects among the arguments are mapped.
    ReadArguments(Vec<Sought>),
    /// An object is read by `Get`.
    ReadObject(Handle, Vec<Sought>),
    Put {
        object: ObjectId,
        size_bytes: u64,
        inside: Vec<ObjectId>,
        tries: u32,
    },
    Return {
        index: usize,
        tries: u32,
    },
    NameActor {
        actor: ActorId,
        handle: Handle,
    },
    FindActor,
}

/// Where a frame stands.
pub enum Stage {
    /// Its process must learn about the job first.
    Binds,
    /// Its arguments are about to be read.
    Reads,
    Runs,
    Waits {
        set: Arc<WaitSet>,
        cells: Vec<Arc<ObjectCell>>,
        wait: Wait,
    },
    Asks {
        request: u64,
        then: Then,
    },
    /// Makes its results, from this one on.
    Returns(usize),
}

/// How a frame waits.
pub struct Wait {
    pub needed: usize,
    pub deadline: Option<Micros>,
    /// When its process begins to count as blocked.
    pub blocks_at: Micros,
    pub is_blocked: bool,
    /// The object to be read afterwards.
    pub reads: Option<Handle>,
}

/// One running piece of a program.
pub struct Frame {
    pub number: u64,
    pub kind: FrameKind,
    pub plan: usize,
    /// The next step.
    pub at: usize,
    pub stage: Stage,
    pub objects: Vec<Handle>,
    pub actors: Vec<ActorRef>,
    /// Placement groups that it created and has not removed.
    pub groups: Vec<PlacementGroupId>,
    /// Objects that it has mapped.
    pub views: Vec<ObjectId>,
    pub wakes_at: Option<Micros>,
    pub is_interrupted: bool,
    pub wants_exit: bool,
    /// Results so far, with the objects that each contains.
    pub results: Vec<(ObjectValue, Vec<ObjectId>)>,
    /// References inside the results, held until the answer is sent.
    pub returned: Vec<Handle>,
    /// Results that are sealed with the answer.
    pub written: Vec<ObjectId>,
    /// Arguments that were not in the store.
    pub lost: Vec<ObjectId>,
}

impl Frame {
    pub fn new(number: u64, kind: FrameKind, plan: usize, stage: Stage) -> Self {
        Self {
            number,
            kind,
            plan,
            at: 0,
            stage,
            objects: Vec::new(),
            actors: Vec::new(),
            groups: Vec::new(),
            views: Vec::new(),
            wakes_at: None,
            is_interrupted: false,
            wants_exit: false,
            results: Vec::new(),
            returned: Vec::new(),
            written: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The task that runs, for what it submits.
    pub fn task(&self) -> Option<TaskId> {
        match &self.kind {
            FrameKind::Driver => None,
            FrameKind::Task { spec, .. } => Some(spec.task),
            FrameKind::Constructor { start, .. } => Some(start.spec.creation.task),
        }
    }

    /// Which try it is, from zero.
    pub fn attempt(&self) -> u32 {
        match &self.kind {
            FrameKind::Driver => 0,
            FrameKind::Task { spec, .. } => spec.attempt,
            FrameKind::Constructor { start, .. } => start.incarnation,
        }
    }

    pub fn is_driver(&self) -> bool {
        matches!(self.kind, FrameKind::Driver)
    }
}
