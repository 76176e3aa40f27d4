//! A node without a daemon: it welcomes whoever says hello, grants one worker to everybody, and
//! hands out the arena from the start, so that the runtime's sockets and threads can be tested alone.
//! Several of them make a cluster: they grant each other's workers, pass connections on, and pretend
//! to fetch objects.

#![allow(clippy::unwrap_used)]
// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use whipray_net::{Connection, Endpoint, Interest, Listener, Poller, ReadOutcome};
use whipray_proto::messages::actor::StartActor;
use whipray_proto::messages::lease::{LeaseGranted, SchedulingClass};
use whipray_proto::messages::object::{
    FreeObjects, LostObject, ObjectCreated, ObjectsPinned, PinnedObject,
};
use whipray_proto::messages::session::{Role, Welcome};
use whipray_proto::task::TaskOutcome;
use whipray_proto::{
    FunctionId, LeaseId, Message, NodeId, ObjectId, Resources, WorkerAddress, WorkerId, ids, limits,
};
use whipray_store::Arena;
use whipray_worker::{
    ClassSlot, ConnectOptions, FinishedTask, NextWork, ReturnedValue, Runtime, TaskTemplate, Work,
};

const ARENA_BYTES: u64 = 64 << 20;

/// What the nodes of a cluster know of each other.
#[derive(Clone, Default)]
pub struct FakeCluster {
    workers: Arc<Mutex<Vec<WorkerAddress>>>,
    /// What processes had freed.
    pub freed: Arc<Mutex<Vec<FreeObjects>>>,
    /// No store has room for what lies elsewhere.
    pub is_full: Arc<AtomicBool>,
}

pub struct FakeNode {
    pub endpoint: String,
    pub token: String,
    pub node: NodeId,
    to_clients: Sender<Message>,
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
        Self::start_in(&FakeCluster::default())
    }

    pub fn start_in(cluster: &FakeCluster) -> Self {
        let endpoint = unique("node");
        let parsed: Endpoint = endpoint.parse().unwrap();
        let listener = Listener::bind(&parsed).unwrap();
        let door = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (to_clients, from_test) = channel();
        let node = NodeId::random();
        let serving = Serving {
            node,
            node_endpoint: format!("tcp:{}", door.tcp_address().unwrap()),
            listener,
            door,
            stop: stop.clone(),
            cluster: cluster.clone(),
            from_test,
        };
        let thread = std::thread::spawn(move || serve(&serving));
        Self {
            endpoint,
            token: "secret".into(),
            node,
            to_clients,
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

    /// Has the node say something to all of its clients.
    pub fn say(&self, message: impl Into<Message>) {
        self.to_clients.send(message.into()).unwrap();
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

struct Serving {
    node: NodeId,
    node_endpoint: String,
    listener: Listener,
    door: Listener,
    stop: Arc<AtomicBool>,
    cluster: FakeCluster,
    from_test: Receiver<Message>,
}

const DOOR_TOKEN: u64 = u64::MAX;

fn serve(serving: &Serving) {
    let poller = Poller::new().unwrap();
    poller.add(&serving.listener, 0, Interest::Read).unwrap();
    poller
        .add(&serving.door, DOOR_TOKEN, Interest::Read)
        .unwrap();
    let arena = Arena::create(ARENA_BYTES).unwrap();
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut next_token = 1;
    let mut next_offset = 0;
    let mut objects: HashMap<ObjectId, (u64, u64)> = HashMap::new();
    let leases = AtomicU64::new(0);
    while !serving.stop.load(Ordering::SeqCst) {
        for message in serving.from_test.try_iter() {
            for client in clients.values_mut() {
                client.connection.queue(&message);
                client.connection.flush().unwrap();
            }
        }
        let mut ready = Vec::new();
        poller
            .wait(Some(Duration::from_millis(10)), &mut ready)
            .unwrap();
        for event in ready {
            if event.token == 0 || event.token == DOOR_TOKEN {
                let listener = match event.token {
                    0 => &serving.listener,
                    _ => &serving.door,
                };
                while let Some(mut connection) = listener.accept().unwrap() {
                    connection.set_frame_limit(limits::HELLO_FRAME_BYTES);
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
                let is_passed = matches!(message, Message::PeerHello(_));
                messages.push(message);
                if is_passed {
                    break;
                }
            }
            if let Some(Message::PeerHello(hello)) = messages.first() {
                let client = clients.remove(&event.token).unwrap();
                poller.remove(&client.connection);
                let its = |client: &&Client| client.address.worker == hello.to;
                let to = clients.values().find(its).unwrap();
                let to = to.address.endpoint.parse().unwrap();
                whipray_net::pass_peer(client.connection, hello.clone(), &to).unwrap();
                continue;
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
                            node: serving.node,
                            endpoint: hello.endpoint,
                            node_endpoint: serving.node_endpoint.clone(),
                        };
                        client.connection.set_frame_limit(limits::FRAME_BYTES);
                        if client.role == Role::Worker {
                            let mut workers = serving.cluster.workers.lock().unwrap();
                            workers.push(client.address.clone());
                        }
                        let welcome = Welcome {
                            arena_bytes: ARENA_BYTES,
                            node: serving.node,
                            node_endpoint: serving.node_endpoint.clone(),
                            ..Welcome::default()
                        };
                        let descriptor = arena.descriptor().try_clone_to_owned().unwrap();
                        client
                            .connection
                            .queue_with_descriptor(&welcome.into(), descriptor);
                        // A node may have work for a worker as soon as it knows it.
                        (client.role == Role::Worker).then(|| StartActor::default().into())
                    }
                    Message::LeaseTarget(target) => {
                        let workers = serving.cluster.workers.lock().unwrap();
                        let worker = workers.first().filter(|_| target.target > 0);
                        worker.map(|worker| {
                            let number = leases.fetch_add(1, Ordering::Relaxed);
                            LeaseGranted {
                                class: target.class,
                                lease: LeaseId { number },
                                worker: worker.clone(),
                                ..LeaseGranted::default()
                            }
                            .into()
                        })
                    }
                    Message::FreeObjects(free) => {
                        serving.cluster.freed.lock().unwrap().push(free);
                        None
                    }
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
                        let mut fetched = Vec::new();
                        let mut lost = Vec::new();
                        for (object, size) in pin.objects.iter().zip(&pin.sizes) {
                            if objects.contains_key(object) {
                                continue;
                            }
                            if serving.cluster.is_full.load(Ordering::SeqCst) {
                                lost.push(LostObject {
                                    object: *object,
                                    reason: "the store is full".to_owned(),
                                    is_full: true,
                                });
                            } else {
                                objects.insert(*object, (next_offset, *size));
                                next_offset += size.next_multiple_of(64);
                                fetched.push(*object);
                            }
                        }
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
                                    is_new_copy: fetched.contains(object),
                                })
                            })
                            .collect();
                        Some(
                            ObjectsPinned {
                                request: pin.request,
                                objects: found,
                                lost,
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
