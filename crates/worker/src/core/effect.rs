//! What the core asks the shell to do, in order.

use whipray_proto::messages::cluster::LogLines;
use whipray_proto::{Message, ObjectValue, TaskId, WorkerAddress, WorkerId};

use crate::cell::Waiters;

/// What a driver's user is to see.
#[derive(Clone, Debug, PartialEq)]
pub enum DriverEvent {
    /// Output of a worker.
    Log(LogLines),
    /// A sentence about something that waits or is wrong.
    Warning(String),
    /// The exception of a task whose last reference went without anybody looking at it.
    UnhandledError(Box<ObjectValue>),
    /// The connection is over; nothing follows.
    Closed,
}

/// One thing for the shell to do.
pub enum Effect {
    /// Send to the node daemon.
    ToNode(Message),
    /// Send to another driver or worker, connecting to it where needed.
    ToPeer(WorkerAddress, Message),
    /// Push a task of ours; its spec stays in the core, so that nothing is copied but its bytes.
    /// `is_urgent`: the worker has nothing else to do, so that waiting for company would only delay.
    Push {
        to: WorkerId,
        task: TaskId,
        is_urgent: bool,
    },
    /// An object became ready.
    Notify(Waiters),
    /// Something for the driver's user.
    Tell(DriverEvent),
    /// A task that runs here is to be interrupted.
    Interrupt(TaskId),
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ToNode(message) => formatter.debug_tuple("ToNode").field(message).finish(),
            Self::ToPeer(to, message) => formatter
                .debug_tuple("ToPeer")
                .field(&to.endpoint)
                .field(message)
                .finish(),
            Self::Push {
                to,
                task,
                is_urgent,
            } => formatter
                .debug_struct("Push")
                .field("to", to)
                .field("task", task)
                .field("is_urgent", is_urgent)
                .finish(),
            Self::Notify(waiters) => formatter
                .debug_tuple("Notify")
                .field(&waiters.len())
                .finish(),
            Self::Tell(event) => formatter.debug_tuple("Tell").field(event).finish(),
            Self::Interrupt(task) => formatter.debug_tuple("Interrupt").field(task).finish(),
        }
    }
}
