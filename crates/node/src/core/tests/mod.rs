//! Stories of a node: events in, effects out. [`Stage`] plays the world around it, and checks after
//! every event what must always hold.

mod actors;
mod clients;
mod cluster;
mod cluster_deaths;
mod cluster_forwarding;
mod cluster_inquiries;
mod cluster_strategies;
mod cluster_traffic;
mod deaths;
mod draining;
mod fairness;
mod groups;
mod leases;
mod memory;
mod moving;
mod pulling;
mod wants;
mod workers;

use std::collections::BTreeMap;

use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::lease::{
    LeaseGranted, LeasePending, LeaseReturn, LeaseTarget, SchedulingClass,
};
use whipray_proto::messages::session::{Hello, JobDescription, Role};
use whipray_proto::resources::{CPU, UNITS};
use whipray_proto::{JobId, LeaseId, Message, PROTOCOL_VERSION, Resources, WorkerId};

use super::*;

pub const SECOND: Micros = 1_000_000;

/// The status of `wait` for a process that signal 11 ended.
pub const SEGFAULT: i32 = 11;

pub fn cpus(amount: f64) -> Resources {
    Resources::none().with(CPU, amount)
}

pub fn exit(status: i32) -> Exit {
    Exit::Status {
        status,
        is_out_of_memory: false,
    }
}

/// A node and the world around it.
pub struct Stage {
    pub node: Node,
    pub now: Micros,
    pub effects: Vec<Effect>,
    next_client: ClientId,
    next_job: u32,
    next_pid: u32,
    /// Workers that the node has asked for and that have not started.
    pub asked: Vec<(WorkerId, Environment)>,
    pub pids: BTreeMap<WorkerId, u32>,
    pub worker_clients: BTreeMap<WorkerId, ClientId>,
}

impl Stage {
    pub fn new(resources: Resources) -> Self {
        Self::of(Config {
            resources,
            ..Config::default()
        })
    }

    pub fn of(config: Config) -> Self {
        let config = Config {
            arena_bytes: 1 << 20,
            ..config
        };
        Self {
            node: Node::new(config),
            now: SECOND,
            effects: Vec::new(),
            next_client: 100,
            next_job: 1,
            next_pid: 1000,
            asked: Vec::new(),
            pids: BTreeMap::new(),
            worker_clients: BTreeMap::new(),
        }
    }

    /// Takes the effects of an event in, and checks the node.
    fn settle(&mut self) {
        let mut fresh = Vec::new();
        self.node.take_effects(&mut fresh);
        for effect in &fresh {
            if let Effect::SpawnWorker {
                worker,
                environment,
                ..
            } = effect
            {
                self.asked.push((*worker, environment.clone()));
            }
        }
        self.effects.extend(fresh);
        self.node.validate().unwrap();
    }

