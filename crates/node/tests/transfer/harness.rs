//! Nodes that are nothing but a store and its transfers, over real sockets.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use whipray_net::{Endpoint, Interest, Listener, Poller, Waker};
use whipray_node::shell::Identity;
use whipray_node::shell::transfer::{TransferEvent, TransferSettings, Transfers};
use whipray_proto::{ActorId, JobId, Message, NodeId, ObjectId, TaskId, WorkerId};
use whipray_store::Arena;
use whipray_store::core::{
    DiskJob, FilePlace, Lost, ObjectTable, Pinned, Room, SERVING, Source, SpillSettings, Wanted,
    Work,
};

pub const TOKEN: &str = "secret";
const CLIENT: u64 = 1;
const LISTENER: u64 = 0;
const EVENTS: u64 = 1;
const CALLS: u64 = 2;

pub type Answer = (Vec<Pinned>, Vec<Lost>);
type Call = Box<dyn FnOnce(&mut Loop) + Send>;

pub fn node(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

pub fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

pub fn owner() -> WorkerId {
    WorkerId::from_array([9; 28])
}

/// What an object of this size has in it.
pub fn content(size_bytes: usize) -> Vec<u8> {
    (0..size_bytes)
        .map(|index| (index / 7 % 251) as u8)
        .collect()
}

/// A node, with its loop on a thread.
pub struct Side {
    pub node: NodeId,
    pub endpoint: String,
    pub arena: Arc<Arena>,
    calls: Sender<Call>,
    waker: Waker,
    answers: Receiver<(u64, Answer)>,
}

/// What the thread has.
pub struct Loop {
    pub table: ObjectTable,
    pub transfers: Transfers,
    arena: Arc<Arena>,
    endpoints: BTreeMap<NodeId, String>,
    answers: Sender<(u64, Answer)>,
    folder: tempfile::TempDir,
    started: Instant,
    /// The room that was given last.
    room: Option<Room>,
}

pub struct Options {
    pub address: String,
    pub arena_bytes: u64,
    pub spills: bool,
    pub settings: TransferSettings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:0".to_owned(),
            arena_bytes: 16 << 20,
            spills: false,
            settings: TransferSettings {
                part_bytes: 1 << 20,
                stall: Duration::from_secs(5),
                ..TransferSettings::default()
            },
        }
    }
}

impl Side {
    pub fn start(number: u8, options: Options) -> Self {
        let endpoint: Endpoint = format!("tcp:{}", options.address).parse().unwrap();
        let listener = Listener::bind(&endpoint).unwrap();
        let endpoint = format!("tcp:{}", listener.tcp_address().unwrap());
        let poller = Poller::new().unwrap();
        poller.add(&listener, LISTENER, Interest::Read).unwrap();
        let waker = Waker::new(&poller, CALLS).unwrap();
        let arena = Arc::new(Arena::create(options.arena_bytes).unwrap());
        let identity = Identity {
            node: node(number),
            endpoint: endpoint.clone(),
            token: TOKEN.to_owned(),
            python: String::new(),
        };
        let spilling = options.spills.then(SpillSettings::default);
        let (answering, answers) = channel();
        let inner = Loop {
            table: ObjectTable::new(options.arena_bytes, spilling),
            transfers: Transfers::new(
                arena.clone(),
                identity,
                options.settings,
                Waker::new(&poller, EVENTS).unwrap(),
            ),
            arena: arena.clone(),
            endpoints: BTreeMap::new(),
            answers: answering,
            folder: tempfile::tempdir().unwrap(),
            started: Instant::now(),
            room: None,
        };
        let (calls, incoming) = channel();
        let for_thread = waker.clone();
        std::thread::spawn(move || run(inner, &poller, &listener, &for_thread, &incoming));
        Self {
            node: node(number),
            endpoint,
            arena,
            calls,
            waker,
            answers,
        }
    }

