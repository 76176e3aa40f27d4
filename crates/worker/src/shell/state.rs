//! What the lock of a runtime protects: the core, its links, and what is to be done after unlocking.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use whipray_net::{Poller, ReadyEvent, Waker};
use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::inquiry::ProcessReported;
use whipray_proto::messages::object::UnpinObjects;
use whipray_proto::{Message, ObjectId, TaskId, WorkerId, limits};

use crate::cell::Waiter;
use crate::core::Core;
use crate::core::effect::{DriverEvent, Effect};
use crate::core::tasks::Micros;
use crate::shell::blocked::Waits;
use crate::shell::links::{Ended, Incoming, LISTENER_TOKEN, Links, WAKER_TOKEN};
use crate::shell::metrics;
use crate::shell::requests::Requests;

/// What is done once the lock is released.
#[derive(Default)]
pub(crate) struct Notices {
    pub waiters: Vec<Waiter>,
    pub events: Vec<DriverEvent>,
    pub interrupts: Vec<TaskId>,
}

impl Notices {
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.events.is_empty() && self.interrupts.is_empty()
    }
}

/// What control asks of a worker beside tasks.
pub(crate) enum ActorWork {
    Start(Box<StartActor>),
    Stop,
}

pub(crate) struct State {
    pub core: Core,
    pub links: Links,
    pub requests: Requests,
    pub actor_work: VecDeque<ActorWork>,
    pub notices: Notices,
    pub waits: Waits,
    /// Workers whose connection ended, until the node says why they died.
    unreachable: FxHashMap<WorkerId, Instant>,
    /// News of deaths on other machines, while what the dead had said may still be on its way.
    early_news: Vec<(WorkerId, Instant, Message)>,
    pub is_node_gone: bool,
    /// Words about references wait to be written, which must be under way before the values are
    /// that these references are in: who gets a value relies on them, also where we die.
    has_words: bool,
    /// Pins of views that are gone. With a lock of their own: the last view of an object may go
    /// with its entry, while the state is locked.
    unpins: Arc<Mutex<Vec<ObjectId>>>,
    pub(super) started: Instant,
    incoming: Vec<Incoming>,
}

