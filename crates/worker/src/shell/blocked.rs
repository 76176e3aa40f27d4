//! Threads that are blocked for long: what the node is told, and how they find out that they wait
//! for themselves.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use whipray_diagnosis::{Cluster, Explanation, explain, find_cycle, timeline};
use whipray_net::Poller;
use whipray_proto::messages::cluster::StatusReply;
use whipray_proto::messages::inquiry::{
    Concurrency, CycleFound, Inquiry, InquiryAnswered, ObjectAt, ProcessReport, ReportRequest,
    WaitReport,
};
use whipray_proto::messages::lease::{WorkerBlocked, WorkerUnblocked};
use whipray_proto::task::ActorSpec;
use whipray_proto::{Message, ObjectId, TaskId, limits};

use crate::core::effect::Effect;
use crate::core::tasks::Micros;
use crate::handle::ObjectHandle;
use crate::shell::runtime::{Runtime, WaitOutcome};
use crate::shell::state::State;

/// For what a thread waits.
pub(crate) struct Wanted<'a> {
    pub missing: &'a [&'a ObjectHandle],
    /// How many of these must come.
    pub needed: usize,
    /// The task that waits; `None` where it is the program of a driver.
    pub task: Option<TaskId>,
}

impl Wanted<'_> {
    /// Something that is no object.
    pub fn something(task: Option<TaskId>) -> Self {
        Self {
            missing: &[],
            needed: 0,
            task,
        }
    }

    /// Whether one answer is all that is waited for: it may come at once.
    pub fn is_single(&self) -> bool {
        self.missing.len() == 1
    }
}

/// A thread that is blocked.
struct Wait {
    number: u64,
    task: TaskId,
    objects: Vec<ObjectId>,
    needed: usize,
    needs_all: bool,
    is_whole: bool,
    has_timeout: bool,
    since: Micros,
    is_loop: bool,
}

/// All threads of tasks that are blocked, and how the process runs its tasks.
#[derive(Default)]
pub(crate) struct Waits {
    last: u64,
    waits: Vec<Wait>,
    loop_thread: Option<std::thread::ThreadId>,
    concurrency: Concurrency,
    threads: u32,
    actor: Option<whipray_proto::ActorId>,
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// The process becomes an actor.
    pub fn become_actor(&mut self, spec: &ActorSpec) {
        self.actor = Some(spec.actor);
        self.threads = spec.max_concurrency.max(1) + spec.concurrency_groups.values().sum::<u32>();
        self.concurrency = match (spec.is_async, self.threads) {
            (true, _) => Concurrency::Coroutines,
            (false, 1) => Concurrency::Serial,
            (false, _) => Concurrency::Threads,
        };
    }

    /// The calling thread runs the event loop of the process.
    pub fn enter_loop(&mut self) {
        self.loop_thread = Some(std::thread::current().id());
    }
}

impl State {
    /// A thread of a task waits for others; the number of its wait.
    pub fn on_blocked(&mut self, wanted: &Wanted<'_>, has_timeout: bool, poller: &Poller) -> u64 {
        let waits = &mut self.waits;
        waits.last += 1;
        let number = waits.last;
        let missing = wanted.missing.iter().filter(|handle| !handle.is_ready());
        waits.waits.push(Wait {
            number,
            task: wanted.task.unwrap_or_default(),
            objects: missing
                .take(limits::WAIT_OBJECTS)
                .map(|it| it.id())
                .collect(),
            needed: wanted.needed,
            needs_all: wanted.needed >= wanted.missing.len(),
            is_whole: wanted.missing.len() <= limits::WAIT_OBJECTS,
            has_timeout,
            since: self.started.elapsed().as_micros() as Micros,
            is_loop: waits.loop_thread == Some(std::thread::current().id()),
        });
        if self.waits.waits.len() == 1 {
            self.core.hand_back_all();
            self.core
                .effects
                .push(Effect::ToNode(WorkerBlocked {}.into()));
            self.apply(poller);
        }
        number
    }

    /// It goes on.
    pub fn on_unblocked(&mut self, number: u64, poller: &Poller) {
        self.waits.waits.retain(|wait| wait.number != number);
        if self.waits.is_empty() {
            self.core
                .effects
                .push(Effect::ToNode(WorkerUnblocked {}.into()));
            self.apply(poller);
        }
    }

    /// What this process knows.
    pub fn report(&self, request: &ReportRequest) -> ProcessReport {
        let now = self.now();
        let mut report = self.core.report(request, now);
        report.actor = self.waits.actor;
        report.concurrency = self.waits.concurrency as i32;
        report.threads = self.waits.threads.max(1);
        let waits = self.waits.waits.iter();
        report.waits = waits.map(|wait| self.report_wait(wait, now)).collect();
        report
    }

