//! The decisions of a node: events in, effects out.
//!
//! [`Node`] is the state. Every `on_...` function takes one event and the time, changes the state
//! and appends to the effects, which the caller takes with [`Node::take_effects`] and carries out.
//! What a client says is never trusted to make sense: what names nothing known is ignored, what is
//! not its business closes its connection.

mod choosing;
mod clients;
mod deaths;
mod draining;
mod effect;
mod foreign_leases;
mod forwarding;
mod groups;
mod inquiries;
mod judging;
mod leases;
mod memory;
mod metrics;
mod moving_away;
mod neighbours;
mod node_messages;
mod objects;
mod placement;
mod pulling;
mod reclaiming;
mod remote_deaths;
mod report;
mod saving;
mod scheduling;
mod taking_over;
mod timers;
mod validate;
mod views;
mod wants;
mod workers;

#[cfg(test)]
mod tests;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::session::Role;
use whipray_proto::{
    ActorId, JobId, LeaseId, Message, NodeId, PlacementGroupId, Resources, WorkerId,
};
use whipray_sched::{Ledger, Rotation};
use whipray_store::core::{ObjectTable, SpillSettings};

pub use deaths::Exit;
pub use effect::{Effect, Environment};
pub use memory::{MachineMemory, MemoryReading, MemorySettings};
pub use metrics::Page;
pub use scheduling::IDLE;
pub use timers::Micros;
pub use whipray_store::core::ClientId;

use clients::{Client, Job};
use deaths::Obituaries;
use leases::{Demand, Waiter};
use placement::Placement;
use scheduling::Reservation;
use timers::{Timer, Timers};
use workers::Pool;

/// What a node is, for its whole life.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub node: NodeId,
    pub node_ip: String,
    pub hostname: String,
    pub endpoint: String,
    /// `tcp:host:port` by which other machines reach this node; empty where they cannot.
    pub node_endpoint: String,
    pub session_directory: String,
    pub session_name: String,
    pub cluster_address: String,
    pub resources: Resources,
    pub arena_bytes: u64,
    /// How objects are written to disk when the arena is full; `None`: not at all.
    pub spilling: Option<SpillSettings>,
    pub labels: std::collections::BTreeMap<String, String>,
    /// What the provider that started the machine calls it; empty where none did.
    pub instance: String,
    /// Of the autoscaler's configuration; empty where it has none.
    pub node_type: String,
    pub is_head: bool,
    pub memory: MemorySettings,
}

/// The state of a node.
pub struct Node {
    config: Config,
    clients: FxHashMap<ClientId, Client>,
    by_worker: FxHashMap<WorkerId, ClientId>,
    jobs: FxHashMap<JobId, Job>,
    pool: Pool,
    ledger: Ledger,
    demands: FxHashMap<Waiter, Demand>,
    placements: FxHashMap<ActorId, Placement>,
    leases: FxHashMap<LeaseId, WorkerId>,
    next_lease: u64,
    /// Those who could be served, if resources were free.
    waiting: Rotation<Waiter>,
    /// Those who have their resources, and wait for a worker process.
    awaiting: Vec<Reservation>,
    saving: saving::Saving,
    /// Who has, or wants, something of which placement group.
    group_members: FxHashMap<PlacementGroupId, FxHashSet<Waiter>>,
    /// Where the bundles of groups lie, of which someone here wants something.
    group_nodes: FxHashMap<PlacementGroupId, Vec<NodeId>>,
    neighbours: neighbours::Neighbours,
    forwarding: forwarding::Forwarding,
    views: views::Views,
    wants: wants::Wants,
    draining: Option<draining::Draining>,
    moves: moving_away::Moves,
    takes: taking_over::Takes,
    /// The cluster has given this node up.
    is_fenced: bool,
    objects: ObjectTable,
    endpoints: pulling::Endpoints,
    /// When the store will look at its requests.
    store_timer: Option<Micros>,
    obituaries: Obituaries,
    reclaim: reclaiming::Reclaim,
    /// Idle workers will be looked at.
    is_trim_armed: bool,
    monitor: memory::Monitor,
    inquiries: inquiries::Inquiries,
    metrics: metrics::Metrics,
    start_failures: u32,
    no_spawn_before: Micros,
    timers: Timers,
    effects: Vec<Effect>,
}

