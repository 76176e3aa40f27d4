//! The executing side: a worker takes work, runs it and answers, until its node is gone.

mod actor;
mod actor_calls;
mod executor;
mod hooks;
mod incoming;
mod interruption;
mod item_sink;
mod returns;
mod work_loop;
mod yields;

pub use actor::{exit_actor, is_leaving};
pub use actor_calls::{AsyncCall, ThreadedCall};
pub use item_sink::ItemSink;
pub use work_loop::run_worker;
