//! Placement groups: from their creation to their end.
//!
//! | state | shown as | where it is found |
//! | --- | --- | --- |
//! | `Waits` | PENDING, RESCHEDULING | in `groups` and `waiting_groups` |
//! | `Prepares` | PENDING, RESCHEDULING | in `groups`; after a first try that failed also in `waiting_groups`. Its nodes were asked, and not all have answered |
//! | `Stands` | CREATED | in `groups`; its bundles serve on their nodes |
//! | `Removed` | REMOVED | in `groups` and `buried_groups`, until too many later ones are there |

use bytes::Bytes;
use whipray_proto::ids::PlacementGroupId;
use whipray_proto::link::ControlSays;
use whipray_proto::messages::placement::{CreateGroup, GroupCreated, GroupStatus, GroupUpdate};
use whipray_proto::scheduling::{GroupSpec, GroupState};
use whipray_proto::{ActorId, JobId, NodeId, Resources, WorkerId, limits};

use super::Control;
use super::record::GroupRecord;
use crate::storage::Table;

/// Where a group stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// For room, or for a node that could have it.
    Waits {
        reason: String,
        is_infeasible: bool,
    },
    /// `plan`: the bundles of this attempt with their nodes. `unheard`: nodes that have not
    /// answered. `granted`: those that have set their bundles aside.
    Prepares {
        plan: Vec<(u32, NodeId)>,
        unheard: Vec<NodeId>,
        granted: Vec<NodeId>,
        is_refused: bool,
    },
    Stands,
    Removed,
}

/// One group, removed or not.
#[derive(Clone, Debug)]
pub struct Group {
    pub spec: GroupSpec,
    pub standing: Standing,
    /// The nodes of the bundles that serve.
    pub nodes: Vec<Option<NodeId>>,
    /// How often nodes were looked for.
    pub attempt: u32,
    /// It stood before, and lost nodes.
    pub was_created: bool,
    pub subscribers: Vec<WorkerId>,
    /// Nodes without all of its bundles on which someone wants to know where they are.
    pub askers: Vec<NodeId>,
    /// In microseconds of the daemon's clock.
    pub requested_us: u64,
    pub attempted_us: u64,
    pub created_us: u64,
}

impl Group {
    pub fn state(&self) -> GroupState {
        match &self.standing {
            Standing::Stands => GroupState::Created,
            Standing::Removed => GroupState::Removed,
            Standing::Waits { .. } | Standing::Prepares { .. } if self.was_created => {
                GroupState::Rescheduling
            }
            Standing::Waits { .. } | Standing::Prepares { .. } => GroupState::Pending,
        }
    }

    fn update(&self) -> GroupUpdate {
        GroupUpdate {
            group: self.spec.group,
            state: self.state() as i32,
        }
    }

    /// The nodes that have something to do with it, and what is reserved on which of them.
    fn concerned(&self) -> (Vec<NodeId>, Vec<(NodeId, Resources)>) {
        let mut nodes = self.askers.clone();
        let mut reserved = Vec::new();
        for (place, bundle) in self.nodes.iter().zip(&self.spec.bundles) {
            if let Some(node) = place {
                nodes.push(*node);
                reserved.push((*node, bundle.resources.clone()));
            }
        }
        if let Standing::Prepares { plan, .. } = &self.standing {
            for (index, node) in plan {
                nodes.push(*node);
                if let Some(bundle) = self.spec.bundles.get(*index as usize) {
                    reserved.push((*node, bundle.resources.clone()));
                }
            }
        }
        (nodes, reserved)
    }

    pub fn status(&self) -> GroupStatus {
        let (reason, infeasible) = match &self.standing {
            Standing::Waits {
                reason,
                is_infeasible,
            } => (reason.clone(), *is_infeasible),
            _ => (String::new(), false),
        };
        let has_nodes = self.nodes.iter().any(Option::is_some);
        let nodes = self.nodes.iter();
        GroupStatus {
            spec: self.spec.clone(),
            state: self.state() as i32,
            nodes: if has_nodes {
                nodes.map(|node| node.unwrap_or_else(NodeId::nil)).collect()
            } else {
                Vec::new()
            },
            reason,
            infeasible,
            attempts: self.attempt,
            creation_us: self.created_us.saturating_sub(self.requested_us),
            scheduling_us: self.created_us.saturating_sub(self.attempted_us),
        }
    }
}

