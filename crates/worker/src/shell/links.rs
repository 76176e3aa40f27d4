//! The connections of this process: the node, peers, and strangers that have not said hello.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustc_hash::FxHashMap;
use whipray_net::{
    Connection, ConnectionError, Endpoint, Interest, Listener, Poller, ReadOutcome, same_token,
};
use whipray_proto::messages::membership::PassedPeer;
use whipray_proto::messages::session::PeerHello;
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION, TaskSpec, WorkerAddress, WorkerId, limits};

use crate::core::dead_nodes::DeadNodes;

pub(crate) const WAKER_TOKEN: u64 = 0;
pub(crate) const LISTENER_TOKEN: u64 = 1;
const FIRST_LINK_TOKEN: u64 = 16;

/// Output of a link that is written at once, however busy the other end is.
const OUTPUT_BYTES: usize = 32 * 1024;

enum LinkKind {
    Node,
    Peer(WorkerAddress),
    Stranger { since: Instant },
}

struct Link {
    connection: Connection,
    kind: LinkKind,
    /// The peer is known to use this link.
    has_spoken: bool,
    waits_for_room: bool,
    is_deferred: bool,
}

/// What came in over a link.
pub(crate) enum Incoming {
    Node(Message),
    Peer(WorkerAddress, Message),
    /// A peer has connected anew, because the link that it had was lost on its side.
    Reconnected(WorkerId),
}

/// The end of a link that mattered.
pub(crate) enum Ended {
    Node,
    Peer(WorkerId),
}

pub(crate) struct Links {
    me: WorkerAddress,
    token: String,
    listener: Listener,
    slots: Vec<Option<Link>>,
    free: Vec<usize>,
    node: Option<usize>,
    peers: FxHashMap<WorkerId, usize>,
    /// Links whose output waits for company.
    deferred: Vec<usize>,
    dead_nodes: DeadNodes,
    /// Links that ended while something was written to them.
    pub ended: Vec<Ended>,
}

impl Links {
    pub fn new(
        me: WorkerAddress,
        token: String,
        listener: Listener,
        node: Connection,
        poller: &Poller,
    ) -> io::Result<Self> {
        poller.add(&listener, LISTENER_TOKEN, Interest::Read)?;
        let mut links = Self {
            me,
            token,
            listener,
            slots: Vec::new(),
            free: Vec::new(),
            node: None,
            peers: FxHashMap::default(),
            deferred: Vec::new(),
            dead_nodes: DeadNodes::default(),
            ended: Vec::new(),
        };
        links.node = Some(links.insert(node, LinkKind::Node, poller)?);
        Ok(links)
    }

