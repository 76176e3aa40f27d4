//! The loop of the daemon: one thread that waits, decides and acts.

mod clients;
mod metrics;
mod nodes;
mod output;
mod transfers;
mod workers;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Rlimit, Signal, WaitOptions};
use whipray_net::{HttpListener, Interest, Listener, Poller, ReadyEvent, Waker};
use whipray_proto::health::HealthSettings;
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::membership::StreamHello;
use whipray_proto::messages::session::NodeEnds;
use whipray_proto::{Message, NodeId, limits};
use whipray_store::Arena;

use super::connections::Connections;
use super::disk::Disk;
use super::heartbeat::{self, Heartbeats};
use super::logs::Logs;
use super::memory::MemorySource;
use super::memory_events::MemoryEvents;
use super::memory_provider::MemoryProvider;
use super::metrics_door::MetricsDoor;
use super::signals;
use super::spill_places::SpillSites;
use super::streams::{FIRST_STREAM, Identity, Joined, Streams};
use super::transfer::Transfers;
use super::zygote::Zygote;
use crate::core::{ClientId, Config, Effect, MemoryReading, Micros, Node};

const TERMINATION: u64 = 0;
const ZYGOTE: u64 = 1;
const LOGS: u64 = 2;
const LIFELINE: u64 = 3;
const DISK: u64 = 4;
const METRICS: u64 = 5;
const HEARTBEAT: u64 = 6;
const TRANSFERS: u64 = 7;
const FIRST_LISTENER: u64 = 8;
const FIRST_CLIENT: u64 = 64;

/// How long killed processes may take to be gone.
const END_WAIT: Duration = Duration::from_secs(2);

/// The control of the cluster, as the node's loop drives it.
pub trait Control {
    /// Takes in what a node says.
    fn on_node(&mut self, from: NodeId, says: NodeSays);

    /// A node is alive.
    fn on_heartbeat(&mut self, node: NodeId);

    /// All connections of the stream of a node have ended.
    fn on_stream_broken(&mut self, node: NodeId);

    /// The stream of a node has a connection again.
    fn on_stream_restored(&mut self, node: NodeId);

    /// How many microseconds from now [`on_time`](Self::on_time) is due; `None`: never, as it is.
    fn next_deadline(&self) -> Option<Micros>;

    /// Does what is due by now.
    fn on_time(&mut self);

    /// Appends what control says, each with the node that it says it to.
    fn take_says(&mut self, says: &mut Vec<(NodeId, ControlSays)>);
}

/// What a daemon is started with.
pub struct Settings {
    pub config: Config,
    pub identity: Identity,
    /// The head, where this daemon is not it.
    pub joined: Option<Joined>,
    /// After how much silence of the head this node ends its processes.
    pub health: HealthSettings,
    /// The settings of the cluster (`_system_config`), as JSON, for those who join.
    pub system_config: String,
    /// Where clients come in: Unix sockets first.
    pub listeners: Vec<(Listener, ListenerKind)>,
    pub arena: Arc<Arena>,
    /// Where objects go that the arena has no room for.
    pub spill_sites: SpillSites,
    /// The Python that runs the template of the workers.
    pub python: String,
    /// Variables of the environment for the template, and so for all workers.
    pub environment: BTreeMap<String, String>,
    pub working_directory: PathBuf,
    /// How many files a worker may have open.
    pub child_file_limit: Rlimit,
    pub log_directory: PathBuf,
    /// Readable at its end once the driver that started the daemon is gone.
    pub lifeline: Option<OwnedFd>,
    pub memory: Box<dyn MemorySource>,
    /// Where metrics are read from the start; `None`: at any port, once there are some.
    pub metrics_listener: Option<HttpListener>,
    /// Where Prometheus finds out about it.
    pub metrics_discovery_file: PathBuf,
}

/// What kind of peers a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// On this machine, over sockets that file descriptors can travel by.
    Local,
    Tcp,
}

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("the daemon lost its means to wait for events: {0}")]
    Poller(io::Error),
    #[error("cannot watch the log folder {folder}: {error}")]
    Logs { folder: PathBuf, error: io::Error },
}

/// Hears once whether the daemon is one of its cluster, or why not.
pub type OnJoined = Box<dyn FnOnce(Result<(), String>)>;

/// Why a daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    Terminated,
    DriverGone,
    Asked(String),
    /// The head cannot reach this node.
    NotJoined(String),
    /// There is no head any more.
    HeadLost(String),
    /// The cluster has given this node up, or is about to: it may join as a new one.
    Fenced(String),
    /// The cluster has let it go, as it was to.
    Drained(String),
}

