//! Actors: their lives, restarts, names and ends.

use bytes::Bytes;
use whipray_proto::link::ControlSays;
use whipray_proto::messages::actor::{
    ActorCreated, ActorExiting, ActorStarted, ActorState, ActorUpdate, Constructed, CreateActor,
    CreationStage, ListNamedActors, NamedActors,
};
use whipray_proto::messages::cluster::{ActorStatus, WarnDriver};
use whipray_proto::object::WorkerAddress;
use whipray_proto::{ActorId, ActorSpec, DeathCause, DeathKind, JobId, NodeId, WorkerId, limits};

use super::Control;
use super::record::ActorRecord;
use crate::storage::Table;

/// Where an actor stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// Waits for a process. `reason`: what the node says about it, if it says something.
    WaitsForProcess {
        reason: String,
    },
    /// Its constructor runs.
    Starting {
        address: WorkerAddress,
        pid: u32,
    },
    Alive {
        address: WorkerAddress,
        pid: u32,
    },
    /// `exception`: what its constructor raised, pickled, where that is why.
    Dead {
        cause: DeathCause,
        exception: Bytes,
    },
}

/// One actor, dead or not.
#[derive(Clone, Debug)]
pub struct Actor {
    pub spec: ActorSpec,
    /// Counts its lives from zero; each restart is one more.
    pub incarnation: u32,
    pub life: Life,
    /// Nothing that its constructor takes is missing.
    pub is_complete: bool,
    /// Why the life before this one ended.
    pub last_cause: Option<DeathCause>,
    /// It is about to end on purpose, and this is why.
    pub leaving: Option<DeathCause>,
    /// Where it runs, or waits for a process.
    pub node: Option<NodeId>,
    /// Its place in the line of those without a process.
    pub turn: Option<u64>,
    /// Its node has no room for it, as far as is known.
    pub is_queued: bool,
    /// Its node was asked to let go of it.
    pub is_recalled: bool,
    /// The node where what it takes counts as taken.
    pub promised_by: Option<NodeId>,
    /// Restarts that do not count: its node was taken away.
    pub preempted: u32,
    /// How it shows itself, once its constructor is through.
    pub shown_as: String,
    created_us: u64,
    constructed: Constructed,
    pub subscribers: Vec<WorkerId>,
}

impl Actor {
    pub fn is_dead(&self) -> bool {
        matches!(self.life, Life::Dead { .. })
    }

    fn state(&self) -> ActorState {
        match self.life {
            Life::Alive { .. } => ActorState::Alive,
            Life::Dead { .. } => ActorState::Dead,
            _ if self.incarnation > 0 => ActorState::Restarting,
            _ => ActorState::Pending,
        }
    }

    /// Restarts that are left; below zero: without end.
    fn restarts_left(&self) -> i32 {
        if self.spec.max_restarts < 0 {
            return -1;
        }
        let used = self.incarnation.saturating_sub(self.preempted);
        let used = i32::try_from(used).unwrap_or(i32::MAX);
        (self.spec.max_restarts - used).max(0)
    }

    pub fn update(&self) -> ActorUpdate {
        let mut update = ActorUpdate {
            actor: self.spec.actor,
            state: self.state() as i32,
            incarnation: self.incarnation,
            cause: self.last_cause.clone(),
            restarts_left: self.restarts_left(),
            class_name: self.spec.class_name.clone(),
            name: self.spec.name.clone(),
            namespace: self.spec.namespace.clone(),
            ..ActorUpdate::default()
        };
        match &self.life {
            Life::WaitsForProcess { reason } => update.pending_reason.clone_from(reason),
            Life::Starting { .. } => {}
            Life::Alive { address, .. } => {
                update.address = Some(address.clone());
                update.cause = None;
            }
            Life::Dead { cause, exception } => {
                update.cause = Some(cause.clone());
                update.exception = exception.clone();
            }
        }
        update
    }

