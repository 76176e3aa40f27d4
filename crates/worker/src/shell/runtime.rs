//! One connection of a process to its node, and everything the face of a language may ask of it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use whipray_net::{Connection, ConnectionError, Endpoint, Listener, Poller, Waker};
use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::session::{Goodbye, Hello, JobDescription, Role, ShutDown, Welcome};
use whipray_proto::task::{ActorSpec, TaskOutcome};
use whipray_proto::{
    ActorId, Assignment, JobId, Message, ObjectId, PROTOCOL_VERSION, TaskId, TaskSpec,
    WorkerAddress, WorkerId, limits,
};
use whipray_store::Arena;

use crate::core::Core;
use crate::core::effect::{DriverEvent, Effect};
use crate::handle::{ActorHandle, ObjectHandle};
use crate::shared::SharedWriter;
use crate::shell::background::{self, Bench};
use crate::shell::drive::Lead;
use crate::shell::links::{Links, WAKER_TOKEN};
use crate::shell::metrics::MetricsLink;
use crate::shell::settings;
use crate::shell::state::State;

/// How to connect.
pub struct ConnectOptions {
    /// The node's endpoint.
    pub endpoint: String,
    pub token: String,
    pub role: Role,
    pub worker: WorkerId,
    /// Where this process listens for others.
    pub listen: String,
    /// `3.11`.
    pub python: String,
    /// A driver's program.
    pub job: Option<JobDescription>,
}

/// Why a process could not connect; the text is the user's line.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot reach the node daemon at {endpoint}: {error}")]
    Unreachable { endpoint: String, error: String },
    #[error("the node daemon refused the connection: {0}")]
    Refused(String),
    #[error("the node daemon answered {0}, not a welcome")]
    Unexpected(&'static str),
    #[error("cannot listen at {endpoint}: {error}")]
    CannotListen { endpoint: String, error: io::Error },
    #[error("cannot map the object store of {bytes} bytes: {error}")]
    NoArena { bytes: u64, error: io::Error },
    #[error("cannot connect: {0}")]
    System(#[from] io::Error),
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    Ready,
    TimedOut,
    /// The caller's `interrupt` said so.
    Interrupted,
    /// The node is gone, or this connection was ended.
    Disconnected,
}

/// One argument of a call.
pub enum ArgumentInput {
    Value {
        data: Bytes,
        contained: Vec<ObjectHandle>,
    },
    Object(ObjectHandle),
}

/// What came of the creation of an actor.
pub enum CreatedActor {
    New(ActorHandle),
    Existing(Box<ActorSpec>, ActorHandle),
}

/// Why a task cannot be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelError {
    NotATask,
}

/// A task that this process is to run.
pub struct IncomingTask {
    pub spec: TaskSpec,
    pub caller: WorkerAddress,
    pub assignment: Option<Assignment>,
    /// The references inside the arguments, in their order.
    pub references: Vec<ObjectHandle>,
}

/// One thing for the executing thread.
pub enum Work {
    Task(Box<IncomingTask>),
    /// The constructor's references come beside it, in the order of the arguments.
    StartActor(Box<StartActor>, Vec<ObjectHandle>),
    /// No handle is left: finish what is queued, then end.
    StopActor,
}

/// What the executing thread gets.
pub enum NextWork {
    Work(Work),
    Interrupted,
    Disconnected,
}

/// A result of a task that ran here.
pub enum ReturnedValue {
    Inline {
        data: Bytes,
        contained: Vec<ObjectHandle>,
        is_error: bool,
    },
    Shared {
        writer: SharedWriter,
        contained: Vec<ObjectHandle>,
    },
}

/// The end of a task that ran here.
pub struct FinishedTask {
    pub task: TaskId,
    pub caller: WorkerId,
    pub outcome: TaskOutcome,
    pub returns: Vec<ReturnedValue>,
    /// Arguments that are not in shared memory any more, with [`TaskOutcome::ArgumentsLost`].
    pub lost: Vec<ObjectId>,
}

/// Events for a driver's user, until somebody takes them.
#[derive(Default)]
pub(crate) struct EventQueue {
    events: Mutex<VecDeque<DriverEvent>>,
    arrived: Condvar,
}

/// Events that nobody takes are dropped beyond this number, the oldest first.
const EVENTS: usize = 10_000;