    /// Does something on the thread of the loop.
    pub fn with<R: Send + 'static>(&self, call: impl FnOnce(&mut Loop) -> R + Send + 'static) -> R {
        let (sender, receiver) = channel();
        let call = move |inner: &mut Loop| {
            let outcome = call(inner);
            inner.settle();
            sender.send(outcome).unwrap();
        };
        self.calls.send(Box::new(call)).unwrap();
        self.waker.wake();
        receiver.recv().unwrap()
    }

    pub fn knows(&self, other: NodeId, endpoint: &str) {
        let endpoint = endpoint.to_owned();
        self.with(move |inner| inner.endpoints.insert(other, endpoint));
    }

    /// An object that a process of this node made.
    pub fn put(&self, number: u64, bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        let room = self.with(move |inner| {
            inner.table.create(CLIENT, 0, object(number), size_bytes, 0);
            inner.settle();
            inner.room.take().unwrap()
        });
        let Room::Arena { offset, .. } = room else {
            panic!("no room in the arena: {room:?}");
        };
        self.arena.prepare_write(offset, size_bytes).unwrap();
        // SAFETY: the object was just created, and this alone writes to it.
        let target = unsafe { self.arena.slice_mut(offset, size_bytes) };
        target.unwrap().copy_from_slice(bytes);
        self.with(move |inner| inner.table.seal(CLIENT, object(number), owner(), true));
    }

    /// Asks for objects, of which a node has copies.
    pub fn ask(&self, request: u64, objects: &[(u64, usize)], from: NodeId) {
        let wanted = objects.iter().map(|(number, size_bytes)| Wanted {
            object: object(*number),
            source: Some(Source {
                node: from,
                owner: owner(),
                size_bytes: *size_bytes as u64,
            }),
        });
        let wanted: Vec<Wanted> = wanted.collect();
        self.with(move |inner| {
            let now = inner.now();
            inner.table.pull_all(CLIENT, request, wanted, now);
        });
    }

    pub fn answer(&self) -> (u64, Answer) {
        self.answers.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// Gets one object, which is there.
    pub fn get(&self, number: u64, size_bytes: usize, from: NodeId) -> Vec<u8> {
        self.ask(number, &[(number, size_bytes)], from);
        let (_, (found, lost)) = self.answer();
        assert_eq!(lost, []);
        self.read(&found[0])
    }

    /// Why one object cannot be had.
    pub fn reason(&self, number: u64, size_bytes: usize, from: NodeId) -> String {
        self.ask(number, &[(number, size_bytes)], from);
        let (_, (found, lost)) = self.answer();
        assert_eq!(found, []);
        lost[0].reason.clone()
    }

    pub fn read(&self, pinned: &Pinned) -> Vec<u8> {
        let length = pinned.size_bytes;
        match &pinned.path {
            Some(path) => {
                let mut bytes = vec![0; length as usize];
                let file = File::open(&**path).unwrap();
                file.read_exact_at(&mut bytes, pinned.offset).unwrap();
                bytes
            }
            None => {
                // SAFETY: the object is sealed and pinned.
                let bytes = unsafe { self.arena.slice(pinned.offset, length) };
                bytes.unwrap().to_vec()
            }
        }
    }

    /// Lets go of an object, and frees it.
    pub fn drop_object(&self, number: u64) {
        self.with(move |inner| {
            inner.table.unpin(CLIENT, object(number));
            inner.table.free(owner(), object(number));
        });
    }

    /// Waits until nothing is in the store.
    pub fn wait_until_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let left = |inner: &mut Loop| {
            let usage = inner.table.usage();
            usage.objects + usage.used_bytes
        };
        while self.with(left) > 0 {
            assert!(Instant::now() < deadline, "something stays");
            std::thread::yield_now();
        }
    }

    pub fn source_gone(&self, other: NodeId) {
        self.with(move |inner| {
            let now = inner.now();
            inner.transfers.node_gone(other);
            inner.table.source_gone(other, "it is dead", now);
        });
    }
}

