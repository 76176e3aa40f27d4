//! Who gets which resources next. Pure: no clock, no sockets, no messages.
//!
//! A [`Ledger`] knows what a node has and what of it is taken, a [`Rotation`] whose turn it is, and
//! [`feasibility`] says in a sentence what is missing. [`policy`] chooses among nodes for a task or
//! an actor, [`groups`] for the bundles of a placement group, both by [`labels`] where asked to, and [`helping`] which node that is not
//! there yet would help.

mod bundles;
pub mod feasibility;
mod gpus;
pub mod groups;
pub mod helping;
pub mod labels;
mod ledger;
pub mod policy;
mod rotation;

pub use bundles::BundleUse;
pub use ledger::Ledger;
pub use rotation::Rotation;
