//! Instances and launches, from the request to the end.
//!
//! A launch is *requested* until its instance is listed or it has failed. An instance is *starting*
//! until its node joins, *there* while its node is, and *leaving* once it was told to end, until it
//! is listed no more. One whose node is lost for other reasons may come back for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use whipray_proto::NodeId;
use whipray_proto::link::NodeState;
use whipray_proto::messages::scaling::ScalingView;

use super::{Micros, micros};
use crate::config::ScalingConfig;
use crate::provider::{Instance, InstanceId};

/// How long a node that is lost may take to join again before its instance is ended.
const RETURN_WAIT: Duration = Duration::from_secs(30);

/// How long a node that has come is believed to have room for what it was started for: that is being
/// put there, and what is told of it and of the node is of different moments.
pub const SETTLE: Duration = Duration::from_secs(3);

/// The pause after a launch of a type has failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A launch of which no instance is known yet.
#[derive(Clone, Copy, Debug)]
struct Request {
    kind: usize,
    since: Micros,
}

/// One instance.
#[derive(Clone, Debug)]
struct Tracked {
    kind: usize,
    launch: Option<u64>,
    since: Micros,
    node: Option<NodeId>,
    has_joined: bool,
    joined_at: Micros,
    /// Since when its node is not there any more.
    lost_since: Option<Micros>,
    is_leaving: bool,
}

/// That launches of a type have failed.
#[derive(Clone, Debug, Default)]
struct Pause {
    failures: u32,
    until: Micros,
    reason: String,
}

/// What a list of instances tells.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that are none of any type that there is.
    pub leftovers: Vec<InstanceId>,
    /// Those that are gone before their node has joined, with their type.
    pub vanished: Vec<(usize, InstanceId)>,
}

/// All of them.
#[derive(Debug)]
pub struct Fleet {
    last_launch: u64,
    requested: BTreeMap<u64, Request>,
    instances: BTreeMap<InstanceId, Tracked>,
    pauses: Vec<Pause>,
}

impl Fleet {
    pub fn new(types: usize) -> Self {
        Self {
            last_launch: 0,
            requested: BTreeMap::new(),
            instances: BTreeMap::new(),
            pauses: vec![Pause::default(); types],
        }
    }

    /// A new launch's number.
    pub fn request(&mut self, kind: usize, now: Micros) -> u64 {
        self.last_launch += 1;
        let request = Request { kind, since: now };
        self.requested.insert(self.last_launch, request);
        self.last_launch
    }

    /// A launch came to nothing; the type that it was of, where anybody still waits for it.
    pub fn launch_failed(&mut self, launch: u64) -> Option<usize> {
        let listed = self
            .instances
            .iter()
            .find(|(_, it)| it.launch == Some(launch));
        let listed = listed.map(|(id, it)| (id.clone(), it.kind, it.has_joined));
        match listed {
            Some((_, _, true)) => None,
            Some((id, kind, false)) => {
                self.instances.remove(&id);
                Some(kind)
            }
            None => self.requested.remove(&launch).map(|request| request.kind),
        }
    }

    /// What the provider lists.
    pub fn on_instances(
        &mut self,
        listed: Vec<Instance>,
        config: &ScalingConfig,
        now: Micros,
    ) -> Listed {
        let mut news = Listed::default();
        self.instances.retain(|id, tracked| {
            let is_listed = listed.iter().any(|instance| instance.id == *id);
            if !is_listed && !tracked.has_joined && !tracked.is_leaving {
                news.vanished.push((tracked.kind, id.clone()));
            }
            is_listed
        });
        for instance in listed {
            if let Some(launch) = instance.launch {
                self.requested.remove(&launch);
            }
            if self.instances.contains_key(&instance.id) {
                continue;
            }
            let mut kinds = config.types.iter();
            let kind = kinds.position(|it| it.name == instance.node_type);
            let Some(kind) = kind else {
                news.leftovers.push(instance.id);
                continue;
            };
            self.instances.insert(
                instance.id,
                Tracked {
                    kind,
                    launch: instance.launch,
                    since: now,
                    node: None,
                    has_joined: false,
                    joined_at: 0,
                    lost_since: None,
                    is_leaving: false,
                },
            );
        }
        news
    }

    pub fn on_view(&mut self, view: &ScalingView, now: Micros) {
        for (id, tracked) in &mut self.instances {
            let mut nodes = view.nodes.iter();
            match nodes.find(|node| node.instance == *id) {
                Some(node) => {
                    tracked.node = Some(node.node);
                    tracked.lost_since = None;
                    if !tracked.has_joined {
                        tracked.has_joined = true;
                        tracked.joined_at = now;
                        self.pauses[tracked.kind] = Pause::default();
                    }
                }
                None if tracked.has_joined => {
                    tracked.lost_since.get_or_insert(now);
                }
                None => {}
            }
        }
    }

    /// A launch of this type has failed.
    pub fn back_off(&mut self, kind: usize, reason: String, now: Micros) {
        let pause = &mut self.pauses[kind];
        let length = FIRST_PAUSE.saturating_mul(1 << pause.failures.min(16));
        pause.failures += 1;
        pause.until = now + micros(length.min(LONGEST_PAUSE));
        pause.reason = reason;
    }

