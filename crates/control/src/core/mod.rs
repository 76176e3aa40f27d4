//! The state machine of the cluster: what nodes and their clients say goes in, effects come out.
//!
//! Time does not matter here: nothing that control decides depends on how long something took. It is
//! noted where people want to know.

mod actors;
mod group_placement;
mod group_questions;
mod groups;
mod jobs;
mod key_values;
mod membership;
mod recent;
mod record;
mod status;
mod subscriptions;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::actor::NamedActor;
use whipray_proto::messages::cluster::NodeStatus;
use whipray_proto::{ActorId, JobId, Message, NodeId, PlacementGroupId, WorkerId, limits};

use crate::storage::{Table, Write};
use actors::Actor;
use groups::Group;
use jobs::Job;
use key_values::KeyValues;
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
    nodes: FxHashMap<NodeId, NodeStatus>,
    /// The node of this daemon.
    head: Option<NodeId>,
    /// The node of each process that control knows of.
    homes: FxHashMap<WorkerId, NodeId>,
    jobs: FxHashMap<JobId, Job>,
    last_job: u32,
    actors: FxHashMap<ActorId, Actor>,
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
    /// Nodes say what they have to give.
    watches_nodes: bool,
    /// The time of the event that is being handled, in microseconds of the daemon's clock.
    now_us: u64,
    key_values: KeyValues,
    questions: FxHashMap<u64, StatusQuestion>,
    last_question: u64,
    effects: Vec<Effect>,
}

impl Control {
    /// The control of a new cluster. `version` and `cluster_address` are what status shows.
    pub fn new(version: impl Into<String>, cluster_address: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            cluster_address: cluster_address.into(),
            nodes: FxHashMap::default(),
            head: None,
            homes: FxHashMap::default(),
            jobs: FxHashMap::default(),
            last_job: 0,
            actors: FxHashMap::default(),
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
            watches_nodes: false,
            now_us: 0,
            key_values: KeyValues::default(),
            questions: FxHashMap::default(),
            last_question: 0,
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

    /// A node says something.
    pub fn on_node(&mut self, from: NodeId, says: NodeSays) {
        match says {
            NodeSays::Joined(status) => {
                let key = Bytes::copy_from_slice(&status.node.to_array());
                self.keep(
                    Table::Nodes,
                    key,
                    Some(prost::Message::encode_to_vec(&*status).into()),
                );
                if status.is_head {
                    self.head = Some(from);
                }
                self.nodes.insert(from, *status);
                if self.watches_nodes {
                    self.say(from, watch_resources(true));
                }
                self.place_waiting_groups();
            }
            NodeSays::DriverJoined {
                driver,
                description,
            } => {
                self.homes.insert(driver.worker, from);
                self.driver_joined(driver.worker, *description);
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
                self.actor_pending(actor, incarnation, reason);
            }
            NodeSays::ActorPlaced {
                actor,
                incarnation,
                address,
                pid,
            } => {
                self.actor_placed(actor, incarnation, address, pid);
            }
            NodeSays::ActorEnded {
                actor,
                incarnation,
                cause,
            } => {
                self.actor_ended(actor, incarnation, *cause);
            }
            NodeSays::BundlesPrepared {
                group,
                attempt,
                is_granted,
                available,
            } => {
                self.bundles_prepared(from, group, attempt, is_granted, available);
            }
            NodeSays::ActorRecalled { .. } | NodeSays::Drained => {}
            NodeSays::Available { available } => self.resources_available(from, available),
            NodeSays::GroupWanted { group } => self.group_wanted(from, group),
            NodeSays::Reported {
                request,
                node,
                demands,
            } => {
                self.reported(request, *node, demands);
            }
        }
    }

    /// A client of a node says something.
    fn on_client(&mut self, client: WorkerId, message: Message) {
        match message {
            Message::CreateActor(create) => self.create_actor(client, create),
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

    fn say(&mut self, node: NodeId, says: ControlSays) {
        self.effects.push(Effect::Say { node, says });
    }

    fn keep(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.effects.push(Effect::Keep(Write { table, key, value }));
    }
}

fn watch_resources(is_on: bool) -> ControlSays {
    ControlSays::WatchResources {
        is_on,
        with_decreases: false,
    }
}
