//! A daemon: the node core, and on the head control, with what their shell does for them.

mod disk;
mod nodes;
mod template;
mod transfers;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use whipray_control::core::{Control, Effect as ControlEffect};
use whipray_control::storage::{MemoryStorage, Storage, Table};
use whipray_node::core::{ClientId, Config, Effect, Node};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::cluster::{LogsFlushed, NodeStatus, PendingDemand};
use whipray_proto::messages::session::NodeEnds;
use whipray_proto::resources::{CPU, GPU};
use whipray_proto::{Message, NodeId, Resources, WorkerId};
use whipray_store::core::{DiskJob, SpillSettings};

use crate::agenda::{Event, Micros};
use crate::around::{Around, node_endpoint};
use crate::grants::Grants;
use crate::network::{Machine, Party, Socket, encode};
use crate::scenario::NodeShape;
use crate::streams::Seat;

/// Few objects to a file, so that files come and go.
const SPILLING: SpillSettings = SpillSettings {
    file_bytes: 200_000,
    file_objects: 3,
    jobs: 2,
};

/// How often node and control may answer each other in one turn.
const ROUNDS_MOST: usize = 1_000;

/// Which byte the id of the first node is made of.
const FIRST_ID: u8 = 7;

struct Peer {
    socket: Socket,
    is_known: bool,
    output: Vec<Bytes>,
}

/// A node, with control where it is the head, composed as the product composes them.
pub struct Daemon {
    pub number: usize,
    pub machine: Machine,
    pub id: NodeId,
    pub cpus: u32,
    node: Node,
    control: Option<Control>,
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
    is_settling: bool,
    pub is_alive: bool,
    /// Nothing of it runs until then.
    pub frozen_until: Micros,
    /// When it is to be gone at the latest, by the last order to go.
    pub drain_over_at: Option<Micros>,
    /// How far its clock is ahead of all others.
    pub clock_ahead: Micros,
    /// Control has spoken to it.
    pub is_joined: bool,
    /// Where it knows how to reach which node.
    known: BTreeSet<NodeId>,
    /// What waits until it is known where the other node is.
    held: BTreeMap<NodeId, Vec<Message>>,
    /// Nodes that are no more: nothing is sent there, and nothing taken from there.
    dead: BTreeSet<NodeId>,
    /// When the head last answered a heartbeat, by the clock of the daemon.
    answered_at: Micros,
    pub transfers: transfers::Transfers,
    /// Why it is about to end.
    pub end: Option<String>,
    /// By its clock, where it is to go.
    drain_until: Micros,
    /// It is to go, and has said in time that nothing is left.
    pub has_moved_all: bool,
}

/// Where a daemon is reached from other machines, if there are any.
fn far_endpoint(daemon: usize, around: &Around) -> String {
    if around.scenario.nodes.is_empty() {
        return String::new();
    }
    format!("tcp:10.0.{}.{}:6379", daemon / 250, daemon % 250 + 1)
}

/// The id of the node of a daemon.
fn node_id(daemon: usize) -> NodeId {
    NodeId::from_array([FIRST_ID.wrapping_add(daemon as u8); 28])
}

impl Daemon {
    /// The daemon of this number on a machine: the first one is the head.
    pub fn new(number: usize, machine: Machine, shape: &NodeShape, around: &mut Around) -> Self {
        let resources = Resources::none()
            .with(CPU, f64::from(shape.cpus))
            .with(GPU, f64::from(shape.gpus))
            .with("gold", f64::from(shape.gold));
        let (id, is_head) = (node_id(number), number == 0);
        let config = Config {
            node: id,
            node_ip: format!("10.0.0.{}", machine + 1),
            endpoint: node_endpoint(number),
            node_endpoint: far_endpoint(number, around),
            resources: resources.clone(),
            arena_bytes: shape.arena_bytes,
            spilling: around.scenario.spills.then_some(SPILLING),
            is_head,
            ..Config::default()
        };
        let party = Party::Daemon(number);
        around
            .network
            .listen(&node_endpoint(number), party, machine);
        around.witness.node_of_daemon.push(id);
        if is_head {
            around.witness.nodes.push(id);
        }
        around.streams.add(
            id,
            Seat {
                daemon: number,
                machine,
            },
        );
        let mut daemon = Self {
            number,
            machine,
            id,
            cpus: shape.cpus,
            node: Node::new(config),
            control: is_head.then(|| Control::new("sim", "sim")),
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
            is_settling: false,
            is_alive: true,
            frozen_until: 0,
            drain_over_at: None,
            clock_ahead: 0,
            is_joined: is_head,
            known: BTreeSet::new(),
            held: BTreeMap::new(),
            dead: BTreeSet::new(),
            answered_at: around.now,
            transfers: transfers::Transfers::default(),
            end: None,
            drain_until: 0,
            has_moved_all: false,
        };
        daemon.node.on_start();
        daemon.begin_membership(around);
        daemon.settle(around);
        daemon
    }