    pub fn status(&self, now_us: u64) -> ActorStatus {
        let place = match &self.life {
            Life::Starting { address, pid } | Life::Alive { address, pid } => Some((address, pid)),
            Life::WaitsForProcess { .. } | Life::Dead { .. } => None,
        };
        let cause = match &self.life {
            Life::Dead { cause, .. } => Some(cause),
            _ => self.last_cause.as_ref(),
        };
        ActorStatus {
            actor: self.spec.actor,
            class_name: self.spec.class_name.clone(),
            name: self.spec.name.clone(),
            namespace: self.spec.namespace.clone(),
            state: self.state() as i32,
            restarts: self.incarnation,
            death: match &self.life {
                Life::Dead { cause, .. } => cause.headline(),
                _ => String::new(),
            },
            pending_reason: match &self.life {
                Life::WaitsForProcess { reason } => reason.clone(),
                _ => String::new(),
            },
            is_starting: matches!(self.life, Life::Starting { .. }),
            pid: place.map_or(0, |(_, pid)| *pid),
            worker: place.map(|(address, _)| address.worker),
            node: place.map(|(address, _)| address.node),
            job: self.spec.job,
            restarts_left: self.restarts_left(),
            resources: self.spec.resources.clone(),
            cause: cause.cloned().map(Box::new),
            waits_for_arguments: !self.is_complete && !self.is_dead(),
            detached: self.spec.detached,
            owner: self.spec.owner.worker,
            restarts_by_drains: self.preempted,
            group: self.spec.group(),
            strategy: self.spec.strategy.clone(),
            environment: self.spec.environment.clone(),
            parent: self.spec.creation.parent,
            shown_as: self.shown_as.clone(),
            age_us: now_us.saturating_sub(self.created_us),
            constructed: self.constructed,
        }
    }
}

impl Control {
    pub(super) fn create_actor(&mut self, client: WorkerId, create: CreateActor) {
        let stage = create.stage();
        let CreateActor {
            request,
            spec,
            get_if_exists,
            ..
        } = create;
        if stage == CreationStage::Complete {
            return self.complete_actor(spec);
        }
        let answer = ActorCreated {
            request,
            ..ActorCreated::default()
        };
        if let Some(existing) = self.named_actor(&spec.namespace, &spec.name) {
            if get_if_exists {
                self.tell(
                    client,
                    ActorCreated {
                        existing: Some(existing),
                        ..answer
                    },
                );
            } else {
                let error = format!(
                    "the name {:?} is taken by a live actor in namespace {:?}",
                    spec.name, spec.namespace
                );
                self.tell(client, ActorCreated { error, ..answer });
            }
            return;
        }
        if self.actors.contains_key(&spec.actor) {
            let error = format!("an actor with the id {} exists already", spec.actor);
            return self.tell(client, ActorCreated { error, ..answer });
        }
        let actor = spec.actor;
        if !spec.name.is_empty() {
            self.names
                .insert((spec.namespace.clone(), spec.name.clone()), actor);
        }
        // A detached one outlives its owner once it needs nothing of it any more.
        if !spec.detached || stage != CreationStage::Whole {
            self.owned
                .entry(spec.owner.worker)
                .or_default()
                .insert(actor);
        }
        let entry = Actor {
            spec: spec.clone(),
            incarnation: 0,
            life: Life::WaitsForProcess {
                reason: String::new(),
            },
            is_complete: stage == CreationStage::Whole,
            last_cause: None,
            leaving: None,
            node: None,
            turn: None,
            is_queued: false,
            is_recalled: false,
            promised_by: None,
            preempted: 0,
            shown_as: String::new(),
            created_us: self.now_us,
            constructed: Constructed::default(),
            subscribers: Vec::new(),
        };
        self.actors.insert(actor, entry);
        self.subscribe(client, actor);
        self.keep_actor(actor);
        self.tell(client, answer);
        self.greet_awaited(actor);
        if stage == CreationStage::Whole {
            self.place_actor(actor);
        }
    }

    /// All that the constructor of a registered actor takes is there.
    fn complete_actor(&mut self, spec: ActorSpec) {
        let actor = spec.actor;
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        if entry.is_complete || entry.is_dead() {
            return;
        }
        entry.is_complete = true;
        entry.spec = spec.clone();
        if spec.detached {
            self.disown(spec.owner.worker, actor);
        }
        self.keep_actor(actor);
        self.place_actor(actor);
    }

