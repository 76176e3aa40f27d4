//! How many nodes of which type a cluster is to have.
//!
//! [`plan`] decides: the cluster as control tells of it, and the instances as a provider lists them,
//! go in; launches, drains and ends come out. It is pure. A [`provider`] has the means: it starts and
//! ends instances, each of which is a machine, or what stands for one, whose daemon joins the
//! cluster by itself. [`shell`] is the thread of the head's daemon that carries words between the
//! two and control. [`config`] is what the user wrote.

pub mod config;
pub mod plan;
pub mod provider;
pub mod shell;