    /// Where it is reached from other machines, if there are any.
    pub fn far_endpoint(&self, around: &Around) -> String {
        far_endpoint(self.number, around)
    }

    fn is_head(&self) -> bool {
        self.control.is_some()
    }

    /// The time on its clock.
    fn now(&self, around: &Around) -> Micros {
        around.now + self.clock_ahead
    }

    fn note(&self, around: &mut Around, line: impl FnOnce() -> String) {
        let number = self.number;
        around.note(|| match number {
            0 => line(),
            _ => format!("[{number}] {}", line()),
        });
    }

    /// Something arrived from a client.
    pub fn on_readable(&mut self, socket: Socket, around: &mut Around) {
        let until = around.now;
        self.read(socket, until, around);
        self.on_time(around);
        self.flush(around);
        self.grants.turn_over();
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
                let now = self.now(around);
                self.node.on_message(client, message, now);
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
        self.note(around, || {
            format!("node < client {client}: Hello of {}", short(&hello.worker))
        });
        self.grants.connected(client, hello.worker);
        let now = self.now(around);
        self.node.on_hello(client, *hello, now);
    }

    fn observe(&mut self, client: ClientId, message: &Message, around: &mut Around) {
        self.note(around, || format!("node < client {client}: {message:?}"));
        match message {
            Message::WorkerBlocked(_) => self.grants.blocked(client, true),
            Message::WorkerUnblocked(_) => self.grants.blocked(client, false),
            _ => self.observe_return(message),
        }
    }

    fn observe_return(&mut self, message: &Message) {
        if let Message::LeaseReturn(returned) = message {
            self.grants.returned(&returned.lease);
        }
    }

    fn drop_client(&mut self, client: ClientId, around: &mut Around) {
        self.flush_one(client, around);
        if let Some(peer) = self.peers.remove(&client) {
            self.by_socket.remove(&peer.socket);
            around
                .network
                .close(peer.socket, around.now, &mut around.agenda);
            self.note(around, || format!("node: client {client} is gone"));
            let now = self.now(around);
            self.node.on_client_gone(client, now);
        }
    }

    // ---- time

