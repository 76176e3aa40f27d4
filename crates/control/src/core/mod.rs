//! The state machine of the cluster: what nodes and their clients say goes in, effects come out.
//!
//! Time matters for the silence of nodes ([`health`]), and where someone waits for what nodes say.

mod actor_placement;
mod actors;
mod draining;
mod group_placement;
mod group_questions;
mod groups;
mod health;
mod jobs;
mod key_values;
mod membership;
mod recent;
mod record;
mod scaling;
mod status;
mod subscriptions;
mod validate;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::actor::NamedActor;
use whipray_proto::messages::cluster::NodeEnd;
use whipray_proto::{ActorId, JobId, Message, NodeId, PlacementGroupId, WorkerId, limits};

use crate::storage::{Table, Write};
use actors::Actor;
use groups::Group;
use health::Watchfulness;
use jobs::Job;
use key_values::KeyValues;
use membership::Member;
use recent::Recent;
use status::StatusQuestion;
use subscriptions::Awaited;

pub use record::{ActorRecord, GroupRecord};

/// What the core asks for, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Say { node: NodeId, says: ControlSays },
    Keep(Write),
}

/// The state of the cluster.
pub struct Control {
    version: String,
    cluster_address: String,
    nodes: BTreeMap<NodeId, Member>,
    /// The node of this daemon.
    head: Option<NodeId>,
    watchfulness: Watchfulness,
    /// The dead ones, the oldest first; beyond a number they are forgotten.
    dead_nodes: VecDeque<NodeId>,
    /// Dead nodes of which nothing else is known any more.
    departed: Recent<NodeId>,
    /// Nodes of which the others have not heard the last.
    changed_nodes: BTreeSet<NodeId>,
    /// When nodes last heard of others.
    told_news_us: u64,
    /// Whether nodes say when they have more to give, and whether they say each change.
    watch: (bool, bool),
    /// The node of each process that control knows of.
    homes: FxHashMap<WorkerId, NodeId>,
    jobs: FxHashMap<JobId, Job>,
    /// Jobs of which nothing is left, the oldest first, for those who ask what has been.
    past_jobs: VecDeque<Job>,
    last_job: u32,
    actors: FxHashMap<ActorId, Actor>,
    /// Those without a process, in the order in which they came.
    line: BTreeMap<u64, ActorId>,
    last_turn: u64,
    /// Where the last actor went that was to be spread.
    last_spread: NodeId,
    /// Live actors by namespace and name.
    names: FxHashMap<(String, String), ActorId>,
    /// Actors that are not dead, by the process that they end with.
    owned: FxHashMap<WorkerId, FxHashSet<ActorId>>,
    /// What each process is subscribed to.
    subscriptions: FxHashMap<WorkerId, FxHashSet<ActorId>>,
    /// Those who ask about actors that are not created yet.
    awaited: FxHashMap<ActorId, Awaited>,
    /// Processes that ended not long ago: they create nothing any more.
    gone: Recent<WorkerId>,
    /// The dead ones, the oldest first; beyond a number they are forgotten.
    graveyard: VecDeque<ActorId>,
    /// Dead actors of which nothing else is known any more.
    forgotten: Recent<ActorId>,
    groups: FxHashMap<PlacementGroupId, Group>,
    /// Groups that are not removed, by namespace and name.
    group_names: FxHashMap<(String, String), PlacementGroupId>,
    /// Groups without room, the oldest first.
    waiting_groups: Vec<PlacementGroupId>,
    /// Removed ones, the oldest first; beyond a number they are forgotten.
    buried_groups: VecDeque<PlacementGroupId>,
    /// Removed groups of which nothing else may be known any more.
    removed_groups: Recent<PlacementGroupId>,
    /// Clients that ask about groups which are not created yet.
    wanted_groups: FxHashMap<PlacementGroupId, Vec<WorkerId>>,
    /// Nodes on which someone waits for a group that is not created yet.
    wanting_nodes: FxHashMap<PlacementGroupId, Vec<NodeId>>,
    /// The time of the event that is being handled, in microseconds of the daemon's clock.
    now_us: u64,
    key_values: KeyValues,
    questions: FxHashMap<u64, StatusQuestion>,
    last_question: u64,
    scaling: scaling::Scaling,
    effects: Vec<Effect>,
}

