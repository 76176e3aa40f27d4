//! What daemons say to each other: in order and each message once, whatever the connections below do.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use whipray_proto::{Message, NodeId};

use crate::agenda::{Agenda, Event, Micros};
use crate::network::{Machine, Network, encode};

/// The longest pause until a broken connection is tried again.
const RETRY_MOST: Micros = whipray_proto::limits::STREAM_RETRY_LONGEST.as_micros() as Micros;

/// A daemon, by its number, and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    pub daemon: usize,
    pub machine: Machine,
}

/// What is under way from one daemon to another one.
#[derive(Default)]
struct Stream {
    messages: VecDeque<(Micros, Bytes)>,
    latest: Micros,
}

/// All streams, and which daemon is which node.
#[derive(Default)]
pub struct Streams {
    seats: BTreeMap<NodeId, Seat>,
    streams: BTreeMap<(usize, usize), Stream>,
}

impl Streams {
    /// A daemon is this node.
    pub fn add(&mut self, node: NodeId, seat: Seat) {
        self.seats.insert(node, seat);
    }

    /// The daemon that is or was this node.
    pub fn seat(&self, node: &NodeId) -> Option<Seat> {
        self.seats.get(node).copied()
    }

    /// All nodes that there are or were.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, Seat)> {
        self.seats.iter().map(|(node, seat)| (*node, *seat))
    }

    /// Says something to another daemon.
    pub fn send(
        &mut self,
        from: Seat,
        to: Seat,
        message: &Message,
        now: Micros,
        network: &mut Network,
        agenda: &mut Agenda,
    ) {
        let delay = network.delay(from.machine, to.machine);
        let stream = self.streams.entry((from.daemon, to.daemon)).or_default();
        stream.latest = stream.latest.max(now + delay);
        stream.messages.push_back((stream.latest, encode(message)));
        let (from, to) = (from.daemon, to.daemon);
        agenda.add(stream.latest, Event::Stream { from, to });
    }

    /// What has arrived.
    pub fn take(&mut self, from: usize, to: usize, now: Micros) -> Vec<Bytes> {
        let Some(stream) = self.streams.get_mut(&(from, to)) else {
            return Vec::new();
        };
        let mut arrived = Vec::new();
        while stream.messages.front().is_some_and(|(at, _)| *at <= now) {
            arrived.extend(stream.messages.pop_front().map(|(_, message)| message));
        }
        arrived
    }

    /// The way is cut: what is under way comes once it is open again, and a connection stands.
    pub fn wait(
        &mut self,
        from: usize,
        to: usize,
        until: Micros,
        pause: impl FnOnce(Micros) -> Micros,
        agenda: &mut Agenda,
    ) {
        let Some(stream) = self.streams.get_mut(&(from, to)) else {
            return;
        };
        if stream.messages.is_empty() {
            return;
        }
        let at = until + pause(RETRY_MOST);
        stream.latest = stream.latest.max(at);
        for message in &mut stream.messages {
            message.0 = message.0.max(at);
        }
        agenda.add(at, Event::Stream { from, to });
    }

    /// A daemon is gone in the middle: of what it has said, only the first `count` come.
    pub fn cut_off(&mut self, from: usize, mut count: impl FnMut(usize) -> usize) {
        let streams = self.streams.iter_mut();
        for (_, stream) in streams.filter(|((of, _), _)| *of == from) {
            let kept = count(stream.messages.len());
            stream.messages.truncate(kept);
        }
    }

    /// Nothing from one daemon to another one matters any more.
    pub fn close(&mut self, from: usize, to: usize) {
        self.streams.remove(&(from, to));
    }

    /// A daemon is gone: nothing reaches it any more.
    pub fn desert(&mut self, to: usize) {
        for (_, stream) in self.streams.iter_mut().filter(|((_, of), _)| *of == to) {
            stream.messages.clear();
        }
    }

    /// Whether nothing is under way.
    pub fn is_silent(&self) -> bool {
        self.streams
            .values()
            .all(|stream| stream.messages.is_empty())
    }
}