impl Control {
    pub(super) fn create_group(&mut self, client: WorkerId, create: CreateGroup) {
        let CreateGroup { request, spec } = create;
        let group = spec.group;
        let mut error = String::new();
        let name = (spec.namespace.clone(), spec.name.clone());
        if !spec.name.is_empty() && self.group_names.contains_key(&name) {
            error = format!("name '{}' already exists.", spec.name);
        } else if self.groups.contains_key(&group) || self.removed_groups.contains(&group) {
            error = format!("a group with the id {group} exists already.");
        }
        let is_wrong = !error.is_empty();
        if request != 0 {
            self.tell(client, GroupCreated { request, error });
        }
        if is_wrong {
            return;
        }
        if self.gone.contains(&client) || self.is_over(spec.job) && !spec.detached {
            return self.removed_groups.insert(group);
        }
        if !spec.name.is_empty() {
            self.group_names.insert(name, group);
        }
        let subscribers = self.wanted_groups.remove(&group).unwrap_or_default();
        let askers = self.wanting_nodes.remove(&group).unwrap_or_default();
        let entry = Group {
            nodes: vec![None; spec.bundles.len()],
            spec,
            standing: Standing::Waits {
                reason: String::new(),
                is_infeasible: false,
            },
            attempt: 0,
            was_created: false,
            subscribers,
            askers,
            requested_us: self.now_us,
            attempted_us: self.now_us,
            created_us: 0,
        };
        self.groups.insert(group, entry);
        self.subscribe_to_group(client, group);
        self.place_group(group);
        self.keep_group(group);
    }

    fn is_over(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(|job| job.is_over)
    }

    pub(super) fn subscribe_to_group(&mut self, client: WorkerId, group: PlacementGroupId) {
        if let Some(entry) = self.groups.get_mut(&group)
            && !entry.subscribers.contains(&client)
        {
            entry.subscribers.push(client);
        }
    }

    /// A client wants to hear of a group. One that was not created yet may still be on its way:
    /// the client waits with it, as long as its job lives.
    pub(super) fn subscribe_group(&mut self, client: WorkerId, group: PlacementGroupId) {
        if let Some(entry) = self.groups.get(&group) {
            let update = entry.update();
            self.subscribe_to_group(client, group);
            return self.tell(client, update);
        }
        if self.may_come(group) {
            let waiting = self.wanted_groups.entry(group).or_default();
            if !waiting.contains(&client) {
                waiting.push(client);
            }
            return;
        }
        let state = GroupState::Removed as i32;
        self.tell(client, GroupUpdate { group, state });
    }

    /// Whether an unknown group may be created yet.
    pub(super) fn may_come(&self, group: PlacementGroupId) -> bool {
        !self.removed_groups.contains(&group) && !self.is_over(group.job())
    }

    /// Someone on a node waits for a group of which the node knows nothing.
    pub(super) fn group_wanted(&mut self, node: NodeId, group: PlacementGroupId) {
        let known = self.groups.get_mut(&group);
        if let Some(entry) = known.filter(|entry| entry.standing != Standing::Removed) {
            if !entry.askers.contains(&node) {
                entry.askers.push(node);
            }
            if entry.state() == GroupState::Created {
                self.say_where_group_is(group, &[node]);
            }
        } else if !self.groups.contains_key(&group) && self.may_come(group) {
            // Its creator may die before it creates it: then the end of its job tells.
            let nodes = self.wanting_nodes.entry(group).or_default();
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        } else {
            self.say(node, ControlSays::RemoveGroup { group });
        }
    }

