//! What is shared by the threads that send objects to other nodes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use whipray_net::BulkCloser;
use whipray_proto::{NodeId, ObjectId, limits};
use whipray_store::core::Pinned;

use super::fan_out::{FanOut, Receiver};
use super::{Shared, TransferEvent, lock};

pub struct Outgoing {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    fan_out: FanOut,
    /// What was asked of the core, and its answers.
    asks: FxHashMap<u64, Option<Result<Pinned, String>>>,
    next_ask: u64,
    connections: FxHashMap<u64, (NodeId, BulkCloser)>,
    next_connection: u64,
    /// Parts that are being sent.
    sending: usize,
}

impl Outgoing {
    pub fn new(fan_out: usize) -> Self {
        Self {
            state: Mutex::new(State {
                fan_out: FanOut::new(fan_out),
                asks: FxHashMap::default(),
                next_ask: 0,
                connections: FxHashMap::default(),
                next_connection: 0,
                sending: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes the answer of the core in. Returns the object where nobody waits for it any more, and
    /// its pin is to go.
    pub fn answer(&self, ask: u64, outcome: Result<Pinned, String>) -> Option<ObjectId> {
        let mut state = lock(&self.state);
        match state.asks.get_mut(&ask) {
            Some(slot) => {
                *slot = Some(outcome);
                self.changed.notify_all();
                None
            }
            None => Some(outcome.ok()?.object),
        }
    }

    /// Has those who wait look again.
    pub fn wake(&self) {
        // With the lock, so that nobody has looked and does not wait yet.
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    /// Takes a connection in; `None` where there are too many.
    pub fn add_connection(&self, from: NodeId, closer: BulkCloser) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.connections.len() >= limits::TRANSFER_CONNECTIONS {
            return None;
        }
        let number = state.next_connection;
        state.next_connection += 1;
        state.connections.insert(number, (from, closer));
        Some(number)
    }

    pub fn remove_connection(&self, number: u64) {
        lock(&self.state).connections.remove(&number);
    }

    /// A node is dead.
    pub fn end_connections(&self, node: NodeId) {
        let mut state = lock(&self.state);
        state.fan_out.forget(node);
        for (from, closer) in state.connections.values() {
            if *from == node {
                closer.close();
            }
        }
    }

    /// See [`FanOut::begin`].
    pub fn begin(
        &self,
        object: ObjectId,
        receiver: &Receiver,
        is_direct: bool,
    ) -> Option<Receiver> {
        let mut state = lock(&self.state);
        state.fan_out.begin(object, receiver, is_direct)
    }

    /// See [`FanOut::end`].
    pub fn end(&self, object: ObjectId, receiver: &Receiver, is_complete: bool) {
        lock(&self.state).fan_out.end(object, receiver, is_complete);
    }

    /// Waits until `look` finds something, or the time is over.
    fn wait<T>(&self, wait: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state: MutexGuard<State> = lock(&self.state);
        if let Some(found) = look(&mut state) {
            return Some(found);
        }
        let mut found = None;
        let waiting = |state: &mut State| {
            found = look(state);
            found.is_none()
        };
        drop(
            self.changed
                .wait_timeout_while(state, wait, waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
        found
    }
}

/// An object that the core was asked for. What it pins for this is let go of when this goes.
pub struct Ask<'a> {
    shared: &'a Shared,
    ask: u64,
    object: ObjectId,
}

impl<'a> Ask<'a> {
    pub fn begin(shared: &'a Shared, object: ObjectId) -> Self {
        let ask = {
            let mut state = lock(&shared.outgoing.state);
            let ask = state.next_ask;
            state.next_ask += 1;
            state.asks.insert(ask, None);
            ask
        };
        shared.tell(TransferEvent::Wanted { ask, object });
        Self {
            shared,
            ask,
            object,
        }
    }

    /// The answer, or what `other` finds first; `None` after some time without either.
    pub fn wait<T>(
        &self,
        wait: Duration,
        mut other: impl FnMut() -> Option<T>,
    ) -> Option<Found<T>> {
        self.shared
            .outgoing
            .wait(wait, |state| match state.asks.get(&self.ask) {
                Some(Some(outcome)) => Some(Found::Answer(outcome.clone())),
                _ => other().map(Found::Other),
            })
    }
}

/// What [`Ask::wait`] waits for.
pub enum Found<T> {
    Answer(Result<Pinned, String>),
    Other(T),
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        let answer = lock(&self.shared.outgoing.state).asks.remove(&self.ask);
        if matches!(answer, Some(Some(Ok(_)))) {
            let object = self.object;
            self.shared.tell(TransferEvent::Sent { object });
        }
    }
}

/// The turn to send a part.
pub struct Turn<'a> {
    outgoing: &'a Outgoing,
}

impl<'a> Turn<'a> {
    /// `None` where too many send, for all this time.
    pub fn wait(outgoing: &'a Outgoing, wait: Duration) -> Option<Self> {
        outgoing.wait(wait, |state| {
            (state.sending < limits::TRANSFERS_OUT).then(|| state.sending += 1)
        })?;
        Some(Self { outgoing })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.outgoing.state).sending -= 1;
        self.outgoing.changed.notify_all();
    }
}
