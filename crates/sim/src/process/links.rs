//! The connections of a process, as its shell keeps them.

use bytes::{Bytes, BytesMut};
use whipray_proto::messages::execution::PushTask;
use whipray_proto::messages::session::{Hello, JobDescription, PeerHello, Role};
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION, TaskId, WorkerAddress, WorkerId};

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
    /// The peer is known to use this link.
    has_spoken: bool,
}

impl Link {
    fn new(kind: LinkKind, output: Vec<Bytes>) -> Self {
        Self {
            kind,
            output,
            has_spoken: false,
        }
    }
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
        self.links
            .insert(socket, Link::new(LinkKind::Node, Vec::new()));
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
            if self.closed.contains(&socket) {
                return;
            }
            let from = match self.links.get_mut(&socket) {
                Some(Link {
                    kind: LinkKind::Node,
                    ..
                }) => None,
                Some(link) => {
                    link.has_spoken = true;
                    match &link.kind {
                        LinkKind::Peer(address) => Some(address.clone()),
                        LinkKind::Node => None,
                    }
                }
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
        if self.dead_nodes.contains(&hello.from.node) {
            return self.remove(socket, around);
        }
        let worker = hello.from.worker;
        let is_far = hello.from.node != self.address.node;
        if is_far
            && let Some(old) = self.peers.get(&worker).copied()
            && self.links.get(&old).is_some_and(|link| link.has_spoken)
        {
            // Nobody connects to whom it is connected with: the peer has lost that link, and what
            // was under way on it. It must not seem to be lost on the new one.
            self.remove(old, around);
            let is_its = |ended: &Ended| matches!(ended, Ended::Peer(other) if *other == worker);
            if self.ended.back().is_some_and(is_its) {
                self.ended.pop_back();
                self.on_peer_ended(worker, around);
            }
        }
        self.peers.entry(worker).or_insert(socket);
        let mut link = Link::new(LinkKind::Peer(hello.from), Vec::new());
        link.has_spoken = true;
        self.links.insert(socket, link);
    }

    /// A node is dead: takes nothing more from its processes, and sends nothing more there.
    pub(super) fn leave_node(&mut self, node: &NodeId, around: &mut Around) {
        self.dead_nodes.insert(*node);
        let is_there = |link: &Link| matches!(&link.kind, LinkKind::Peer(of) if of.node == *node);
        let links = self.links.iter().filter(|(_, link)| is_there(link));
        let links: Vec<Socket> = links.map(|(socket, _)| *socket).collect();
        for socket in links {
            self.remove(socket, around);
        }
    }

    /// Whether there is a link to a process on another machine, where its last words may be on their
    /// way.
    pub(super) fn has_far_link(&self, worker: &WorkerId) -> bool {
        let link = self.peers.get(worker).and_then(|it| self.links.get(it));
        link.is_some_and(
            |link| matches!(&link.kind, LinkKind::Peer(of) if of.node != self.address.node),
        )
    }

    fn remove(&mut self, socket: Socket, around: &mut Around) {
        around.network.close(socket, around.now, &mut around.agenda);
        self.closed.insert(socket);
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
        let Some(socket) = self.connect_to(address, around) else {
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
        let kind = LinkKind::Peer(address.clone());
        self.links.insert(socket, Link::new(kind, output));
        self.peers.insert(address.worker, socket);
        Some(socket)
    }

    fn connect_to(&self, address: &WorkerAddress, around: &mut Around) -> Option<Socket> {
        let party = Party::Process(self.index);
        let machine = self.home.machine;
        if address.node == self.address.node {
            return around.network.connect(party, machine, &address.endpoint);
        }
        if self.dead_nodes.contains(&address.node) {
            return None;
        }
        let there = around.streams.seat(&address.node)?.machine;
        let (now, agenda) = (around.now, &mut around.agenda);
        let network = &mut around.network;
        Some(network.connect_far(party, machine, there, &address.endpoint, now, agenda))
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
        let Some((spec, assignment)) = self.core.take_push(&address, &task) else {
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