/// A node with its control, and the world around them.
pub struct Daemon<C: Control> {
    node: Node,
    control: C,
    settings: Settings,
    started: Instant,
    poller: Poller,
    connections: Connections,
    termination: UnixStream,
    zygote: Option<Zygote>,
    zygote_waits_to_write: bool,
    logs: Logs,
    /// When the output of workers may be looked at again; until then nobody listens for changes.
    logs_rest_until: Option<Micros>,
    memory_events: MemoryEvents,
    memory_provider: MemoryProvider,
    disk: Disk,
    transfers: Transfers,
    metrics_door: Option<MetricsDoor>,
    streams: Streams,
    /// The node that has the control of the cluster; `None`: this one.
    head: Option<NodeId>,
    /// Nodes that came before it was known whether their Python is the one of this node.
    early_hellos: Vec<(ClientId, StreamHello)>,
    heartbeats: Option<Heartbeats>,
    /// Who wants to hear that this node is one of its cluster.
    on_joined: Option<OnJoined>,
    join_deadline: Option<Micros>,
    end: Option<EndReason>,
    effects: Vec<Effect>,
    says: Vec<(NodeId, ControlSays)>,
    is_settling: bool,
}

impl<C: Control> Daemon<C> {
    /// A daemon that is ready to serve; the template is on its way.
    ///
    /// # Errors
    /// The system is out of file descriptors, or the log folder cannot be watched.
    pub fn new(mut settings: Settings, control: C) -> Result<Self, DaemonError> {
        let poller = Poller::new().map_err(DaemonError::Poller)?;
        let logs = Logs::new(&settings.log_directory).map_err(|error| DaemonError::Logs {
            folder: settings.log_directory.clone(),
            error,
        })?;
        let termination = signals::termination().map_err(DaemonError::Poller)?;
        let watch = |fd: &dyn AsFd, token| {
            poller
                .add(fd.as_fd(), token, Interest::Read)
                .map_err(DaemonError::Poller)
        };
        watch(&termination, TERMINATION)?;
        watch(&logs, LOGS)?;
        if let Some(lifeline) = &settings.lifeline {
            watch(lifeline, LIFELINE)?;
        }
        for (index, (listener, _)) in settings.listeners.iter().enumerate() {
            watch(listener, FIRST_LISTENER + index as u64)?;
        }
        let memory_provider = MemoryProvider::of(settings.arena.clone());
        let waker = Waker::new(&poller, DISK).map_err(DaemonError::Poller)?;
        let spilling = settings.config.spilling;
        let disk = Disk::new(
            settings.arena.clone(),
            settings.spill_sites.clone(),
            spilling.map_or(0, |spilling| spilling.jobs),
            waker,
        );
        if spilling.is_some() {
            disk.clean_up();
        }
        let transfers = transfers::of(&settings, &poller).map_err(DaemonError::Poller)?;
        let metrics_listener = settings.metrics_listener.take();
        let mut streams = Streams::new(settings.identity.clone());
        let mut heartbeats = None;
        let mut head = None;
        if let Some(joined) = settings.joined.take() {
            head = Some(joined.welcome.node);
            let beats = heartbeat::Settings {
                head: joined.address,
                node: settings.config.node,
                token: settings.identity.token.clone(),
                period: settings.health.heartbeat,
            };
            let waker = Waker::new(&poller, HEARTBEAT).map_err(DaemonError::Poller)?;
            heartbeats = Some(Heartbeats::start(beats, waker).map_err(DaemonError::Poller)?);
            let (node, connection) = (joined.welcome.node, joined.connection);
            streams
                .adopt(node, joined.address, connection, &poller)
                .map_err(DaemonError::Poller)?;
        }
        let mut daemon = Self {
            streams,
            head,
            early_hellos: Vec::new(),
            heartbeats,
            on_joined: None,
            join_deadline: None,
            memory_provider,
            disk,
            transfers,
            metrics_door: None,
            node: Node::new(settings.config.clone()),
            control,
            settings,
            started: Instant::now(),
            poller,
            connections: Connections::starting_at(FIRST_CLIENT),
            termination,
            zygote: None,
            zygote_waits_to_write: false,
            logs,
            logs_rest_until: None,
            memory_events: MemoryEvents::new(),
            end: None,
            effects: Vec::new(),
            says: Vec::new(),
            is_settling: false,
        };
        daemon.start_zygote();
        if metrics_listener.is_some() {
            daemon.open_metrics_door(metrics_listener);
        }
        daemon.node.on_start();
        daemon.settle();
        Ok(daemon)
    }

