//! The daemon of the one node: node core and control core with what their shell does for them,
//! and the template process that forks workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use whipray_control::core::{Control, Effect as ControlEffect};
use whipray_control::storage::{MemoryStorage, Storage, Table};
use whipray_node::core::{ClientId, Config, Effect, Exit, Node};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::cluster::{LogsFlushed, NodeStatus, PendingDemand};
use whipray_proto::resources::{CPU, GPU};
use whipray_proto::{Message, NodeId, Resources, WorkerId};
use whipray_store::core::{DiskError, DiskJob, FilePlace, SpillSettings};

use crate::agenda::{Event, TemplateSays};
use crate::around::{Around, NODE_ENDPOINT};
use crate::grants::Grants;
use crate::network::{Party, Socket, encode};
use crate::witness::{Block, place};

/// Few objects to a file, so that files come and go.
const SPILLING: SpillSettings = SpillSettings {
    file_bytes: 200_000,
    file_objects: 3,
    jobs: 2,
};

struct Peer {
    socket: Socket,
    is_known: bool,
    output: Vec<Bytes>,
}

/// Node and control, composed as the product composes them.
pub struct Daemon {
    node: Node,
    control: Control,
    pub storage: MemoryStorage,
    peers: BTreeMap<ClientId, Peer>,
    by_socket: BTreeMap<Socket, ClientId>,
    next_client: ClientId,
    pub grants: Grants,
    /// Counts the templates that the daemon has had.
    pub template: u64,
    /// The template is dead, and the daemon does not know it yet.
    pub is_template_dead: bool,
    template_latest: u64,
    timer_at: Option<u64>,
    report: Option<(NodeStatus, Vec<PendingDemand>)>,
}

/// The id of the only node.
pub fn node_id() -> NodeId {
    NodeId::from_array([7; 28])
}

impl Daemon {
    pub fn new(around: &mut Around) -> Self {
        let scenario = &around.scenario;
        let resources = Resources::none()
            .with(CPU, f64::from(scenario.cpus))
            .with(GPU, f64::from(scenario.gpus))
            .with("gold", f64::from(scenario.gold));
        let config = Config {
            node: node_id(),
            node_ip: "10.0.0.1".to_owned(),
            endpoint: NODE_ENDPOINT.to_owned(),
            resources: resources.clone(),
            arena_bytes: scenario.arena_bytes,
            spilling: scenario.spills.then_some(SPILLING),
            is_head: true,
            ..Config::default()
        };
        around.network.listen(NODE_ENDPOINT, Party::Daemon);
        let mut daemon = Self {
            node: Node::new(config),
            control: Control::new("sim", "sim"),
            storage: MemoryStorage::default(),
            peers: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            next_client: 64,
            grants: Grants::new(resources),
            template: 0,
            is_template_dead: false,
            template_latest: 0,
            timer_at: None,
            report: None,
        };
        daemon.node.on_start();
        daemon.settle(around);
        daemon
    }

    /// Something arrived from a client.
    pub fn on_readable(&mut self, socket: Socket, around: &mut Around) {
        let until = around.now;
        self.read(socket, until, around);
        self.on_time(around);
        self.flush(around);
    }

    fn read(&mut self, socket: Socket, until: u64, around: &mut Around) {
        let client = match self.by_socket.get(&socket) {
            Some(client) => *client,
            None if until == around.now => self.accept(socket),
            None => return,
        };
        let read = around.network.read(socket, until);
        for message in read.messages {
            let Some(peer) = self.peers.get_mut(&client) else {
                return;
            };
            if peer.is_known {
                self.observe(client, &message, around);
                self.node.on_message(client, message, around.now);
            } else {
                self.greet(client, message, around);
            }
            // The product settles once per turn; here also now and then in between.
            if around.random.percent(30) {
                self.settle(around);
            }
        }
        if read.is_over {
            self.settle(around);
            self.drop_client(client, around);
        }
        self.settle(around);
    }

