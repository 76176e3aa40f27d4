//! Actors, between their owners, the cluster's control and the nodes.

use crate::failure::{DeathCause, Failure};
use crate::ids::{ActorId, JobId, WorkerId};
use crate::object::WorkerAddress;
use crate::task::{ActorSpec, Assignment};

/// What an owner says of an actor at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CreationStage {
    /// Everything: it may be started.
    Whole = 0,
    /// Its constructor waits for objects: the actor exists and has its name, and is started once
    /// it is complete.
    Registered = 1,
    /// The objects are there. Of an actor that is not registered (any more) this is ignored.
    Complete = 2,
}

/// Owner to control.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateActor {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub spec: ActorSpec,
    /// Where the name is taken by a live actor: answer with that one instead of an error.
    #[prost(bool, tag = "3")]
    pub get_if_exists: bool,
    #[prost(enumeration = "CreationStage", tag = "4")]
    pub stage: i32,
}

/// Control to owner: the actor is registered (not yet alive). The owner is subscribed to it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorCreated {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// The name is taken; empty where all is well.
    #[prost(string, tag = "2")]
    pub error: String,
    /// Set where an actor with the name exists and was asked for.
    #[prost(message, optional, tag = "3")]
    pub existing: Option<ActorSpec>,
}

/// Node to a worker that becomes an actor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StartActor {
    #[prost(message, required, tag = "1")]
    pub spec: ActorSpec,
    /// Counts the lives of the actor from zero.
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    #[prost(message, required, tag = "3")]
    pub assignment: Assignment,
}

/// Worker to node and on to control: the constructor is through.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorStarted {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    /// Set where the constructor raised.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
    /// How the actor shows itself, where its class says that; else empty.
    #[prost(string, tag = "4")]
    pub shown_as: String,
    #[prost(message, required, tag = "5")]
    pub constructed: Constructed,
}

/// When a constructor ran, in microseconds since the epoch by the worker's clock; zeros for one that
/// did not.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Constructed {
    #[prost(uint64, tag = "1")]
    pub started_at_us: u64,
    #[prost(uint64, tag = "2")]
    pub ended_at_us: u64,
}

/// The life of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ActorState {
    /// Waits for resources or for its constructor.
    Pending = 0,
    Alive = 1,
    /// Its process died; another one is on its way.
    Restarting = 2,
    Dead = 3,
}

/// Control to every subscriber, at each change of state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorUpdate {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(enumeration = "ActorState", tag = "2")]
    pub state: i32,
    #[prost(uint32, tag = "3")]
    pub incarnation: u32,
    /// Set where it is alive.
    #[prost(message, optional, tag = "4")]
    pub address: Option<WorkerAddress>,
    /// Set where it restarts or is dead: why its last life ended.
    #[prost(message, optional, tag = "5")]
    pub cause: Option<DeathCause>,
    /// The pickled exception of its constructor, where that is why.
    #[prost(bytes = "bytes", tag = "6")]
    pub exception: bytes::Bytes,
    /// Restarts that are left; below zero: without end.
    #[prost(int32, tag = "7")]
    pub restarts_left: i32,
    #[prost(string, tag = "8")]
    pub class_name: String,
    #[prost(string, tag = "9")]
    pub name: String,
    #[prost(string, tag = "10")]
    pub namespace: String,
    /// Why it is still pending, as a sentence; empty where nothing is known.
    #[prost(string, tag = "11")]
    pub pending_reason: String,
}

/// Holder of a handle to control: tell me its state now, and each change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubscribeActor {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    /// The process that creates it, where the handle tells: its word may still be on the way.
    #[prost(message, optional, tag = "2")]
    pub owner: Option<WorkerId>,
}

/// Client to control.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetNamedActor {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// Control to client: the actor of that name that is not dead, if there is one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamedActor {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, optional, tag = "2")]
    pub spec: Option<ActorSpec>,
}

/// Client to control. An empty namespace with `all_namespaces` asks for all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListNamedActors {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(bool, tag = "3")]
    pub all_namespaces: bool,
}

/// Control to client: names and namespaces, pairwise.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamedActors {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub namespaces: Vec<String>,
}

/// Client to control: end its process now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KillActor {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(bool, tag = "2")]
    pub no_restart: bool,
}

/// Owner to control: no handle is left, and no call is under way.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorOutOfScope {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
}

/// Actor's worker to node and on to control: I end on purpose; do not restart me.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorExiting {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
}

/// Node to an actor's worker: finish what is queued, then end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopActor {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(message, required, tag = "2")]
    pub job: JobId,
}
