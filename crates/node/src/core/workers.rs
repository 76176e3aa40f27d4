//! The worker processes of the node.

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::{ActorId, Assignment, DeathCause, JobId, LeaseId, WorkerId};

use super::ClientId;
use super::effect::Environment;
use super::timers::Micros;

/// How a worker process is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// The template was asked for it; it has not said hello.
    Starting,
    Connected {
        client: ClientId,
        endpoint: String,
    },
    /// Its connection ended; its exit status is still to come.
    Lost {
        client: ClientId,
    },
}

/// What a worker holds of the node for its work.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub assignment: Assignment,
    /// It waits for others, and its CPUs are lent out.
    pub is_blocked: bool,
}

/// What a worker process is there for.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    Idle {
        since: Micros,
    },
    Leased {
        lease: LeaseId,
        owner: ClientId,
        class: u64,
        hold: Hold,
    },
    Actor {
        actor: ActorId,
        incarnation: u32,
        hold: Hold,
    },
}

/// One worker process.
#[derive(Clone, Debug)]
pub struct Worker {
    pub environment: Environment,
    /// The only job that it serves, once it has served one.
    pub job: Option<JobId>,
    /// Known once the template has said it.
    pub pid: Option<u32>,
    pub link: Link,
    pub work: Work,
    /// Why the node ended it, or why it said that it ends; overrides what the exit status tells.
    pub verdict: Option<DeathCause>,
    /// When the template was asked for it.
    pub spawned_at: Micros,
}

impl Worker {
    pub fn client(&self) -> Option<ClientId> {
        match self.link {
            Link::Starting => None,
            Link::Connected { client, .. } | Link::Lost { client } => Some(client),
        }
    }

    /// What it holds of the node.
    pub fn hold_mut(&mut self) -> Option<&mut Hold> {
        match &mut self.work {
            Work::Idle { .. } => None,
            Work::Leased { hold, .. } | Work::Actor { hold, .. } => Some(hold),
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.link, Link::Connected { .. })
            && matches!(self.work, Work::Idle { .. })
            && self.verdict.is_none()
    }
}

/// All worker processes, and which of them are free.
#[derive(Debug, Default)]
pub struct Pool {
    workers: FxHashMap<WorkerId, Worker>,
    by_pid: FxHashMap<u32, WorkerId>,
    /// Workers that are ready and idle; the one that worked last is at the end, and is taken first,
    /// since its caches are warm.
    idle: Vec<WorkerId>,
    /// Those that have not said hello: never many, however many workers there are.
    starting: FxHashSet<WorkerId>,
    spawned: u64,
}

