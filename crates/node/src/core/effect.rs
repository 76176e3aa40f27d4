//! What the core asks the shell to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use whipray_proto::link::NodeSays;
use whipray_proto::messages::session::Welcome;
use whipray_proto::{Message, NodeId, WorkerId};
use whipray_store::core::{DiskJob, Extent, Pinned, Pull};

use super::{ClientId, Page};

/// Variables of the environment of a worker process, beyond those of the daemon.
pub type Environment = Arc<BTreeMap<String, String>>;

/// One thing to do, in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq)]
// Nearly all effects are the large ones: to box them would cost an allocation for each answer.
#[allow(clippy::large_enum_variant)]
pub enum Effect {
    Send {
        client: ClientId,
        message: Message,
    },
    /// Send to the daemon of another node.
    ToNode {
        node: NodeId,
        message: Message,
    },
    /// The answer to a good hello; the arena travels with it where the connection allows.
    Welcome {
        client: ClientId,
        welcome: Box<Welcome>,
    },
    /// Write what is queued for the client, then close its connection.
    Close {
        client: ClientId,
    },
    TellControl(NodeSays),
    SpawnWorker {
        worker: WorkerId,
        environment: Environment,
        number: u64,
    },
    KillProcess {
        pid: u32,
    },
    /// Read how much memory is in use; `with_each`: also by each of these processes.
    ReadMemory {
        pids: Vec<u32>,
        with_each: bool,
    },
    /// Send the driver what its workers wrote until now, then say so.
    FlushLogs {
        client: ClientId,
        request: u64,
    },
    /// This range of the arena is to get memory before it is used.
    ProvideMemory(Extent),
    /// For the threads that use the disk.
    Disk(DiskJob),
    /// Bring an object from another node, whose daemon is reached at `endpoint`; answered with
    /// `on_pulled`.
    Pull {
        pull: Pull,
        endpoint: String,
    },
    /// Nobody waits for this one any more; it is answered all the same.
    CancelPull {
        pull: u64,
    },
    /// The answer to a node that asked for an object: it is pinned until it is sent.
    Serve {
        ask: u64,
        outcome: Result<Pinned, String>,
    },
    /// This node is dead: nothing more is sent there.
    EndTransfers {
        node: NodeId,
    },
    /// Metrics are to be read by whoever wants to.
    OpenMetricsDoor,
    /// What somebody who reads metrics gets.
    MetricsRead {
        reading: u64,
        page: Box<Page>,
    },
    ShutDown {
        reason: String,
    },
    /// The cluster has given this node up, and its workers are being ended: its other clients are
    /// told so and closed, and the daemon ends, or joins again as a new node.
    Fence {
        reason: String,
    },
}
