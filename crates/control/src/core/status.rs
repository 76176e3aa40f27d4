//! The state of the cluster, for people.

use whipray_proto::link::ControlSays;
use whipray_proto::messages::cluster::{ActorStatus, NodeStatus, PendingDemand, StatusReply};
use whipray_proto::{Resources, WorkerId};

use super::Control;
use super::groups::Group;

/// A question that waits for the node's report.
#[derive(Clone, Copy, Debug)]
pub struct StatusQuestion {
    pub client: WorkerId,
    request: u64,
}

impl Control {
    pub(super) fn ask_status(&mut self, client: WorkerId, request: u64) {
        self.last_question += 1;
        self.questions
            .insert(self.last_question, StatusQuestion { client, request });
        let request = self.last_question;
        for node in self.alive_nodes() {
            self.say(node, ControlSays::Report { request });
        }
    }

    pub(super) fn reported(
        &mut self,
        question: u64,
        node: NodeStatus,
        mut demands: Vec<PendingDemand>,
    ) {
        self.nodes.insert(node.node, node);
        let Some(question) = self.questions.remove(&question) else {
            return;
        };
        demands.extend(self.pending_groups().into_iter().map(pending_group));
        let mut actors: Vec<ActorStatus> = self
            .actors
            .values()
            .map(super::actors::Actor::status)
            .collect();
        actors.sort_unstable_by_key(|actor| actor.actor);
        let jobs = self.jobs.values().filter(|job| !job.is_over);
        let mut jobs: Vec<_> = jobs.map(|job| job.description.clone()).collect();
        jobs.sort_unstable_by_key(|job| job.job);
        let reply = StatusReply {
            request: question.request,
            nodes: self.nodes.values().cloned().collect(),
            demands,
            actors,
            jobs,
            version: self.version.clone(),
            cluster_address: self.cluster_address.clone(),
        };
        self.tell(question.client, reply);
    }
}

/// A placement group without room, as demand that is not served.
fn pending_group((group, reason, infeasible): (&Group, &str, bool)) -> PendingDemand {
    let mut resources = Resources::none();
    for bundle in &group.spec.bundles {
        resources.add(&bundle.resources);
    }
    PendingDemand {
        resources,
        count: 1,
        infeasible,
        reason: reason.to_owned(),
        example: format!("placement group {}", group.spec.group),
    }
}
