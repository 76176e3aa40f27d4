//! Questions that are passed on to processes of the node, and their answers brought together.

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::messages::inquiry::{
    CycleFound, DemandReport, Inquiry, InquiryAnswered, NodeReport, PlacementReport,
    ProcessReported, ReportRequest, WorkerReport, WorkerStage,
};
use whipray_proto::messages::session::Role;
use whipray_proto::{NodeId, WorkerId, limits};

use super::leases::Waiter;
use super::placement::Stage;
use super::timers::{Micros, Timer, micros};
use super::workers::{Link, Work, Worker};
use super::{ClientId, Effect, Node};

/// A question that not everybody has answered.
#[derive(Debug)]
struct Pending {
    asker: ClientId,
    waiting: FxHashSet<ClientId>,
    /// Other nodes that were asked.
    nodes: FxHashSet<NodeId>,
    /// Processes that are meant and not here.
    unknown: Vec<WorkerId>,
    answer: InquiryAnswered,
}

impl Pending {
    fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.nodes.is_empty()
    }
}

/// All such questions.
#[derive(Debug, Default)]
pub struct Inquiries {
    last: u64,
    pending: FxHashMap<u64, Pending>,
    /// Cycles that drivers were told of.
    told: FxHashSet<u64>,
}

impl Node {
    pub(super) fn inquire(&mut self, asker: ClientId, inquiry: Inquiry, now: Micros) {
        let answer = InquiryAnswered {
            request: inquiry.request,
            nodes: inquiry
                .with_node
                .then(|| self.report_node(inquiry.with_ended_workers, now))
                .into_iter()
                .collect(),
            ..InquiryAnswered::default()
        };
        let has_room = self.inquiries.pending.len() < limits::INQUIRIES;
        let (known, unknown): (Vec<WorkerId>, Vec<WorkerId>) = inquiry
            .processes
            .iter()
            .copied()
            .partition(|process| has_room && self.by_worker.contains_key(process));
        let waiting: FxHashSet<ClientId> = if inquiry.processes.is_empty() {
            let is_asked = |client: &ClientId| {
                let client = self.clients.get(client);
                client.is_some_and(|client| matches!(client.role, Role::Driver | Role::Worker))
            };
            self.clients.keys().copied().filter(is_asked).collect()
        } else {
            let clients = known.iter().filter_map(|it| self.by_worker.get(it));
            clients.copied().collect()
        };
        let concerns_others =
            inquiry.processes.is_empty() || !unknown.is_empty() || inquiry.with_node;
        let nodes: FxHashSet<NodeId> = match inquiry.is_for_all && concerns_others {
            true => self.neighbours.ids().collect(),
            false => FxHashSet::default(),
        };
        let pending = Pending {
            asker,
            waiting,
            nodes,
            unknown,
            answer,
        };
        if !has_room || pending.is_complete() {
            return self.send_answer(pending);
        }
        self.inquiries.last += 1;
        let request = self.inquiries.last;
        for client in &pending.waiting {
            let subjects = inquiry.subjects.clone();
            self.send(
                *client,
                ReportRequest {
                    request,
                    subjects,
                    limit: inquiry.limit,
                    ended_limit: inquiry.ended_limit,
                },
            );
        }
        let mut wait = micros(limits::INQUIRY_WAIT);
        if !pending.nodes.is_empty() {
            // Those who wait for their own processes as long answer a moment later.
            wait += wait / 2;
        }
        for node in &pending.nodes {
            let passed_on = Inquiry {
                request,
                is_for_all: false,
                ..inquiry.clone()
            };
            let message = passed_on.into();
            self.effects.push(Effect::ToNode {
                node: *node,
                message,
            });
        }
        self.inquiries.pending.insert(request, pending);
        self.timers.set(now + wait, Timer::Inquiry(request));
    }

