//! Threads that bring objects from other nodes, and send them there.
//!
//! They wait for the network, so that the loop never does. What they need of the core they ask for
//! with events, and the loop is woken for each. Threads start when there is something to do, so that
//! a cluster of one machine has none.

mod fan_out;
mod fetch;
mod idle;
mod incoming;
mod outgoing;
mod reading;
mod sender;
mod stream;
mod target;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use whipray_net::{Connection, Waker};
use whipray_proto::messages::transfer::TransferHello;
use whipray_proto::{NodeId, ObjectId, limits};
use whipray_store::Arena;
use whipray_store::core::{Pinned, Pull};

use super::streams::Identity;
use idle::IdleConnections;
use incoming::Incoming;
use outgoing::Outgoing;

/// The stack of a thread, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// What the core is to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEvent {
    /// A pull came to its end.
    Pulled {
        pull: u64,
        outcome: Result<(), String>,
    },
    /// Another node wants this object; to be answered with [`Transfers::serve`].
    Wanted { ask: u64, object: ObjectId },
    /// What was served need not be pinned any more for this ask.
    Sent { object: ObjectId },
}

/// How objects travel.
#[derive(Clone, Copy, Debug)]
pub struct TransferSettings {
    /// As [`limits::TRANSFER_PART_BYTES`].
    pub part_bytes: u64,
    /// As [`limits::TRANSFER_STREAMS`].
    pub streams: u64,
    /// As [`limits::TRANSFER_FAN_OUT`].
    pub fan_out: usize,
    /// As [`limits::TRANSFER_STALL`].
    pub stall: Duration,
}

impl Default for TransferSettings {
    fn default() -> Self {
        Self {
            part_bytes: limits::TRANSFER_PART_BYTES,
            streams: limits::TRANSFER_STREAMS,
            fan_out: limits::TRANSFER_FAN_OUT,
            stall: limits::TRANSFER_STALL,
        }
    }
}

/// All transfers of a node.
pub struct Transfers {
    shared: Arc<Shared>,
    events: Receiver<TransferEvent>,
}

struct Shared {
    arena: Arc<Arena>,
    identity: Identity,
    settings: TransferSettings,
    incoming: Incoming,
    outgoing: Outgoing,
    idle: IdleConnections,
    events: Sender<TransferEvent>,
    waker: Waker,
}

impl Transfers {
    /// No transfer at all; the loop is woken when there are events.
    pub fn new(
        arena: Arc<Arena>,
        identity: Identity,
        settings: TransferSettings,
        waker: Waker,
    ) -> Self {
        let (sender, events) = channel();
        let shared = Shared {
            arena,
            outgoing: Outgoing::new(settings.fan_out),
            identity,
            settings,
            incoming: Incoming::default(),
            idle: IdleConnections::default(),
            events: sender,
            waker,
        };
        Self {
            shared: Arc::new(shared),
            events,
        }
    }

    /// Has an object brought from the daemon at `endpoint`.
    pub fn pull(&self, pull: Pull, endpoint: String) {
        incoming::start(&self.shared, pull, endpoint);
    }

    /// Has a pull end soon. It is answered all the same.
    pub fn cancel(&self, pull: u64) {
        self.shared.incoming.cancel(pull);
    }

    /// The answer to [`TransferEvent::Wanted`].
    pub fn serve(&self, ask: u64, outcome: Result<Pinned, String>) {
        if let Some(object) = self.shared.outgoing.answer(ask, outcome) {
            self.shared.tell(TransferEvent::Sent { object });
        }
    }

    /// A connection of another node that said a good hello.
    pub fn take_in(&self, connection: Connection, hello: TransferHello) {
        sender::start(&self.shared, connection, hello);
    }

    /// A node is dead: its connections end. Pulls from there are cancelled by who began them.
    pub fn node_gone(&self, node: NodeId) {
        self.shared.idle.forget(node);
        self.shared.outgoing.end_connections(node);
    }

    /// What has happened since the last call.
    pub fn take_events(&self) -> Vec<TransferEvent> {
        self.shared.waker.reset();
        self.events.try_iter().collect()
    }
}

impl Shared {
    fn tell(&self, event: TransferEvent) {
        // Nobody listens any more once the daemon ends.
        let _ = self.events.send(event);
        self.waker.wake();
    }
}

/// What a thread that panicked left is as good as before: all changes are single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
