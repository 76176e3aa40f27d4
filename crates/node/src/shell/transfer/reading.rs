//! Objects that are still coming, as they are sent on to others.

use std::sync::Arc;

use super::fetch::Fetch;
use super::lock;
use super::target::Target;

/// Bytes of an object that is still coming, to be sent on. They stay as long as this lives, and
/// whoever has it lets go soon after [`Self::is_closed`] says so.
pub struct Reading {
    fetch: Arc<Fetch>,
    /// Where they lie in the arena.
    pub arena_offset: u64,
}

impl Reading {
    /// `None` where these bytes have not come yet, or all of it is there.
    pub fn begin(fetch: Arc<Fetch>, offset: u64, length: u64) -> Option<Self> {
        let arena_offset = Target::arena_offset(&fetch.pull, offset)?;
        {
            let mut state = lock(&fetch.state);
            if state.is_closed || state.is_over() || !fetch.has(&state, offset, length) {
                return None;
            }
            state.readers += 1;
        }
        Some(Self {
            fetch,
            arena_offset,
        })
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.fetch.state).is_closed
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        lock(&self.fetch.state).readers -= 1;
        self.fetch.changed.notify_all();
    }
}
