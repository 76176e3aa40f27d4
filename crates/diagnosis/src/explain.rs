//! Why something is where it is, step by step: from what was asked about to what it waits for in
//! the end.

use bytes::Bytes;
use rustc_hash::FxHashSet;
use whipray_proto::messages::actor::ActorState;
use whipray_proto::messages::cluster::{ActorStatus, StatusReply};
use whipray_proto::messages::inquiry::{
    DemandReport, NodeReport, ObjectAt, ProcessReport, Reason, TaskReport, TaskStage, WorkerReport,
};
use whipray_proto::{ActorId, ObjectId, TaskId, WorkerId};

use crate::Cluster;
use crate::cycle::{cycle_from, find_cycle};
use crate::survey::Survey;

/// Steps that an explanation has at most.
const STEPS: usize = 40;

/// Things of one kind that a step goes on with.
const BRANCHES: usize = 3;

/// One thing that waits, or runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub reason: Reason,
    /// The object, task or actor, in hexadecimal.
    pub subject: String,
    /// For how long, in microseconds, where that is known.
    pub age_us: Option<u64>,
    /// Who decides on it.
    pub authority: String,
    /// What it is and what it waits for, as a sentence.
    pub text: String,
    /// How far it is from what was asked about.
    pub depth: u32,
}

/// The way from what was asked about to what it waits for in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    pub subject: String,
    /// `object`, `task` or `actor`.
    pub kind: &'static str,
    pub steps: Vec<Step>,
    /// The members of the wait-for cycle that it is part of or waits for.
    pub cycle: Vec<String>,
}

/// Explains an object, task or actor by its id. `None` where the bytes are no such id.
pub fn explain(cluster: &mut dyn Cluster, id: &[u8]) -> Option<Explanation> {
    let subject = Bytes::copy_from_slice(id);
    let mut explanation = Explanation {
        subject: whipray_proto::ids::to_hex(id),
        ..Explanation::default()
    };
    if let Some(object) = ObjectId::from_slice(id) {
        let handle = object.task().actor();
        if handle.handle_object() == object {
            return explain(cluster, &handle.to_array());
        }
        explanation.kind = "object";
        let task = Bytes::copy_from_slice(&object.task().to_array());
        let survey = Survey::of_subjects(cluster, vec![subject, task]);
        let status = cluster.status();
        let mut writer = Writer::new(&survey, status.as_ref());
        writer.object(&object, 0);
        explanation.steps = writer.steps;
        explanation.cycle = cycle_of(cluster, &survey, &object.task());
    } else if let Some(task) = TaskId::from_slice(id) {
        explanation.kind = "task";
        let survey = Survey::of_subjects(cluster, vec![subject]);
        let status = cluster.status();
        let mut writer = Writer::new(&survey, status.as_ref());
        writer.task(&task, 0);
        explanation.steps = writer.steps;
        explanation.cycle = cycle_of(cluster, &survey, &task);
    } else if let Some(actor) = ActorId::from_slice(id) {
        explanation.kind = "actor";
        let survey = Survey::of_subjects(cluster, vec![subject]);
        let status = cluster.status();
        let mut writer = Writer::new(&survey, status.as_ref());
        writer.actor(&actor, 0);
        explanation.steps = writer.steps;
    } else {
        return None;
    }
    if let (false, Some(first)) = (explanation.cycle.is_empty(), explanation.steps.first()) {
        let step = Step {
            reason: Reason::Deadlock,
            text: format!(
                "it waits for tasks that wait for each other, and never go on: {}",
                explanation.cycle.join("; ")
            ),
            ..first.clone()
        };
        explanation.steps.insert(0, step);
    }
    Some(explanation)
}