impl State {
    pub fn new(mut core: Core, links: Links, unpins: Arc<Mutex<Vec<ObjectId>>>) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        core.began_at_us = since_epoch.map_or(0, |since| since.as_micros() as u64);
        Self {
            core,
            links,
            requests: Requests::default(),
            actor_work: VecDeque::new(),
            notices: Notices::default(),
            waits: Waits::default(),
            unreachable: FxHashMap::default(),
            early_news: Vec::new(),
            is_node_gone: false,
            has_words: false,
            unpins,
            started: Instant::now(),
            incoming: Vec::new(),
        }
    }

    pub fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    /// Whether there is anything for the executing thread.
    pub fn has_work(&self) -> bool {
        !self.core.execution.is_empty() || !self.actor_work.is_empty() || self.is_node_gone
    }

    /// Handles what is ready.
    pub fn on_ready(&mut self, ready: &[ReadyEvent], poller: &Poller, waker: &Waker) {
        for event in ready {
            match event.token {
                WAKER_TOKEN => waker.reset(),
                LISTENER_TOKEN => self.links.accept(poller),
                token => {
                    if event.writable {
                        self.links.on_writable(token, poller);
                    }
                    if event.readable || event.closed {
                        let mut incoming = std::mem::take(&mut self.incoming);
                        self.links.read(token, poller, &mut incoming);
                        for message in incoming.drain(..) {
                            self.on_message(message, poller);
                        }
                        self.incoming = incoming;
                        self.apply(poller);
                        // Before anything that the same peer says over another link.
                        self.on_ended();
                    }
                }
            }
        }
        self.on_ended();
        self.on_time(poller);
    }

    /// Handles what came with the welcome.
    pub fn on_connected(&mut self, poller: &Poller) {
        let mut incoming = Vec::new();
        self.links.take_early(poller, &mut incoming);
        for message in incoming {
            self.on_message(message, poller);
        }
        self.apply(poller);
    }

    fn on_message(&mut self, incoming: Incoming, poller: &Poller) {
        let now = self.now();
        match incoming {
            Incoming::Reconnected(worker) => self.on_peer_ended(worker),
            Incoming::Peer(from, message) => {
                if let Message::ConfirmBorrower(confirm) = &message {
                    self.hear_out(&confirm.registered.registrar, poller);
                }
                self.core.on_peer_message(&from, message, now);
                if !self.waits.is_empty() && !self.core.execution.is_empty() {
                    self.core.hand_back_all();
                }
            }
            Incoming::Node(message) => {
                let Some(message) = self.requests.deliver(message) else {
                    return;
                };
                match message {
                    Message::ObjectsPinned(late) => {
                        for fetched in late.objects.iter().filter(|it| it.is_new_copy) {
                            self.core.on_fetched_late(fetched.object);
                        }
                        let objects = late.objects.into_iter().map(|pinned| pinned.object);
                        let unpin = UnpinObjects {
                            objects: objects.collect(),
                        };
                        self.core.effects.push(Effect::ToNode(unpin.into()));
                    }
                    Message::ReportRequest(request) => {
                        let reported = ProcessReported {
                            request: request.request,
                            report: self.report(&request),
                        };
                        self.core.effects.push(Effect::ToNode(reported.into()));
                    }
                    Message::MetricsRequest(request) => {
                        let reported = metrics::report(request.request);
                        self.core.effects.push(Effect::ToNode(reported.into()));
                    }
                    Message::StartActor(start) => {
                        self.waits.become_actor(&start.spec);
                        self.actor_work.push_back(ActorWork::Start(start))
                    }
                    Message::ReleaseMappings(release) => {
                        for object in &release.objects {
                            if let Some(cell) = self.core.objects.cell(object) {
                                cell.release_own_view();
                            }
                        }
                    }
                    Message::StopActor(_) => self.actor_work.push_back(ActorWork::Stop),
                    Message::WorkerDied(died) => {
                        self.unreachable.remove(&died.worker);
                        self.on_death(Some(died.worker), died.into(), poller);
                    }
                    Message::LeaseLost(lost) => {
                        let worker = self.core.worker_of_lease(&lost.lease);
                        self.on_death(worker, lost.into(), poller);
                    }
                    // What is told of a next life waits, too, until the end of the last one is believed.
                    Message::ActorUpdate(update) => {
                        let over = self.core.life_before(&update);
                        self.on_death(over, Message::ActorUpdate(update), poller);
                    }
                    Message::NodeDied(died) => {
                        self.links.leave_node(&died.node, poller);
                        self.on_ended();
                        self.core.on_node_message(Message::NodeDied(died), now);
                    }
                    other => self.core.on_node_message(other, now),
                }
            }
        }
    }

    /// The node says that a process is gone.
    fn on_death(&mut self, worker: Option<WorkerId>, news: Message, poller: &Poller) {
        if let Some(worker) = worker {
            self.hear_out(&worker, poller);
            if self.links.has_far_link(&worker) {
                // What it said on another machine comes with the end of the link at the latest.
                // All news of one process are due at one time: they stay in order.
                let first = self.early_news.iter().find(|(other, ..)| *other == worker);
                let since = first.map_or_else(Instant::now, |(_, since, _)| *since);
                return self.early_news.push((worker, since, news));
            }
        }
        let now = self.now();
        self.core.on_node_message(news, now);
    }

    /// Believes the news of deaths of which `is_due` says so.
    fn believe(&mut self, is_due: impl Fn(&WorkerId, &Instant) -> bool) {
        if self.early_news.is_empty() {
            return;
        }
        let now = self.now();
        let news = std::mem::take(&mut self.early_news);
        for (worker, since, message) in news {
            if is_due(&worker, &since) {
                self.core.on_node_message(message, now);
            } else {
                self.early_news.push((worker, since, message));
            }
        }
    }

    /// When [`Self::on_time`] is to be called next.
    pub fn deadline(&self) -> Option<Micros> {
        let since = self.early_news.iter().map(|(_, since, _)| *since).min();
        let due = since.map(|since| {
            let due = since + limits::LAST_WORDS_WAIT;
            due.duration_since(self.started).as_micros() as Micros
        });
        self.core.deadline().into_iter().chain(due).min()
    }

    /// The node's news of a death may overtake what the dead process has sent us: answers of tasks,
    /// which then need no retry, and words about references. They come first.
    fn hear_out(&mut self, worker: &WorkerId, poller: &Poller) {
        let mut incoming = Vec::new();
        self.links.read_to_end(worker, poller, &mut incoming);
        for message in incoming {
            self.on_message(message, poller);
        }
    }

    fn on_ended(&mut self) {
        while let Some(ended) = self.links.ended.pop() {
            match ended {
                Ended::Node => {
                    self.is_node_gone = true;
                    self.core.on_node_gone();
                    self.notices.events.push(DriverEvent::Closed);
                }
                Ended::Peer(worker) => self.on_peer_ended(worker),
            }
        }
    }

    fn on_peer_ended(&mut self, worker: WorkerId) {
        if self.core.on_peer_closed(&worker) {
            self.unreachable.entry(worker).or_insert_with(Instant::now);
        }
        self.believe(|dead, _| *dead == worker);
    }

    /// What is due by time.
    pub fn on_time(&mut self, poller: &Poller) {
        let now = self.now();
        self.core.on_time(now);
        if !self.unreachable.is_empty() {
            self.give_up_unreachable();
        }
        self.believe(|_, since| since.elapsed() >= limits::LAST_WORDS_WAIT);
        self.apply(poller);
    }

    /// The node reports every death of a process. Where it says nothing although the connection to
    /// the process is lost, the process is cut off.
    fn give_up_unreachable(&mut self) {
        let (core, now) = (&mut self.core, self.started.elapsed().as_micros() as Micros);
        self.unreachable.retain(|worker, since| {
            if !core.is_awaited(worker) {
                return false;
            }
            let is_waiting = since.elapsed() < core.death_cause_wait(worker);
            if !is_waiting {
                core.give_up(*worker, now);
            }
            is_waiting
        });
    }

    /// Carries out what the core asked for.
    pub fn apply(&mut self, poller: &Poller) {
        while !self.core.effects.is_empty() {
            let effects = std::mem::take(&mut self.core.effects);
            for effect in effects {
                self.carry_out(effect, poller);
            }
            self.on_ended();
        }
    }

    fn carry_out(&mut self, effect: Effect, poller: &Poller) {
        match effect {
            Effect::ToNode(message) => {
                let is_urgent = !matches!(
                    message,
                    Message::FreeObjects(_)
                        | Message::UnpinObjects(_)
                        | Message::WatchWorker(_)
                        | Message::CreateGroup(_)
                        | Message::RemoveGroup(_)
                );
                self.links.send_to_node(&message, is_urgent, poller);
            }
            Effect::ToPeer(to, message) => {
                if self.has_words
                    && matches!(
                        message,
                        Message::TaskReplied(_) | Message::ObjectReady(_) | Message::StreamItem(_)
                    )
                {
                    self.has_words = false;
                    self.links.flush(poller);
                }
                self.has_words |= matches!(message, Message::AddBorrower(_));
                let is_urgent = match &message {
                    // The answers of a batch travel together; the last one takes them along.
                    Message::TaskReplied(_) => self.core.execution.is_empty(),
                    // Whoever sends an item says when it is time to write.
                    Message::StreamItem(_) => false,
                    Message::RemoveBorrower(_)
                    | Message::AddBorrower(_)
                    | Message::CopyAdded(_) => false,
                    _ => true,
                };
                self.links.send_to_peer(&to, &message, is_urgent, poller);
            }
            Effect::Push {
                to,
                task,
                is_urgent,
            } => {
                let Some(address) = self.core.address_of(&to) else {
                    return;
                };
                if let Some((spec, assignment)) = self.core.take_push(&address, &task) {
                    self.links
                        .push_task(&address, spec, assignment.as_ref(), is_urgent, poller);
                }
            }
            Effect::Notify(waiters) => self.notices.waiters.extend(waiters),
            Effect::Tell(event) => self.notices.events.push(event),
            Effect::Interrupt(task) => self.notices.interrupts.push(task),
        }
    }

    /// Tells the node what it is told once per batch.
    pub fn settle(&mut self, poller: &Poller) {
        self.core.settle();
        let objects = std::mem::take(&mut *self.unpins.lock());
        if !objects.is_empty() {
            let message = whipray_proto::messages::object::UnpinObjects { objects };
            self.core.effects.push(Effect::ToNode(message.into()));
        }
        self.apply(poller);
    }

    /// Whether there is anything for [`Self::settle`] or a flush.
    pub fn has_deferred(&self) -> bool {
        self.links.has_deferred() || !self.unpins.lock().is_empty() || self.core.needs_settling()
    }
}