    /// Another node says what its processes know.
    pub(super) fn inquiry_answered(&mut self, from: NodeId, answered: InquiryAnswered) {
        let request = answered.request;
        let Some(pending) = self.inquiries.pending.get_mut(&request) else {
            return;
        };
        if !pending.nodes.remove(&from) {
            return;
        }
        let answer = &mut pending.answer;
        answer.processes.extend(answered.processes);
        answer.nodes.extend(answered.nodes);
        // One without a process number is none of its processes.
        let silent = answered.silent.into_iter().filter(|it| it.pid != 0);
        answer.silent.extend(silent);
        if pending.is_complete() {
            self.answer_inquiry(request);
        }
    }

    pub(super) fn process_reported(&mut self, client: ClientId, reported: ProcessReported) {
        let Some(pending) = self.inquiries.pending.get_mut(&reported.request) else {
            return;
        };
        if !pending.waiting.remove(&client) {
            return;
        }
        let mut report = reported.report;
        if let Some(entry) = self.clients.get(&client) {
            report.worker = entry.worker;
            report.pid = entry.pid;
            report.is_driver = entry.role == Role::Driver;
            report.node = self.config.node;
        }
        pending.answer.processes.push(report);
        if pending.is_complete() {
            self.answer_inquiry(reported.request);
        }
    }

    /// Answers with what has come; whoever did not answer is named.
    pub(super) fn answer_inquiry(&mut self, request: u64) {
        if let Some(pending) = self.inquiries.pending.remove(&request) {
            self.send_answer(pending);
        }
    }

    fn send_answer(&mut self, mut pending: Pending) {
        for client in pending.waiting {
            if let Some(entry) = self.clients.get(&client) {
                let worker = self.pool.get(entry.worker);
                pending.answer.silent.push(WorkerReport {
                    pid: entry.pid,
                    name: worker.map_or_else(|| "a driver".to_owned(), |it| self.name_of(it)),
                    ..silent(entry.worker)
                });
            }
        }
        for node in pending.nodes {
            let name = format!("the daemon of node {node}");
            pending.answer.silent.push(WorkerReport {
                name,
                ..silent(WorkerId::from_array(node.to_array()))
            });
        }
        let answer = &mut pending.answer;
        for process in pending.unknown {
            let is_heard = answer.processes.iter().any(|it| it.worker == process)
                || answer.silent.iter().any(|it| it.worker == process);
            if !is_heard {
                answer.silent.push(silent(process));
            }
        }
        self.send(pending.asker, pending.answer);
    }

    /// A client is gone: nobody waits for its answer, or its own question.
    pub(super) fn forget_inquiries_of(&mut self, client: ClientId) {
        let inquiries = &mut self.inquiries.pending;
        inquiries.retain(|_, pending| pending.asker != client);
        let mut complete = Vec::new();
        for (request, pending) in inquiries {
            if pending.waiting.remove(&client) && pending.is_complete() {
                complete.push(*request);
            }
        }
        for request in complete {
            self.answer_inquiry(request);
        }
    }

    /// A node is gone: nobody waits for its answer.
    pub(super) fn forget_inquiries_to(&mut self, node: NodeId) {
        let mut complete = Vec::new();
        for (request, pending) in &mut self.inquiries.pending {
            if pending.nodes.remove(&node) && pending.is_complete() {
                complete.push(*request);
            }
        }
        for request in complete {
            self.answer_inquiry(request);
        }
    }

    /// Processes wait for each other: the driver of their job hears it, once for each cycle.
    pub(super) fn cycle_found(&mut self, cycle: &CycleFound) {
        let driver = self.jobs.get(&cycle.job).map(|job| job.driver);
        if let Some(driver) = driver.filter(|it| self.neighbours.node_of(*it).is_some()) {
            // The members of a cycle may be on several nodes: that of the driver tells them apart.
            return self.send(driver, cycle.clone());
        }
        if self.inquiries.told.len() >= limits::INQUIRIES {
            self.inquiries.told.clear();
        }
        if !self.inquiries.told.insert(cycle.signature) {
            return;
        }
        let text = format!(
            "these wait for each other, and none of them will ever go on:\n    {}\nGive one of \
             them a timeout, or have it return a reference instead of waiting for the value.",
            cycle.members.join("\n    ")
        );
        tracing::warn!(text, "wait-for cycle");
        self.warn_driver(cycle.job, text);
    }