/// The cycle that keeps a task from ever being through; looked for only where one survey shows one.
fn cycle_of(cluster: &mut dyn Cluster, survey: &Survey, task: &TaskId) -> Vec<String> {
    let Some((owner, _)) = survey.tasks.get(task) else {
        return Vec::new();
    };
    let at = ObjectAt {
        object: task.return_id(1),
        owner: *owner,
    };
    let found = cycle_from(survey, &[at]).and_then(|_| find_cycle(cluster, &[at]));
    found.map_or_else(Vec::new, |cycle| cycle.members)
}

/// Writes steps from what was surveyed.
struct Writer<'a> {
    survey: &'a Survey,
    status: Option<&'a StatusReply>,
    steps: Vec<Step>,
    seen: FxHashSet<String>,
}

impl<'a> Writer<'a> {
    fn new(survey: &'a Survey, status: Option<&'a StatusReply>) -> Self {
        Self {
            survey,
            status,
            steps: Vec::new(),
            seen: FxHashSet::default(),
        }
    }

    fn add(
        &mut self,
        reason: Reason,
        subject: &str,
        age_us: Option<u64>,
        authority: String,
        text: String,
        depth: u32,
    ) {
        if self.steps.len() < STEPS {
            self.steps.push(Step {
                reason,
                subject: subject.to_owned(),
                age_us,
                authority,
                text,
                depth,
            });
        }
    }

    /// Whether a subject was not written about yet.
    fn is_new(&mut self, subject: &str) -> bool {
        self.steps.len() < STEPS && self.seen.insert(subject.to_owned())
    }

    fn process(&self, worker: &WorkerId) -> String {
        if let Some(report) = self.survey.processes.get(worker) {
            let kind = match (report.is_driver, &report.actor) {
                (true, _) => "the driver",
                (false, Some(_)) => "the actor",
                (false, None) => "the worker",
            };
            return format!("{kind} with pid {}", report.pid);
        }
        match self.worker(worker) {
            Some(known) => format!("{} with pid {}", known.name, known.pid),
            None => format!("the process {worker}"),
        }
    }