    pub fn hello(&mut self, role: Role, worker: WorkerId, pid: u32) -> ClientId {
        let client = self.next_client;
        self.next_client += 1;
        let job = (role == Role::Driver).then(JobDescription::default);
        let endpoint = format!("unix:@{worker}");
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: role as i32,
            worker,
            pid,
            endpoint,
            job,
            ..Hello::default()
        };
        self.node.on_hello(client, hello, self.now);
        self.settle();
        client
    }

    /// A driver that control has given a job.
    pub fn driver(&mut self) -> (ClientId, JobId) {
        let worker = WorkerId::random();
        let client = self.hello(Role::Driver, worker, 1);
        let job = JobId::from_number(self.next_job);
        self.next_job += 1;
        let description = Box::new(JobDescription {
            job,
            log_to_driver: true,
            ..JobDescription::default()
        });
        self.control(ControlSays::DriverAccepted {
            driver: worker,
            description,
        });
        (client, job)
    }

    pub fn control(&mut self, says: ControlSays) {
        self.node.on_control(says, self.now);
        self.settle();
    }

    pub fn say(&mut self, client: ClientId, message: impl Into<Message>) {
        self.node.on_message(client, message.into(), self.now);
        self.settle();
    }

    /// All workers that were asked for start and say hello.
    pub fn start_workers(&mut self) -> Vec<WorkerId> {
        let asked = std::mem::take(&mut self.asked);
        let mut started = Vec::new();
        for (worker, _) in asked {
            self.spawn(worker);
            let client = self.hello(Role::Worker, worker, self.pids[&worker]);
            self.worker_clients.insert(worker, client);
            started.push(worker);
        }
        started
    }

    /// The template has forked a worker.
    pub fn spawn(&mut self, worker: WorkerId) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        self.node.on_spawned(worker, pid);
        self.pids.insert(worker, pid);
        self.settle();
        pid
    }

    pub fn exited(&mut self, worker: WorkerId, status: i32) {
        let last_words = vec!["last words".to_owned()];
        self.node
            .on_exited(self.pids[&worker], exit(status), last_words, self.now);
        self.settle();
    }

    pub fn gone(&mut self, client: ClientId) {
        self.node.on_client_gone(client, self.now);
        self.settle();
    }

    pub fn template_gone(&mut self) {
        self.node
            .on_template_gone(vec!["no module".to_owned()], self.now);
        self.settle();
    }

    pub fn wait(&mut self, micros: Micros) {
        self.now += micros;
        self.node.on_time(self.now);
        self.settle();
    }

    pub fn target(&mut self, owner: ClientId, class: u64, job: JobId, target: u32) {
        self.target_of(owner, class, job, target, cpus(1.0));
    }

    pub fn target_of(
        &mut self,
        owner: ClientId,
        class: u64,
        job: JobId,
        target: u32,
        resources: Resources,
    ) {
        let definition = SchedulingClass {
            resources,
            job,
            ..SchedulingClass::default()
        };
        self.want(owner, class, definition, target);
    }

    pub fn want(&mut self, owner: ClientId, class: u64, definition: SchedulingClass, target: u32) {
        let example = "f".to_owned();
        self.say(
            owner,
            LeaseTarget {
                class,
                definition,
                target,
                example,
                says_if_busy: false,
            },
        );
    }

    pub fn give_back(&mut self, owner: ClientId, lease: LeaseId) {
        self.say(
            owner,
            LeaseReturn {
                lease,
                end_worker: false,
            },
        );
    }

    /// Takes the messages that were sent to a client since they were last taken.
    pub fn received(&mut self, by: ClientId) -> Vec<Message> {
        let mut received = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Send { client, message } if *client == by => {
                received.push(message.clone());
                false
            }
            _ => true,
        });
        received
    }

    pub fn granted(&mut self, to: ClientId) -> Vec<LeaseGranted> {
        let is_grant = |message| match message {
            Message::LeaseGranted(granted) => Some(granted),
            _ => None,
        };
        self.received(to).into_iter().filter_map(is_grant).collect()
    }

    pub fn pending(&mut self, to: ClientId) -> Vec<LeasePending> {
        let is_pending = |message| match message {
            Message::LeasePending(pending) => Some(pending),
            _ => None,
        };
        self.received(to)
            .into_iter()
            .filter_map(is_pending)
            .collect()
    }

    /// Takes what was said to control since it was last taken.
    pub fn told(&mut self) -> Vec<NodeSays> {
        let mut told = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::TellControl(says) => {
                told.push(says.clone());
                false
            }
            _ => true,
        });
        told
    }

    pub fn is_killed(&self, worker: WorkerId) -> bool {
        self.pids
            .get(&worker)
            .is_some_and(|pid| self.effects.contains(&Effect::KillProcess { pid: *pid }))
    }

    pub fn is_closed(&self, client: ClientId) -> bool {
        self.effects.contains(&Effect::Close { client })
    }

    pub fn available_cpus(&self) -> f64 {
        self.node.ledger.available().amount(CPU)
    }
}

/// Whole CPUs of a node as a test asks for them, in ten-thousandths.
#[test]
fn units_are_ten_thousandths() {
    assert_eq!(cpus(1.0).units(CPU), UNITS);
}
