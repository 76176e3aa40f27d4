//! Scenarios: a cluster as control would tell of it, instances as a provider would list them.

mod demand;
mod failures;
mod groups;
mod idle;

use std::collections::BTreeMap;
use std::time::Duration;

use whipray_proto::link::NodeState;
use whipray_proto::messages::scaling::{ScalingNode, ScalingStatus, ScalingView, Want};
use whipray_proto::resources::{CPU, GPU};
use whipray_proto::{NodeId, Resources};

use super::{Effect, Micros, Scaler};
use crate::config::{ConfigError, ScalingConfig};
use crate::provider::{Instance, LaunchFailure};

pub const SECOND: Micros = 1_000_000;

pub fn cpus(amount: f64) -> Resources {
    Resources::none().with(CPU, amount)
}

pub fn gpus(amount: f64) -> Resources {
    Resources::none().with(GPU, amount)
}

pub fn want(resources: Resources, count: u32) -> Want {
    Want {
        resources,
        strategy: None,
        count,
    }
}

pub fn id(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

/// An autoscaler with everything around it.
pub struct Stage {
    pub scaler: Scaler,
    pub config: ScalingConfig,
    pub view: ScalingView,
    pub now: Micros,
    pub instances: Vec<Instance>,
    /// Drains that were asked for and not answered.
    pub drains: Vec<(u64, NodeId)>,
    pub status: ScalingStatus,
    /// Launches that the provider has not begun.
    pub launches: Vec<(u64, String)>,
    last_node: u8,
}

impl Stage {
    /// A head with one CPU. `keys` and `types` as a user would write them.
    pub fn new(keys: &str, types: &str) -> Result<Self, ConfigError> {
        let config = ScalingConfig::parse(&format!(
            "
provider: {{type: fake_multinode}}
head_node_type: head
{keys}
available_node_types:
  head: {{resources: {{CPU: 1}}}}
{types}
"
        ))?;
        let head = ScalingNode {
            node: id(1),
            node_type: "head".to_owned(),
            total: cpus(1.0),
            available: cpus(1.0),
            is_head: true,
            busy: "1 drivers".to_owned(),
            ..ScalingNode::default()
        };
        let mut stage = Self {
            scaler: Scaler::new(config.clone(), Duration::from_secs(60), 0),
            config,
            view: ScalingView {
                nodes: vec![head],
                ..ScalingView::default()
            },
            now: 0,
            instances: Vec::new(),
            drains: Vec::new(),
            status: ScalingStatus::default(),
            launches: Vec::new(),
            last_node: 1,
        };
        stage.scaler.on_start();
        stage.look();
        Ok(stage)
    }

    /// Tells of the cluster as it is; what is to be launched by now, by type.
    pub fn look(&mut self) -> BTreeMap<String, usize> {
        self.scaler.on_view(self.view.clone(), self.now);
        self.carry_out()
    }

    /// The provider tells of its instances.
    pub fn list(&mut self, failures: Vec<LaunchFailure>) -> BTreeMap<String, usize> {
        let instances = self.instances.clone();
        self.scaler.on_instances(instances, failures, self.now);
        self.carry_out()
    }

    fn carry_out(&mut self) -> BTreeMap<String, usize> {
        let mut effects = Vec::new();
        self.scaler.take_effects(&mut effects);
        let mut launched: BTreeMap<String, usize> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Launch { node_type, launch } => {
                    let name = self.config.types[node_type].name.clone();
                    *launched.entry(name.clone()).or_default() += 1;
                    self.launches.push((launch, name));
                }
                Effect::Drain { request, node, .. } => self.drains.push((request, node)),
                Effect::Terminate { instance } => self.instances.retain(|it| it.id != instance),
                Effect::Report(status) => self.status = status,
            }
        }
        launched
    }

    /// All launches become instances, and their nodes join, idle.
    pub fn join_all(&mut self) -> BTreeMap<String, usize> {
        for (launch, name) in std::mem::take(&mut self.launches) {
            let instance = format!("{name}-{launch}");
            self.instances.push(Instance {
                id: instance.clone(),
                node_type: name.clone(),
                launch: Some(launch),
            });
            self.join(&instance, &name);
        }
        let mut launched = self.list(Vec::new());
        for (name, count) in self.look() {
            *launched.entry(name).or_default() += count;
        }
        launched
    }

    pub fn join(&mut self, instance: &str, name: &str) {
        self.last_node += 1;
        let mut types = self.config.types.iter();
        let Some(node_type) = types.find(|it| it.name == name) else {
            return;
        };
        self.view.nodes.push(ScalingNode {
            node: id(self.last_node),
            instance: instance.to_owned(),
            node_type: name.to_owned(),
            total: node_type.resources.clone(),
            available: node_type.resources.clone(),
            labels: node_type.labels.clone(),
            ..ScalingNode::default()
        });
    }

    /// Time passes, with looks at both.
    pub fn pass(&mut self, time: Micros) -> BTreeMap<String, usize> {
        self.now += time;
        let mut launched = self.list(Vec::new());
        for (name, count) in self.look() {
            *launched.entry(name).or_default() += count;
        }
        launched
    }

    /// The node of a type that came so-and-so many-th.
    pub fn node(&mut self, name: &str, index: usize) -> &mut ScalingNode {
        let nodes = self.view.nodes.iter_mut();
        let mut of_type = nodes.filter(|node| node.node_type == name);
        of_type
            .nth(index)
            .unwrap_or_else(|| panic!("node {index} of type {name}"))
    }

    pub fn occupy(&mut self, name: &str, index: usize) {
        let node = self.node(name, index);
        node.available = Resources::none();
        node.busy = "1 leases of workers".to_owned();
    }

    /// Control drains what it was asked to, and the nodes leave.
    pub fn drain_all(&mut self) -> Vec<NodeId> {
        let drained: Vec<NodeId> = self.drains.iter().map(|(_, node)| *node).collect();
        for (request, node) in std::mem::take(&mut self.drains) {
            self.scaler.on_drain_answered(request, true, self.now);
            self.set_state(node, NodeState::Draining);
        }
        self.look();
        self.view.nodes.retain(|node| !drained.contains(&node.node));
        self.look();
        drained
    }

    pub fn set_state(&mut self, node: NodeId, state: NodeState) {
        for it in &mut self.view.nodes {
            if it.node == node {
                it.state = state as i32;
            }
        }
    }
}

/// `{"cpu": 2}`
pub fn of<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

pub const CPU_TYPE: &str = "  cpu: {resources: {CPU: 4}}";
pub const BOTH_TYPES: &str = "
  cpu: {resources: {CPU: 4}}
  gpu: {resources: {CPU: 4, GPU: 2}, labels: {zone: a}}";