impl EventQueue {
    pub fn push(&self, events: Vec<DriverEvent>) {
        let mut queue = self.events.lock();
        queue.extend(events);
        while queue.len() > EVENTS {
            queue.pop_front();
        }
        self.arrived.notify_all();
    }

    pub fn next(&self, timeout: Duration) -> Option<DriverEvent> {
        let mut queue = self.events.lock();
        if queue.is_empty() {
            self.arrived.wait_for(&mut queue, timeout);
        }
        queue.pop_front()
    }
}

type CancelHook = Arc<dyn Fn(TaskId) + Send + Sync>;

/// A process's connection to its node. Used as `Arc<Runtime>`; every method may be called from any
/// thread, and those that block say so.
pub struct Runtime {
    pub(crate) state: Mutex<State>,
    pub(crate) unpins: Arc<Mutex<Vec<ObjectId>>>,
    pub(crate) poller: Poller,
    pub(crate) waker: Waker,
    pub(crate) lead: Lead,
    pub(crate) bench: Bench,
    pub(crate) events: EventQueue,
    pub(crate) has_work: AtomicBool,
    /// A thread looks whether it waits for itself.
    pub(crate) is_probing: AtomicBool,
    /// Whether values came that lie on other nodes.
    pub(crate) has_far_values: Arc<AtomicBool>,
    /// Pieces of work that the executing thread took since it waited last.
    pub(crate) served: AtomicUsize,
    /// Callbacks that wait for objects; while there are any, answers are read at once.
    pub(crate) callbacks: AtomicUsize,
    pub(crate) cancel_hook: Mutex<Option<CancelHook>>,
    /// A task was cancelled: the thread that leads looks for signals.
    pub(crate) is_signalled: AtomicBool,
    pub(crate) metrics: MetricsLink,
    /// Somebody submitted since the background thread looked last.
    activity: AtomicBool,
    /// An event loop drives the sockets; the time of its last turn, in ms of `started`, plus one.
    driven_ms: AtomicU64,
    pub(crate) is_worker: bool,
    started: Instant,
    is_stopping: AtomicBool,
    is_over: AtomicBool,
    background: Mutex<Option<std::thread::JoinHandle<()>>>,
    pub(crate) this: Weak<Runtime>,
    pub(crate) arena: Arc<Arena>,
    pub(crate) welcome: Welcome,
    pub(crate) address: WorkerAddress,
    job: AtomicU32,
    next_unique: AtomicU64,
    pub(crate) next_put: AtomicU32,
}

static EPOCH: AtomicU32 = AtomicU32::new(0);

