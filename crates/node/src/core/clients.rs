//! Those who are connected: drivers, workers, tools.

use rustc_hash::FxHashSet;
use whipray_proto::link::NodeSays;
use whipray_proto::messages::session::{Hello, JobDescription, Refused, Role, Welcome};
use whipray_proto::{
    DeathCause, DeathKind, JobId, Message, PROTOCOL_VERSION, WorkerId, limits, object,
};

use super::scheduling::IDLE;
use super::timers::{Micros, Timer, micros};
use super::workers::{Link, Work};
use super::{ClientId, Effect, Node};

/// One connected process.
#[derive(Clone, Debug)]
pub struct Client {
    pub worker: WorkerId,
    pub role: Role,
    pub pid: u32,
    /// Where other processes of this node reach it.
    pub endpoint: String,
    /// What it said when it left on purpose.
    pub goodbye: Option<String>,
    /// Those whom it watches.
    pub watches: FxHashSet<WorkerId>,
}

/// One driver's program, as far as a node must know it.
#[derive(Clone, Debug)]
pub struct Job {
    pub driver: ClientId,
    pub log_to_driver: bool,
}

impl Node {
    /// A client said hello, and its token was right.
    pub fn on_hello(&mut self, client: ClientId, hello: Hello, now: Micros) {
        let role = hello.role();
        if hello.version != PROTOCOL_VERSION {
            let reason = format!(
                "speaks version {} of the protocol, and this daemon version {PROTOCOL_VERSION}; \
                 stop the cluster and start it again with the same release",
                hello.version
            );
            return self.refuse(client, reason);
        }
        if self.by_worker.contains_key(&hello.worker) {
            return self.refuse(client, "a process with the same id is connected".to_owned());
        }
        match role {
            Role::Worker => {
                let starts = self.pool.get(hello.worker).is_some_and(|worker| {
                    worker.link == Link::Starting && worker.pid.is_none_or(|pid| pid == hello.pid)
                });
                if !starts {
                    return self.refuse(client, "this node expects no such worker".to_owned());
                }
            }
            Role::Driver if hello.job.is_none() => {
                return self.refuse(client, "a driver's hello must describe its job".to_owned());
            }
            Role::Driver | Role::Tool => {}
            Role::Node => {
                let reason = "another daemon opens a stream, and says no hello".to_owned();
                return self.refuse(client, reason);
            }
            Role::Unspecified => {
                return self.refuse(client, "the hello has no role".to_owned());
            }
        }
        let entry = Client {
            worker: hello.worker,
            role,
            pid: hello.pid,
            endpoint: hello.endpoint.clone(),
            goodbye: None,
            watches: FxHashSet::default(),
        };
        self.clients.insert(client, entry);
        self.by_worker.insert(hello.worker, client);
        match (role, hello.job) {
            (Role::Driver, Some(description)) => {
                let driver = object::WorkerAddress {
                    worker: hello.worker,
                    node: self.config.node,
                    endpoint: hello.endpoint,
                    node_endpoint: self.config.node_endpoint.clone(),
                };
                let description = Box::new(description);
                self.tell_control(NodeSays::DriverJoined {
                    driver,
                    description,
                });
            }
            (Role::Worker, _) => {
                self.welcome(client, JobId::default());
                self.start_failures = 0;
                // The template's word on the process may come later than the process itself.
                self.pool.set_pid(hello.worker, hello.pid);
                self.pool.connect(hello.worker, client, hello.endpoint, now);
                self.serve_with(hello.worker);
                self.arm_trim(hello.worker, now);
                self.schedule(now);
            }
            _ => self.welcome(client, JobId::default()),
        }
    }

    /// Where a driver or worker of this node is reached by other processes of it.
    pub fn endpoint_of(&self, worker: WorkerId) -> Option<&str> {
        let client = self.clients.get(self.by_worker.get(&worker)?)?;
        Some(client.endpoint.as_str()).filter(|it| !it.is_empty())
    }

    fn refuse(&mut self, client: ClientId, reason: String) {
        let message = Message::from(Refused { reason });
        self.effects.push(Effect::Send { client, message });
        self.effects.push(Effect::Close { client });
    }

    fn welcome(&mut self, client: ClientId, job: JobId) {
        let welcome = Box::new(Welcome {
            node: self.config.node,
            node_ip: self.config.node_ip.clone(),
            session_directory: self.config.session_directory.clone(),
            session_name: self.config.session_name.clone(),
            arena_bytes: self.config.arena_bytes,
            job,
            node_resources: self.config.resources.clone(),
            cluster_address: self.config.cluster_address.clone(),
            has_arena: false,
            node_endpoint: self.config.node_endpoint.clone(),
        });
        self.effects.push(Effect::Welcome { client, welcome });
    }

    /// Control has given a driver its job.
    pub(super) fn accept_driver(
        &mut self,
        driver: WorkerId,
        description: JobDescription,
        now: Micros,
    ) {
        let Some(client) = self.by_worker.get(&driver).copied() else {
            return;
        };
        let job = Job {
            driver: client,
            log_to_driver: description.log_to_driver,
        };
        self.jobs.insert(description.job, job);
        self.welcome(client, description.job);
        self.prestart(now);
    }