impl Node {
    pub fn new(config: Config) -> Self {
        Self {
            ledger: Ledger::new(config.resources.clone()),
            objects: ObjectTable::new(config.arena_bytes, config.spilling),
            endpoints: pulling::Endpoints::default(),
            store_timer: None,
            config,
            clients: FxHashMap::default(),
            by_worker: FxHashMap::default(),
            jobs: FxHashMap::default(),
            pool: Pool::default(),
            demands: FxHashMap::default(),
            placements: FxHashMap::default(),
            leases: FxHashMap::default(),
            next_lease: 1,
            waiting: Rotation::default(),
            awaiting: Vec::new(),
            saving: saving::Saving::default(),
            group_members: FxHashMap::default(),
            group_nodes: FxHashMap::default(),
            neighbours: neighbours::Neighbours::default(),
            forwarding: forwarding::Forwarding::default(),
            views: views::Views::default(),
            wants: wants::Wants::default(),
            draining: None,
            moves: moving_away::Moves::default(),
            takes: taking_over::Takes::default(),
            is_fenced: false,
            obituaries: Obituaries::default(),
            reclaim: reclaiming::Reclaim::default(),
            is_trim_armed: false,
            monitor: memory::Monitor::default(),
            inquiries: inquiries::Inquiries::default(),
            metrics: metrics::Metrics::default(),
            start_failures: 0,
            no_spawn_before: 0,
            timers: Timers::default(),
            effects: Vec::new(),
        }
    }

    /// The node is up: control hears of it.
    pub fn on_start(&mut self) {
        let status = Box::new(self.status());
        self.tell_control(NodeSays::Joined(status));
    }