impl Control {
    /// The control of a new cluster. `version` and `cluster_address` are what status shows.
    pub fn new(version: impl Into<String>, cluster_address: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            cluster_address: cluster_address.into(),
            nodes: BTreeMap::new(),
            head: None,
            watchfulness: Watchfulness::default(),
            dead_nodes: VecDeque::new(),
            departed: Recent::new(limits::DEATHS_REMEMBERED),
            changed_nodes: BTreeSet::new(),
            told_news_us: 0,
            watch: (false, false),
            homes: FxHashMap::default(),
            jobs: FxHashMap::default(),
            past_jobs: VecDeque::new(),
            last_job: 0,
            actors: FxHashMap::default(),
            line: BTreeMap::new(),
            last_turn: 0,
            last_spread: NodeId::default(),
            names: FxHashMap::default(),
            owned: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            awaited: FxHashMap::default(),
            gone: Recent::new(limits::DEATHS_REMEMBERED),
            graveyard: VecDeque::new(),
            forgotten: Recent::new(limits::ACTORS_REMEMBERED),
            groups: FxHashMap::default(),
            group_names: FxHashMap::default(),
            waiting_groups: Vec::new(),
            buried_groups: VecDeque::new(),
            removed_groups: Recent::new(limits::ACTORS_REMEMBERED),
            wanted_groups: FxHashMap::default(),
            wanting_nodes: FxHashMap::default(),
            now_us: 0,
            key_values: KeyValues::default(),
            questions: FxHashMap::default(),
            last_question: 0,
            scaling: scaling::Scaling::default(),
            effects: Vec::new(),
        }
    }

    /// Moves the effects of all events so far to `effects`.
    pub fn take_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.effects);
    }

    /// The time of the events that follow, in microseconds of the daemon's clock.
    pub fn set_time(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// When [`on_time`](Self::on_time) is due; `None`: never, as it is.
    pub fn next_deadline(&self) -> Option<u64> {
        let silence = self.watches_silence();
        let deadlines = [
            silence.then(|| self.watchfulness.next_look_us(self.now_us)),
            self.next_news_us(),
            self.next_drain_us(),
            self.next_answer_us(),
            self.next_scaling_us(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub fn on_time(&mut self) {
        if self.watches_silence() {
            self.look_at_silence();
        }
        self.end_drains();
        self.answer_late_questions();
        if self.next_news_us().is_some_and(|due| due <= self.now_us) {
            self.publish_news();
        }
        if self.next_scaling_us().is_some_and(|due| due <= self.now_us) {
            self.publish_scaling_view();
        }
    }

    /// A node says something.
    pub fn on_node(&mut self, from: NodeId, says: NodeSays) {
        if self.turns_away(from, matches!(says, NodeSays::Joined(_))) {
            return;
        }
        self.on_heartbeat(from);
        self.scaling_changed();
        match says {
            NodeSays::Joined(status) => self.node_joined(from, *status),
            NodeSays::DriverJoined {
                driver,
                description,
            } => {
                self.homes.insert(driver.worker, from);
                self.driver_joined(driver, *description);
            }
            NodeSays::ClientSaid { client, message } => {
                if !self.gone.contains(&client) {
                    self.homes.insert(client, from);
                }
                self.on_client(client, *message);
            }
            NodeSays::ProcessGone { process, cause } => self.process_gone(process, &cause),
            NodeSays::ActorPending {
                actor,
                incarnation,
                reason,
            } => {
                self.actor_pending(from, actor, incarnation, reason);
            }
            NodeSays::ActorPlaced {
                actor,
                incarnation,
                address,
                pid,
            } => {
                self.actor_placed(from, actor, incarnation, address, pid);
            }
            NodeSays::ActorEnded {
                actor,
                incarnation,
                cause,
            } => {
                self.actor_ended(from, actor, incarnation, *cause);
            }
            NodeSays::BundlesPrepared {
                group,
                attempt,
                is_granted,
                available,
            } => {
                self.bundles_prepared(from, group, attempt, is_granted, available);
            }
            NodeSays::ActorRecalled { actor, incarnation } => {
                self.actor_recalled(from, actor, incarnation);
            }
            NodeSays::Leaves { reason } => {
                self.node_lost(
                    from,
                    &format!("left the cluster: {reason}"),
                    NodeEnd::Expected,
                );
            }
            NodeSays::Drained { left_behind } => self.drained(from, &left_behind),
            NodeSays::DrainHeard => self.drain_heard(from),
            NodeSays::NotIdle { reason } => self.not_idle(from, &reason),
            NodeSays::Wants(wants) => self.node_wants(from, wants),
            NodeSays::Available { available } => self.resources_available(from, available),
            NodeSays::GroupWanted { group } => self.group_wanted(from, group),
            NodeSays::NodeWanted { node } => self.node_wanted(from, node),
            NodeSays::Reported {
                request,
                node,
                demands,
            } => {
                self.reported(from, request, *node, demands);
            }
        }
    }

    /// A client of a node says something.
    fn on_client(&mut self, client: WorkerId, message: Message) {
        match message {
            Message::CreateActor(create) => self.create_actor(client, *create),
            Message::SubscribeActor(subscribe) => self.subscribe_actor(client, subscribe),
            Message::GetNamedActor(get) => {
                let spec = self.named_actor(&get.namespace, &get.name);
                self.tell(
                    client,
                    NamedActor {
                        request: get.request,
                        spec,
                    },
                );
            }
            Message::ListNamedActors(list) => self.list_named_actors(client, &list),
            Message::KillActor(kill) => self.kill_actor(kill.actor, kill.no_restart),
            Message::ActorOutOfScope(out) => self.actor_out_of_scope(out.actor),
            Message::ActorStarted(started) => self.actor_started(client, started),
            Message::ActorExiting(exiting) => self.actor_exiting(client, exiting),
            Message::KeyValueRequest(request) => self.key_value(client, request),
            Message::StatusRequest(status) => self.ask_status(client, status.request),
            Message::CreateGroup(create) => self.create_group(client, create),
            Message::RemoveGroup(remove) => self.remove_group(remove.group),
            Message::SubscribeGroup(subscribe) => self.subscribe_group(client, subscribe.group),
            Message::GroupsRequest(request) => self.list_groups(client, &request),
            Message::DrainNode(drain) => self.drain_node(client, drain),
            Message::ScalingStatus(status) => self.scaling_status(client, status),
            Message::RequestResources(request) => self.request_resources(request.bundles),
            Message::JobRequest(request) => self.describe_job(client, &request),
            other => tracing::warn!(message = other.name(), "message is not control's business"),
        }
    }

    /// Tells a client something, by way of its node. One that is gone hears nothing.
    fn tell(&mut self, client: WorkerId, message: impl Into<Message>) {
        let Some(home) = self.homes.get(&client) else {
            return;
        };
        let message = Box::new(message.into());
        self.say(*home, ControlSays::Tell { client, message });
    }

    /// Says something to a node; a dead one has no ears.
    fn say(&mut self, node: NodeId, says: ControlSays) {
        if self.nodes.get(&node).is_some_and(Member::is_dead) {
            return;
        }
        self.effects.push(Effect::Say { node, says });
    }

    fn keep(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.effects.push(Effect::Keep(Write { table, key, value }));
    }
}
