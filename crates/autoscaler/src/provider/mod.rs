//! Who starts and ends instances: the places where nodes come from.
//!
//! A provider has no opinion: it does what [`crate::plan`] decides. None of its functions waits for
//! what takes long; whatever does has threads of its own.

pub mod processes;

#[cfg(test)]
mod conformance;

use crate::config::NodeType;

/// What a provider calls one of its instances, for ever.
pub type InstanceId = String;

/// A request for an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// No other one of this autoscaler has it.
    pub number: u64,
    pub node_type: NodeType,
}

/// An instance that is there, or on its way, or being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub node_type: String,
    /// The request that it answers; `None` where that was another autoscaler's.
    pub launch: Option<u64>,
}

/// A request that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    pub launch: u64,
    pub reason: String,
}

/// Starts and ends instances, whose daemons join the cluster with the id of their instance.
pub trait Provider: Send {
    /// Begins to start an instance, which is listed at least once, or the launch has failed: also
    /// where the instance ends before anybody has asked for the list.
    fn launch(&mut self, launch: Launch);

    /// Begins to end an instance; one that is not there is no error. It is listed until it is gone.
    fn terminate(&mut self, instance: &InstanceId);

    /// All that are there, as far as is known now.
    fn instances(&mut self) -> Vec<Instance>;

    /// The launches that have failed since the last call.
    fn take_failures(&mut self) -> Vec<LaunchFailure>;

    /// The cluster ends: ends all instances that are not to outlive it, and returns once they are
    /// gone.
    fn end(&mut self);
}