    fn insert(
        &mut self,
        connection: Connection,
        kind: LinkKind,
        poller: &Poller,
    ) -> io::Result<usize> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Err(error) = poller.add(&connection, FIRST_LINK_TOKEN + slot as u64, Interest::Read)
        {
            self.free.push(slot);
            return Err(error);
        }
        self.slots[slot] = Some(Link {
            connection,
            kind,
            has_spoken: false,
            waits_for_room: false,
            is_deferred: false,
        });
        Ok(slot)
    }

    fn link(&mut self, slot: usize) -> Option<&mut Link> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Accepts everyone who waits.
    pub fn accept(&mut self, poller: &Poller) {
        self.drop_silent_strangers(poller);
        while let Ok(Some(mut connection)) = self.listener.accept() {
            connection.set_frame_limit(limits::HELLO_FRAME_BYTES);
            connection.expect_descriptors(true);
            // Out of descriptors: the stranger is dropped and sees the end of the connection.
            let _ = self.insert(
                connection,
                LinkKind::Stranger {
                    since: Instant::now(),
                },
                poller,
            );
        }
    }

    fn drop_silent_strangers(&mut self, poller: &Poller) {
        for slot in 0..self.slots.len() {
            let is_overdue = matches!(
                &self.slots[slot],
                Some(Link { kind: LinkKind::Stranger { since }, .. })
                    if since.elapsed() > limits::HELLO_WAIT
            );
            if is_overdue {
                self.remove(slot, poller);
            }
        }
    }

    fn remove(&mut self, slot: usize, poller: &Poller) {
        let Some(link) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        poller.remove(&link.connection);
        self.free.push(slot);
        match link.kind {
            LinkKind::Node => {
                self.node = None;
                self.ended.push(Ended::Node);
            }
            LinkKind::Peer(address) => {
                // Of two links to one process the other may still stand.
                let other = self.slots.iter().position(|link| {
                    matches!(link, Some(Link { kind: LinkKind::Peer(other), .. })
                        if other.worker == address.worker)
                });
                match other {
                    Some(other) => {
                        self.peers.insert(address.worker, other);
                    }
                    None => {
                        self.peers.remove(&address.worker);
                        self.ended.push(Ended::Peer(address.worker));
                    }
                }
            }
            LinkKind::Stranger { .. } => {}
        }
    }

    /// Reads a link that is ready and appends its messages to `incoming`.
    pub fn read(&mut self, token: u64, poller: &Poller, incoming: &mut Vec<Incoming>) {
        let Some(slot) = token
            .checked_sub(FIRST_LINK_TOKEN)
            .map(|slot| slot as usize)
        else {
            return;
        };
        self.read_slot(slot, poller, incoming);
    }

    /// Reads a link once; whether there may be more.
    fn read_slot(&mut self, slot: usize, poller: &Poller, incoming: &mut Vec<Incoming>) -> bool {
        let Some(link) = self.link(slot) else {
            return false;
        };
        let outcome = link.connection.read();
        let is_whole = self.take_messages(slot, poller, incoming);
        if !is_whole || !matches!(outcome, Ok(ReadOutcome::Drained | ReadOutcome::More)) {
            self.remove(slot, poller);
            return false;
        }
        matches!(outcome, Ok(ReadOutcome::More))
    }

    /// Reads all that a process has sent, because it is dead: its last words come before the news.
    /// Some of them may lie in connections that were not accepted yet, or have not said whose they
    /// are.
    pub fn read_to_end(
        &mut self,
        worker: &WorkerId,
        poller: &Poller,
        incoming: &mut Vec<Incoming>,
    ) {
        self.accept(poller);
        for slot in 0..self.slots.len() {
            let may_be_its = match &self.slots[slot] {
                Some(link) => match &link.kind {
                    LinkKind::Stranger { .. } => true,
                    LinkKind::Peer(address) => address.worker == *worker,
                    LinkKind::Node => false,
                },
                None => false,
            };
            if may_be_its {
                while self.read_slot(slot, poller, incoming) {}
            }
        }
    }

    /// Messages that the node sent right behind its welcome: they were read with it, and no event
    /// of the poller will tell of them.
    pub fn take_early(&mut self, poller: &Poller, incoming: &mut Vec<Incoming>) {
        if let Some(slot) = self.node {
            self.take_messages(slot, poller, incoming);
        }
    }

    /// Takes all whole messages of a link; whether the peer keeps to the protocol.
    fn take_messages(
        &mut self,
        slot: usize,
        poller: &Poller,
        incoming: &mut Vec<Incoming>,
    ) -> bool {
        loop {
            let Some(link) = self.link(slot) else {
                return true;
            };
            let message = match link.connection.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => return true,
                Err(_) => return false,
            };
            match &link.kind {
                LinkKind::Node => incoming.push(Incoming::Node(message)),
                LinkKind::Peer(address) => {
                    incoming.push(Incoming::Peer(address.clone(), message));
                    link.has_spoken = true;
                }
                LinkKind::Stranger { .. } => match message {
                    Message::PeerHello(hello) => {
                        if !self.on_hello(slot, hello) {
                            return false;
                        }
                    }
                    Message::PassedPeer(passed) => {
                        let socket = link.connection.take_descriptor();
                        self.on_passed(socket, passed, poller, incoming);
                        return false;
                    }
                    _ => return false,
                },
            }
        }
    }

    fn is_welcome(&self, hello: &PeerHello) -> bool {
        hello.version == PROTOCOL_VERSION
            && same_token(&self.token, &hello.token)
            && hello.to == self.me.worker
            && !self.dead_nodes.contains(&hello.from.node)
    }

    /// The daemon passes on the connection of a peer on another machine.
    fn on_passed(
        &mut self,
        socket: Option<OwnedFd>,
        passed: PassedPeer,
        poller: &Poller,
        incoming: &mut Vec<Incoming>,
    ) {
        let PassedPeer { hello, early } = passed;
        let Some(socket) = socket.filter(|_| self.is_welcome(&hello)) else {
            return;
        };
        let worker = hello.from.worker;
        if let Some(old) = self.peers.get(&worker).copied()
            && self.link(old).is_some_and(|link| link.has_spoken)
        {
            // Nobody connects to whom it is connected with: the peer has lost that link, and what
            // was under way on it. It must not seem to be lost on the new one.
            self.remove(old, poller);
            let is_its = |ended: &Ended| matches!(ended, Ended::Peer(other) if *other == worker);
            if self.ended.pop_if(|ended| is_its(ended)).is_some() {
                incoming.push(Incoming::Reconnected(worker));
            }
        }
        // A connection that cannot be taken in is closed, and the peer sees its end.
        let Ok(connection) = Connection::from_passed(socket, &early) else {
            return;
        };
        let Ok(slot) = self.insert(connection, LinkKind::Peer(hello.from), poller) else {
            return;
        };
        self.peers.entry(worker).or_insert(slot);
        if let Some(link) = self.link(slot) {
            link.has_spoken = true;
        }
        if !self.take_messages(slot, poller, incoming) {
            self.remove(slot, poller);
        }
    }

    fn on_hello(&mut self, slot: usize, hello: PeerHello) -> bool {
        if !self.is_welcome(&hello) {
            return false;
        }
        // Where both ends connect at once there are two links; each end keeps sending on the one
        // that it knew first, so that what it says arrives in order.
        self.peers.entry(hello.from.worker).or_insert(slot);
        let Some(link) = self.link(slot) else {
            return false;
        };
        link.connection.set_frame_limit(limits::FRAME_BYTES);
        link.connection.expect_descriptors(false);
        link.has_spoken = true;
        link.kind = LinkKind::Peer(hello.from);
        true
    }

    /// Where a peer is reached from here.
    fn route(&self, address: &WorkerAddress) -> io::Result<Endpoint> {
        let endpoint = if address.node == self.me.node {
            &address.endpoint
        } else if self.dead_nodes.contains(&address.node) {
            return Err(io::ErrorKind::NotConnected.into());
        } else {
            &address.node_endpoint
        };
        endpoint.parse().map_err(io::Error::other)
    }

    /// Whether there is a link to a process on another machine, where its last words may be on their
    /// way.
    pub fn has_far_link(&self, worker: &WorkerId) -> bool {
        let slot = self
            .peers
            .get(worker)
            .and_then(|slot| self.slots.get(*slot));
        slot.and_then(Option::as_ref).is_some_and(
            |link| matches!(&link.kind, LinkKind::Peer(address) if address.node != self.me.node),
        )
    }

    /// A node is dead: takes nothing more from its processes, and sends nothing more there.
    pub fn leave_node(&mut self, node: &NodeId, poller: &Poller) {
        self.dead_nodes.insert(*node);
        for slot in 0..self.slots.len() {
            if let Some(link) = &self.slots[slot]
                && matches!(&link.kind, LinkKind::Peer(address) if address.node == *node)
            {
                self.remove(slot, poller);
            }
        }
    }

    /// The link to a peer, connected where there is none yet.
    fn peer(&mut self, address: &WorkerAddress, poller: &Poller) -> Option<usize> {
        if let Some(slot) = self.peers.get(&address.worker) {
            return Some(*slot);
        }
        let connected = self
            .route(address)
            .and_then(|endpoint| Connection::begin_connect(&endpoint))
            .and_then(|connection| {
                self.insert(connection, LinkKind::Peer(address.clone()), poller)
            });
        let Ok(slot) = connected else {
            self.ended.push(Ended::Peer(address.worker));
            return None;
        };
        self.peers.insert(address.worker, slot);
        let hello = PeerHello {
            version: PROTOCOL_VERSION,
            token: self.token.clone(),
            from: self.me.clone(),
            to: address.worker,
        };
        self.link(slot)?.connection.queue(&hello.into());
        Some(slot)
    }

    /// Queues a message for the node.
    pub fn send_to_node(&mut self, message: &Message, is_urgent: bool, poller: &Poller) {
        let Some(slot) = self.node else { return };
        if let Some(link) = self.link(slot) {
            link.connection.queue(message);
        }
        self.written(slot, is_urgent, poller);
    }

    /// Queues a message for a peer.
    pub fn send_to_peer(
        &mut self,
        to: &WorkerAddress,
        message: &Message,
        is_urgent: bool,
        poller: &Poller,
    ) {
        let Some(slot) = self.peer(to, poller) else {
            return;
        };
        if let Some(link) = self.link(slot) {
            link.connection.queue(message);
        }
        self.written(slot, is_urgent, poller);
    }

    /// Queues a task for a worker, without a copy of its spec.
    pub fn push_task(
        &mut self,
        to: &WorkerAddress,
        spec: &TaskSpec,
        assignment: Option<&whipray_proto::Assignment>,
        is_urgent: bool,
        poller: &Poller,
    ) {
        let Some(slot) = self.peer(to, poller) else {
            return;
        };
        if let Some(link) = self.link(slot) {
            link.connection.queue_push_task(spec, assignment);
        }
        self.written(slot, is_urgent, poller);
    }

    fn written(&mut self, slot: usize, is_urgent: bool, poller: &Poller) {
        let Some(link) = self.link(slot) else { return };
        if is_urgent || link.connection.output_bytes() > OUTPUT_BYTES {
            self.flush_link(slot, poller);
        } else if !link.is_deferred {
            link.is_deferred = true;
            self.deferred.push(slot);
        }
    }

    /// What waits to be written to a peer, in bytes.
    pub fn output_bytes(&self, to: &WorkerId) -> usize {
        let slot = self.peers.get(to).and_then(|slot| self.slots.get(*slot));
        slot.and_then(Option::as_ref)
            .map_or(0, |link| link.connection.output_bytes())
    }

    /// Whether output waits to be written.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Writes what waited for company.
    pub fn flush(&mut self, poller: &Poller) {
        let mut deferred = std::mem::take(&mut self.deferred);
        for slot in deferred.drain(..) {
            self.flush_link(slot, poller);
        }
        // Nothing is deferred while flushing, so that the room can be used again.
        self.deferred = deferred;
    }

    /// Writes to a link that has room again.
    pub fn on_writable(&mut self, token: u64, poller: &Poller) {
        if let Some(slot) = token.checked_sub(FIRST_LINK_TOKEN) {
            self.flush_link(slot as usize, poller);
        }
    }

    fn flush_link(&mut self, slot: usize, poller: &Poller) {
        let Some(link) = self.link(slot) else { return };
        link.is_deferred = false;
        let token = FIRST_LINK_TOKEN + slot as u64;
        match link.connection.flush() {
            Ok(true) => {
                if link.waits_for_room {
                    link.waits_for_room = false;
                    let _ = poller.change(&link.connection, token, Interest::Read);
                }
            }
            Ok(false) => {
                if !link.waits_for_room {
                    link.waits_for_room = true;
                    let _ = poller.change(&link.connection, token, Interest::ReadWrite);
                }
            }
            // What the peer sent before it went is read first; its end is seen there.
            Err(ConnectionError::Closed) => {}
            Err(_) => self.remove(slot, poller),
        }
    }

    /// Closes this process's copies of all connections, and tells neither peers nor the poller: both
    /// belong to the process that this one was forked from.
    pub fn abandon(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.peers.clear();
        self.deferred.clear();
        self.node = None;
    }

    /// Ends all connections.
    pub fn close(&mut self, poller: &Poller) {
        self.flush(poller);
        for slot in 0..self.slots.len() {
            self.remove(slot, poller);
        }
        poller.remove(&self.listener);
        self.ended.clear();
    }
}