    /// Serves until it is asked to end, then ends all processes. `on_joined` hears once the daemon
    /// is one of its cluster; it is not called where it ends before that for other reasons.
    ///
    /// # Errors
    /// The daemon cannot wait for events any more.
    pub fn run(mut self, on_joined: OnJoined) -> Result<EndReason, DaemonError> {
        match self.head {
            None => on_joined(Ok(())),
            Some(_) => {
                self.on_joined = Some(on_joined);
                let wait = limits::JOIN_WAIT.as_micros() as Micros;
                self.join_deadline = Some(self.now() + wait);
            }
        }
        let mut ready = Vec::new();
        let reason = loop {
            if let Some(reason) = self.end.take() {
                break reason;
            }
            ready.clear();
            self.poller
                .wait(self.timeout(), &mut ready)
                .map_err(DaemonError::Poller)?;
            for event in &ready {
                self.on_event(*event);
                self.settle();
            }
            self.on_time();
            self.settle();
            self.drive_streams();
            for client in self.connections.flush(&self.poller) {
                self.drop_client(client);
                self.settle();
                self.drive_streams();
            }
        };
        let reason = match reason {
            EndReason::Fenced(reason) if self.node.is_draining() => EndReason::Drained(reason),
            other => other,
        };
        if let EndReason::NotJoined(reason)
        | EndReason::HeadLost(reason)
        | EndReason::Drained(reason)
        | EndReason::Fenced(reason) = &reason
        {
            tracing::error!(reason, "the node ends");
            self.connections.say_last(&NodeEnds {
                reason: reason.clone(),
            });
        }
        match &reason {
            EndReason::Terminated => self.say_goodbye("its daemon was told to end"),
            EndReason::DriverGone => self.say_goodbye("its program has ended"),
            EndReason::Asked(reason) => self.say_goodbye(&reason.clone()),
            EndReason::NotJoined(_)
            | EndReason::HeadLost(_)
            | EndReason::Drained(_)
            | EndReason::Fenced(_) => {}
        }
        self.finish();
        Ok(reason)
    }

    fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    /// How long nothing is due; `None` while nothing will ever be.
    fn timeout(&self) -> Option<Duration> {
        let of_control = self.control.next_deadline().map(Duration::from_micros);
        let deadlines = [
            self.node.next_deadline().map(Duration::from_micros),
            of_control.map(|due_in| self.started.elapsed() + due_in),
            self.connections.next_deadline(),
            self.streams.next_deadline().map(Duration::from_micros),
            self.join_deadline.map(Duration::from_micros),
            self.logs_rest_until.map(Duration::from_micros),
            self.logs.next_deadline().map(Duration::from_micros),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        // One microsecond more: a wait that ends a little early would be done twice.
        Some(next.saturating_sub(self.started.elapsed()) + Duration::from_micros(1))
    }

    fn on_event(&mut self, event: ReadyEvent) {
        match event.token {
            TERMINATION => self.on_termination(),
            ZYGOTE => self.on_zygote(event),
            LOGS => {
                self.logs.read_events();
                self.forward_logs();
            }
            LIFELINE => self.on_lifeline(),
            DISK => self.on_disk(),
            METRICS => self.on_metrics_door(),
            HEARTBEAT => self.on_heartbeat_waker(),
            stream if stream >= FIRST_STREAM => {
                let now = self.now();
                self.streams.on_ready(event, &self.poller, now);
            }
            TRANSFERS => self.on_transfers(),
            token if token < FIRST_CLIENT => self.accept((token - FIRST_LISTENER) as usize),
            client => self.on_client(client, event),
        }
    }

    fn on_time(&mut self) {
        let now = self.now();
        if self
            .node
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.guarded("timer", |daemon| daemon.node.on_time(now));
        }
        if self.control.next_deadline() == Some(0) {
            self.guarded("timer of control", |daemon| daemon.control.on_time());
        }
        self.streams.on_time(&self.poller, now);
        if self.join_deadline.is_some_and(|deadline| deadline <= now) {
            self.join_deadline = None;
            self.give_up_joining();
        }
        while let Some(client) = self.connections.take_late(now) {
            tracing::info!(client, "client said no hello in time");
            self.drop_client(client);
        }
        if self.logs_rest_until.is_some_and(|until| until <= now) {
            self.logs_rest_until = None;
            if let Err(error) = self.poller.add(&self.logs, LOGS, Interest::Read) {
                tracing::warn!(%error, "output of workers is not forwarded any more");
            }
            self.logs.read_events();
            self.forward_logs();
        }
        for stream in self.logs.late(now) {
            self.forward_partial(stream);
        }
    }

    fn on_termination(&mut self) {
        use std::io::Read;
        let _ = self.termination.read(&mut [0; 16]);
        self.end = Some(EndReason::Terminated);
    }

    fn on_disk(&mut self) {
        let now = self.now();
        for (file, outcome) in self.disk.take_finished() {
            self.guarded("disk", |daemon| daemon.node.on_disk(file, outcome, now));
        }
    }

    fn on_lifeline(&mut self) {
        let Some(lifeline) = &self.settings.lifeline else {
            return;
        };
        // Nobody writes to it: whatever is read is its end, but for an interrupted call.
        if !matches!(
            rustix::io::read(lifeline, &mut [0; 16]),
            Ok(1..) | Err(rustix::io::Errno::INTR)
        ) {
            self.end = Some(EndReason::DriverGone);
        }
    }

