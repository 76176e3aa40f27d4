//! The program as processes: real sockets, real workers (fake ones inside), real deaths.

mod daemon;
mod harness;
mod verbs;
