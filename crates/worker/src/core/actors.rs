//! Actors as their callers see them: a queue of calls in order, and where the actor lives now.
//!
//! | state | meaning | calls |
//! | --- | --- | --- |
//! | `Waiting` | not alive yet, or its process died and the control's word is on its way | queue |
//! | `Alive` | its process answers | are pushed in order, once their objects are there |
//! | `Dead` | for ever | fail at once |

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::{ActorState, ActorUpdate, SubscribeActor};
use whipray_proto::{ActorId, DeathCause, DeathKind, NodeId, TaskId, WorkerAddress, WorkerId};

use crate::core::cancelling::{Cancellation, cancelled};
use crate::core::dead_nodes::DeadNodes;
use crate::core::effect::Effect;
use crate::core::report::CallPlace;
use crate::core::tasks::TaskTable;

/// Where a call gets into the line of those that were not pushed yet.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// It is made again: those in line came later, and may wait for its result.
    First,
    Last,
}

enum ClientState {
    /// Not alive yet, or its process died (with the worker that it was).
    Waiting {
        lost: Option<WorkerAddress>,
    },
    Alive(WorkerAddress),
    Dead(Failure),
}

/// One actor that this process calls.
pub struct ActorClient {
    state: ClientState,
    incarnation: u32,
    /// Calls that were not pushed yet.
    queue: VecDeque<TaskId>,
    /// Calls that wait for objects, and that later ones may overtake meanwhile.
    aside: FxHashMap<TaskId, Turn>,
    /// Calls that were pushed and not answered.
    in_flight: VecDeque<TaskId>,
    class_name: String,
    /// No handle is left; the control is told once the last call is through.
    is_released: bool,
}

impl ActorClient {
    fn new() -> Self {
        Self {
            state: ClientState::Waiting { lost: None },
            incarnation: 0,
            queue: VecDeque::new(),
            aside: FxHashMap::default(),
            in_flight: VecDeque::new(),
            class_name: String::new(),
            is_released: false,
        }
    }

    fn line_up(&mut self, task: TaskId, turn: Turn) {
        match turn {
            Turn::First => self.queue.push_front(task),
            Turn::Last => self.queue.push_back(task),
        }
    }

    /// The node of the process that it is, or was until its end was heard of.
    fn node(&self) -> Option<NodeId> {
        match &self.state {
            ClientState::Alive(address)
            | ClientState::Waiting {
                lost: Some(address),
            } => Some(address.node),
            ClientState::Waiting { lost: None } | ClientState::Dead(_) => None,
        }
    }

    /// The process that it was, while the control's word on its end is awaited.
    fn lost(&self) -> Option<&WorkerId> {
        match &self.state {
            ClientState::Waiting { lost: Some(lost) } => Some(&lost.worker),
            _ => None,
        }
    }
}

/// All actors that this process calls or owns.
#[derive(Default)]
pub struct ActorTable {
    actors: FxHashMap<ActorId, ActorClient>,
    by_worker: FxHashMap<WorkerId, ActorId>,
}

/// A call that the end of an actor's life met.
pub struct Struck {
    pub task: TaskId,
    pub failure: Failure,
    /// Where it was under way, if it was.
    pub worker: Option<WorkerId>,
}

/// What becomes of the calls that an actor's death met under way.
#[derive(Default)]
pub struct Interrupted {
    /// Where they were under way.
    pub node: Option<NodeId>,
    /// Calls that are tried again, in order.
    pub retried: Vec<Struck>,
    pub failed: Vec<Struck>,
}

impl ActorTable {
    /// Makes sure that the actor is known. The owner is subscribed to it by its creation.
    pub fn ensure(&mut self, actor: ActorId) {
        self.actors.entry(actor).or_insert_with(ActorClient::new);
    }

    /// Makes sure that the actor is known, and subscribes to it where it was not. `owner` is the
    /// process that creates it, where the handle tells.
    pub fn subscribe(
        &mut self,
        actor: ActorId,
        owner: Option<WorkerId>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.actors.contains_key(&actor) {
            self.ensure(actor);
            effects.push(Effect::ToNode(SubscribeActor { actor, owner }.into()));
        }
    }

    /// Calls that are queued or under way.
    pub fn pending_calls(&self, actor: &ActorId) -> usize {
        self.actors.get(actor).map_or(0, |client| {
            client.queue.len() + client.aside.len() + client.in_flight.len()
        })
    }

