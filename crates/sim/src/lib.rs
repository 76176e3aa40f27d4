//! A whole cluster in one thread, from a seed.
//!
//! The cores of control, nodes and owners are the ones of the product; clocks, network, template
//! processes and user programs are simulated. A [`Scenario`] is generated from a seed, for one machine
//! or for several, and can be printed; [`run`] lives it through and lists what a [`witness`] outside
//! of all processes found wrong. The same scenario always lives the same life.
//!
//! Not for: sockets, shared memory and Python, which the tests with real processes cover.

pub mod agenda;
mod around;
mod clusters;
mod daemon;
mod generate;
mod grants;
mod network;
mod process;
pub mod random;
pub mod scenario;
mod shrink;
mod streams;
mod verdict;
pub mod witness;
mod world;

pub use clusters::generate_cluster;
pub use generate::generate;
pub use scenario::Scenario;
pub use shrink::shrink;
pub use world::{Outcome, run, run_watching};