    fn worker(&self, worker: &WorkerId) -> Option<&'a WorkerReport> {
        let mut workers = self.survey.nodes.iter().flat_map(|node| &node.workers);
        workers.find(|known| known.worker == *worker)
    }

    fn object(&mut self, object: &ObjectId, depth: u32) {
        let subject = object.to_hex();
        if !self.is_new(&subject) {
            return;
        }
        if let Some(report) = self.survey.objects.get(object)
            && report.is_ready
        {
            let owner = self.process(&report.owner);
            let place = if report.is_shared {
                "in the object store"
            } else {
                "at its owner"
            };
            let (reason, what) = match report.is_error {
                true => (Reason::Failed, "an error is its value"),
                false => (Reason::Available, "the value is there"),
            };
            let text = format!("{what}: {} bytes {place}", report.size_bytes);
            return self.add(reason, &subject, None, owner, text, depth);
        }
        if self.survey.tasks.contains_key(&object.task()) {
            return self.task(&object.task(), depth);
        }
        let silent: Vec<String> = self
            .survey
            .silent
            .iter()
            .map(|it| self.process(it))
            .collect();
        let (reason, text) = if silent.is_empty() {
            (
                Reason::NotKnown,
                "no process of the cluster refers to such an object".to_owned(),
            )
        } else {
            (
                Reason::OwnerSilent,
                format!(
                    "its owner is not known; no answer from {}",
                    silent.join(", ")
                ),
            )
        };
        self.add(reason, &subject, None, "nobody".to_owned(), text, depth);
    }

    fn objects(&mut self, objects: &[ObjectAt], depth: u32) {
        for at in objects.iter().take(BRANCHES) {
            self.object(&at.object, depth);
        }
    }

    fn task(&mut self, task: &TaskId, depth: u32) {
        let subject = task.to_hex();
        if !self.is_new(&subject) {
            return;
        }
        let Some((owner, report)) = self.survey.tasks.get(task) else {
            let text = "no process of the cluster waits for such a task: it is through, or was \
                        never submitted"
                .to_owned();
            return self.add(
                Reason::NotKnown,
                &subject,
                None,
                "nobody".to_owned(),
                text,
                depth,
            );
        };
        let (name, age) = (&report.name, Some(report.age_us));
        let whose = self.process(owner);
        match report.stage() {
            TaskStage::WaitsForArguments => {
                let objects: Vec<String> =
                    report.missing.iter().map(|it| it.object.to_hex()).collect();
                let text = format!("{name} waits for its arguments: {}", listed(&objects));
                self.add(Reason::WaitsForArguments, &subject, age, whose, text, depth);
                self.objects(&report.missing, depth + 1);
            }
            TaskStage::WaitsForLease => self.waits_for_lease(owner, report, depth),
            TaskStage::WaitsForMemory => {
                let text = format!(
                    "{name}: its worker was ended because the machine ran out of memory; it is \
                     tried again in {:.1} s (try {})",
                    report.due_in_us as f64 / 1e6,
                    report.attempt + 1
                );
                self.add(Reason::WaitsForMemory, &subject, age, whose, text, depth);
            }
            TaskStage::BehindCall => {
                let behind = report.behind.unwrap_or_default();
                let text = format!(
                    "{name} runs after {}, which was called before it and waits for its arguments",
                    self.survey.name(&behind)
                );
                self.add(Reason::BehindCall, &subject, age, whose, text, depth);
                self.task(&behind, depth + 1);
            }
            TaskStage::WaitsForActor => {
                let text = format!("{name} waits until its actor is alive");
                self.add(Reason::ActorPending, &subject, age, whose, text, depth);
                self.actor(&task.actor(), depth + 1);
            }
            TaskStage::Pushed => self.pushed(report, depth),
        }
    }

    fn waits_for_lease(&mut self, owner: &WorkerId, report: &TaskReport, depth: u32) {
        let (name, subject) = (&report.name, report.task.to_hex());
        let demands = self.survey.nodes.iter().flat_map(|node| {
            let of_node = node.demands.iter().map(move |demand| (node, demand));
            of_node.filter(|(_, demand)| demand.owner == *owner && demand.class == report.class)
        });
        let Some((node, demand)) = demands.max_by_key(|(_, demand)| demand.held) else {
            let text = format!("{name} was queued just now; the node has not heard of it");
            let whose = self.process(owner);
            let age = Some(report.age_us);
            return self.add(Reason::OnItsWay, &subject, age, whose, text, depth);
        };
        let authority = format!("the node {}", node.ip);
        let age = Some(if demand.age_us > 0 {
            demand.age_us
        } else {
            report.age_us
        });
        let (reason, text) = match demand {
            DemandReport {
                is_infeasible: true,
                reason,
                ..
            } => (
                Reason::Infeasible,
                format!("{name} can never run: it {reason}"),
            ),
            DemandReport { held: 1.., .. } if !demand.awaits_worker => (
                Reason::WaitsForTurn,
                format!(
                    "{name} waits for its turn: {} workers run tasks of its kind{}",
                    demand.held,
                    holders(node, demand)
                ),
            ),
            DemandReport {
                awaits_worker: true,
                ..
            } => (
                Reason::WaitsForWorker,
                format!("{name} has its resources; a worker process is on its way"),
            ),
            DemandReport { reason, .. } => (
                Reason::WaitsForResources,
                format!("{name} {reason}{}", holders(node, demand)),
            ),
        };
        self.add(reason, &subject, age, authority, text, depth);
    }

    fn pushed(&mut self, report: &TaskReport, depth: u32) {
        let (name, subject) = (&report.name, report.task.to_hex());
        let Some(worker) = report.worker else {
            let text = format!("{name} was sent to a process that is lost; the node decides");
            let age = Some(report.age_us);
            return self.add(
                Reason::OnItsWay,
                &subject,
                age,
                "the node".to_owned(),
                text,
                depth,
            );
        };
        let who = self.process(&worker);
        let Some(process) = self.survey.processes.get(&worker) else {
            let text = format!("{name} was sent to {who}, which does not answer");
            let age = Some(report.age_us);
            return self.add(Reason::OwnerSilent, &subject, age, who, text, depth);
        };
        if let Some(running) = process.running.iter().find(|it| it.task == report.task) {
            return self.running(process, &report.task, name, running.age_us, depth);
        }
        let position = process.queued.iter().position(|it| *it == report.task);
        let age = Some(report.age_us);
        let Some(position) = position else {
            let text = format!("{name} is on its way to {who}, or its answer is on the way back");
            return self.add(Reason::OnItsWay, &subject, age, who, text, depth);
        };
        let first: Vec<TaskId> = process.running.iter().map(|it| it.task).collect();
        let names: Vec<String> = first.iter().map(|task| self.survey.name(task)).collect();
        let text = format!(
            "{name} waits in {who}: {} calls run there ({}), and {position} are before it in the \
             queue",
            first.len(),
            listed(&names)
        );
        self.add(Reason::QueuedInWorker, &subject, age, who, text, depth);
        for task in first.iter().take(BRANCHES) {
            self.running_elsewhere(process, task, depth + 1);
        }
    }

    /// A task that runs, whoever owns it.
    fn running_elsewhere(&mut self, process: &ProcessReport, task: &TaskId, depth: u32) {
        let age = process.running.iter().find(|it| it.task == *task);
        if let (Some(running), true) = (age, self.is_new(&task.to_hex())) {
            let name = self.survey.name(task);
            self.running(process, task, &name, running.age_us, depth);
        }
    }

    fn running(
        &mut self,
        process: &ProcessReport,
        task: &TaskId,
        name: &str,
        age: u64,
        depth: u32,
    ) {
        let (subject, who) = (task.to_hex(), self.process(&process.worker));
        let waits = process.waits.iter().filter(|wait| wait.task == *task);
        let Some(wait) = waits.max_by_key(|wait| wait.age_us) else {
            let text = format!("{name} runs in {who}");
            return self.add(Reason::Running, &subject, Some(age), who, text, depth);
        };
        let objects: Vec<String> = wait.objects.iter().map(|it| it.object.to_hex()).collect();
        let bound = if wait.has_timeout {
            ", with a timeout"
        } else {
            ""
        };
        let text = format!(
            "{name} runs in {who} and is blocked in get or wait, for {} of {}{bound}",
            wait.needed,
            listed(&objects)
        );
        self.add(
            Reason::BlockedInGet,
            &subject,
            Some(wait.age_us),
            who,
            text,
            depth,
        );
        self.objects(&wait.objects, depth + 1);
    }

    fn actor(&mut self, actor: &ActorId, depth: u32) {
        let subject = actor.to_hex();
        if !self.is_new(&subject) {
            return;
        }
        let control = "control".to_owned();
        let actors = self.status.iter().flat_map(|status| &status.actors);
        let Some(entry) = actors.into_iter().find(|entry| entry.actor == *actor) else {
            let text = match self.status {
                Some(_) => "the cluster knows of no such actor".to_owned(),
                None => "control does not answer".to_owned(),
            };
            return self.add(Reason::NotKnown, &subject, None, control, text, depth);
        };
        let name = &entry.class_name;
        match ActorState::try_from(entry.state) {
            Ok(ActorState::Dead) => {
                let text = format!("{name} is dead: {}", entry.death);
                self.add(Reason::ActorDead, &subject, None, control, text, depth);
            }
            Ok(ActorState::Alive) => self.live_actor(entry, depth),
            state => self.actor_without_life(entry, state == Ok(ActorState::Restarting), depth),
        }
    }

    fn live_actor(&mut self, entry: &ActorStatus, depth: u32) {
        let (name, subject) = (&entry.class_name, entry.actor.to_hex());
        let process = entry
            .worker
            .and_then(|worker| self.survey.processes.get(&worker));
        let who = format!("the actor with pid {}", entry.pid);
        let Some(process) = process else {
            let text = format!("{name} is alive, but its process does not answer");
            return self.add(Reason::OwnerSilent, &subject, None, who, text, depth);
        };
        let running: Vec<TaskId> = process.running.iter().map(|it| it.task).collect();
        let text = format!(
            "{name} is alive: {} calls run, {} are blocked in get, and {} wait in its queue",
            running.len(),
            process.waits.len(),
            process.queued.len()
        );
        self.add(Reason::ActorAlive, &subject, None, who, text, depth);
        for task in running.iter().take(BRANCHES) {
            self.running_elsewhere(process, task, depth + 1);
        }
    }

    fn actor_without_life(&mut self, entry: &ActorStatus, is_restart: bool, depth: u32) {
        let (name, subject) = (&entry.class_name, entry.actor.to_hex());
        let before = match (&entry.cause, is_restart) {
            (Some(cause), true) => format!(" is restarted, because {}; it", cause.headline()),
            _ => String::new(),
        };
        let pending = if is_restart {
            Reason::ActorRestarting
        } else {
            Reason::ActorPending
        };
        let placements = self.survey.nodes.iter().flat_map(|node| &node.placements);
        let placement = placements.into_iter().find(|it| it.actor == entry.actor);
        let age = placement.map(|placement| placement.age_us);
        if entry.is_starting {
            let who = format!("the actor with pid {}", entry.pid);
            let text = format!("{name}{before} runs its constructor");
            self.add(Reason::ActorStarting, &subject, age, who, text, depth);
            let process = entry
                .worker
                .and_then(|worker| self.survey.processes.get(&worker));
            for wait in process.iter().flat_map(|process| &process.waits) {
                self.objects(&wait.objects, depth + 1);
            }
            return;
        }
        if entry.waits_for_arguments {
            let tasks = self.survey.tasks.values();
            let mut creations = tasks.filter(|(_, report)| report.task.actor() == entry.actor);
            let found = creations.find(|(_, report)| !report.missing.is_empty());
            let (owner, missing) = found.map_or_else(
                || ("its owner".to_owned(), Vec::new()),
                |(owner, report)| (self.process(owner), report.missing.clone()),
            );
            let text = format!("{name}{before} waits for the arguments of its constructor");
            self.add(
                Reason::WaitsForArguments,
                &subject,
                None,
                owner,
                text,
                depth,
            );
            return self.objects(&missing, depth + 1);
        }
        let (reason, what) = match placement {
            Some(placement) if placement.is_infeasible => (
                Reason::Infeasible,
                format!("can never be placed: it {}", placement.reason),
            ),
            Some(placement) if !placement.reason.is_empty() => (pending, placement.reason.clone()),
            _ => (
                pending,
                "waits for a process, which is on its way".to_owned(),
            ),
        };
        let text = format!("{name}{before} {what}");
        self.add(reason, &subject, age, "the node".to_owned(), text, depth);
    }
}

/// Who holds what a demand lacks.
fn holders(node: &NodeReport, demand: &DemandReport) -> String {
    let lacks = node.available.shortfall(&demand.resources);
    let helps = |worker: &&WorkerReport| {
        let held = &worker.resources.amounts;
        !worker.is_blocked && lacks.amounts.keys().any(|name| held.contains_key(name))
    };
    let holders: Vec<String> = node
        .workers
        .iter()
        .filter(helps)
        .map(|it| format!("{} (pid {}) {}", it.name, it.pid, it.resources.describe()))
        .collect();
    match holders.is_empty() {
        true => String::new(),
        false => format!("; held by {}", listed(&holders)),
    }
}

/// `a, b, c and 2 more`
fn listed(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    let mut text = shown.join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    text
}