    /// Takes a call in line; a dead actor gives back why.
    pub fn enqueue(&mut self, actor: &ActorId, task: TaskId, turn: Turn) -> Option<Failure> {
        let client = self.actors.get_mut(actor)?;
        if let ClientState::Dead(failure) = &client.state {
            return Some(failure.clone());
        }
        client.line_up(task, turn);
        None
    }

    /// Takes a call in that is made again: while objects of it are missing, it must not be in the
    /// way of those that make them.
    pub fn enqueue_again(
        &mut self,
        actor: &ActorId,
        task: TaskId,
        is_missing: bool,
    ) -> Option<Failure> {
        match is_missing {
            true => self.put_aside(actor, task, Turn::First),
            false => self.enqueue(actor, task, Turn::First),
        }
    }

    /// Keeps a call that waits for objects out of the way of those behind it; a dead actor gives
    /// back why.
    pub fn put_aside(&mut self, actor: &ActorId, task: TaskId, turn: Turn) -> Option<Failure> {
        let client = self.actors.get_mut(actor)?;
        if let ClientState::Dead(failure) = &client.state {
            return Some(failure.clone());
        }
        client.aside.insert(task, turn);
        None
    }

    /// The objects of a call are there: one that was put aside gets into the queue now.
    pub fn on_complete(&mut self, actor: &ActorId, task: TaskId) {
        if let Some(client) = self.actors.get_mut(actor)
            && let Some(turn) = client.aside.remove(&task)
        {
            client.line_up(task, turn);
        }
    }

    /// Pushes the calls at the head of the queue whose objects are all there.
    pub fn pump(&mut self, actor: &ActorId, tasks: &TaskTable, effects: &mut Vec<Effect>) {
        let Some(client) = self.actors.get_mut(actor) else {
            return;
        };
        let ClientState::Alive(address) = &client.state else {
            return;
        };
        while let Some(task) = client.queue.front() {
            match tasks.tasks.get(task) {
                Some(entry) if entry.missing > 0 => return,
                Some(_) => {
                    let is_urgent = client.in_flight.is_empty();
                    effects.push(Effect::Push {
                        to: address.worker,
                        task: *task,
                        is_urgent,
                    });
                    client.in_flight.push_back(*task);
                }
                None => {}
            }
            client.queue.pop_front();
        }
    }

    /// A call was answered; whether it was under way.
    pub fn take_in_flight(&mut self, actor: &ActorId, task: &TaskId) -> bool {
        let Some(client) = self.actors.get_mut(actor) else {
            return false;
        };
        if client.in_flight.front() == Some(task) {
            client.in_flight.pop_front();
            return true;
        }
        match client.in_flight.iter().position(|other| other == task) {
            Some(position) => client.in_flight.remove(position).is_some(),
            None => false,
        }
    }

    /// Takes a call that was not pushed out of its queue; whether it was there.
    pub fn unqueue(&mut self, actor: &ActorId, task: &TaskId) -> bool {
        let Some(client) = self.actors.get_mut(actor) else {
            return false;
        };
        match client.queue.iter().position(|other| other == task) {
            Some(position) => client.queue.remove(position).is_some(),
            None => client.aside.remove(task).is_some(),
        }
    }

    /// Where each call that is not through stands.
    pub fn places(&self, tasks: &TaskTable) -> FxHashMap<TaskId, CallPlace> {
        let mut places = FxHashMap::default();
        for client in self.actors.values() {
            let address = match &client.state {
                ClientState::Alive(address) => Some(address.worker),
                _ => None,
            };
            for task in &client.in_flight {
                places.insert(*task, CallPlace::Sent(address));
            }
            let mut first = None;
            for task in &client.queue {
                let waits = tasks.tasks.get(task).is_some_and(|entry| entry.missing > 0);
                let place = match (address, first) {
                    (Some(_), Some(first)) => CallPlace::Behind(first),
                    _ => CallPlace::NotAlive,
                };
                places.insert(*task, place);
                if waits && first.is_none() {
                    first = Some(*task);
                }
            }
        }
        places
    }

    /// Whether calls of an actor are of any use.
    pub fn is_callable(&self, actor: &ActorId) -> bool {
        let client = self.actors.get(actor);
        client.is_some_and(|client| !matches!(client.state, ClientState::Dead(_)))
    }

    /// Where the actor lives, if it does.
    pub fn address(&self, actor: &ActorId) -> Option<&WorkerAddress> {
        match &self.actors.get(actor)?.state {
            ClientState::Alive(address) => Some(address),
            _ => None,
        }
    }

    /// The address of an actor's process.
    pub fn address_of_worker(&self, worker: &WorkerId) -> Option<&WorkerAddress> {
        self.address(self.by_worker.get(worker)?)
    }