    /// Instances that have been starting for longer than this; they are leaving from now on.
    pub fn take_late(&mut self, wait: Micros, now: Micros) -> Vec<(usize, InstanceId)> {
        let is_late = |it: &&mut Tracked| {
            !it.has_joined && !it.is_leaving && now >= it.since.saturating_add(wait)
        };
        let mut late = Vec::new();
        for (id, tracked) in &mut self.instances {
            if is_late(&&mut *tracked) {
                tracked.is_leaving = true;
                late.push((tracked.kind, id.clone()));
            }
        }
        late
    }

    /// The types of launches that nothing was heard of for longer than this; nobody waits for them
    /// from now on. An instance that comes of one after all is one like any other.
    pub fn take_unheard(&mut self, wait: Micros, now: Micros) -> Vec<usize> {
        let is_late = |_: &u64, request: &mut Request| now >= request.since.saturating_add(wait);
        let late = self.requested.extract_if(.., is_late);
        late.map(|(_, request)| request.kind).collect()
    }

    /// Instances whose node was lost, and did not come back; they are leaving from now on.
    pub fn take_lost(&mut self, now: Micros) -> Vec<InstanceId> {
        let mut lost = Vec::new();
        for (id, tracked) in &mut self.instances {
            let is_over = |since| now >= since + micros(RETURN_WAIT);
            if !tracked.is_leaving && tracked.lost_since.is_some_and(is_over) {
                tracked.is_leaving = true;
                lost.push(id.clone());
            }
        }
        lost
    }

    /// The instances of nodes that have left the cluster; they are leaving from now on.
    pub fn of_nodes_gone(&mut self, nodes: &[NodeId]) -> Vec<InstanceId> {
        let mut gone = Vec::new();
        for (id, tracked) in &mut self.instances {
            let is_gone = tracked.node.is_some_and(|node| nodes.contains(&node));
            if is_gone && !tracked.is_leaving {
                tracked.is_leaving = true;
                gone.push(id.clone());
            }
        }
        gone
    }

    /// The type of the instance, where it is one of ours and is not to end.
    pub fn kind_of(&self, instance: &str) -> Option<usize> {
        let tracked = self.instances.get(instance)?;
        (!tracked.is_leaving).then_some(tracked.kind)
    }

    /// Whether its node has just come.
    pub fn is_fresh(&self, instance: &str, now: Micros) -> bool {
        let tracked = self.instances.get(instance);
        tracked.is_some_and(|it| it.has_joined && now < it.joined_at + micros(SETTLE))
    }

    /// All of a type that take room, in whatever state.
    pub fn count(&self, kind: usize) -> u32 {
        let requested = self.requested.values().filter(|it| it.kind == kind).count();
        let instances = self.instances.values().filter(|it| it.kind == kind);
        (requested + instances.count()) as u32
    }

    /// All of any type.
    pub fn total(&self) -> u32 {
        (self.requested.len() + self.instances.len()) as u32
    }

    /// Those of a type whose node is to come.
    pub fn starting(&self, kind: usize) -> u32 {
        let requested = self.requested.values().filter(|it| it.kind == kind).count();
        let starts = |it: &&Tracked| it.kind == kind && !it.has_joined && !it.is_leaving;
        (requested + self.instances.values().filter(starts).count()) as u32
    }

    /// Those of a type whose node is there, as far as is known.
    pub fn running(&self, kind: usize) -> u32 {
        let runs = |it: &&Tracked| {
            it.kind == kind && it.has_joined && !it.is_leaving && it.lost_since.is_none()
        };
        self.instances.values().filter(runs).count() as u32
    }

    /// Whether something is on its way, or on its way out.
    pub fn is_unsettled(&self) -> bool {
        let moves = |it: &Tracked| !it.has_joined || it.is_leaving || it.lost_since.is_some();
        !self.requested.is_empty() || self.instances.values().any(moves)
    }

    /// Whether a launch of a type would have to wait since one has failed.
    pub fn is_paused(&self, kind: usize, now: Micros) -> bool {
        self.pauses.get(kind).is_some_and(|it| now < it.until)
    }

    /// How many more of a type there may be.
    pub fn room(&self, kind: usize, config: &ScalingConfig) -> u32 {
        let most = config.types.get(kind).map_or(0, |it| it.max_workers);
        most.saturating_sub(self.count(kind))
    }

    /// Why none of a type is started, as a sentence; empty where one would be.
    pub fn obstacle(&self, kind: usize, config: &ScalingConfig) -> String {
        let pause = self.pauses.get(kind).filter(|it| it.failures > 0);
        if let Some(pause) = pause {
            return format!("the last start of one failed: {}", pause.reason);
        }
        if self.room(kind, config) == 0 {
            let most = config.types.get(kind).map_or(0, |it| it.max_workers);
            return format!("there are as many as there may be (max_workers: {most})");
        }
        if self.total() >= config.max_workers {
            let most = config.max_workers;
            return format!("the cluster has as many nodes as it may (max_workers: {most})");
        }
        String::new()
    }
}

/// Whether a node gets new work.
pub fn is_usable(state: i32) -> bool {
    state == NodeState::Alive as i32
}