    fn accept(&mut self, socket: Socket) -> ClientId {
        let client = self.next_client;
        self.next_client += 1;
        self.by_socket.insert(socket, client);
        self.peers.insert(
            client,
            Peer {
                socket,
                is_known: false,
                output: Vec::new(),
            },
        );
        client
    }

    fn greet(&mut self, client: ClientId, message: Message, around: &mut Around) {
        let Message::Hello(hello) = message else {
            return around
                .witness
                .violation("a client did not say hello first".to_owned());
        };
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.is_known = true;
        }
        around.note(|| format!("node < client {client}: Hello of {}", short(&hello.worker)));
        self.grants.connected(client, hello.worker);
        self.node.on_hello(client, hello, around.now);
    }

    fn observe(&mut self, client: ClientId, message: &Message, around: &mut Around) {
        around.note(|| format!("node < client {client}: {message:?}"));
        match message {
            Message::LeaseReturn(returned) => self.grants.returned(&returned.lease),
            Message::WorkerBlocked(_) => self.grants.blocked(client, true),
            Message::WorkerUnblocked(_) => self.grants.blocked(client, false),
            _ => {}
        }
    }

    fn drop_client(&mut self, client: ClientId, around: &mut Around) {
        self.flush_one(client, around);
        if let Some(peer) = self.peers.remove(&client) {
            self.by_socket.remove(&peer.socket);
            around
                .network
                .close(peer.socket, around.now, &mut around.agenda);
            around.note(|| format!("node: client {client} is gone"));
            self.node.on_client_gone(client, around.now);
        }
    }

    // ---- time

    /// What is due, and when the next thing is.
    pub fn on_time(&mut self, around: &mut Around) {
        if self
            .node
            .next_deadline()
            .is_some_and(|deadline| deadline <= around.now)
        {
            self.node.on_time(around.now);
            self.settle(around);
        }
        let Some(deadline) = self.node.next_deadline() else {
            return;
        };
        let is_set = self.timer_at.is_some_and(|at| at <= deadline);
        if !is_set {
            let at = deadline.max(around.now + 1);
            self.timer_at = Some(at);
            around.agenda.add(at, Event::NodeTimer);
        }
    }

    /// The timer fires; one that was replaced by an earlier one does nothing.
    pub fn on_timer(&mut self, around: &mut Around) {
        if self.timer_at.is_none_or(|at| at > around.now) {
            return;
        }
        self.timer_at = None;
        self.on_time(around);
        self.flush(around);
    }

    // ---- effects

    fn settle(&mut self, around: &mut Around) {
        loop {
            let mut effects = Vec::new();
            self.node.take_effects(&mut effects);
            let mut is_silent = effects.is_empty();
            for effect in effects {
                self.carry_out(effect, around);
            }
            let mut says = Vec::new();
            self.control.take_effects(&mut says);
            for effect in says {
                is_silent = false;
                match effect {
                    ControlEffect::Keep(write) => self.storage.write(write),
                    ControlEffect::Say { says: said, .. } => {
                        around.note(|| format!("control > node: {said:?}"));
                        if let ControlSays::KillActor { actor, .. } = &said
                            && let Some(record) = around.witness.actors.get_mut(actor)
                        {
                            record.is_ended = true;
                        }
                        self.node.on_control(said, around.now);
                    }
                }
            }
            if is_silent {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, around: &mut Around) {
        match effect {
            Effect::Send { client, message } => self.queue(client, message, around),
            Effect::ToNode { .. } => {
                around
                    .witness
                    .violation("the only node speaks to another one".to_owned());
            }
            Effect::Welcome { client, welcome } => self.queue(client, (*welcome).into(), around),
            Effect::Close { client } => {
                // What it had written counts: a worker seals its results before it answers.
                if let Some(peer) = self.peers.get(&client) {
                    let socket = peer.socket;
                    self.read(socket, u64::MAX, around);
                }
                self.drop_client(client, around);
            }
            Effect::TellControl(NodeSays::Reported {
                request: 0,
                node,
                demands,
            }) => {
                self.report = Some((*node, demands));
            }
            Effect::TellControl(says) => {
                if let NodeSays::ActorEnded { actor, .. } = &says {
                    around.witness.life_ended(actor);
                }
                around.note(|| format!("node > control: {says:?}"));
                self.control.on_node(node_id(), says);
            }
            Effect::SpawnWorker { worker, .. } => self.spawn(worker, around),
            Effect::KillProcess { pid } => {
                around.note(|| format!("node kills {pid}"));
                let delay = around.random.duration(100);
                around.after(delay, Event::Signal { pid, signal: 9 });
            }
            Effect::FlushLogs { client, request } => {
                self.queue(client, LogsFlushed { request }.into(), around);
            }
            // The monitor is off here: there is no machine whose memory could end.
            Effect::ReadMemory { .. }
            | Effect::ShutDown { .. }
            // Control gives nobody up here.
            | Effect::Fence { .. }
            | Effect::ProvideMemory(_)
            | Effect::Pull { .. }
            | Effect::CancelPull { .. }
            | Effect::Serve { .. }
            | Effect::EndTransfers { .. }
            // No process here has metrics.
            | Effect::OpenMetricsDoor
            | Effect::MetricsRead { .. }
            | Effect::Disk(DiskJob::Remove { .. }) => {}
            Effect::Disk(job) => {
                let blocks = match &job {
                    DiskJob::Write { pieces, .. } => pieces
                        .iter()
                        .map(|piece| around.witness.block(piece.arena_offset))
                        .collect(),
                    _ => Vec::new(),
                };
                let delay = around.random.duration(50_000);
                around.after(delay, Event::Disk { job, blocks });
            }
        }
    }

    /// The disk has done what it was asked for, or has not: now and then it is full, or a bucket
    /// does not answer.
    pub fn on_disk(&mut self, job: DiskJob, blocks: Vec<Option<Block>>, around: &mut Around) {
        let (DiskJob::Write { file, .. }
        | DiskJob::Reserve { file, .. }
        | DiskJob::Fetch { file, .. }) = job
        else {
            return;
        };
        let address: Arc<str> = file.to_string().into();
        let in_bucket = matches!(job, DiskJob::Write { .. }) && file % 2 == 0;
        let failing = match job {
            // What is lost excuses much.
            DiskJob::Fetch { .. } => 1,
            _ => 5,
        };
        let outcome = if around.random.percent(failing) {
            Err(DiskError::Full("the disk is full".to_owned()))
        } else if in_bucket {
            Ok(FilePlace::Bucket(address.clone()))
        } else {
            Ok(FilePlace::Folder(address.clone()))
        };
        match &job {
            DiskJob::Write { pieces, .. } if outcome.is_ok() => {
                for (piece, block) in pieces.iter().zip(blocks) {
                    let now = around.witness.block(piece.arena_offset);
                    if now != block {
                        around.witness.violation(format!(
                            "W-5: {block:?} was overwritten by {now:?} while it went to disk"
                        ));
                    }
                    if let Some(block) = block {
                        around
                            .witness
                            .copied(place(&address, piece.file_offset), block);
                    }
                }
            }
            DiskJob::Fetch { from, offset, .. } if outcome.is_ok() => {
                around
                    .witness
                    .fetched(place(from, *offset), place(&address, 0));
            }
            DiskJob::Fetch { from, offset, .. } => {
                around.witness.not_fetched(place(from, *offset));
            }
            _ => {}
        }
        around.note(|| format!("disk: {job:?}: {outcome:?}"));
        self.node.on_disk(file, outcome, around.now);
        self.settle(around);
        self.on_time(around);
        self.flush(around);
    }

    fn queue(&mut self, client: ClientId, message: Message, around: &mut Around) {
        around.note(|| format!("node > client {client}: {message:?}"));
        match &message {
            Message::LeaseGranted(granted) => {
                if let Err(why) = self.grants.granted(granted) {
                    around.witness.violation(why);
                }
            }
            Message::StartActor(start) => {
                if let Err(why) = self.grants.actor_started(client, start) {
                    around.witness.violation(why);
                }
            }
            _ => {}
        }
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.output.push(encode(&message));
        }
    }

    fn flush(&mut self, around: &mut Around) {
        let clients: Vec<ClientId> = self.peers.keys().copied().collect();
        for client in clients {
            self.flush_one(client, around);
        }
    }

    fn flush_one(&mut self, client: ClientId, around: &mut Around) {
        if let Some(peer) = self.peers.get_mut(&client)
            && !peer.output.is_empty()
        {
            let frames = std::mem::take(&mut peer.output);
            around
                .network
                .send(peer.socket, frames, around.now, &mut around.agenda);
        }
    }

    // ---- the template

    fn spawn(&mut self, worker: WorkerId, around: &mut Around) {
        let delay = around.random.duration(20_000);
        let template = self.template;
        around.after(delay, Event::Fork { worker, template });
    }

    /// The template says something: later, and in the order in which it says it.
    pub fn template_says(&mut self, says: TemplateSays, around: &mut Around) {
        let delay = around.random.duration(10_000);
        self.template_latest = self.template_latest.max(around.now + delay);
        let template = self.template;
        around
            .agenda
            .add(self.template_latest, Event::TemplateSays { says, template });
    }

    /// A word of the template has arrived.
    pub fn on_template_says(&mut self, says: TemplateSays, around: &mut Around) {
        around.note(|| format!("template > node: {says:?}"));
        match says {
            TemplateSays::Spawned { worker, pid } => {
                self.node.on_spawned(worker, pid);
            }
            TemplateSays::Exited { pid, status } => {
                let client = self
                    .node
                    .worker_with_pid(pid)
                    .and_then(|(_, client)| client);
                if let Some(client) = client
                    && let Some(peer) = self.peers.get(&client)
                {
                    let socket = peer.socket;
                    self.read(socket, u64::MAX, around);
                }
                if let Some((worker, _)) = self.node.worker_with_pid(pid) {
                    self.grants.worker_gone(&worker);
                }
                let exit = Exit::Status {
                    status,
                    is_out_of_memory: false,
                };
                self.node.on_exited(pid, exit, Vec::new(), around.now);
            }
        }
        self.settle(around);
        self.on_time(around);
        self.flush(around);
    }

    /// The template is gone; a new one is started with the next worker.
    pub fn on_template_gone(&mut self, around: &mut Around) {
        around.note(|| "template is gone".to_owned());
        self.template += 1;
        self.is_template_dead = false;
        self.grants.all_workers_gone();
        self.node.on_template_gone(Vec::new(), around.now);
        self.settle(around);
        self.on_time(around);
        self.flush(around);
    }

    // ---- questions of the checkers

    /// Checks the invariants of both cores.
    ///
    /// # Errors
    /// The one that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        self.node.validate()?;
        self.control.validate()
    }

    /// What the node says about itself, and the demand that it does not serve.
    pub fn ask(&mut self, around: &mut Around) -> (NodeStatus, Vec<PendingDemand>) {
        self.node
            .on_control(ControlSays::Report { request: 0 }, around.now);
        self.settle(around);
        self.report.take().unwrap_or_default()
    }

    /// How many records a table has.
    pub fn records(&mut self, table: Table) -> usize {
        self.storage.read(table).map_or(0, |records| records.len())
    }
}

/// The first digits of an id, for logs.
pub fn short(worker: &WorkerId) -> String {
    worker.to_hex()[..8].to_owned()
}