    fn report_wait(&self, wait: &Wait, now: Micros) -> WaitReport {
        let is_missing = |object: &&ObjectId| {
            let cell = self.core.objects.cell(object);
            cell.is_none_or(|cell| !cell.is_ready())
        };
        let objects: Vec<ObjectAt> = wait
            .objects
            .iter()
            .filter(is_missing)
            .filter_map(|object| self.core.object_at(object))
            .collect();
        let came = wait.objects.len() - objects.len();
        // Of a list that is too long to be kept nobody knows what else it needs.
        let needed = match (wait.needs_all, wait.is_whole) {
            (true, _) => objects.len(),
            (false, true) => wait.needed.saturating_sub(came),
            (false, false) => 0,
        };
        WaitReport {
            number: wait.number,
            task: wait.task,
            objects,
            needed: needed as u32,
            has_timeout: wait.has_timeout,
            age_us: now.saturating_sub(wait.since),
            is_loop: wait.is_loop,
        }
    }
}

/// The cluster as a blocked thread asks it; an answer for which it has waited ends the question.
struct WhileBlocked<'a> {
    runtime: &'a Runtime,
    is_done: &'a dyn Fn() -> bool,
}

impl Cluster for WhileBlocked<'_> {
    fn inquire(&mut self, inquiry: Inquiry) -> Option<InquiryAnswered> {
        let make = |request| Inquiry { request, ..inquiry }.into();
        let timeout = limits::INQUIRY_WAIT * 2;
        match self
            .runtime
            .ask_until(make, timeout, self.is_done, &mut || false)
        {
            Ok(Message::InquiryAnswered(answer)) => Some(answer),
            _ => None,
        }
    }

    fn status(&mut self) -> Option<StatusReply> {
        self.runtime.status().ok()
    }
}

impl Runtime {
    /// Waits without a bound. Now and then the thread looks whether it waits for itself, over others:
    /// the driver's user hears of that, and the wait goes on.
    pub(crate) fn wait_and_probe(
        &self,
        is_done: &dyn Fn() -> bool,
        wanted: &Wanted<'_>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        let mut pause = match wanted.task {
            Some(_) => limits::CYCLE_PROBE,
            None => limits::CYCLE_PROBE_DRIVER,
        };
        loop {
            let outcome = match wanted.task {
                Some(_) => self.wait_until(is_done, Some(pause), interrupt),
                None => self.wait_idle(is_done, pause, wanted.is_single(), interrupt),
            };
            if outcome != WaitOutcome::TimedOut {
                return outcome;
            }
            self.probe(is_done, wanted);
            pause = (pause * 2).min(limits::CYCLE_PROBE_LONGEST);
        }
    }

    /// Waits until nothing has come for a while. The clock is only read while nothing comes: a
    /// driver's wait for a short task must not pay for it.
    fn wait_idle(
        &self,
        is_done: &dyn Fn() -> bool,
        pause: Duration,
        looks: bool,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        let (mut since, mut is_due) = (None, false);
        let outcome = self.wait_looking(is_done, None, looks, &mut || {
            if interrupt() {
                return true;
            }
            is_due = since.get_or_insert_with(Instant::now).elapsed() >= pause;
            is_due
        });
        match outcome {
            WaitOutcome::Interrupted if is_due => WaitOutcome::TimedOut,
            outcome => outcome,
        }
    }

    fn probe(&self, is_done: &dyn Fn() -> bool, wanted: &Wanted<'_>) {
        // One thread of a process looks at a time: what it finds holds for the others, too.
        if wanted.missing.is_empty() || self.is_probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let objects: Vec<ObjectAt> = {
            let state = self.state.lock();
            let missing = wanted.missing.iter().filter(|handle| !handle.is_ready());
            missing
                .take(limits::WAIT_OBJECTS)
                .filter_map(|handle| state.core.object_at(&handle.id()))
                .collect()
        };
        let needed = wanted.needed.min(wanted.missing.len());
        let needs_all = needed >= wanted.missing.len();
        let mut cluster = WhileBlocked {
            runtime: self,
            is_done,
        };
        if needs_all && let Some(cycle) = find_cycle(&mut cluster, &objects) {
            self.to_node(
                CycleFound {
                    job: self.job(),
                    members: cycle.members,
                    signature: cycle.signature,
                }
                .into(),
            );
        }
        self.is_probing.store(false, Ordering::Release);
    }

    /// Notes where these objects were made.
    pub fn note_call_site(&self, objects: &[ObjectHandle], call_site: &str) {
        let mut state = self.state.lock();
        for object in objects {
            let table = &mut state.core.objects;
            table.note_call_site(object.id(), call_site.to_owned());
        }
    }

    /// Asks for what processes know. Blocks; `None` where the node does not answer.
    pub fn inquire(&self, inquiry: Inquiry) -> Option<InquiryAnswered> {
        WhileBlocked {
            runtime: self,
            is_done: &|| false,
        }
        .inquire(inquiry)
    }

    /// Why an object, task or actor is where it is. Blocks; `None` for what is no such id.
    pub fn explain(&self, id: &[u8]) -> Option<Explanation> {
        let mut cluster = WhileBlocked {
            runtime: self,
            is_done: &|| false,
        };
        explain(&mut cluster, id)
    }

    /// What has run, in the Trace Event Format. Blocks; `None` where the node does not answer.
    pub fn timeline(&self) -> Option<String> {
        timeline(&mut WhileBlocked {
            runtime: self,
            is_done: &|| false,
        })
    }
}
