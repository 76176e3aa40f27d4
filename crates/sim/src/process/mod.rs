//! One driver or worker process: its core, and what its shell does for it.
//!
//! This follows the runtime shell step by step: links and their order, what is deferred until the
//! next flush, what becomes of ended connections, when a worker counts as blocked. What a flush had
//! not written when a process crashes is lost, as it is in the product.

mod execution;
mod frame;
mod groups;
mod links;
mod reading;
mod steps;
mod writing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::lease::{WorkerBlocked, WorkerUnblocked};
use whipray_proto::messages::object::UnpinObjects;
use whipray_proto::messages::session::{Goodbye, Role};
use whipray_proto::{ActorId, JobId, Message, ObjectId, TaskId, WorkerAddress, WorkerId, limits};
use whipray_worker::cell::{ObjectCell, Waiter};
use whipray_worker::core::Core;
use whipray_worker::core::dead_nodes::DeadNodes;
use whipray_worker::core::effect::Effect;

use crate::agenda::{Event, Micros};
use crate::around::Around;
use crate::network::{Party, Socket};
use crate::streams::Seat;
pub use frame::{ActorRef, Frame, FrameKind, Handle, Stage};
use links::{Ended, Link};

const LAST_WORDS_WAIT: Micros = limits::LAST_WORDS_WAIT.as_micros() as Micros;

/// What control asks of a worker beside tasks.
enum ActorWork {
    Start(Box<StartActor>),
    Stop,
}

/// The actor that a process is.
pub struct Lived {
    pub actor: ActorId,
    incarnation: u32,
    max_concurrency: usize,
}

/// One process.
pub struct Process {
    pub index: usize,
    pub pid: u32,
    pub role: Role,
    pub address: WorkerAddress,
    /// The daemon of its node.
    pub home: Seat,
    pub core: Core,
    pub job: JobId,
    pub is_alive: bool,
    pub is_welcome: bool,
    node: Option<Socket>,
    links: BTreeMap<Socket, Link>,
    peers: BTreeMap<WorkerId, Socket>,
    /// What arrived before the node said welcome.
    early: Vec<Socket>,
    ended: VecDeque<Ended>,
    /// Ends of connections of which nothing more is read.
    closed: BTreeSet<Socket>,
    dead_nodes: DeadNodes,
    /// News of deaths that wait for the last words of the dead, with the time of each.
    early_news: Vec<(WorkerId, Micros, Message)>,
    is_flush_set: bool,
    timer_at: Option<Micros>,
    next_request: u64,
    answers: BTreeMap<u64, Option<Message>>,
    actor_work: VecDeque<ActorWork>,
    blocked: usize,
    unreachable: BTreeMap<WorkerId, Micros>,
    is_node_gone: bool,
    /// Words about references that wait to be written.
    has_words: bool,
    unpins: Vec<ObjectId>,
    /// Mappings that the creator of an object keeps as long as its cell.
    own_views: Vec<(Weak<ObjectCell>, ObjectId)>,
    pub frames: BTreeMap<u64, Frame>,
    next_frame: u64,
    /// What the process holds beyond its tasks.
    pub kept: Vec<Handle>,
    pub kept_actors: Vec<ActorRef>,
    bound_job: Option<JobId>,
    pub lived: Option<Lived>,
    is_stopping: bool,
    next_unique: u64,
    /// The plan of a driver that is not welcome yet.
    pub program: Option<usize>,
    /// The process is about to end with this status.
    pub exit: Option<i32>,
}

impl Process {
    pub fn new(
        index: usize,
        pid: u32,
        role: Role,
        address: WorkerAddress,
        home: Seat,
        around: &mut Around,
    ) -> Self {
        let party = Party::Process(index);
        around
            .network
            .listen(&address.endpoint, party, home.machine);
        Self {
            index,
            pid,
            role,
            core: Core::new(address.clone(), index as u32 + 1),
            address,
            home,
            job: JobId::default(),
            is_alive: true,
            is_welcome: false,
            node: None,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            early: Vec::new(),
            ended: VecDeque::new(),
            closed: BTreeSet::new(),
            dead_nodes: DeadNodes::default(),
            early_news: Vec::new(),
            is_flush_set: false,
            timer_at: None,
            next_request: 0,
            answers: BTreeMap::new(),
            actor_work: VecDeque::new(),
            blocked: 0,
            unreachable: BTreeMap::new(),
            is_node_gone: false,
            has_words: false,
            unpins: Vec::new(),
            own_views: Vec::new(),
            frames: BTreeMap::new(),
            next_frame: 0,
            kept: Vec::new(),
            kept_actors: Vec::new(),
            bound_job: None,
            lived: None,
            is_stopping: false,
            next_unique: around.random.number(),
            program: None,
            exit: None,
        }
    }

