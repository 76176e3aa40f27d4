//! What the daemon does for its clients: a lease, and a question to the control.

use bytes::Bytes;
use whipray_control::core::Control;
use whipray_node::core::{Config, Effect, Node};
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::cluster::{KeyValueRequest, KeyValueVerb};
use whipray_proto::messages::lease::{LeaseReturn, LeaseTarget, SchedulingClass};
use whipray_proto::messages::session::{Hello, JobDescription, Role};
use whipray_proto::resources::CPU;
use whipray_proto::{JobId, LeaseId, Message, NodeId, PROTOCOL_VERSION, Resources, WorkerId};

use crate::Stage;

const DRIVER: u64 = 1;
const NOW: u64 = 1_000_000;

fn worker_id(number: u64) -> WorkerId {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    WorkerId::from_array(bytes)
}

/// A node with one driver and one worker process.
struct OneWorker {
    node: Node,
    job: JobId,
    effects: Vec<Effect>,
    last_lease: Option<LeaseId>,
}

impl OneWorker {
    fn new() -> Self {
        let config = Config {
            resources: Resources::none().with(CPU, 2.0),
            arena_bytes: 1 << 20,
            ..Config::default()
        };
        let mut one = Self {
            node: Node::new(config),
            job: JobId::from_number(1),
            effects: Vec::new(),
            last_lease: None,
        };
        let driver = worker_id(DRIVER);
        one.hello(DRIVER, Role::Driver, driver);
        let description = Box::new(JobDescription {
            job: one.job,
            ..JobDescription::default()
        });
        let accepted = ControlSays::DriverAccepted {
            driver,
            description,
        };
        one.node.on_control(accepted, NOW);
        one.target(1);
        one.start_workers();
        one.give_back();
        one
    }

    fn hello(&mut self, client: u64, role: Role, worker: WorkerId) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: role as i32,
            worker,
            pid: 100 + client as u32,
            endpoint: format!("unix:@{client}"),
            job: (role == Role::Driver).then(JobDescription::default),
            ..Hello::default()
        };
        self.node.on_hello(client, hello, NOW);
    }

    fn start_workers(&mut self) {
        let mut effects = Vec::new();
        self.node.take_effects(&mut effects);
        let asked = effects.into_iter().filter_map(|effect| match effect {
            Effect::SpawnWorker { worker, .. } => Some(worker),
            _ => None,
        });
        for (client, worker) in (2..).zip(asked) {
            self.node.on_spawned(worker, 100 + client as u32);
            self.hello(client, Role::Worker, worker);
        }
        self.take_grant();
    }

    fn take_grant(&mut self) {
        self.node.take_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Send {
                message: Message::LeaseGranted(granted),
                ..
            } = effect
            {
                self.last_lease = Some(granted.lease);
            }
        }
    }

    fn target(&mut self, target: u32) {
        let target = LeaseTarget {
            class: 0,
            definition: SchedulingClass {
                resources: Resources::none().with(CPU, 1.0),
                job: self.job,
                ..SchedulingClass::default()
            },
            target,
            example: "small_value".to_owned(),
            says_if_busy: false,
        };
        self.node.on_message(DRIVER, target.into(), NOW);
    }

    fn grant(&mut self) {
        self.target(1);
        self.take_grant();
    }

    fn give_back(&mut self) {
        self.target(0);
        let lease = self.last_lease.take().expect("a lease was granted");
        let given = LeaseReturn {
            lease,
            end_worker: false,
        };
        self.node.on_message(DRIVER, given.into(), NOW);
        self.take_grant();
    }
}

/// A lease is asked for, granted and given back, with a worker that is there already.
pub fn lease() -> Stage {
    let mut one = OneWorker::new();
    Stage::new("node.lease", move || {
        crate::valgrind::count(|| {
            one.grant();
            one.give_back();
        });
    })
}

/// A value is put into the control's store and asked for: what a function's definition costs.
pub fn key_value() -> Stage {
    let mut control = Control::new("1.0", "127.0.0.1:6379");
    let mut effects = Vec::new();
    let client = worker_id(DRIVER);
    let mut ask = move |verb: KeyValueVerb| {
        let request = KeyValueRequest {
            request: 1,
            verb: verb as i32,
            namespace: "fun".to_owned(),
            key: Bytes::from_static(b"0123456789abcdef0123456789ab"),
            value: Bytes::from_static(b"a pickled function"),
        };
        let message = Box::new(Message::from(request));
        control.on_node(NodeId::default(), NodeSays::ClientSaid { client, message });
        control.take_effects(&mut effects);
        effects.clear();
    };
    Stage::new("control.key_value", move || {
        crate::valgrind::count(|| {
            ask(KeyValueVerb::Put);
            ask(KeyValueVerb::Get);
        });
    })
}