    /// Moves the effects of all events so far to `effects`.
    pub fn take_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.effects);
    }

    /// When [`Self::on_time`] has something to do next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.timers.next()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Micros) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::WorkerStart(worker) => self.give_up_start(worker, now),
                Timer::WorkerLost(worker) => self.give_up_exit_status(worker, now),
                Timer::TrimIdle => self.trim_idle(now),
                Timer::Reclaim => self.on_reclaim_due(now),
                Timer::IdleAnswers => self.end_rounds(now),
                Timer::PendingNotice => self.notify_pending(now),
                Timer::Store => self.on_store_due(now),
                Timer::SpawnRetry | Timer::Saving => self.schedule(now),
                Timer::Memory => self.on_memory_due(),
                Timer::Inquiry(request) => self.answer_inquiry(request),
                Timer::Metrics(request) => self.end_metrics_wait(request),
                Timer::View => self.on_view_due(now),
                Timer::Wants => self.on_wants_due(now),
                Timer::NodeUnheard(worker) => self.give_up_watch(worker, now),
                Timer::Drained => self.look_if_drained(now),
                Timer::Moves => self.on_moves_due(now),
                Timer::Take(request) => self.give_up_take(request, now),
            }
        }
    }

    /// A client that said hello says something more.
    pub fn on_message(&mut self, client: ClientId, message: Message, now: Micros) {
        let Some(sender) = self.clients.get(&client) else {
            return;
        };
        let (worker, role) = (sender.worker, sender.role);
        match message {
            Message::CreateObject(create) => {
                let (request, size_bytes) = (create.request, create.size_bytes);
                self.objects
                    .create(client, request, create.object, size_bytes, now);
                self.settle_objects(now);
            }
            Message::SealObject(seal) => {
                self.seal_object(client, seal, now);
                self.settle_objects(now);
            }
            Message::FreeObjects(free) if free.node.is_some_and(|it| it != self.config.node) => {
                self.pass_free_on(worker, free);
            }
            Message::FreeObjects(free) => {
                free.objects
                    .into_iter()
                    .for_each(|object| self.objects.free(worker, object));
                self.settle_objects(now);
            }
            Message::PinObjects(pin) => self.pin_objects(client, &pin, now),
            Message::UnpinObjects(unpin) => {
                unpin
                    .objects
                    .into_iter()
                    .for_each(|object| self.objects.unpin(client, object));
                self.settle_objects(now);
            }
            Message::LeaseTarget(target) => self.lease_target(client, target, now),
            Message::LeaseReturn(lease) => {
                self.lease_return(client, lease.lease, lease.end_worker, now);
            }
            Message::IdleReturned(returned) => self.idle_returned(client, returned.round, now),
            Message::WorkerBlocked(_) => self.worker_blocked(worker, true, now),
            Message::WorkerUnblocked(_) => self.worker_blocked(worker, false, now),
            Message::KillWorker(kill) => self.kill_leased(client, kill.worker, kill.reason),
            Message::WatchWorker(watch) => self.watch_anywhere(client, &watch, now),
            Message::FlushLogs(flush) => {
                self.effects.push(Effect::FlushLogs {
                    client,
                    request: flush.request,
                });
            }
            Message::Inquiry(inquiry) => self.inquire(client, inquiry, now),
            Message::ProcessReported(reported) => self.process_reported(client, *reported),
            Message::CycleFound(cycle) => self.cycle_found(&cycle),
            Message::CopyKept(kept) if kept.owner == worker => self.pass_kept_on(kept, now),
            Message::MetricsReported(reported) => self.metrics_reported(client, reported),
            Message::Goodbye(goodbye) => self.goodbye(client, goodbye.reason, now),
            Message::ShutDown(shut_down) if role != Role::Worker => {
                self.effects.push(Effect::ShutDown {
                    reason: shut_down.reason,
                });
            }
            message @ (Message::CreateActor(_)
            | Message::SubscribeActor(_)
            | Message::GetNamedActor(_)
            | Message::ListNamedActors(_)
            | Message::KillActor(_)
            | Message::ActorOutOfScope(_)
            | Message::ActorStarted(_)
            | Message::ActorExiting(_)
            | Message::KeyValueRequest(_)
            | Message::StatusRequest(_)
            | Message::CreateGroup(_)
            | Message::RemoveGroup(_)
            | Message::SubscribeGroup(_)
            | Message::GroupsRequest(_)
            | Message::JobRequest(_)
            | Message::ScalingStatus(_)
            | Message::RequestResources(_)
            | Message::DrainNode(_)) => {
                let message = Box::new(message);
                self.tell_control(NodeSays::ClientSaid {
                    client: worker,
                    message,
                });
            }
            unexpected => {
                tracing::warn!(client, message = unexpected.name(), "unexpected message");
                self.effects.push(Effect::Close { client });
            }
        }
    }

    /// Control says something.
    pub fn on_control(&mut self, says: ControlSays, now: Micros) {
        match says {
            ControlSays::Tell { client, message } => {
                if let Some(client) = self.by_worker.get(&client) {
                    self.send(*client, *message);
                }
            }
            ControlSays::DriverAccepted {
                driver,
                description,
            } => {
                self.accept_driver(driver, *description, now);
            }
            ControlSays::JobEnded { job } => self.end_job(job, now),
            ControlSays::PlaceActor { spec, incarnation } => {
                self.place_actor(*spec, incarnation, now);
            }
            ControlSays::StopActor { actor, incarnation } => {
                self.stop_actor(actor, incarnation, now);
            }
            ControlSays::KillActor {
                actor,
                incarnation,
                cause,
            } => {
                self.kill_actor(actor, incarnation, *cause, now);
            }
            ControlSays::Report { request } => self.report(request),
            ControlSays::PrepareBundles {
                group,
                attempt,
                bundles,
            } => self.prepare_bundles(group, attempt, &bundles, now),
            ControlSays::CommitBundles { group, attempt } => {
                self.commit_bundles(group, attempt, now)
            }
            ControlSays::ReturnBundles { group, attempt } => {
                self.return_bundles(group, attempt, now)
            }
            ControlSays::RemoveGroup { group } => {
                self.remove_group(group, now);
            }
            ControlSays::WatchResources {
                is_on,
                with_decreases,
            } => self.watch_resources(is_on, with_decreases, now),
            ControlSays::Nodes(news) => self.on_nodes(news, now),
            ControlSays::NodeUnknown { node } => self.on_node_unknown(node, now),
            ControlSays::JobStarted {
                description,
                driver,
            } => self.job_started(&description, &driver, now),
            ControlSays::RecallActor { actor, incarnation } => {
                self.recall_actor(actor, incarnation, now);
            }
            ControlSays::GroupPlaced { group, nodes } => self.group_placed(group, nodes, now),
            ControlSays::Drain {
                reason,
                deadline_us,
                only_if_idle,
            } => self.drain(&reason, deadline_us, only_if_idle, now),
            ControlSays::NodeTypes(types) => self.node_types(types, now),
            ControlSays::Fenced { reason } => self.fence(reason),
            // The shell ends the daemon.
            ControlSays::Ends { .. } => {}
        }
    }

    /// The driver that hears what a worker writes, if there is one that wants to, and the job.
    pub fn audience(&self, worker: WorkerId) -> Audience {
        let Some(job) = self.pool.get(worker).and_then(|worker| worker.job) else {
            return Audience::NotKnownYet;
        };
        match self.jobs.get(&job) {
            Some(entry) if entry.log_to_driver => Audience::Driver {
                client: entry.driver,
                job,
            },
            _ => Audience::Nobody,
        }
    }

    /// The processes that end with the node.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.pool
            .iter()
            .filter_map(|(_, worker)| worker.pid)
            .collect()
    }

    fn send(&mut self, client: ClientId, message: impl Into<Message>) {
        // Whoever is gone hears nothing; the shell would only drop it.
        let Some(entry) = self.clients.get(&client) else {
            return;
        };
        let message = message.into();
        let effect = match self.neighbours.node_of(client) {
            Some(node) if entry.role == Role::Node => Effect::ToNode { node, message },
            _ => Effect::Send { client, message },
        };
        self.effects.push(effect);
    }

    fn tell_control(&mut self, says: NodeSays) {
        self.effects.push(Effect::TellControl(says));
    }
}

/// Who hears what a worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The worker serves no job yet: keep what it wrote.
    NotKnownYet,
    Nobody,
    Driver {
        client: ClientId,
        job: JobId,
    },
}
