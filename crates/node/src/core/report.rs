//! What the node says about itself.

use whipray_proto::link::NodeSays;
use whipray_proto::messages::cluster::{BundleStatus, NodeStatus, PendingDemand};
use whipray_sched::BundleUse;

use super::Node;
use super::placement::Stage;

impl Node {
    pub(super) fn report(&mut self, request: u64) {
        let node = Box::new(self.status());
        let demands = self.pending();
        self.tell_control(NodeSays::Reported {
            request,
            node,
            demands,
        });
    }

    pub(super) fn status(&self) -> NodeStatus {
        let store = self.objects.usage();
        NodeStatus {
            node: self.config.node,
            alive: true,
            ip: self.config.node_ip.clone(),
            hostname: self.config.hostname.clone(),
            endpoint: self.config.endpoint.clone(),
            node_endpoint: self.config.node_endpoint.clone(),
            total: self.ledger.total().clone(),
            available: self.ledger.available().clone(),
            labels: self.config.labels.clone(),
            is_head: self.config.is_head,
            instance: self.config.instance.clone(),
            node_type: self.config.node_type.clone(),
            store_used_bytes: store.used_bytes,
            store_capacity_bytes: store.capacity_bytes,
            workers: self.pool.len() as u32,
            session_directory: self.config.session_directory.clone(),
            store_objects: store.objects,
            bundles: self.ledger.bundle_uses().into_iter().map(status).collect(),
            store_spilled_bytes: store.spilled_bytes,
            store_spilled_objects: store.spilled_objects,
            metrics_port: self.metrics.port().into(),
            goes_after: self.goes_after(),
            ..NodeStatus::default()
        }
    }

    /// Demand that is not served, and why.
    fn pending(&self) -> Vec<PendingDemand> {
        // What another node wants here, its owners want there: it is said by that one.
        let classes = self
            .demands
            .values()
            .filter(|demand| !demand.is_of_node && demand.obtained() < demand.target);
        let classes = classes.map(|demand| {
            let (reason, infeasible) = self.explain_demand(demand);
            PendingDemand {
                resources: demand.resources.clone(),
                count: demand.target - demand.obtained(),
                infeasible,
                reason,
                example: demand.example.clone(),
            }
        });
        let actors = self.placements.values().filter_map(|placement| {
            let Stage::Waiting { infeasible, .. } = &placement.stage else {
                return None;
            };
            let spec = &placement.spec;
            let resources = match infeasible {
                Some(_) => spec.wanted(),
                None => spec.resources.clone(),
            };
            let (reason, infeasible) = self.explain_placement(spec, infeasible.as_deref());
            Some(PendingDemand {
                resources,
                count: 1,
                infeasible,
                reason,
                example: spec.class_name.clone(),
            })
        });
        classes.chain(actors).collect()
    }
}

fn status(used: BundleUse) -> BundleStatus {
    BundleStatus {
        bundle: used.bundle,
        available: used.available,
        users: used.users,
    }
}