    /// Carries out what the core asks for, and takes words between node and control, until both
    /// are silent. An effect may have clients read, and come here again: what that asks for comes
    /// after all that was asked for before, since others rely on the order of what they are told.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settling, true) {
            return;
        }
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            self.node.take_effects(&mut effects);
            let is_silent = effects.is_empty();
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.effects = effects;
            let mut says = std::mem::take(&mut self.says);
            self.control.take_says(&mut says);
            let is_control_silent = says.is_empty();
            let now = self.now();
            for (node, said) in says.drain(..) {
                self.say(node, said, now);
            }
            self.says = says;
            if is_silent && is_control_silent {
                break;
            }
        }
        self.is_settling = false;
        self.flush_zygote();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { client, message } => self.connections.queue(client, &message),
            Effect::ToNode { node, message } => self.streams.queue(node, &message),
            Effect::Welcome { client, welcome } => {
                self.connections
                    .queue_welcome(client, *welcome, &self.settings.arena);
            }
            Effect::Close { client } => {
                // What it has written counts: a seal may lie in the socket, of a result that its
                // caller knows of already.
                self.read_client(client);
                self.drop_client(client);
            }
            Effect::TellControl(says) => {
                self.tell_control(says);
            }
            Effect::SpawnWorker {
                worker,
                environment,
                number,
            } => {
                self.spawn_worker(worker, &environment, number);
            }
            Effect::KillProcess { pid } => kill(pid),
            Effect::ReadMemory { pids, with_each } => self.read_memory(&pids, with_each),
            Effect::FlushLogs { client, request } => self.flush_logs(client, request),
            Effect::ProvideMemory(extent) => self.memory_provider.provide(extent),
            Effect::Disk(job) => self.disk.start(job),
            Effect::Pull { pull, endpoint } => self.transfers.pull(pull, endpoint),
            Effect::CancelPull { pull } => self.transfers.cancel(pull),
            Effect::Serve { ask, outcome } => self.transfers.serve(ask, outcome),
            Effect::EndTransfers { node } => self.transfers.node_gone(node),
            Effect::OpenMetricsDoor => self.open_metrics_door(None),
            Effect::MetricsRead { reading, page } => {
                if let Some(door) = &mut self.metrics_door {
                    door.answer(reading, page);
                }
            }
            Effect::ShutDown { reason } => self.end = Some(EndReason::Asked(reason)),
            Effect::Fence { reason } => {
                self.end.get_or_insert(EndReason::Fenced(reason));
            }
        }
    }

    /// Sends a message to a client of the core: a process here, or the daemon of another node.
    fn deliver(&mut self, client: ClientId, message: &Message) {
        match self.node.node_of(client) {
            Some(node) => self.streams.queue(node, message),
            None => self.connections.queue(client, message),
        }
    }

    /// Bytes that wait to be read by a client of the core.
    fn backlog(&self, client: ClientId) -> usize {
        match self.node.node_of(client) {
            Some(node) => self.streams.backlog(node),
            None => self.connections.backlog(client),
        }
    }

    fn read_memory(&mut self, pids: &[u32], with_each: bool) {
        let source = &self.settings.memory;
        let Some(machine) = source.machine(pids) else {
            tracing::warn!("the system does not tell how much memory is in use; it is not watched");
            return;
        };
        let of = |pid: &u32| Some((*pid, source.resident_bytes(*pid)?));
        let workers = with_each.then(|| pids.iter().filter_map(of).collect());
        let (reading, now) = (MemoryReading { machine, workers }, self.now());
        self.guarded("memory", |daemon| daemon.node.on_memory(&reading, now));
    }

    /// Runs a piece of logic so that a defect in it costs one event, not the daemon.
    fn guarded(&mut self, what: &str, logic: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| logic(self))).is_err() {
            tracing::error!(what, "defect: this event was not handled to its end");
        }
    }

    /// Ends all processes of the node, and waits until they are gone.
    fn finish(self) {
        // Workers whose template is gone become children of the daemon, which can wait for them:
        // in a container nobody else may.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let workers = self.node.worker_pids();
        workers.iter().for_each(|pid| kill(*pid));
        if let Some(zygote) = self.zygote {
            zygote.end();
        }
        let deadline = Instant::now() + END_WAIT;
        for pid in workers {
            while is_child(pid) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // Last, since buckets may take their time.
        self.disk.end();
    }
}

/// Takes the exit status of a child that has ended. Returns whether it is still to come.
fn is_child(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    matches!(
        rustix::process::waitpid(Some(pid), WaitOptions::NOHANG),
        Ok(None)
    )
}

/// Ends a process. One that is gone already is what was wanted.
fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}
