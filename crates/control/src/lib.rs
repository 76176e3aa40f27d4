//! The state of the cluster, as a library.
//!
//! [`core`] is the state machine: jobs, actors and their names, key-values. It is pure: events in,
//! effects out. [`storage`] keeps what it writes. [`ClusterControl`] is the two together.

mod cluster_control;
pub mod core;
pub mod storage;

pub use cluster_control::ClusterControl;