    /// The live actor of a name.
    pub(super) fn named_actor(&self, namespace: &str, name: &str) -> Option<ActorSpec> {
        if name.is_empty() {
            return None;
        }
        let actor = self.names.get(&(namespace.to_owned(), name.to_owned()))?;
        self.actors.get(actor).map(|entry| entry.spec.clone())
    }

    pub(super) fn list_named_actors(&mut self, client: WorkerId, list: &ListNamedActors) {
        let mut found: Vec<_> = self
            .names
            .keys()
            .filter(|(namespace, _)| list.all_namespaces || *namespace == list.namespace)
            .cloned()
            .collect();
        found.sort_unstable();
        let (namespaces, names) = found.into_iter().unzip();
        self.tell(
            client,
            NamedActors {
                request: list.request,
                names,
                namespaces,
            },
        );
    }

    pub(super) fn kill_actor(&mut self, actor: ActorId, no_restart: bool) {
        let Some(entry) = self.actors.get(&actor).filter(|entry| !entry.is_dead()) else {
            return;
        };
        let killed = DeathCause::new(DeathKind::Killed, "killed by `ray.kill`");
        let cause = self.in_process(entry, killed);
        if no_restart {
            self.end_actor(actor, cause);
        } else if !matches!(entry.life, Life::WaitsForProcess { .. }) {
            // One that has no process is on its way to a fresh one already.
            let incarnation = entry.incarnation;
            let kill = ControlSays::KillActor {
                actor,
                incarnation,
                cause: Box::new(cause),
            };
            self.say_of_actor(actor, kill);
        }
    }

    pub(super) fn actor_out_of_scope(&mut self, actor: ActorId) {
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        if entry.is_dead() || entry.spec.detached {
            return;
        }
        let cause = DeathCause::new(DeathKind::OutOfScope, "");
        if matches!(entry.life, Life::WaitsForProcess { .. }) {
            return self.end_actor(actor, cause);
        }
        entry.leaving.get_or_insert(cause);
        let incarnation = entry.incarnation;
        self.say_of_actor(actor, ControlSays::StopActor { actor, incarnation });
    }

    pub(super) fn actor_exiting(&mut self, client: WorkerId, exiting: ActorExiting) {
        if let Some(entry) = self.actors.get_mut(&exiting.actor)
            && runs_in(entry, client)
        {
            entry.leaving.get_or_insert(exiting.cause);
        }
    }

    pub(super) fn actor_started(&mut self, client: WorkerId, started: ActorStarted) {
        let actor = started.actor;
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        if entry.incarnation != started.incarnation || !runs_in(entry, client) {
            return;
        }
        let Life::Starting { address, pid } = entry.life.clone() else {
            return;
        };
        entry.constructed = started.constructed;
        match started.failure {
            None => {
                entry.life = Life::Alive { address, pid };
                entry.shown_as = started.shown_as;
                self.actor_changed(actor);
            }
            Some(failure) => {
                let cause = DeathCause::new(DeathKind::ConstructorFailed, failure.message);
                if let Some(entry) = self.actors.get(&actor) {
                    let cause = self.in_process(entry, cause);
                    self.end_actor_with(actor, cause, failure.exception);
                }
            }
        }
    }

    /// A node says why an actor gets no process yet.
    pub(super) fn actor_pending(
        &mut self,
        from: NodeId,
        actor: ActorId,
        incarnation: u32,
        reason: String,
    ) {
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        if entry.incarnation != incarnation || entry.node != Some(from) {
            return;
        }
        entry.is_queued = true;
        if !reason.is_empty() {
            let warns = self
                .actors
                .get(&actor)
                .is_none_or(|entry| self.why_actor_is_awaited(&entry.spec).is_none());
            self.actor_waits(actor, reason, warns);
        }
        if self.has_several_nodes() {
            self.place_waiting_actors();
        }
    }