    fn report_node(&self, with_ended_workers: bool, now: Micros) -> NodeReport {
        NodeReport {
            node: self.config.node,
            ip: self.config.node_ip.clone(),
            total: self.ledger.total().clone(),
            available: self.ledger.available().clone(),
            workers: self
                .pool
                .iter()
                .map(|(worker, entry)| WorkerReport {
                    age_us: now.saturating_sub(entry.spawned_at),
                    ..self.report_worker(worker, entry)
                })
                .collect(),
            demands: self.report_demands(now),
            placements: self.report_placements(now),
            ended: match with_ended_workers {
                true => self.obituaries.ended_of(&self.config.node, now),
                false => Vec::new(),
            },
        }
    }

    pub(super) fn report_worker(&self, worker: WorkerId, entry: &Worker) -> WorkerReport {
        let holder = |client: &ClientId| self.clients.get(client).map(|client| client.worker);
        let mut report = WorkerReport {
            worker,
            pid: entry.pid.unwrap_or(0),
            name: self.name_of(entry),
            job: entry.job,
            ..WorkerReport::default()
        };
        let (stage, hold) = match &entry.work {
            Work::Idle { .. } if entry.link == Link::Starting => (WorkerStage::Starting, None),
            Work::Idle { .. } => (WorkerStage::Idle, None),
            Work::Leased { owner, hold, .. } => {
                report.holder = holder(owner);
                (WorkerStage::Leased, Some(hold))
            }
            Work::Actor { actor, hold, .. } => {
                report.actor = Some(*actor);
                (WorkerStage::Actor, Some(hold))
            }
        };
        if let Some(hold) = hold {
            report.resources = hold.assignment.resources.clone();
            report.is_blocked = hold.is_blocked;
        }
        let is_ending = entry.verdict.is_some() || matches!(entry.link, Link::Lost { .. });
        report.stage = if is_ending {
            WorkerStage::Ending
        } else {
            stage
        } as i32;
        report
    }

    fn report_demands(&self, now: Micros) -> Vec<DemandReport> {
        let demands = self.demands.iter();
        let of_classes = demands.filter_map(|(waiter, demand)| {
            let Waiter::Class { owner, class } = *waiter else {
                return None;
            };
            let awaits_worker = self.awaiting.iter().any(|it| it.waiter == *waiter);
            let (reason, is_infeasible) = self.explain_demand(demand);
            Some(DemandReport {
                owner: self.clients.get(&owner)?.worker,
                class,
                resources: demand.resources.clone(),
                held: demand.obtained(),
                wanted: demand.target,
                is_infeasible,
                reason,
                age_us: demand
                    .starved_since
                    .map_or(0, |since| now.saturating_sub(since)),
                example: demand.example.clone(),
                awaits_worker,
            })
        });
        of_classes.collect()
    }

    fn report_placements(&self, now: Micros) -> Vec<PlacementReport> {
        let placements = self.placements.iter();
        let waiting = placements.filter_map(|(actor, placement)| {
            let mut report = PlacementReport {
                actor: *actor,
                class_name: placement.spec.class_name.clone(),
                resources: placement.spec.resources.clone(),
                ..PlacementReport::default()
            };
            match &placement.stage {
                Stage::Waiting {
                    since, infeasible, ..
                } => {
                    report.age_us = now.saturating_sub(*since);
                    (report.reason, report.is_infeasible) =
                        self.explain_placement(&placement.spec, infeasible.as_deref());
                }
                Stage::AwaitsWorker => {}
                Stage::Runs { .. } => return None,
            }
            Some(report)
        });
        waiting.collect()
    }
}

fn silent(worker: WorkerId) -> WorkerReport {
    WorkerReport {
        worker,
        stage: WorkerStage::Client as i32,
        ..WorkerReport::default()
    }
}