    /// Ends a group; one that is not there, or ended before, is no error.
    pub(super) fn remove_group(&mut self, group: PlacementGroupId) {
        let Some(entry) = self.groups.get_mut(&group) else {
            return;
        };
        if entry.standing == Standing::Removed {
            return;
        }
        let (nodes, promised) = entry.concerned();
        entry.standing = Standing::Removed;
        entry.askers = Vec::new();
        let name = (entry.spec.namespace.clone(), entry.spec.name.clone());
        if self.group_names.get(&name) == Some(&group) {
            self.group_names.remove(&name);
        }
        self.waiting_groups.retain(|waiting| *waiting != group);
        for (node, resources) in promised {
            self.give_back(node, &resources);
        }
        let is_alone = !self.has_several_nodes();
        for node in self.alive_nodes() {
            if is_alone || nodes.contains(&node) {
                self.say(node, ControlSays::RemoveGroup { group });
            }
        }
        self.publish_group(group);
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.subscribers = Vec::new();
        }
        self.keep_group(group);
        self.removed_groups.insert(group);
        self.buried_groups.push_back(group);
        if self.buried_groups.len() > limits::GROUPS_REMEMBERED
            && let Some(oldest) = self.buried_groups.pop_front()
        {
            self.groups.remove(&oldest);
            self.keep(Table::Groups, group_key(oldest), None);
        }
        self.watch_nodes();
        self.place_waiting_actors();
    }

    /// The driver of a job is gone: its groups end, but for the detached ones, and those whose
    /// creator is an actor that lives on.
    pub(super) fn end_groups_of_job(&mut self, job: JobId) {
        let is_over = |group: &&Group| {
            group.spec.job == job && group.standing != Standing::Removed && !group.spec.detached
        };
        let of_job = self.groups.values().filter(is_over);
        let mut ended: Vec<PlacementGroupId> = of_job
            .filter(|group| !self.lives(group.spec.creator))
            .map(|group| group.spec.group)
            .collect();
        ended.sort_unstable();
        for group in ended {
            self.remove_group(group);
        }
        self.give_up_wanted(job);
    }

    /// An actor is dead: groups that it created and that outlived their job end.
    pub(super) fn end_groups_of_creator(&mut self, creator: ActorId) {
        if self.groups.is_empty() {
            return;
        }
        let is_left = |group: &&Group| {
            group.spec.creator == Some(creator)
                && group.standing != Standing::Removed
                && !group.spec.detached
        };
        let left = self.groups.values().filter(is_left);
        let mut ended: Vec<PlacementGroupId> = left
            .filter(|group| self.is_over(group.spec.job))
            .map(|group| group.spec.group)
            .collect();
        ended.sort_unstable();
        for group in ended {
            self.remove_group(group);
        }
    }

    fn lives(&self, creator: Option<ActorId>) -> bool {
        creator.is_some_and(|actor| {
            self.actors
                .get(&actor)
                .is_some_and(|actor| !actor.is_dead())
        })
    }

    /// Nobody creates groups of a job that is over: those who wait for one hear of it.
    fn give_up_wanted(&mut self, job: JobId) {
        let of_job = |group: &&PlacementGroupId| group.job() == job;
        let mut wanted: Vec<PlacementGroupId> = self.wanted_groups.keys().copied().collect();
        wanted.extend(self.wanting_nodes.keys().copied());
        wanted.sort_unstable();
        wanted.dedup();
        for group in wanted.iter().filter(of_job) {
            let group = *group;
            for client in self.wanted_groups.remove(&group).unwrap_or_default() {
                let state = GroupState::Removed as i32;
                self.tell(client, GroupUpdate { group, state });
            }
            for node in self.wanting_nodes.remove(&group).unwrap_or_default() {
                self.say(node, ControlSays::RemoveGroup { group });
            }
        }
        self.place_waiting_actors();
    }

    /// A process is gone, and hears of no group any more.
    pub(super) fn unsubscribe_from_groups(&mut self, process: WorkerId) {
        if self.groups.is_empty() && self.wanted_groups.is_empty() {
            return;
        }
        for group in self.groups.values_mut() {
            group.subscribers.retain(|known| *known != process);
        }
        self.wanted_groups.retain(|_, clients| {
            clients.retain(|client| *client != process);
            !clients.is_empty()
        });
    }

    /// Sends the state of a group to all who want to hear of it.
    pub(super) fn publish_group(&mut self, group: PlacementGroupId) {
        let Some(entry) = self.groups.get(&group) else {
            return;
        };
        let update = entry.update();
        let askers = entry.askers.clone();
        for subscriber in entry.subscribers.clone() {
            self.tell(subscriber, update.clone());
        }
        self.say_where_group_is(group, &askers);
    }

    /// Tells nodes where the bundles of a group lie; one that is alone has them all.
    fn say_where_group_is(&mut self, group: PlacementGroupId, hearers: &[NodeId]) {
        let Some(entry) = self.groups.get(&group) else {
            return;
        };
        if entry.standing == Standing::Removed || !self.has_several_nodes() {
            return;
        }
        let places = entry.nodes.iter();
        let nodes: Vec<NodeId> = places
            .map(|node| node.unwrap_or_else(NodeId::nil))
            .collect();
        for hearer in hearers {
            let nodes = nodes.clone();
            self.say(*hearer, ControlSays::GroupPlaced { group, nodes });
        }
    }

    pub(super) fn keep_group(&mut self, group: PlacementGroupId) {
        let Some(entry) = self.groups.get(&group) else {
            return;
        };
        let record = GroupRecord {
            spec: entry.spec.clone(),
            state: entry.state() as i32,
            nodes: entry.status().nodes,
        };
        let value = prost::Message::encode_to_vec(&record).into();
        self.keep(Table::Groups, group_key(group), Some(value));
    }
}

fn group_key(group: PlacementGroupId) -> Bytes {
    Bytes::copy_from_slice(&group.to_array())
}