    /// The connection to an actor's process ended: its calls wait for the control's word.
    pub fn on_worker_unreachable(&mut self, worker: &WorkerId) -> Option<ActorId> {
        let actor = self.by_worker.remove(worker)?;
        if let Some(client) = self.actors.get_mut(&actor) {
            let lost = match &client.state {
                ClientState::Alive(address) => Some(address.clone()),
                _ => None,
            };
            client.state = ClientState::Waiting { lost };
        }
        Some(actor)
    }

    /// The control says nothing of an actor whose connection ended: it lives. What was under way is
    /// lost, and what is called from here on takes another connection.
    pub fn give_up(
        &mut self,
        worker: &WorkerId,
        tasks: &mut TaskTable,
    ) -> Option<(ActorId, Interrupted)> {
        let (actor, client) = self
            .actors
            .iter_mut()
            .find(|(_, client)| client.lost() == Some(worker))?;
        let ClientState::Waiting {
            lost: Some(address),
        } = &client.state
        else {
            return None;
        };
        client.state = ClientState::Alive(address.clone());
        self.by_worker.insert(*worker, *actor);
        let cause = DeathCause::new(
            DeathKind::Unknown,
            "the connection between it and its caller was lost",
        );
        let interrupted = interrupt(*actor, client, "It lives on", &cause, tasks);
        Some((*actor, interrupted))
    }

    /// We asked for the end of an actor: what is called from here on is for its next life, if it
    /// has one, and must not slip in before the end.
    pub fn on_kill(&mut self, actor: &ActorId) {
        let Some(client) = self.actors.get_mut(actor) else {
            return;
        };
        if let ClientState::Alive(address) = &client.state {
            client.state = ClientState::Waiting {
                lost: Some(address.clone()),
            };
        }
    }

    /// Whether calls wait for the control's word on an actor that lived in this worker.
    pub fn is_awaited(&self, worker: &WorkerId) -> bool {
        self.actors
            .values()
            .any(|client| client.lost() == Some(worker))
    }

    /// The control's word on an actor.
    pub fn on_update(
        &mut self,
        update: &ActorUpdate,
        dead_nodes: &DeadNodes,
        tasks: &mut TaskTable,
    ) -> Interrupted {
        let mut interrupted = Interrupted::default();
        let Some(client) = self.actors.get_mut(&update.actor) else {
            return interrupted;
        };
        let node = client.node();
        if !update.class_name.is_empty() {
            client.class_name = update.class_name.clone();
        }
        if let ClientState::Dead(_) = client.state {
            return interrupted;
        }
        if update.incarnation < client.incarnation {
            return interrupted;
        }
        match update.state() {
            ActorState::Alive => {
                let Some(address) = &update.address else {
                    return interrupted;
                };
                if dead_nodes.contains(&address.node) {
                    // Old news: what becomes of it is on its way.
                    return interrupted;
                }
                let is_same =
                    update.incarnation == client.incarnation && client.in_flight.is_empty();
                client.incarnation = update.incarnation;
                self.by_worker.insert(address.worker, update.actor);
                if is_same || client.in_flight.is_empty() {
                    client.state = ClientState::Alive(address.clone());
                } else if let ClientState::Alive(known) = &client.state
                    && known.worker == address.worker
                {
                    // Told twice.
                } else {
                    client.state = ClientState::Alive(address.clone());
                    let cause = update.cause.clone().unwrap_or_default();
                    let actor = update.actor;
                    interrupted = interrupt(actor, client, "It restarts", &cause, tasks);
                }
            }
            ActorState::Pending => {}
            ActorState::Restarting => {
                client.state = ClientState::Waiting { lost: None };
                client.incarnation = update.incarnation;
                self.by_worker.retain(|_, actor| *actor != update.actor);
                let cause = update.cause.clone().unwrap_or_default();
                interrupted = interrupt(update.actor, client, "It restarts", &cause, tasks);
            }
            ActorState::Dead => {
                self.by_worker.retain(|_, actor| *actor != update.actor);
                let failure = death_failure(client, update);
                let worker = last_worker(update.cause.as_ref());
                let under_way = client.in_flight.drain(..).map(|task| (task, worker));
                let aside = client.aside.drain().map(|(task, _)| task);
                let waiting = client.queue.drain(..).chain(aside);
                for (task, worker) in under_way.chain(waiting.map(|task| (task, None))) {
                    let failure = failure.clone();
                    interrupted.failed.push(Struck {
                        task,
                        failure,
                        worker,
                    });
                }
                client.state = ClientState::Dead(failure);
            }
        }
        interrupted.node = node;
        interrupted
    }

