//! What a node has granted, as its messages tell: resources are never granted twice.
//!
//! - G-1: of what is not a CPU, no more than the node has is granted at any time.
//! - G-2: of CPUs, no more is granted to workers that do not wait, but for those that had waited
//!   while their CPUs were lent out.
//! - G-3: of one GPU no more than a whole is granted.

use std::collections::{BTreeMap, BTreeSet};

use whipray_node::core::ClientId;
use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::lease::LeaseGranted;
use whipray_proto::resources::{CPU, GPU, UNITS};
use whipray_proto::{Assignment, LeaseId, Resources, WorkerId};

struct Grant {
    lease: Option<LeaseId>,
    assignment: Assignment,
    is_blocked: bool,
    was_blocked: bool,
}

/// All grants that hold, by worker.
pub struct Grants {
    total: Resources,
    held: BTreeMap<WorkerId, Grant>,
    clients: BTreeMap<ClientId, WorkerId>,
    /// Workers that waited in this turn of the daemon: what it grants is told at the turn's end, and they
    /// may have been granted before they said so.
    waited: BTreeSet<WorkerId>,
}

impl Grants {
    pub fn new(total: Resources) -> Self {
        Self {
            total,
            held: BTreeMap::new(),
            clients: BTreeMap::new(),
            waited: BTreeSet::new(),
        }
    }

    /// A client is this worker.
    pub fn connected(&mut self, client: ClientId, worker: WorkerId) {
        self.clients.insert(client, worker);
    }

    /// A lease goes to an owner.
    ///
    /// # Errors
    /// More is granted than there is, or a worker twice.
    pub fn granted(&mut self, granted: &LeaseGranted) -> Result<(), String> {
        self.take(
            granted.worker.worker,
            Some(granted.lease),
            &granted.assignment,
        )
    }

    /// An actor gets a worker.
    ///
    /// # Errors
    /// As with [`Self::granted`].
    pub fn actor_started(&mut self, client: ClientId, start: &StartActor) -> Result<(), String> {
        let Some(worker) = self.clients.get(&client).copied() else {
            return Err(format!(
                "an actor starts in client {client}, which is no worker"
            ));
        };
        self.take(worker, None, &start.assignment)
    }

    fn take(
        &mut self,
        worker: WorkerId,
        lease: Option<LeaseId>,
        assignment: &Assignment,
    ) -> Result<(), String> {
        let assignment = assignment.clone();
        let grant = Grant {
            lease,
            assignment,
            is_blocked: false,
            was_blocked: self.waited.contains(&worker),
        };
        if self.held.insert(worker, grant).is_some() {
            return Err(format!("worker {worker} is granted twice"));
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let mut used = Resources::none();
        let mut overdrawn = 0;
        let mut gpus: BTreeMap<u32, i64> = BTreeMap::new();
        for grant in self.held.values() {
            let mut resources = grant.assignment.resources.clone();
            if grant.was_blocked {
                overdrawn += resources.units(CPU);
            }
            if grant.is_blocked {
                resources.set(CPU, 0);
            }
            used.add(&resources);
            for gpu in &grant.assignment.gpus {
                *gpus.entry(*gpu).or_default() += resources.units(GPU).min(UNITS);
            }
        }
        for (name, units) in &used.amounts {
            let allowed = self.total.units(name) + if name == CPU { overdrawn } else { 0 };
            if *units > allowed {
                return Err(format!(
                    "G-1: {units} units of {name} are granted, of {allowed}"
                ));
            }
        }
        match gpus.iter().find(|(_, units)| **units > UNITS) {
            Some((gpu, units)) => Err(format!("G-3: {units} units of GPU {gpu} are granted")),
            None => Ok(()),
        }
    }

    /// An owner gives a lease back.
    pub fn returned(&mut self, lease: &LeaseId) {
        self.held
            .retain(|_, grant| grant.lease.as_ref() != Some(lease));
    }

    /// A worker waits, or goes on.
    pub fn blocked(&mut self, client: ClientId, is_blocked: bool) {
        let Some(worker) = self.clients.get(&client) else {
            return;
        };
        self.waited.insert(*worker);
        if let Some(grant) = self.held.get_mut(worker) {
            grant.is_blocked = is_blocked;
            grant.was_blocked = true;
        }
    }

    /// All that the daemon granted in its turn has been told.
    pub fn turn_over(&mut self) {
        self.waited.clear();
    }

    pub fn worker_gone(&mut self, worker: &WorkerId) {
        self.held.remove(worker);
    }

    pub fn all_workers_gone(&mut self) {
        self.held.clear();
    }
}
