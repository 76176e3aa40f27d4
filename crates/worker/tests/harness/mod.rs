//! A node without a daemon: it welcomes whoever says hello, grants one worker to everybody, and
//! hands out the arena from the start, so that the runtime's sockets and threads can be tested alone.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use whipray_net::{Connection, Endpoint, Interest, Listener, Poller, ReadOutcome};
use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::lease::{LeaseGranted, SchedulingClass};
use whipray_proto::messages::object::{ObjectCreated, ObjectsPinned, PinnedObject};
use whipray_proto::messages::session::{Role, Welcome};
use whipray_proto::task::TaskOutcome;
use whipray_proto::{
    FunctionId, LeaseId, Message, NodeId, ObjectId, Resources, WorkerAddress, WorkerId, ids,
};
use whipray_store::Arena;
use whipray_worker::{
    ClassSlot, ConnectOptions, FinishedTask, NextWork, ReturnedValue, Runtime, TaskTemplate, Work,
};

const ARENA_BYTES: u64 = 64 << 20;

pub struct FakeNode {
    pub endpoint: String,
    pub token: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn unique(what: &str) -> String {
    format!(
        "unix:@whipray-test-{what}-{}",
        ids::to_hex(&ids::random_bytes::<8>())
    )
}

impl FakeNode {
    pub fn start() -> Self {
        let endpoint = unique("node");
        let parsed: Endpoint = endpoint.parse().unwrap();
        let listener = Listener::bind(&parsed).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || serve(&listener, &stopping));
        Self {
            endpoint,
            token: "secret".into(),
            stop,
            thread: Some(thread),
        }
    }

    pub fn options(&self, role: Role) -> ConnectOptions {
        ConnectOptions {
            endpoint: self.endpoint.clone(),
            token: self.token.clone(),
            role,
            worker: WorkerId::random(),
            listen: unique("client"),
            python: "3.11".into(),
            job: None,
        }
    }

    pub fn connect(&self, role: Role) -> Arc<Runtime> {
        Runtime::connect(self.options(role)).unwrap()
    }