    /// A node is gone: its actors do not live until the control says so again, and their calls wait
    /// for its word.
    pub fn on_node_died(&mut self, node: &NodeId) {
        for client in self.actors.values_mut() {
            if client.node().as_ref() == Some(node) {
                client.state = ClientState::Waiting { lost: None };
            }
        }
        let actors = &self.actors;
        self.by_worker
            .retain(|_, actor| actors.get(actor).is_some_and(|it| it.node().is_some()));
    }

    /// An actor that never came to be.
    pub fn forget(&mut self, actor: &ActorId) {
        if let Some(client) = self.actors.get_mut(actor) {
            client.state = ClientState::Dead(Failure::default());
        }
    }

    /// No handle is left in any process; whether the control is to be told, see
    /// [`Self::leave_if_quiet`].
    pub fn on_released(&mut self, actor: ActorId) -> bool {
        self.ensure(actor);
        if let Some(client) = self.actors.get_mut(&actor) {
            client.is_released = true;
        }
        self.leave_if_quiet(actor)
    }

    /// Forgets an actor without handles, once its last call is through. Returns whether it may be
    /// alive, so that the control is to be told.
    pub fn leave_if_quiet(&mut self, actor: ActorId) -> bool {
        let Some(client) = self.actors.get(&actor) else {
            return false;
        };
        let is_quiet =
            client.queue.is_empty() && client.aside.is_empty() && client.in_flight.is_empty();
        if !client.is_released || !is_quiet {
            return false;
        }
        let is_dead = matches!(client.state, ClientState::Dead(_));
        self.actors.remove(&actor);
        self.by_worker.retain(|_, other| *other != actor);
        !is_dead
    }
}

/// Decides for each call under way whether it is tried again; `what_next` is what becomes of the
/// actor.
fn interrupt(
    actor: ActorId,
    client: &mut ActorClient,
    what_next: &str,
    cause: &DeathCause,
    tasks: &mut TaskTable,
) -> Interrupted {
    let mut interrupted = Interrupted::default();
    let worker = last_worker(Some(cause));
    for task in client.in_flight.drain(..) {
        let Some(entry) = tasks.tasks.get_mut(&task) else {
            continue;
        };
        let struck = |failure| Struck {
            task,
            failure,
            worker,
        };
        if entry.is_cancelled {
            let failure = cancelled(task, Cancellation::Killed);
            interrupted.failed.push(struck(failure));
            continue;
        }
        let (is_retried, verdict) = match entry.retries_left {
            0 => (
                false,
                format!("not retried, since max_task_retries={}", entry.retries_used),
            ),
            _ => (true, "tried again".to_owned()),
        };
        let message = format!(
            "The actor {} is unavailable: {}. {what_next}; the call {} was under way and is \
             {verdict}.{}",
            client.class_name,
            cause.headline(),
            entry.spec.name,
            cause.last_words()
        );
        let kind = FailureKind::ActorUnavailable;
        let failure = Failure::new(kind, actor.to_hex(), message).because_of(cause.clone());
        match is_retried {
            true => interrupted.retried.push(struck(failure)),
            false => interrupted.failed.push(struck(failure)),
        }
    }
    for struck in interrupted.retried.iter().rev() {
        client.queue.push_front(struck.task);
    }
    interrupted
}

/// The process that is gone, where it is known.
fn last_worker(cause: Option<&DeathCause>) -> Option<WorkerId> {
    Some(cause?.worker).filter(|worker| !worker.is_nil())
}

fn death_failure(client: &ActorClient, update: &ActorUpdate) -> Failure {
    let cause = update.cause.clone().unwrap_or_default();
    if cause.kind() == DeathKind::Unschedulable {
        let kind = FailureKind::ActorUnschedulable;
        let message = cause.detail.clone();
        return Failure::new(kind, update.actor.to_hex(), message).because_of(cause);
    }
    let mut message = format!(
        "The actor {} ({}) is dead: {}.",
        client.class_name,
        update.actor,
        cause.headline()
    );
    if cause.kind() != DeathKind::ConstructorFailed && update.incarnation > 0 {
        message.push_str(&format!(
            " It had been restarted {} times.",
            update.incarnation
        ));
    }
    message.push_str(&cause.last_words());
    let kind = match cause.memory {
        Some(_) => FailureKind::OutOfMemory,
        None => FailureKind::ActorDied,
    };
    let mut failure = Failure::new(kind, update.actor.to_hex(), message).because_of(cause);
    failure.exception = update.exception.clone();
    failure
}
