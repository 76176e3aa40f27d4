//! Memory for the arena, provided ahead of its use by a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use whipray_store::Arena;
use whipray_store::core::Extent;

use super::machine;

/// Provides memory where the core asks for it. The thread starts with the first request, so that a
/// cluster without large objects has none.
pub struct MemoryProvider {
    arena: Arc<Arena>,
    requests: Option<Sender<Extent>>,
}

impl MemoryProvider {
    pub fn of(arena: Arc<Arena>) -> Self {
        Self {
            arena,
            requests: None,
        }
    }

    /// Has the range provided soon. Where that is not possible, writers find pages that come with
    /// the first touch: slower, no different otherwise.
    pub fn provide(&mut self, extent: Extent) {
        if self.requests.is_none() {
            let (sender, receiver) = channel();
            let arena = self.arena.clone();
            let spawned = std::thread::Builder::new()
                .name("arena-memory".to_owned())
                .stack_size(128 * 1024)
                .spawn(move || run(&arena, &receiver));
            if let Err(error) = spawned {
                tracing::warn!(%error, "no thread provides memory for the object store");
            }
            // Without a thread nobody receives, and sending does nothing.
            self.requests = Some(sender);
        }
        if let Some(requests) = &self.requests {
            let _ = requests.send(extent);
        }
    }
}

fn run(arena: &Arena, requests: &Receiver<Extent>) {
    while let Ok(extent) = requests.recv() {
        // What lies ahead may never be used: others that need the memory now come first.
        if machine::available_memory() < extent.length.saturating_mul(2) {
            continue;
        }
        if let Err(error) = arena.provide(extent) {
            tracing::warn!(%error, "no memory for the object store");
        }
    }
}
