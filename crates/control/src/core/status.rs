//! The state of the cluster, for people: every node reports, and what is late is left out.

use whipray_proto::link::ControlSays;
use whipray_proto::messages::cluster::{ActorStatus, NodeStatus, PendingDemand, StatusReply};
use whipray_proto::{NodeId, Resources, WorkerId, limits};

use super::Control;
use super::groups::Group;
use super::health::micros;

/// A question that waits for the reports of nodes.
#[derive(Clone, Debug)]
pub struct StatusQuestion {
    pub client: WorkerId,
    request: u64,
    unheard: Vec<NodeId>,
    demands: Vec<PendingDemand>,
    deadline_us: u64,
}

impl Control {
    pub(super) fn ask_status(&mut self, client: WorkerId, request: u64) {
        self.last_question += 1;
        let unheard = self.alive_nodes();
        let question = StatusQuestion {
            client,
            request,
            unheard: unheard.clone(),
            demands: Vec::new(),
            deadline_us: self.now_us.saturating_add(micros(limits::STATUS_WAIT)),
        };
        let request = self.last_question;
        self.questions.insert(request, question);
        for node in unheard {
            self.say(node, ControlSays::Report { request });
        }
        self.answer_if_heard(request);
    }

    pub(super) fn reported(
        &mut self,
        node: NodeId,
        question: u64,
        status: NodeStatus,
        demands: Vec<PendingDemand>,
    ) {
        let available = status.available.clone();
        if let Some(member) = self.nodes.get_mut(&node) {
            let known = std::mem::take(&mut member.status.available);
            member.status = NodeStatus {
                available: known,
                ..status
            };
        }
        self.note_available(node, available);
        if let Some(entry) = self.questions.get_mut(&question) {
            entry.unheard.retain(|unheard| *unheard != node);
            entry.demands.extend(demands);
        }
        self.answer_if_heard(question);
    }

    /// A node is dead: nobody waits for its report.
    pub(super) fn reports_without(&mut self, node: NodeId) {
        for question in self.questions.values_mut() {
            question.unheard.retain(|unheard| *unheard != node);
        }
        let mut questions: Vec<u64> = self.questions.keys().copied().collect();
        questions.sort_unstable();
        for question in questions {
            self.answer_if_heard(question);
        }
    }

    /// Answers the questions that have waited long enough.
    pub(super) fn answer_late_questions(&mut self) {
        let late = self.questions.iter();
        let late = late.filter(|(_, question)| question.deadline_us <= self.now_us);
        let mut late: Vec<u64> = late.map(|(question, _)| *question).collect();
        late.sort_unstable();
        for question in late {
            self.answer_status(question);
        }
    }

    pub(super) fn next_answer_us(&self) -> Option<u64> {
        let questions = self.questions.values();
        questions.map(|question| question.deadline_us).min()
    }

    fn answer_if_heard(&mut self, question: u64) {
        let entry = self.questions.get(&question);
        if entry.is_some_and(|entry| entry.unheard.is_empty()) {
            self.answer_status(question);
        }
    }

    fn answer_status(&mut self, question: u64) {
        let Some(question) = self.questions.remove(&question) else {
            return;
        };
        let mut demands = question.demands;
        demands.extend(self.pending_groups().into_iter().map(pending_group));
        demands.extend(self.pending_actors());
        let mut actors: Vec<ActorStatus> = self
            .actors
            .values()
            .map(|actor| actor.status(self.now_us))
            .collect();
        actors.sort_unstable_by_key(|actor| actor.actor);
        let jobs = self.jobs.values().chain(&self.past_jobs);
        let mut jobs: Vec<_> = jobs.map(|job| job.status(self.now_us)).collect();
        jobs.sort_unstable_by_key(|job| job.description.job);
        let nodes = self.nodes.values();
        let reply = StatusReply {
            request: question.request,
            nodes: nodes.map(|member| member.shown(self.now_us)).collect(),
            demands,
            actors,
            jobs,
            version: self.version.clone(),
            cluster_address: self.cluster_address.clone(),
            scaling: self.scaling_shown(),
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
