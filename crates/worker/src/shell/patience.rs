//! Asking again while the object store is full. The node waits for what others may give back only where
//! it has no disk to write to; and what a process has let go of may be told to the node after what
//! another one asks for.

use std::time::{Duration, Instant};

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::limits;

use crate::shell::runtime::{Runtime, WaitOutcome};

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

impl Runtime {
    /// Does what needs room of `size_bytes` in the store, again and again for [`limits::ROOM_WAIT`]
    /// while there is none; until `interrupt` says to stop.
    ///
    /// # Errors
    /// What the last try failed with.
    pub(crate) fn while_full<T>(
        &self,
        size_bytes: u64,
        interrupt: &mut dyn FnMut() -> bool,
        mut attempt: impl FnMut(&mut dyn FnMut() -> bool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut until = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = attempt(interrupt);
            let is_full = outcome.as_ref().is_err_and(|failure| {
                let kind = failure.kind();
                kind == FailureKind::ObjectStoreFull || kind == FailureKind::OutOfDisk
            });
            if !is_full || size_bytes > self.arena.len() {
                return outcome;
            }
            let now = Instant::now();
            if now + pause > *until.get_or_insert(now + limits::ROOM_WAIT) {
                return outcome;
            }
            if self.wait_until(&|| false, Some(pause), interrupt) != WaitOutcome::TimedOut {
                return outcome;
            }
            pause *= 2;
        }
    }
}
