//! The streams between this daemon and those of other nodes: see `docs/internals/many-machines.md`.
//!
//! Outgoing ones connect when there is something to say, and again whenever a connection ends, until
//! the other node is dead. Incoming ones are connections like those of clients; here is only how
//! much of each has arrived.

mod join;
mod outgoing;
#[cfg(test)]
mod tests;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_net::{Connection, Endpoint, Poller, ReadyEvent, ReceivingStream};
use whipray_proto::link::{NodeNews, NodeState};
use whipray_proto::messages::membership::StreamHello;
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION, limits};

use crate::core::{ClientId, Micros};
use outgoing::Outgoing;

pub use join::{JoinError, Joined, Patience, join, join_patiently};

/// Numbers from here on stand for outgoing streams in the poller.
pub const FIRST_STREAM: u64 = 1 << 62;

/// Who this daemon is, for those that it speaks to.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub node: NodeId,
    pub token: String,
    /// `tcp:host:port`, where the others answer.
    pub endpoint: String,
    /// The version of the workers' Python, such as `3.11`; empty while it is not known.
    pub python: String,
}

impl Identity {
    fn hello(&self, to: Option<NodeId>, sent_from: u64) -> StreamHello {
        StreamHello {
            version: PROTOCOL_VERSION,
            token: self.token.clone(),
            from: self.node,
            to,
            endpoint: self.endpoint.clone(),
            python: self.python.clone(),
            sent_from,
        }
    }
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// Its connection stands.
    Restored(NodeId),
    /// There is nobody at that node's address any more.
    NobodyThere(NodeId),
    /// The other daemon does not take it.
    Refused { node: NodeId, reason: String },
}

/// What has come of another daemon's stream, and the connection that it comes over.
#[derive(Default)]
struct Incoming {
    stream: ReceivingStream,
    client: Option<ClientId>,
}

/// All streams of a daemon.
pub struct Streams {
    pub identity: Identity,
    outgoing: FxHashMap<NodeId, Outgoing>,
    by_number: FxHashMap<u64, NodeId>,
    next_number: u64,
    incoming: FxHashMap<NodeId, Incoming>,
    /// Nodes that are no more: nothing is sent there, and nothing taken from there.
    dead: FxHashSet<NodeId>,
    /// Those with output that was queued since the last flush.
    dirty: Vec<NodeId>,
    events: Vec<StreamEvent>,
}

impl Streams {
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            outgoing: FxHashMap::default(),
            by_number: FxHashMap::default(),
            next_number: FIRST_STREAM,
            incoming: FxHashMap::default(),
            dead: FxHashSet::default(),
            dirty: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What became of streams since the last call.
    pub fn take_events(&mut self) -> Vec<StreamEvent> {
        std::mem::take(&mut self.events)
    }

    fn stream(&mut self, node: NodeId) -> &mut Outgoing {
        let (next, by_number) = (&mut self.next_number, &mut self.by_number);
        self.outgoing.entry(node).or_insert_with(|| {
            let number = *next;
            *next += 1;
            by_number.insert(number, node);
            Outgoing::new(number)
        })
    }

    /// Control says who is there, and who is not any more.
    pub fn on_news(&mut self, news: &[NodeNews], poller: &Poller) {
        let me = self.identity.node;
        for node in news.iter().filter(|news| news.node != me) {
            if node.state() == NodeState::Dead {
                self.close(node.node, poller);
            } else {
                self.set_endpoint(node.node, &node.endpoint);
            }
        }
    }

    /// Where a node's daemon is.
    pub fn set_endpoint(&mut self, node: NodeId, endpoint: &str) {
        let Ok(Endpoint::Tcp(address)) = endpoint.parse() else {
            return tracing::warn!(%node, endpoint, "a node has no address that leads to it");
        };
        self.stream(node).address = Some(address);
        self.dirty.push(node);
    }

    /// A node is dead: what was to be said to it is not of interest any more.
    pub fn close(&mut self, node: NodeId, poller: &Poller) {
        self.dead.insert(node);
        self.incoming.remove(&node);
        if let Some(mut outgoing) = self.outgoing.remove(&node) {
            self.by_number.remove(&outgoing.number);
            outgoing.say_last();
            outgoing.disconnect(poller);
        }
    }

    /// Whether nothing may come from this node any more.
    pub fn is_dead(&self, node: &NodeId) -> bool {
        self.dead.contains(node)
    }

    /// The stream to the head, whose connection the joining has made.
    ///
    /// # Errors
    /// The poller is out of memory.
    pub fn adopt(
        &mut self,
        node: NodeId,
        address: std::net::SocketAddr,
        connection: Connection,
        poller: &Poller,
    ) -> std::io::Result<()> {
        let outgoing = self.stream(node);
        outgoing.address = Some(address);
        outgoing.adopt(connection, poller)
    }