    /// A driver of another node has a job, whose workers may be wanted here.
    pub(super) fn job_started(
        &mut self,
        description: &JobDescription,
        driver: &object::WorkerAddress,
        now: Micros,
    ) {
        let Some(client) = self.ensure_neighbour(driver.node) else {
            return;
        };
        let job = Job {
            driver: client,
            log_to_driver: description.log_to_driver,
        };
        if self.jobs.insert(description.job, job).is_none() && self.draining.is_none() {
            self.prestart(now);
        }
    }

    /// A client leaves on purpose. A worker that says so is not to be given anything more.
    pub(super) fn goodbye(&mut self, client: ClientId, reason: String, now: Micros) {
        let Some(entry) = self.clients.get_mut(&client) else {
            return;
        };
        let (worker, role) = (entry.worker, entry.role);
        if role == Role::Worker && reason == IDLE {
            return self.let_go(worker, now);
        }
        entry.goodbye = Some(reason.clone());
        if role == Role::Worker {
            self.pool
                .condemn(worker, DeathCause::new(DeathKind::Exited, reason));
        }
    }

    /// A worker that was asked whether it is of use to anybody says that it is not: it goes, unless
    /// somebody got it meanwhile.
    fn let_go(&mut self, worker: WorkerId, now: Micros) {
        if self.pool.idle().contains(&worker) {
            let cause = DeathCause::new(DeathKind::Exited, "it had been idle for long");
            self.dismiss_worker(worker, cause, now);
        }
    }

    /// The connection of a client has ended.
    pub fn on_client_gone(&mut self, client: ClientId, now: Micros) {
        let Some(entry) = self.clients.get(&client) else {
            return;
        };
        let worker = entry.worker;
        if entry.role == Role::Worker && self.pool.get(worker).is_some() {
            self.pool.disconnect(worker);
            self.drop_demands_of(client, now);
            let at = now + micros(limits::DEATH_CAUSE_WAIT);
            self.timers.set(at, Timer::WorkerLost(worker));
            return;
        }
        let Some(entry) = self.remove_client(client, now) else {
            return;
        };
        let detail = match (&entry.goodbye, entry.role) {
            (Some(reason), _) if !reason.is_empty() => reason.clone(),
            (Some(_), _) => "it left".to_owned(),
            (None, Role::Driver) => "the driver is gone without a goodbye".to_owned(),
            (None, _) => "its connection ended".to_owned(),
        };
        let cause = DeathCause {
            pid: entry.pid,
            worker: entry.worker,
            node: self.config.node,
            node_ip: self.config.node_ip.clone(),
            ..DeathCause::new(DeathKind::Unknown, detail)
        };
        self.announce_death(entry.worker, cause, now);
        self.schedule(now);
    }

    /// Removes a client and all that it held: demands, leases, pins, what it owned and watched.
    pub(super) fn remove_client(&mut self, client: ClientId, now: Micros) -> Option<Client> {
        let entry = self.clients.remove(&client)?;
        self.by_worker.remove(&entry.worker);
        self.drop_demands_of(client, now);
        self.forget_inquiries_of(client);
        self.keep_metrics_of(client);
        self.end_leases_of(client, &entry, now);
        self.holder_gone(client, now);
        self.objects.client_gone(client);
        self.objects.owner_gone(entry.worker);
        self.settle_objects(now);
        for watched in &entry.watches {
            self.obituaries.unwatch(*watched, client);
        }
        self.jobs.retain(|_, job| job.driver != client);
        Some(entry)
    }

    /// A job is over: workers that only it could use go, and those that have leases of nobody but
    /// each other. Those of its actors, and those that surviving actors lease, are not touched.
    pub(super) fn end_job(&mut self, job: JobId, now: Micros) {
        // A driver of this node takes its job with it when it goes.
        let driver = self.jobs.get(&job).map(|job| job.driver);
        if driver.is_some_and(|driver| self.neighbours.node_of(driver).is_some()) {
            self.jobs.remove(&job);
        }
        let idle: Vec<WorkerId> = self
            .pool
            .idle()
            .iter()
            .copied()
            .filter(|id| {
                self.pool
                    .get(*id)
                    .is_some_and(|worker| worker.job == Some(job))
            })
            .collect();
        for worker in idle {
            let cause = DeathCause::new(DeathKind::OwnerDied, "its job is over");
            self.dismiss_worker(worker, cause, now);
        }
        for worker in self.in_circles(job) {
            let cause = DeathCause::new(DeathKind::OwnerDied, "its job is over");
            self.end_worker_in_order(worker, cause, now);
        }
        self.schedule(now);
    }

    /// Workers of a job whose owners are such workers, too: a task that goes on after the one that
    /// submitted it may well run in the process that owns it, and no end of an owner ever ends it.
    fn in_circles(&self, job: JobId) -> Vec<WorkerId> {
        let owner_of = |worker: WorkerId| match self.pool.get(worker)?.work {
            Work::Leased { owner, .. } => Some(self.clients.get(&owner)?.worker),
            Work::Idle { .. } | Work::Actor { .. } => None,
        };
        let of_job = self.pool.iter();
        let of_job = of_job.filter(|(_, entry)| entry.job == Some(job));
        let mut left: Vec<WorkerId> = of_job.map(|(worker, _)| worker).collect();
        loop {
            let is_owned =
                |worker: &WorkerId| owner_of(*worker).is_some_and(|owner| left.contains(&owner));
            let owned: Vec<WorkerId> = left.iter().copied().filter(is_owned).collect();
            if owned.len() == left.len() {
                left.sort_unstable();
                return left;
            }
            left = owned;
        }
    }
}