fn run(
    mut inner: Loop,
    poller: &Poller,
    listener: &Listener,
    waker: &Waker,
    calls: &Receiver<Call>,
) {
    let mut ready = Vec::new();
    loop {
        ready.clear();
        poller
            .wait(Some(Duration::from_millis(100)), &mut ready)
            .unwrap();
        for event in &ready {
            match event.token {
                LISTENER => inner.accept(listener),
                EVENTS => inner.on_events(),
                _ => waker.reset(),
            }
        }
        loop {
            match calls.try_recv() {
                Ok(call) => call(&mut inner),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let now = inner.now();
        inner.table.on_time(now);
        inner.settle();
        inner.table.validate().unwrap();
    }
}

impl Loop {
    fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn accept(&mut self, listener: &Listener) {
        while let Some(mut connection) = listener.accept().unwrap() {
            if let Ok(Message::TransferHello(hello)) = connection.exchange(Duration::from_secs(5)) {
                assert_eq!(hello.token, TOKEN);
                self.transfers.take_in(connection, hello);
            }
        }
    }

    fn on_events(&mut self) {
        let now = self.now();
        for event in self.transfers.take_events() {
            match event {
                TransferEvent::Pulled { pull, outcome } => self.table.on_pulled(pull, outcome, now),
                TransferEvent::Wanted { ask, object } => self.table.serve_object(ask, object),
                TransferEvent::Sent { object } => self.table.unpin(SERVING, object),
            }
            self.settle();
        }
    }

    pub fn settle(&mut self) {
        while self.table.has_work() {
            for work in self.table.take_work() {
                self.carry_out(work);
            }
        }
    }

    fn carry_out(&mut self, work: Work) {
        let now = self.now();
        match work {
            Work::Answer { outcome, .. } => self.room = Some(outcome.unwrap()),
            Work::Pinned {
                client: SERVING,
                request,
                found,
                lost,
            } => {
                let reason = lost.first().map(|lost| lost.reason.clone());
                let found = found.into_iter().next();
                let outcome =
                    found.ok_or_else(|| reason.unwrap_or_else(|| "it is not there".to_owned()));
                self.transfers.serve(request, outcome);
            }
            // Nobody listens at the end of a test.
            Work::Pinned {
                request,
                found,
                lost,
                ..
            } => drop(self.answers.send((request, (found, lost)))),
            Work::Pull(pull) => match self.endpoints.get(&pull.from) {
                Some(endpoint) => self.transfers.pull(pull, endpoint.clone()),
                None => {
                    let reason = "it is unknown".to_owned();
                    self.table.on_pulled(pull.pull, Err(reason), now);
                }
            },
            Work::CancelPull { pull } => self.transfers.cancel(pull),
            Work::Disk(job) => self.use_disk(job),
            Work::ProvideMemory(_) | Work::Release { .. } => {}
        }
    }

    fn use_disk(&mut self, job: DiskJob) {
        let now = self.now();
        let path = |file: u64| self.folder.path().join(file.to_string());
        let place = |file: u64| FilePlace::Folder(path(file).to_string_lossy().into());
        match job {
            DiskJob::Write { file, pieces } => {
                let made = File::create(path(file)).unwrap();
                for piece in pieces {
                    // SAFETY: the object there is sealed, and keeps its room until this is done.
                    let bytes = unsafe { self.arena.slice(piece.arena_offset, piece.length) };
                    made.write_all_at(bytes.unwrap(), piece.file_offset)
                        .unwrap();
                }
                let place = place(file);
                self.table.on_disk(file, Ok(place), now);
            }
            DiskJob::Reserve { file, size_bytes } => {
                let made = File::create(path(file)).unwrap();
                made.set_len(size_bytes).unwrap();
                let place = place(file);
                self.table.on_disk(file, Ok(place), now);
            }
            DiskJob::Fetch { .. } => panic!("there are no buckets"),
            DiskJob::Remove { place } => std::fs::remove_file(&**place.address()).unwrap(),
        }
    }
}