    /// Says something to another node. What is said to a dead one is of no interest.
    pub fn queue(&mut self, node: NodeId, message: &Message) {
        if self.dead.contains(&node) {
            return;
        }
        self.stream(node).queue(message);
        self.dirty.push(node);
    }

    /// Bytes that another node has not acknowledged.
    pub fn backlog(&self, node: NodeId) -> usize {
        let outgoing = self.outgoing.get(&node);
        outgoing.map_or(0, |outgoing| outgoing.stream.kept_bytes())
    }

    /// Says something to all nodes.
    pub fn queue_all(&mut self, message: &Message) {
        let nodes: Vec<NodeId> = self.outgoing.keys().copied().collect();
        nodes.iter().for_each(|node| self.queue(*node, message));
    }

    /// Writes what was queued, as far as connections stand; begins those that are missing.
    pub fn flush(&mut self, poller: &Poller, now: Micros) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for node in dirty.drain(..) {
            self.drive(node, poller, now);
        }
        self.dirty = dirty;
    }

    fn drive(&mut self, node: NodeId, poller: &Poller, now: Micros) {
        if let Some(outgoing) = self.outgoing.get_mut(&node) {
            let event = outgoing.drive(node, &self.identity, poller, now);
            self.events.extend(event);
        }
    }

    /// The poller says that something is up with the connection of a stream.
    pub fn on_ready(&mut self, event: ReadyEvent, poller: &Poller, now: Micros) {
        let Some(node) = self.by_number.get(&event.token).copied() else {
            return;
        };
        if let Some(outgoing) = self.outgoing.get_mut(&node) {
            let happened = outgoing.on_ready(node, event, poller, now);
            self.events.extend(happened);
        }
        self.drive(node, poller, now);
    }

    /// When [`Self::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.outgoing.values().filter_map(Outgoing::deadline).min()
    }

    /// Connects again where it is time to.
    pub fn on_time(&mut self, poller: &Poller, now: Micros) {
        let is_due = |(node, outgoing): (&NodeId, &Outgoing)| {
            outgoing
                .deadline()
                .is_some_and(|at| at <= now)
                .then_some(*node)
        };
        let due: Vec<NodeId> = self.outgoing.iter().filter_map(is_due).collect();
        for node in due {
            self.drive(node, poller, now);
        }
    }

    // ---- incoming -------------------------------------------------------------------------------

    /// Why a daemon that says hello well is not listened to all the same.
    pub fn objection(&self, hello: &StreamHello) -> Option<String> {
        let identity = &self.identity;
        if hello.version != PROTOCOL_VERSION {
            return Some(format!(
                "it speaks version {} of the protocol, and this cluster version \
                 {PROTOCOL_VERSION}: use the same release of whipray on all machines",
                hello.version
            ));
        }
        if hello.to.is_some_and(|to| to != identity.node) {
            return Some(format!("node {} is not here", hello.to.unwrap_or_default()));
        }
        if self.dead.contains(&hello.from) {
            return Some("the cluster has given this node up".to_owned());
        }
        let is_known = !hello.python.is_empty() && !identity.python.is_empty();
        if is_known && hello.python != identity.python {
            return Some(format!(
                "its workers run Python {}, and those of this cluster Python {}: programs cannot \
                 move between the two",
                hello.python, identity.python
            ));
        }
        let incoming = self.incoming.get(&hello.from);
        if hello.sent_from > incoming.map_or(0, |incoming| incoming.stream.count()) {
            // What this daemon has forgotten cannot be sent again: it is another one than before.
            return Some("this daemon is not the one that its messages were for".to_owned());
        }
        None
    }

    /// A stream goes on over a new connection: how much of it has arrived, and the connection before,
    /// of which nothing more may be read.
    pub fn on_hello(&mut self, hello: &StreamHello, client: ClientId) -> (u64, Option<ClientId>) {
        self.set_endpoint(hello.from, &hello.endpoint);
        let incoming = self.incoming.entry(hello.from).or_default();
        let before = incoming.client.replace(client);
        (incoming.stream.received(), before)
    }

    /// A message of a stream came.
    pub fn on_message(&mut self, from: NodeId) {
        self.incoming.entry(from).or_default().stream.on_message();
    }

    /// What is to be acknowledged.
    pub fn take_news(&mut self, from: NodeId) -> Option<u64> {
        self.incoming.get_mut(&from)?.stream.take_news()
    }
}

/// The pause before a connection is tried again; each further one is longer.
fn pause(tries: u32) -> Micros {
    let first = limits::STREAM_RETRY.as_micros() as Micros;
    let longest = limits::STREAM_RETRY_LONGEST.as_micros() as Micros;
    (first << tries.min(8)).min(longest)
}
