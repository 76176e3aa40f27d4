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
        let classes = classes.map(|demand| PendingDemand {
            resources: demand.resources.clone(),
            count: demand.target - demand.obtained(),
            infeasible: demand.infeasible.is_some(),
            reason: demand
                .infeasible
                .clone()
                .unwrap_or_else(|| self.why_demand_waits(demand)),
            example: demand.example.clone(),
        });
        let actors = self.placements.values().filter_map(|placement| {
            let Stage::Waiting { infeasible, .. } = &placement.stage else {
                return None;
            };
            let (resources, reason) = match infeasible {
                Some(reason) => {
                    let mut wanted = placement.spec.placement.clone();
                    wanted
                        .amounts
                        .extend(placement.spec.resources.amounts.clone());
                    (wanted, reason.clone())
                }
                None => {
                    let wanted = placement.spec.resources.clone();
                    let strategy = placement.spec.strategy.as_deref();
                    let reason = self.why_waits(&wanted, strategy);
                    (wanted, reason)
                }
            };
            Some(PendingDemand {
                resources,
                count: 1,
                infeasible: infeasible.is_some(),
                reason,
                example: placement.spec.class_name.clone(),
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