    pub(crate) fn next_task_id(&mut self, actor: ActorId) -> TaskId {
        self.next_unique = self.next_unique.wrapping_add(1);
        TaskId::of(self.next_unique, actor)
    }

    // ---- events

    /// Something arrived on one of its sockets.
    pub fn on_readable(&mut self, socket: Socket, around: &mut Around) {
        if !self.is_alive {
            return;
        }
        if !self.is_welcome && Some(socket) != self.node {
            return self.early.push(socket);
        }
        let was_welcome = self.is_welcome;
        self.read(socket, around);
        if self.is_welcome && !was_welcome {
            if let Some(plan) = self.program.take() {
                self.start_driver(plan, around);
            }
            for early in std::mem::take(&mut self.early) {
                // The way may have been cut since it came.
                match around.network.held_until(early, around.now) {
                    Some(open) => around.agenda.add(open, Event::Readable { socket: early }),
                    None => self.read(early, around),
                }
            }
        }
        self.on_ended(around);
        self.on_time(around);
        self.flush(around);
        self.progress(around);
    }

    fn on_node_message(&mut self, message: Message, around: &mut Around) {
        let Some(message) = self.deliver(message) else {
            return;
        };
        match message {
            Message::Welcome(welcome) => {
                self.is_welcome = true;
                self.job = welcome.job;
                if self.role == Role::Driver {
                    self.bound_job = Some(welcome.job);
                }
            }
            Message::Refused(refused) => {
                around
                    .witness
                    .violation(format!("refused: {}", refused.reason));
            }
            Message::StartActor(start) => {
                self.actor_work.push_back(ActorWork::Start(start));
            }
            Message::ReleaseMappings(release) => self.release_views(&release.objects, around),
            Message::StopActor(_) => self.actor_work.push_back(ActorWork::Stop),
            Message::WorkerDied(died) => {
                self.unreachable.remove(&died.worker);
                self.on_death(Some(died.worker), died.into(), around);
            }
            Message::LeaseLost(lost) => {
                let worker = self.core.worker_of_lease(&lost.lease);
                self.on_death(worker, lost.into(), around);
            }
            Message::ActorUpdate(update) => {
                let over = self.core.life_before(&update);
                self.on_death(over, Message::ActorUpdate(update), around);
            }
            Message::NodeDied(died) => {
                self.leave_node(&died.node, around);
                self.on_ended(around);
                self.core
                    .on_node_message(Message::NodeDied(died), around.now);
            }
            other => self.core.on_node_message(other, around.now),
        }
    }

    /// The node says that a process is gone.
    fn on_death(&mut self, worker: Option<WorkerId>, news: Message, around: &mut Around) {
        if let Some(worker) = worker {
            self.hear_out(worker, around);
            if self.has_far_link(&worker) {
                // What it said on another machine comes with the end of the link at the latest.
                let wait = LAST_WORDS_WAIT + 1;
                let process = self.index;
                around.after(wait, Event::CoreTimer { process });
                // All news of one process are due at one time: they stay in order.
                let first = self.early_news.iter().find(|(other, ..)| *other == worker);
                let since = first.map_or(around.now, |(_, since, _)| *since);
                return self.early_news.push((worker, since, news));
            }
        }
        self.core.on_node_message(news, around.now);
    }

    /// Believes the news of deaths of which `is_due` says so.
    fn believe(&mut self, around: &Around, is_due: impl Fn(&WorkerId, Micros) -> bool) {
        let news = std::mem::take(&mut self.early_news);
        for (worker, since, message) in news {
            if is_due(&worker, since) {
                self.core.on_node_message(message, around.now);
            } else {
                self.early_news.push((worker, since, message));
            }
        }
    }

    fn on_peer_ended(&mut self, worker: WorkerId, around: &mut Around) {
        if self.core.on_peer_closed(&worker) {
            self.unreachable.entry(worker).or_insert(around.now);
            let wait = self.core.death_cause_wait(&worker).as_micros() as Micros;
            let process = self.index;
            around.after(wait + 1, Event::CoreTimer { process });
        }
        self.believe(around, |dead, _| *dead == worker);
    }

    /// What a dead process has sent comes before the news of its death.
    fn hear_out(&mut self, worker: WorkerId, around: &mut Around) {
        let Some(index) = around.witness.processes.get(&worker).copied() else {
            return;
        };
        let (its, ours) = (Party::Process(index), Party::Process(self.index));
        // On another machine, no more than what has arrived.
        let is_near = around.witness.homes[index] == self.home.daemon;
        let until = if is_near { Micros::MAX } else { around.now };
        for socket in around.network.sockets_from(its, ours) {
            self.read_until(socket, until, around);
        }
    }

