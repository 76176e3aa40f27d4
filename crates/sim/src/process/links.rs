//! The connections of a process, as its shell keeps them.

use bytes::{Bytes, BytesMut};
use whipray_proto::messages::execution::PushTask;
use whipray_proto::messages::session::{Hello, JobDescription, PeerHello, Role};
use whipray_proto::{Message, PROTOCOL_VERSION, TaskId, WorkerAddress, WorkerId};

use super::Process;
use crate::agenda::Micros;
use crate::around::{Around, node_endpoint};
use crate::daemon::short;
use crate::network::{Party, Socket, encode};

pub(super) enum LinkKind {
    Node,
    Peer(WorkerAddress),
}

pub(super) struct Link {
    kind: LinkKind,
    output: Vec<Bytes>,
}

/// The end of a link that mattered.
pub(super) enum Ended {
    Node,
    Peer(WorkerId),
}

impl Process {
    /// Connects to the node and says hello.
    pub fn connect(&mut self, around: &mut Around) {
        let party = Party::Process(self.index);
        let (machine, endpoint) = (self.home.machine, node_endpoint(self.home.daemon));
        let Some(socket) = around.network.connect(party, machine, &endpoint) else {
            return;
        };
        self.node = Some(socket);
        self.links.insert(
            socket,
            Link {
                kind: LinkKind::Node,
                output: Vec::new(),
            },
        );
        let is_driver = self.role == Role::Driver;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: self.role as i32,
            worker: self.address.worker,
            endpoint: self.address.endpoint.clone(),
            pid: self.pid,
            job: is_driver.then(JobDescription::default),
            ..Hello::default()
        };
        self.send_to_node(&hello.into(), true, around);
    }

    pub(super) fn read(&mut self, socket: Socket, around: &mut Around) {
        self.read_until(socket, around.now, around);
    }

    /// Reads what arrives until a time.
    pub(super) fn read_until(&mut self, socket: Socket, until: Micros, around: &mut Around) {
        let read = around.network.read(socket, until);
        for message in read.messages {
            let from = match self.links.get(&socket).map(|link| &link.kind) {
                Some(LinkKind::Node) => None,
                Some(LinkKind::Peer(address)) => Some(address.clone()),
                None => {
                    self.on_hello(socket, message, around);
                    continue;
                }
            };
            let index = self.index;
            match from {
                None => {
                    around.note(|| format!("process {index} < node: {message:?}"));
                    self.on_node_message(message, around);
                }
                Some(from) => {
                    around
                        .note(|| format!("process {index} < {}: {message:?}", short(&from.worker)));
                    self.on_peer_message(&from, message, around);
                }
            }
        }
        if read.is_over {
            self.remove(socket, around);
        }
        self.apply(around);
    }

    fn on_hello(&mut self, socket: Socket, message: Message, around: &mut Around) {
        let Message::PeerHello(hello) = message else {
            return around
                .witness
                .violation("a peer did not say hello first".to_owned());
        };
        if hello.to != self.address.worker {
            return around
                .witness
                .violation("a peer reached the wrong process".to_owned());
        }
        self.peers.entry(hello.from.worker).or_insert(socket);
        let link = Link {
            kind: LinkKind::Peer(hello.from),
            output: Vec::new(),
        };
        self.links.insert(socket, link);
    }

    fn remove(&mut self, socket: Socket, around: &mut Around) {
        around.network.close(socket, around.now, &mut around.agenda);
        match self.links.remove(&socket).map(|link| link.kind) {
            Some(LinkKind::Node) => {
                self.node = None;
                self.ended.push_back(Ended::Node);
            }
            Some(LinkKind::Peer(address)) => {
                // Of two links to one process the other may still stand.
                let other = self
                    .links
                    .iter()
                    .find_map(|(other, link)| match &link.kind {
                        LinkKind::Peer(of) if of.worker == address.worker => Some(*other),
                        _ => None,
                    });
                match other {
                    Some(other) => {
                        self.peers.insert(address.worker, other);
                    }
                    None => {
                        self.peers.remove(&address.worker);
                        self.ended.push_back(Ended::Peer(address.worker));
                    }
                }
            }
            None => {}
        }
    }

    fn peer(&mut self, address: &WorkerAddress, around: &mut Around) -> Option<Socket> {
        if let Some(socket) = self.peers.get(&address.worker) {
            return Some(*socket);
        }
        let party = Party::Process(self.index);
        let machine = self.home.machine;
        let Some(socket) = around.network.connect(party, machine, &address.endpoint) else {
            self.ended.push_back(Ended::Peer(address.worker));
            return None;
        };
        let hello = PeerHello {
            version: PROTOCOL_VERSION,
            token: String::new(),
            from: self.address.clone(),
            to: address.worker,
        };
        let output = vec![encode(&hello.into())];
        self.links.insert(
            socket,
            Link {
                kind: LinkKind::Peer(address.clone()),
                output,
            },
        );
        self.peers.insert(address.worker, socket);
        Some(socket)
    }

    pub(super) fn send_to_node(&mut self, message: &Message, is_urgent: bool, around: &mut Around) {
        if let Some(socket) = self.node {
            self.queue(socket, encode(message), is_urgent, around);
        }
    }

    pub(super) fn send_to_peer(
        &mut self,
        to: &WorkerAddress,
        message: &Message,
        is_urgent: bool,
        around: &mut Around,
    ) {
        let index = self.index;
        around.note(|| format!("process {index} > {}: {message:?}", short(&to.worker)));
        if let Some(socket) = self.peer(to, around) {
            self.queue(socket, encode(message), is_urgent, around);
        }
    }

    pub(super) fn push(
        &mut self,
        to: WorkerId,
        task: TaskId,
        is_urgent: bool,
        around: &mut Around,
    ) {
        let Some(address) = self.core.address_of(&to) else {
            return;
        };
        let mut buffer = BytesMut::new();
        let Some((spec, assignment)) = self.core.tasks.take_push(&to, &task) else {
            return;
        };
        PushTask::encode_frame_of(spec, assignment.as_ref(), &mut buffer);
        let index = self.index;
        around.note(|| format!("process {index} pushes {task} to {}", short(&to)));
        around.witness.pushed(task, to);
        if let Some(socket) = self.peer(&address, around) {
            self.queue(socket, buffer.freeze(), is_urgent, around);
        }
    }

    fn queue(&mut self, socket: Socket, frame: Bytes, is_urgent: bool, around: &mut Around) {
        let Some(link) = self.links.get_mut(&socket) else {
            return;
        };
        link.output.push(frame);
        if is_urgent {
            let frames = std::mem::take(&mut link.output);
            around
                .network
                .send(socket, frames, around.now, &mut around.agenda);
        }
    }

    pub(super) fn has_deferred(&self) -> bool {
        self.links.values().any(|link| !link.output.is_empty())
    }

    pub(super) fn write_all(&mut self, around: &mut Around) {
        for (socket, link) in &mut self.links {
            if !link.output.is_empty() {
                let frames = std::mem::take(&mut link.output);
                around
                    .network
                    .send(*socket, frames, around.now, &mut around.agenda);
            }
        }
    }
}