    /// What is due, and when the next thing is.
    pub fn on_time(&mut self, around: &mut Around) {
        let now = self.now(around);
        if self.node.next_deadline().is_some_and(|due| due <= now) {
            self.node.on_time(now);
            self.settle(around);
        }
        if let Some(control) = &mut self.control
            && control.next_deadline().is_some_and(|due| due <= now)
        {
            control.set_time(now);
            control.on_time();
            self.settle(around);
        }
        let of_control = self.control.as_ref().and_then(Control::next_deadline);
        let deadlines = [self.node.next_deadline(), of_control];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return;
        };
        let deadline = deadline.saturating_sub(self.clock_ahead);
        let is_set = self.timer_at.is_some_and(|at| at <= deadline);
        if !is_set {
            let at = deadline.max(around.now + 1);
            self.timer_at = Some(at);
            let daemon = self.number;
            around.agenda.add(at, Event::NodeTimer { daemon });
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

    fn end_turn(&mut self, around: &mut Around) {
        self.settle(around);
        self.on_time(around);
        self.flush(around);
    }

    // ---- effects

    /// Not within itself, as in the product: what comes of an effect comes after those that were
    /// asked for before.
    fn settle(&mut self, around: &mut Around) {
        if !std::mem::replace(&mut self.is_settling, true) {
            self.carry_out_all(around);
            self.is_settling = false;
        }
    }

    fn carry_out_all(&mut self, around: &mut Around) {
        for _ in 0..ROUNDS_MOST {
            let mut effects = Vec::new();
            self.node.take_effects(&mut effects);
            let mut is_silent = effects.is_empty();
            for effect in effects {
                self.carry_out(effect, around);
            }
            let mut says = Vec::new();
            if let Some(control) = &mut self.control {
                control.take_effects(&mut says);
            }
            for effect in says {
                is_silent = false;
                match effect {
                    ControlEffect::Keep(write) => self.storage.write(write),
                    ControlEffect::Say { node, says } => self.say(node, says, around),
                }
            }
            if is_silent {
                return;
            }
        }
        let text = format!("daemon {}: node and control speak without end", self.number);
        around.witness.violation(text);
    }

    fn carry_out(&mut self, effect: Effect, around: &mut Around) {
        match effect {
            Effect::Send { client, message } => self.queue(client, message, around),
            Effect::ToNode { node, message } => {
                self.note(around, || format!("node > node {}: {message:?}", nodes::first(&node)));
                self.observe_grant(&message, around);
                self.send_to(node, message, around);
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
            Effect::TellControl(says) => self.tell_control(says, around),
            Effect::SpawnWorker { worker, .. } => self.spawn(worker, around),
            Effect::KillProcess { pid } => {
                self.note(around, || format!("node kills {pid}"));
                let delay = around.random.duration(100);
                around.after(delay, Event::Signal { pid, signal: 9 });
            }
            Effect::FlushLogs { client, request } => {
                self.queue(client, LogsFlushed { request }.into(), around);
            }
            Effect::Pull { pull, .. } => self.start_pull(pull, around),
            Effect::CancelPull { pull } => self.cancel_pull(pull, around),
            Effect::Serve { ask, outcome } => self.serve(ask, outcome, around),
            Effect::EndTransfers { node } => self.end_transfers(node, around),
            Effect::Fence { reason } => {
                self.end.get_or_insert(reason);
            }
            // The monitor is off here: there is no machine whose memory could end.
            Effect::ReadMemory { .. }
            | Effect::ShutDown { .. }
            | Effect::ProvideMemory(_)
            // No process here has metrics.
            | Effect::OpenMetricsDoor
            | Effect::MetricsRead { .. }
            | Effect::Disk(DiskJob::Remove { .. }) => {}
            Effect::Disk(job) => self.start_disk(job, around),
        }
    }

    fn queue(&mut self, client: ClientId, message: Message, around: &mut Around) {
        self.note(around, || format!("node > client {client}: {message:?}"));
        match &message {
            Message::StartActor(start) => {
                if let Err(why) = self.grants.actor_started(client, start) {
                    around.witness.violation(why);
                }
            }
            _ => self.observe_grant(&message, around),
        }
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.output.push(encode(&message));
        }
    }

    /// A worker of this node is granted to someone; those of others are their business.
    fn observe_grant(&mut self, message: &Message, around: &mut Around) {
        if let Message::LeaseGranted(granted) = message
            && granted.worker.node == self.id
            && let Err(why) = self.grants.granted(granted)
        {
            around.witness.violation(why);
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

    /// The last words to those who are still there.
    pub fn say_last(&mut self, reason: &str, around: &mut Around) {
        let ends = Message::from(NodeEnds {
            reason: reason.to_owned(),
        });
        for peer in self.peers.values_mut() {
            peer.output.push(encode(&ends));
        }
        self.flush(around);
    }

    // ---- questions of the checkers

    /// Checks the invariants of both cores.
    ///
    /// # Errors
    /// The one that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        self.node.validate()?;
        self.control.as_ref().map_or(Ok(()), Control::validate)
    }

    /// What the node says about itself, and the demand that it does not serve.
    pub fn ask(&mut self, around: &mut Around) -> (NodeStatus, Vec<PendingDemand>) {
        let now = self.now(around);
        self.node
            .on_control(ControlSays::Report { request: 0 }, now);
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