    /// Why an actor gets no process yet: whoever holds it hears of it, and where it `warns` also its
    /// driver.
    pub(super) fn actor_waits(&mut self, actor: ActorId, reason: String, warns: bool) {
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        let Life::WaitsForProcess { reason: known } = &mut entry.life else {
            return;
        };
        if *known == reason {
            return;
        }
        known.clone_from(&reason);
        let text = format!(
            "actor {} waits for a process: it {reason}",
            entry.spec.class_name
        );
        let job = entry.spec.job;
        if warns && let Some(driver) = self.driver_of(job) {
            self.tell(driver, WarnDriver { text, job: None });
        }
        self.publish(actor);
    }

    /// Says something to the node of an actor, where it has one.
    fn say_of_actor(&mut self, actor: ActorId, says: ControlSays) {
        if let Some(node) = self.actors.get(&actor).and_then(|entry| entry.node) {
            self.say(node, says);
        }
    }

    pub(super) fn actor_placed(
        &mut self,
        from: NodeId,
        actor: ActorId,
        incarnation: u32,
        address: WorkerAddress,
        pid: u32,
    ) {
        if let Some(entry) = self.actors.get_mut(&actor)
            && entry.incarnation == incarnation
            && entry.node == Some(from)
            && matches!(entry.life, Life::WaitsForProcess { .. })
        {
            self.homes.insert(address.worker, from);
            entry.life = Life::Starting { address, pid };
            self.leave_line(actor);
        }
    }

    /// The process of an actor is gone: it restarts, or is dead.
    pub(super) fn actor_ended(
        &mut self,
        from: NodeId,
        actor: ActorId,
        incarnation: u32,
        cause: DeathCause,
    ) {
        // A node that is to go ends what still runs at last, and goes: then they begin elsewhere, which
        // costs no restart.
        let member = self.nodes.get(&from);
        if cause.kind() == DeathKind::NodeDied && member.is_some_and(|it| it.drain.is_some()) {
            return;
        }
        if let Some(entry) = self.actors.get(&actor)
            && entry.incarnation == incarnation
            && entry.node == Some(from)
        {
            self.life_ended(actor, cause);
        }
    }

    /// One life of an actor is over.
    pub(super) fn life_ended(&mut self, actor: ActorId, cause: DeathCause) {
        let Some(entry) = self.actors.get_mut(&actor).filter(|entry| !entry.is_dead()) else {
            return;
        };
        if let Some(leaving) = entry.leaving.take() {
            // What it said before it left is the reason; the rest is what the node saw.
            let detail = leaving.detail;
            let cause = DeathCause {
                kind: leaving.kind,
                detail,
                ..cause
            };
            return self.end_actor(actor, cause);
        }
        // Without its placement group it has no place to come back to.
        let has_no_place = matches!(
            cause.kind(),
            DeathKind::PlacementGroupRemoved | DeathKind::Unschedulable
        );
        if has_no_place || entry.restarts_left() == 0 {
            return self.end_actor(actor, cause);
        }
        entry.incarnation += 1;
        entry.last_cause = Some(cause);
        entry.life = Life::WaitsForProcess {
            reason: String::new(),
        };
        entry.node = None;
        self.leave_line(actor);
        self.actor_changed(actor);
        self.place_actor(actor);
    }

    /// The owner of actors is gone: they end with it.
    pub(super) fn end_actors_of_owner(&mut self, owner: WorkerId, cause: &DeathCause) {
        let owned: Vec<ActorId> = self
            .owned
            .get(&owner)
            .map_or_else(Vec::new, |owned| owned.iter().copied().collect());
        self.end_with_owner(owned, cause);
    }

    /// The driver of a job is gone: its actors end, but for the detached ones.
    pub(super) fn end_actors_of_job(&mut self, job: JobId, cause: &DeathCause) {
        let of_job = self
            .actors
            .values()
            .filter(|actor| actor.spec.job == job && !actor.spec.detached && !actor.is_dead());
        let of_job: Vec<ActorId> = of_job.map(|actor| actor.spec.actor).collect();
        self.end_with_owner(of_job, cause);
    }