    fn on_peer_message(&mut self, from: &WorkerAddress, message: Message, around: &mut Around) {
        if let Message::ConfirmBorrower(confirm) = &message {
            self.hear_out(confirm.registered.registrar, around);
        }
        if let Message::TaskReplied(replied) = &message
            && let Some(process) = around.witness.processes.get(&from.worker).copied()
        {
            let task = replied.reply.task;
            around.witness.answered(task, process, self.index);
        }
        if let Message::CopyAdded(added) = &message {
            around.witness.copy_told(added.location.node, added.object);
        }
        self.core.on_peer_message(from, message, around.now);
        if self.blocked > 0 && !self.core.execution.is_empty() {
            self.core.hand_back_all();
        }
    }

    fn on_ended(&mut self, around: &mut Around) {
        while let Some(ended) = self.ended.pop_front() {
            match ended {
                Ended::Node => {
                    self.is_node_gone = true;
                    around.witness.cut_off.insert(self.index);
                    if !self.is_welcome {
                        // It never got to know its job: `init` raises.
                        self.program = None;
                    }
                    self.core.on_node_gone();
                }
                Ended::Peer(worker) => self.on_peer_ended(worker, around),
            }
        }
    }

    /// What is due by time, and when the next thing is.
    pub fn on_time(&mut self, around: &mut Around) {
        self.core.on_time(around.now);
        self.give_up_unreachable(around.now);
        let now = around.now;
        self.believe(around, |_, since| now - since >= LAST_WORDS_WAIT);
        self.apply(around);
        let Some(deadline) = self.core.deadline() else {
            return;
        };
        let is_set = self.timer_at.is_some_and(|at| at <= deadline);
        if !is_set {
            let at = deadline.max(around.now + 1);
            self.timer_at = Some(at);
            around.agenda.add(
                at,
                Event::CoreTimer {
                    process: self.index,
                },
            );
        }
    }

    fn give_up_unreachable(&mut self, now: Micros) {
        let core = &mut self.core;
        self.unreachable.retain(|worker, since| {
            if !core.is_awaited(worker) {
                return false;
            }
            let is_waiting = now - *since < core.death_cause_wait(worker).as_micros() as Micros;
            if !is_waiting {
                core.give_up(*worker, now);
            }
            is_waiting
        });
    }

    pub fn on_timer(&mut self, around: &mut Around) {
        if self.timer_at.is_some_and(|at| at <= around.now) {
            self.timer_at = None;
        }
        if self.is_alive && self.is_welcome {
            self.on_time(around);
            self.flush(around);
            self.progress(around);
        }
    }

    /// The background thread writes what waited for company.
    pub fn on_flush(&mut self, around: &mut Around) {
        self.is_flush_set = false;
        if self.is_alive {
            self.flush(around);
            self.progress(around);
        }
    }

    // ---- effects

    /// Carries out what the core asked for.
    pub(crate) fn apply(&mut self, around: &mut Around) {
        while !self.core.effects.is_empty() {
            for effect in std::mem::take(&mut self.core.effects) {
                self.carry_out(effect, around);
            }
            self.on_ended(around);
        }
    }

    fn carry_out(&mut self, effect: Effect, around: &mut Around) {
        match effect {
            Effect::ToNode(message) => {
                let is_urgent = !matches!(
                    message,
                    Message::FreeObjects(_) | Message::UnpinObjects(_) | Message::WatchWorker(_)
                );
                self.send_to_node(&message, is_urgent, around);
            }
            Effect::ToPeer(to, message) => {
                if self.has_words
                    && matches!(
                        message,
                        Message::TaskReplied(_) | Message::ObjectReady(_) | Message::StreamItem(_)
                    )
                {
                    self.has_words = false;
                    self.write_all(around);
                }
                self.has_words |= matches!(message, Message::AddBorrower(_));
                let is_urgent = match &message {
                    Message::TaskReplied(_) => self.core.execution.is_empty(),
                    Message::RemoveBorrower(_)
                    | Message::AddBorrower(_)
                    | Message::CopyAdded(_) => false,
                    _ => true,
                };
                self.send_to_peer(&to, &message, is_urgent, around);
            }
            Effect::Push {
                to,
                task,
                is_urgent,
            } => self.push(to, task, is_urgent, around),
            Effect::Notify(waiters) => {
                for waiter in waiters {
                    match waiter {
                        Waiter::Count(set) => set.count_down(),
                        Waiter::Callback(callback) => callback(),
                    }
                }
            }
            Effect::Tell(event) => around.note(|| format!("told to the user: {event:?}")),
            Effect::Interrupt(task) => self.interrupt(task, around),
        }
    }