impl Pool {
    pub fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&worker)
    }

    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn starting(&self) -> usize {
        self.starting.len()
    }

    /// Workers on their way with this environment that are not condemned.
    pub fn starting_with(&self, environment: &Environment) -> usize {
        let is_such = |id: &&WorkerId| {
            self.workers.get(id).is_some_and(|worker| {
                worker.verdict.is_none() && worker.environment == *environment
            })
        };
        self.starting.iter().filter(is_such).count()
    }

    pub fn idle(&self) -> &[WorkerId] {
        &self.idle
    }

    /// Enters a worker that the template is asked for. Returns its number, from zero.
    pub fn spawn(&mut self, worker: WorkerId, environment: Environment, now: Micros) -> u64 {
        let entry = Worker {
            environment,
            job: None,
            pid: None,
            link: Link::Starting,
            work: Work::Idle { since: now },
            verdict: None,
            spawned_at: now,
        };
        self.workers.insert(worker, entry);
        self.starting.insert(worker);
        self.spawned += 1;
        self.spawned - 1
    }

    /// How many workers there were until now, living or not.
    pub fn spawned(&self) -> u64 {
        self.spawned
    }

    pub fn set_pid(&mut self, worker: WorkerId, pid: u32) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.pid = Some(pid);
            self.by_pid.insert(pid, worker);
        }
    }

    pub fn by_pid(&self, pid: u32) -> Option<WorkerId> {
        self.by_pid.get(&pid).copied()
    }

    /// A starting worker said hello, and is idle.
    pub fn connect(&mut self, worker: WorkerId, client: ClientId, endpoint: String, now: Micros) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            self.starting.remove(&worker);
            entry.link = Link::Connected { client, endpoint };
            self.set_idle(worker, now);
        }
    }

    /// A worker lost its connection.
    pub fn disconnect(&mut self, worker: WorkerId) {
        if let Some(entry) = self.workers.get_mut(&worker)
            && let Link::Connected { client, .. } = entry.link
        {
            entry.link = Link::Lost { client };
            self.leave_idle(worker);
        }
    }

    /// A worker has nothing to do; it can be taken if it is connected and not condemned.
    pub fn set_idle(&mut self, worker: WorkerId, now: Micros) {
        self.leave_idle(worker);
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.work = Work::Idle { since: now };
            if entry.is_ready() {
                self.idle.push(worker);
            }
        }
    }

    /// Takes an idle worker that may serve `job` with `environment`: rather one that is the job's
    /// already than one that could still serve any.
    pub fn take_idle(&mut self, job: JobId, environment: &Environment) -> Option<WorkerId> {
        let find = |wanted: Option<JobId>| {
            self.idle.iter().rposition(|id| {
                self.workers.get(id).is_some_and(|worker| {
                    worker.job == wanted && worker.environment == *environment
                })
            })
        };
        let index = find(Some(job)).or_else(|| find(None))?;
        Some(self.idle.remove(index))
    }

    /// Whether such a worker is there.
    pub fn has_idle(&self, job: JobId, environment: &Environment) -> bool {
        self.idle.iter().any(|id| {
            self.workers.get(id).is_some_and(|worker| {
                worker.job.is_none_or(|bound| bound == job) && worker.environment == *environment
            })
        })
    }

    /// Takes this very worker, if it is idle and ready.
    pub fn take(&mut self, worker: WorkerId) -> bool {
        self.leave_idle(worker)
    }

    /// Says why a worker ends; the first reason stays. It serves nobody from here on.
    pub fn condemn(&mut self, worker: WorkerId, cause: DeathCause) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.verdict.get_or_insert(cause);
            self.leave_idle(worker);
        }
    }

    pub fn remove(&mut self, worker: WorkerId) -> Option<Worker> {
        self.leave_idle(worker);
        let entry = self.workers.remove(&worker)?;
        if let Some(pid) = entry.pid {
            self.by_pid.remove(&pid);
        }
        self.starting.remove(&worker);
        Some(entry)
    }

    fn leave_idle(&mut self, worker: WorkerId) -> bool {
        match self.idle.iter().rposition(|id| *id == worker) {
            Some(index) => {
                self.idle.remove(index);
                true
            }
            None => false,
        }
    }

    /// Checks what must hold after every event.
    ///
    /// # Errors
    /// What does not hold; see the invariants of the node.
    pub fn validate(&self) -> Result<(), String> {
        let is_starting = |worker: &Worker| worker.link == Link::Starting;
        let is_known = |id: &WorkerId| self.workers.get(id).is_some_and(is_starting);
        let starting = self.workers.values().filter(|it| is_starting(it)).count();
        if starting != self.starting.len() || !self.starting.iter().all(is_known) {
            let counted = self.starting.len();
            return Err(format!(
                "ND-1: {starting} workers start, and {counted} are counted"
            ));
        }
        let ready = self.workers.values().filter(|it| it.is_ready()).count();
        let is_ready = |id: &WorkerId| self.workers.get(id).is_some_and(Worker::is_ready);
        if ready != self.idle.len() || !self.idle.iter().all(is_ready) {
            let idle = self.idle.len();
            return Err(format!(
                "ND-2: {ready} workers are ready, and {idle} are idle"
            ));
        }
        let is_its = |(pid, id): (&u32, &WorkerId)| {
            self.workers
                .get(id)
                .is_some_and(|worker| worker.pid == Some(*pid))
        };
        match self.by_pid.iter().find(|entry| !is_its(*entry)) {
            Some((pid, id)) => Err(format!("ND-3: {id} is not the worker with pid {pid}")),
            None => Ok(()),
        }
    }
}