    fn end_with_owner(&mut self, actors: Vec<ActorId>, cause: &DeathCause) {
        for actor in actors {
            let Some(entry) = self.actors.get(&actor) else {
                continue;
            };
            let cause = DeathCause::new(DeathKind::OwnerDied, cause.headline());
            let cause = self.in_process(entry, cause);
            self.end_actor(actor, cause);
        }
    }

    /// What `cause` says, with the process of this life of an actor, where it has one.
    pub(super) fn in_process(&self, actor: &Actor, mut cause: DeathCause) -> DeathCause {
        if let Life::Starting { address, pid } | Life::Alive { address, pid } = &actor.life {
            cause.pid = *pid;
            cause.worker = address.worker;
            cause.node = address.node;
            if let Some(node) = self.nodes.get(&address.node) {
                cause.node_ip.clone_from(&node.status.ip);
            }
        }
        cause
    }

    pub(super) fn end_actor(&mut self, actor: ActorId, cause: DeathCause) {
        self.end_actor_with(actor, cause, Bytes::new());
    }

    /// An actor is dead from now on: its name is free, its process ends if it still runs.
    fn end_actor_with(&mut self, actor: ActorId, cause: DeathCause, exception: Bytes) {
        self.leave_line(actor);
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        let incarnation = entry.incarnation;
        entry.life = Life::Dead {
            cause: cause.clone(),
            exception,
        };
        // Of a dead actor only its description is of use; arguments may be large.
        entry.spec.creation.arguments.clear();
        let (job, owner) = (entry.spec.job, entry.spec.owner.worker);
        let name = (entry.spec.namespace.clone(), entry.spec.name.clone());
        if self.names.get(&name) == Some(&actor) {
            self.names.remove(&name);
        }
        self.disown(owner, actor);
        self.actor_changed(actor);
        let kill = ControlSays::KillActor {
            actor,
            incarnation,
            cause: Box::new(cause),
        };
        self.say_of_actor(actor, kill);
        self.graveyard.push_back(actor);
        if self.graveyard.len() > limits::DEATHS_REMEMBERED
            && let Some(oldest) = self.graveyard.pop_front()
        {
            self.bury(oldest);
            self.keep(Table::Actors, actor_key(oldest), None);
        }
        self.end_groups_of_creator(actor);
        self.forget_job_if_done(job);
    }

    /// An actor does not end with this process any more.
    fn disown(&mut self, owner: WorkerId, actor: ActorId) {
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.remove(&actor);
            if owned.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }

    /// Forgets a dead actor.
    fn bury(&mut self, actor: ActorId) {
        let Some(entry) = self.actors.remove(&actor) else {
            return;
        };
        self.forgotten.insert(actor);
        for subscriber in entry.subscribers {
            if let Some(subscriptions) = self.subscriptions.get_mut(&subscriber) {
                subscriptions.remove(&actor);
            }
        }
    }

    fn actor_changed(&mut self, actor: ActorId) {
        self.keep_actor(actor);
        self.publish(actor);
    }

    /// Sends the state of an actor to all that hold a handle of it.
    pub(super) fn publish(&mut self, actor: ActorId) {
        let Some(entry) = self.actors.get(&actor) else {
            return;
        };
        let update = entry.update();
        for subscriber in entry.subscribers.clone() {
            self.tell(subscriber, update.clone());
        }
    }

    fn keep_actor(&mut self, actor: ActorId) {
        let Some(entry) = self.actors.get(&actor) else {
            return;
        };
        let record = ActorRecord {
            spec: entry.spec.clone(),
            incarnation: entry.incarnation,
            state: entry.state() as i32,
            cause: entry.update().cause,
            preempted: entry.preempted,
        };
        let value = prost::Message::encode_to_vec(&record).into();
        self.keep(Table::Actors, actor_key(actor), Some(value));
    }
}

/// Whether the process of this life of an actor is `worker`.
fn runs_in(actor: &Actor, worker: WorkerId) -> bool {
    match &actor.life {
        Life::Starting { address, .. } | Life::Alive { address, .. } => address.worker == worker,
        Life::WaitsForProcess { .. } | Life::Dead { .. } => false,
    }
}

fn actor_key(actor: ActorId) -> Bytes {
    Bytes::copy_from_slice(&actor.to_array())
}