    /// After a call of a program's thread: what it asked for is done, the rest a moment later.
    pub(crate) fn commit(&mut self, around: &mut Around) {
        self.apply(around);
        self.collect_views(around);
        let has_deferred =
            self.has_deferred() || !self.unpins.is_empty() || self.core.needs_settling();
        if has_deferred && !self.is_flush_set {
            self.is_flush_set = true;
            let delay = around.random.duration(1_500);
            around.after(
                delay,
                Event::Flush {
                    process: self.index,
                },
            );
        }
    }

    /// Tells the node what it is told once per batch, and writes all output.
    pub(crate) fn flush(&mut self, around: &mut Around) {
        self.collect_views(around);
        self.core.settle();
        if !self.unpins.is_empty() {
            let objects = std::mem::take(&mut self.unpins);
            self.core
                .effects
                .push(Effect::ToNode(UnpinObjects { objects }.into()));
        }
        self.apply(around);
        self.write_all(around);
    }

    /// Takes back the creator's mappings of objects whose cells are gone.
    fn collect_views(&mut self, around: &mut Around) {
        let (index, unpins) = (self.index, &mut self.unpins);
        self.own_views.retain(|(cell, object)| {
            let is_there = cell.strong_count() > 0;
            if !is_there {
                unpins.push(*object);
                around.witness.unviewed(index, *object);
            }
            is_there
        });
    }

    /// Takes back mappings of which only the creator knows.
    fn release_views(&mut self, objects: &[ObjectId], around: &mut Around) {
        let (index, unpins) = (self.index, &mut self.unpins);
        self.own_views.retain(|(_, object)| {
            let stays = !objects.contains(object);
            if !stays {
                unpins.push(*object);
                around.witness.unviewed(index, *object);
            }
            stays
        });
        self.commit(around);
    }

    fn set_blocked(&mut self, is_blocked: bool, around: &mut Around) {
        if is_blocked {
            self.blocked += 1;
            if self.blocked == 1 {
                self.core.hand_back_all();
                self.core
                    .effects
                    .push(Effect::ToNode(WorkerBlocked {}.into()));
            }
        } else {
            self.blocked -= 1;
            if self.blocked == 0 {
                self.core
                    .effects
                    .push(Effect::ToNode(WorkerUnblocked {}.into()));
            }
        }
        self.commit(around);
    }

    // ---- questions

    /// A new question's number; its answer will be found under it.
    fn open_request(&mut self) -> u64 {
        self.next_request += 1;
        self.answers.insert(self.next_request, None);
        self.next_request
    }

    fn deliver(&mut self, message: Message) -> Option<Message> {
        let request = match &message {
            Message::ObjectCreated(answer) => answer.request,
            Message::ObjectsPinned(answer) => answer.request,
            Message::ActorCreated(answer) => answer.request,
            Message::NamedActor(answer) => answer.request,
            Message::JobReply(answer) => answer.request,
            _ => return Some(message),
        };
        if let Some(answer) = self.answers.get_mut(&request) {
            *answer = Some(message);
        }
        None
    }

    // ---- the end

    /// A driver leaves with a goodbye.
    pub fn disconnect(&mut self, around: &mut Around) {
        self.flush(around);
        let goodbye = Goodbye {
            reason: "the process disconnected".to_owned(),
        };
        self.send_to_node(&goodbye.into(), true, around);
        self.core.on_node_gone();
        self.apply(around);
        self.write_all(around);
        self.is_alive = false;
    }

    /// Everything that its programs hold goes: for the end of a scenario.
    pub fn let_go(&mut self, around: &mut Around) {
        for handle in std::mem::take(&mut self.kept) {
            self.release(handle, around);
        }
        for actor in std::mem::take(&mut self.kept_actors) {
            self.release_actor(actor, around);
        }
        self.commit(around);
    }

    /// The actor that it is, or that it constructs.
    pub fn actor(&self) -> Option<ActorId> {
        let constructed = self.frames.values().find_map(|frame| match &frame.kind {
            FrameKind::Constructor { start, .. } => Some(start.spec.actor),
            _ => None,
        });
        self.lived.as_ref().map(|lived| lived.actor).or(constructed)
    }

    /// All objects and actors that programs of this process hold, with the handles of cells.
    pub fn held(&self) -> impl Iterator<Item = &Handle> {
        let in_frames = self.frames.values().flat_map(|frame| {
            frame.objects.iter().chain(
                frame
                    .actors
                    .iter()
                    .filter_map(|actor| actor.handle.as_ref()),
            )
        });
        let actors = self
            .kept_actors
            .iter()
            .filter_map(|actor| actor.handle.as_ref());
        in_frames.chain(self.kept.iter()).chain(actors)
    }

    fn remember_own_view(&mut self, cell: &Arc<ObjectCell>) {
        self.own_views.push((Arc::downgrade(cell), cell.id()));
    }
}