    /// As if the daemon were killed.
    pub fn kill(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Client {
    connection: Connection,
    address: WorkerAddress,
    role: Role,
}

fn serve(listener: &Listener, stop: &AtomicBool) {
    let poller = Poller::new().unwrap();
    poller.add(listener, 0, Interest::Read).unwrap();
    let arena = Arena::create(ARENA_BYTES).unwrap();
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut next_token = 1;
    let mut next_offset = 0;
    let mut objects: HashMap<ObjectId, (u64, u64)> = HashMap::new();
    let leases = AtomicU64::new(0);
    while !stop.load(Ordering::SeqCst) {
        let mut ready = Vec::new();
        poller
            .wait(Some(Duration::from_millis(10)), &mut ready)
            .unwrap();
        for event in ready {
            if event.token == 0 {
                while let Some(connection) = listener.accept().unwrap() {
                    poller.add(&connection, next_token, Interest::Read).unwrap();
                    let address = WorkerAddress::default();
                    let client = Client {
                        connection,
                        address,
                        role: Role::Unspecified,
                    };
                    clients.insert(next_token, client);
                    next_token += 1;
                }
                continue;
            }
            let Some(client) = clients.get_mut(&event.token) else {
                continue;
            };
            let outcome = client.connection.read();
            let mut messages = Vec::new();
            while let Ok(Some(message)) = client.connection.next_message() {
                messages.push(message);
            }
            if !matches!(outcome, Ok(ReadOutcome::Drained | ReadOutcome::More)) {
                clients.remove(&event.token);
                continue;
            }
            for message in messages {
                let answer: Option<Message> = match message {
                    Message::Hello(hello) => {
                        let Some(client) = clients.get_mut(&event.token) else {
                            continue;
                        };
                        client.role = hello.role();
                        client.address = WorkerAddress {
                            worker: hello.worker,
                            node: NodeId::default(),
                            endpoint: hello.endpoint,
                            node_endpoint: String::new(),
                        };
                        let welcome = Welcome {
                            arena_bytes: ARENA_BYTES,
                            ..Welcome::default()
                        };
                        let descriptor = arena.descriptor().try_clone_to_owned().unwrap();
                        client
                            .connection
                            .queue_with_descriptor(&welcome.into(), descriptor);
                        // A node may have work for a worker as soon as it knows it.
                        (client.role == Role::Worker).then(|| StartActor::default().into())
                    }
                    Message::LeaseTarget(target) => clients
                        .values()
                        .find(|client| client.role == Role::Worker)
                        .filter(|_| target.target > 0)
                        .map(|worker| {
                            let number = leases.fetch_add(1, Ordering::Relaxed);
                            LeaseGranted {
                                class: target.class,
                                lease: LeaseId { number },
                                worker: worker.address.clone(),
                                ..LeaseGranted::default()
                            }
                            .into()
                        }),
                    Message::CreateObject(create) => {
                        let offset = next_offset;
                        next_offset += create.size_bytes.next_multiple_of(64);
                        objects.insert(create.object, (offset, create.size_bytes));
                        Some(
                            ObjectCreated {
                                request: create.request,
                                offset,
                                ..ObjectCreated::default()
                            }
                            .into(),
                        )
                    }
                    Message::PinObjects(pin) => {
                        let found = pin
                            .objects
                            .iter()
                            .filter_map(|object| {
                                let (offset, size_bytes) = *objects.get(object)?;
                                Some(PinnedObject {
                                    object: *object,
                                    offset,
                                    size_bytes,
                                    path: String::new(),
                                    is_new_copy: false,
                                })
                            })
                            .collect();
                        Some(
                            ObjectsPinned {
                                request: pin.request,
                                objects: found,
                                ..ObjectsPinned::default()
                            }
                            .into(),
                        )
                    }
                    _ => None,
                };
                if let (Some(answer), Some(client)) = (answer, clients.get_mut(&event.token)) {
                    client.connection.queue(&answer);
                }
                if let Some(client) = clients.get_mut(&event.token) {
                    client.connection.flush().unwrap();
                }
            }
        }
    }
}

pub fn template() -> Arc<TaskTemplate> {
    Arc::new(TaskTemplate {
        function: FunctionId::default(),
        name: "echo".into(),
        method: String::new(),
        class: SchedulingClass {
            resources: Resources::none().with("CPU", 1.0),
            ..SchedulingClass::default()
        },
        num_returns: 1,
        max_retries: 0,
        retry_any_exception: false,
        retry_exceptions: Bytes::new(),
        concurrency_group: String::new(),
        max_calls: 0,
        max_pending_calls: 0,
        out_of_order: false,
        generator: None,
        class_slot: ClassSlot::default(),
    })
}

/// A worker that answers each task with its first argument, or with `size_bytes` in shared memory.
pub fn echo(runtime: &Arc<Runtime>, shared_bytes: Option<usize>) -> JoinHandle<usize> {
    let runtime = runtime.clone();
    std::thread::spawn(move || {
        let mut count = 0;
        loop {
            let task = match runtime.next_work(&mut || false) {
                NextWork::Work(Work::Task(task)) => task,
                NextWork::Work(_) | NextWork::Interrupted => continue,
                NextWork::Disconnected => return count,
            };
            count += 1;
            let data = task
                .spec
                .arguments
                .first()
                .and_then(|argument| Some(argument.value.as_ref()?.data.clone()))
                .unwrap_or_default();
            let returned = match shared_bytes {
                None => ReturnedValue::Inline {
                    data,
                    contained: Vec::new(),
                    is_error: false,
                },
                Some(size) => {
                    let object = task.spec.task.return_id(1);
                    let mut writer = runtime.create_shared(object, size).unwrap();
                    writer.as_mut_slice().fill(7);
                    ReturnedValue::Shared {
                        writer,
                        contained: Vec::new(),
                    }
                }
            };
            runtime.finish(FinishedTask {
                task: task.spec.task,
                caller: task.caller.worker,
                outcome: TaskOutcome::Returned,
                returns: vec![returned],
                lost: Vec::new(),
            });
        }
    })
}
