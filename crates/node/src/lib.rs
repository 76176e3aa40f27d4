//! The daemon of one machine, as a library.
//!
//! [`core`] decides: which worker serves whom, which object lies where, why a process died. It is
//! pure: events in, effects out. [`shell`] has the sockets, the processes, the files and the clock.

pub mod core;
pub mod shell;
