//! Objects that come from other nodes: which, and on which threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use whipray_proto::{NodeId, ObjectId, limits};
use whipray_store::core::Pull;

use super::fan_out::Receiver;
use super::fetch::Fetch;
use super::reading::Reading;
use super::{STACK_BYTES, Shared, TransferEvent, lock};

/// All fetches, those that wait among them.
#[derive(Default)]
pub struct Incoming {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Fetch>>,
    /// How many are under way, by their source.
    running: FxHashMap<NodeId, usize>,
    fetches: FxHashMap<u64, Arc<Fetch>>,
    /// The latest one of each object.
    by_object: FxHashMap<ObjectId, Arc<Fetch>>,
    threads: usize,
}

/// Begins a pull as soon as a thread is free.
pub fn start(shared: &Arc<Shared>, pull: Pull, endpoint: String) {
    let origin = Receiver {
        node: pull.from,
        endpoint,
    };
    let number = pull.pull;
    let fetch = Arc::new(Fetch::new(pull, origin, &shared.settings));
    let mut queue = lock(&shared.incoming.queue);
    if queue.threads < limits::TRANSFERS_IN {
        let for_thread = shared.clone();
        let spawned = std::thread::Builder::new()
            .name("object-fetch".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&for_thread));
        match spawned {
            Ok(_) => queue.threads += 1,
            Err(error) if queue.threads == 0 => {
                let text = format!("no thread can be started to fetch it: {error}");
                return shared.tell(TransferEvent::Pulled {
                    pull: number,
                    outcome: Err(text),
                });
            }
            Err(_) => {}
        }
    }
    queue.fetches.insert(number, fetch.clone());
    queue.by_object.insert(fetch.pull.object, fetch.clone());
    queue.waiting.push_back(fetch);
    shared.incoming.changed.notify_one();
}

fn run(shared: &Arc<Shared>) {
    loop {
        let fetch = shared.incoming.take();
        // A defect costs this object alone. Its streams have ended all the same.
        let ran = catch_unwind(AssertUnwindSafe(|| fetch.run(shared)));
        let outcome = ran.unwrap_or_else(|_| Err("fetching it met a defect".to_owned()));
        shared.incoming.remove(&fetch);
        if let Err(reason) = &outcome
            && !fetch.is_cancelled()
        {
            tracing::warn!(object = %fetch.pull.object, from = %fetch.pull.from, reason,
                "an object did not come");
        }
        shared.tell(TransferEvent::Pulled {
            pull: fetch.pull.pull,
            outcome,
        });
        // Whoever waits for a part of it asks the core now.
        shared.outgoing.wake();
    }
}

impl Incoming {
    /// Waits for a fetch whose source does not have its share of the threads already, so that a node
    /// that is silent does not hold up what comes from others.
    fn take(&self) -> Arc<Fetch> {
        let mut queue = lock(&self.queue);
        loop {
            let running = &queue.running;
            let next = queue.waiting.iter().position(|fetch| {
                let count = running.get(&fetch.pull.from).copied().unwrap_or(0);
                count < limits::TRANSFERS_IN_PER_SOURCE || fetch.is_cancelled()
            });
            if let Some(fetch) = next.and_then(|index| queue.waiting.remove(index)) {
                *queue.running.entry(fetch.pull.from).or_default() += 1;
                return fetch;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn remove(&self, fetch: &Arc<Fetch>) {
        let mut queue = lock(&self.queue);
        queue.fetches.remove(&fetch.pull.pull);
        let latest = queue.by_object.get(&fetch.pull.object);
        if latest.is_some_and(|latest| latest.pull.pull == fetch.pull.pull) {
            queue.by_object.remove(&fetch.pull.object);
        }
        if let Some(count) = queue.running.get_mut(&fetch.pull.from) {
            *count -= 1;
            if *count == 0 {
                queue.running.remove(&fetch.pull.from);
            }
        }
        self.changed.notify_all();
    }

    pub fn cancel(&self, pull: u64) {
        let queue = lock(&self.queue);
        if let Some(fetch) = queue.fetches.get(&pull) {
            fetch.cancel();
            self.changed.notify_all();
        }
    }

    /// A part of an object that is still coming, if this part has come.
    pub fn read(&self, object: ObjectId, offset: u64, length: u64) -> Option<Reading> {
        let fetch = lock(&self.queue).by_object.get(&object)?.clone();
        Reading::begin(fetch, offset, length)
    }
}