impl Runtime {
    /// Connects this process and starts its background thread.
    ///
    /// # Errors
    /// Nobody listens at the endpoint, the token or version is refused, or the system lacks memory
    /// or descriptors.
    pub fn connect(options: ConnectOptions) -> Result<Arc<Self>, ConnectError> {
        let unreachable = |error: String| ConnectError::Unreachable {
            endpoint: options.endpoint.clone(),
            error,
        };
        let endpoint: Endpoint = options
            .endpoint
            .parse()
            .map_err(|error| unreachable(format!("{error}")))?;
        let mut node =
            Connection::connect(&endpoint).map_err(|error| unreachable(error.to_string()))?;
        let cannot_listen = |error: io::Error| ConnectError::CannotListen {
            endpoint: options.listen.clone(),
            error,
        };
        let listen: Endpoint = options
            .listen
            .parse()
            .map_err(|error| cannot_listen(io::Error::other(error)))?;
        let listener = Listener::bind(&listen).map_err(cannot_listen)?;
        node.expect_descriptors(true);
        node.queue(
            &Hello {
                version: PROTOCOL_VERSION,
                token: options.token.clone(),
                role: options.role as i32,
                worker: options.worker,
                endpoint: options.listen.clone(),
                pid: std::process::id(),
                python: options.python,
                job: options.job,
            }
            .into(),
        );
        let welcome = match node.exchange(limits::HELLO_WAIT) {
            Ok(Message::Welcome(welcome)) => welcome,
            Ok(Message::Refused(refused)) => return Err(ConnectError::Refused(refused.reason)),
            Ok(other) => return Err(ConnectError::Unexpected(other.name())),
            Err(ConnectionError::Io(error)) => return Err(ConnectError::System(error)),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let bytes = welcome.arena_bytes;
        let descriptor = node
            .take_descriptor()
            .ok_or_else(|| ConnectError::NoArena {
                bytes,
                error: io::Error::from(io::ErrorKind::NotFound),
            })?;
        node.expect_descriptors(false);
        let arena = Arena::from_descriptor(descriptor, bytes)
            .map_err(|error| ConnectError::NoArena { bytes, error })?;
        let address = WorkerAddress {
            worker: options.worker,
            node: welcome.node,
            endpoint: options.listen,
            node_endpoint: welcome.node_endpoint.clone(),
        };
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKER_TOKEN)?;
        let links = Links::new(address.clone(), options.token, listener, node, &poller)?;
        let mut core = Core::new(address.clone(), EPOCH.fetch_add(1, Ordering::Relaxed) + 1);
        core.oom_retries = settings::oom_retries();
        core.lineage.limit_bytes = settings::lineage_bytes();
        let unpins = Arc::new(Mutex::new(Vec::new()));
        let has_far_values = core.objects.far_values();
        let runtime = Arc::new_cyclic(|this| Self {
            state: Mutex::new(State::new(core, links, unpins.clone())),
            unpins,
            has_far_values,
            poller,
            waker,
            lead: Lead::default(),
            bench: Bench::default(),
            events: EventQueue::default(),
            has_work: AtomicBool::new(false),
            is_probing: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            callbacks: AtomicUsize::new(0),
            cancel_hook: Mutex::new(None),
            is_signalled: AtomicBool::new(false),
            metrics: MetricsLink::default(),
            activity: AtomicBool::new(false),
            driven_ms: AtomicU64::new(0),
            is_worker: options.role == Role::Worker,
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            background: Mutex::new(None),
            this: this.clone(),
            arena: Arc::new(arena),
            job: AtomicU32::new(welcome.job.number()),
            welcome,
            address,
            next_unique: AtomicU64::new(u64::from_le_bytes(whipray_proto::ids::random_bytes())),
            next_put: AtomicU32::new(0),
        });
        let mut state = runtime.state.lock();
        state.on_connected(&runtime.poller);
        runtime.has_work.store(state.has_work(), Ordering::Release);
        runtime.unlock(state);
        let in_background = runtime.clone();
        let thread = std::thread::Builder::new()
            .name("whipray".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                block_signals();
                background::run(&in_background);
            })?;
        *runtime.background.lock() = Some(thread);
        runtime.announce_metrics();
        Ok(runtime)
    }

    /// Says goodbye and ends the connection; every wait ends. Blocks until the background thread
    /// is gone. A second call does nothing.
    pub fn disconnect(&self) {
        if self.is_stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        self.hand_over_metrics();
        let mut state = self.state.lock();
        let goodbye = Goodbye {
            reason: "the process disconnected".to_owned(),
        };
        state.settle(&self.poller);
        state
            .links
            .send_to_node(&goodbye.into(), true, &self.poller);
        state.core.on_node_gone();
        state.apply(&self.poller);
        state.links.close(&self.poller);
        state.notices.events.push(DriverEvent::Closed);
        self.is_over.store(true, Ordering::SeqCst);
        self.unlock(state);
        self.waker.wake();
        self.bench.wake();
        let thread = self.background.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // The thread does not panic on purpose; if it did, there is nothing left to clean up.
            let _ = thread.join();
        }
    }

    /// Ends the cluster that this driver started.
    pub fn shut_down_cluster(&self, reason: &str) {
        self.to_node(
            ShutDown {
                reason: reason.to_owned(),
            }
            .into(),
        );
    }

    /// Before this process is forked: the state is held, so that the child gets a whole one. Must be
    /// followed by one of the two calls below, in the same thread.
    pub fn before_fork(&self) {
        std::mem::forget(self.state.lock());
    }

    /// After a fork, in the process that went on.
    pub fn after_fork_in_parent(&self) {
        // SAFETY: `before_fork` of this very thread locked it and forgot the guard.
        unsafe { self.state.force_unlock() };
    }

    /// After a fork, in the child: its copies of the sockets are closed without a word, since they
    /// are the parent's; else nobody would see the parent's end while the child lives.
    ///
    /// The state stays locked for ever: threads of the parent that wait for the lock are not there
    /// to take it, and to one of them an unlock would hand it over.
    pub fn after_fork_in_child(&self) {
        self.end();
        self.is_stopping.store(true, Ordering::SeqCst);
        // SAFETY: `before_fork` locked the state in this very thread, the only one of the child.
        unsafe { (*self.state.data_ptr()).links.abandon() };
    }

    pub fn is_connected(&self) -> bool {
        !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Nothing will come any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The poller itself is broken: as if the node were gone.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.is_node_gone = true;
        state.core.on_node_gone();
        state.apply(&self.poller);
        self.is_over.store(true, Ordering::SeqCst);
        self.unlock(state);
    }

    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    pub fn address(&self) -> &WorkerAddress {
        &self.address
    }

    /// The driver's job; for a worker the job that it is bound to.
    pub fn job(&self) -> JobId {
        JobId::from_number(self.job.load(Ordering::Relaxed))
    }

    pub fn set_job(&self, job: JobId) {
        self.job.store(job.number(), Ordering::Relaxed);
    }

    /// A new task's id, on an actor or on [`ActorId::none_of`] a job.
    pub fn next_task_id(&self, actor: ActorId) -> TaskId {
        TaskId::of(self.next_unique.fetch_add(1, Ordering::Relaxed), actor)
    }

    /// Readable when there is something to drive; for event loops.
    pub fn poll_descriptor(&self) -> RawFd {
        self.driven_ms
            .store(self.elapsed_ms() + 1, Ordering::Relaxed);
        self.state.lock().waits.enter_loop();
        // The background thread leaves the lead, and the loop looks for work that is there already.
        self.waker.wake();
        self.poller.as_fd().as_raw_fd()
    }

    /// Handles what the sockets have, without waiting.
    pub fn drive(&self) {
        self.driven_ms
            .store(self.elapsed_ms() + 1, Ordering::Relaxed);
        let Some(_leader) = self.lead.leader.try_lock() else {
            return;
        };
        let mut ready = Vec::new();
        if self.poller.wait(Some(Duration::ZERO), &mut ready).is_err() {
            self.abandon();
            return;
        }
        self.handle_ready(&ready);
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Whether an event loop drives the sockets.
    pub(crate) fn is_driven_outside(&self) -> bool {
        self.driven_ms.load(Ordering::Relaxed) > 0
    }

    /// Whether an event loop should drive the sockets, but is busy elsewhere.
    pub(crate) fn is_neglected(&self) -> bool {
        let driven = self.driven_ms.load(Ordering::Relaxed);
        driven > 0 && self.elapsed_ms() > driven + 20
    }

    pub(crate) fn poll_once(&self, ready: &mut Vec<whipray_net::ReadyEvent>) {
        ready.clear();
        if self.poller.wait(Some(Duration::ZERO), ready).is_err() {
            self.abandon();
            return;
        }
        self.on_ready(ready);
    }

    /// Writes everything that waits to be written.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        if state.has_deferred() {
            state.settle(&self.poller);
            state.links.flush(&self.poller);
        }
        self.unlock(state);
    }

    /// Whether the background thread has something to do, and must not rest without end.
    pub(crate) fn is_needed(&self) -> bool {
        self.activity.load(Ordering::SeqCst) || self.is_stopping()
    }

    pub(crate) fn take_activity(&self) -> bool {
        self.activity.swap(false, Ordering::Relaxed)
    }

    /// Carries out what the core asked for, and makes sure that what was deferred gets written.
    pub(crate) fn commit(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        state.apply(&self.poller);
        let has_deferred = state.has_deferred();
        self.unlock(state);
        if has_deferred {
            self.nudge();
        }
    }

    /// Has the background thread write, soon, what was deferred.
    pub(crate) fn nudge(&self) {
        if !self.activity.swap(true, Ordering::SeqCst) {
            if self.lead.is_background.load(Ordering::SeqCst) {
                self.waker.wake();
            } else {
                self.bench.wake_parked();
            }
        }
    }

    pub(crate) fn to_node(&self, message: Message) {
        let state = self.state.lock();
        self.send(state, message);
    }

    pub(crate) fn send(&self, mut state: parking_lot::MutexGuard<'_, State>, message: Message) {
        state.core.effects.push(Effect::ToNode(message));
        self.commit(state);
    }
}

/// Signals are for the threads of the language, where they interrupt waits.
fn block_signals() {
    // SAFETY: the set is filled by the call before it is used, and only this thread is changed.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}
