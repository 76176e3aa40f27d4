//! The connections of the daemon.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;
use whipray_net::{Connection, Interest, Poller};
use whipray_proto::messages::session::NodeEnds;
use whipray_proto::{Message, NodeId, limits};
use whipray_store::Arena;

use crate::core::{ClientId, Micros};

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// It has not said hello, or not well.
    Stranger,
    /// A driver, a worker or a tool.
    Client,
    /// The stream of another daemon.
    Stream(NodeId),
    /// The heartbeats of another daemon.
    Heartbeat(NodeId),
}

/// One peer, from its first byte on.
pub struct Peer {
    pub connection: Connection,
    pub kind: PeerKind,
    /// Whether file descriptors can be sent to it.
    pub is_local: bool,
    waits_to_write: bool,
    is_dirty: bool,
}

/// All peers, by the number that stands for them in the poller and in the core.
#[derive(Default)]
pub struct Connections {
    peers: FxHashMap<ClientId, Peer>,
    next: ClientId,
    /// Peers with output that was queued since the last flush.
    dirty: Vec<ClientId>,
    /// Until when each new peer must have said hello, in order of time.
    hello_deadlines: VecDeque<(Micros, ClientId)>,
}

impl Connections {
    /// Peers get numbers from `first` on; the ones below stand for other things in the poller.
    pub fn starting_at(first: ClientId) -> Self {
        Self {
            next: first,
            ..Self::default()
        }
    }

    /// Takes a new connection in.
    ///
    /// # Errors
    /// The poller is out of memory; the connection is closed then.
    pub fn accept(
        &mut self,
        mut connection: Connection,
        is_local: bool,
        poller: &Poller,
        now: Micros,
    ) -> std::io::Result<()> {
        let client = self.next;
        poller.add(&connection, client, Interest::Read)?;
        self.next += 1;
        connection.set_frame_limit(limits::HELLO_FRAME_BYTES);
        self.hello_deadlines
            .push_back((now + limits::HELLO_WAIT.as_micros() as Micros, client));
        let peer = Peer {
            connection,
            kind: PeerKind::Stranger,
            is_local,
            waits_to_write: false,
            is_dirty: false,
        };
        self.peers.insert(client, peer);
        Ok(())
    }

    pub fn get_mut(&mut self, client: ClientId) -> Option<&mut Peer> {
        self.peers.get_mut(&client)
    }

    /// A peer's token was right: it may send frames of any size that is allowed at all.
    pub fn set_known(&mut self, client: ClientId, kind: PeerKind) {
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.kind = kind;
            peer.connection.set_frame_limit(limits::FRAME_BYTES);
        }
    }

    /// Has the connection of a peer on another machine end where that machine is silent.
    pub fn notice_silence(&mut self, client: ClientId, silence: Duration) {
        if let Some(peer) = self.peers.get(&client)
            && let Err(error) = peer.connection.notice_silence(silence)
        {
            tracing::warn!(client, %error, "silence of a peer is not noticed");
        }
    }

    /// Appends a message to a peer's output.
    pub fn queue(&mut self, client: ClientId, message: &Message) {
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.connection.queue(message);
            if !peer.is_dirty {
                peer.is_dirty = true;
                self.dirty.push(client);
            }
        }
    }

    /// Appends a welcome, with the arena's descriptor where the peer can take it.
    pub fn queue_welcome(
        &mut self,
        client: ClientId,
        mut welcome: whipray_proto::messages::session::Welcome,
        arena: &Arena,
    ) {
        let Some(peer) = self.peers.get_mut(&client) else {
            return;
        };
        let descriptor = if peer.is_local {
            arena.descriptor().try_clone_to_owned().ok()
        } else {
            None
        };
        welcome.has_arena = descriptor.is_some();
        match descriptor {
            Some(descriptor) => {
                peer.connection
                    .queue_with_descriptor(&welcome.into(), descriptor);
            }
            None => peer.connection.queue(&welcome.into()),
        }
        if !peer.is_dirty {
            peer.is_dirty = true;
            self.dirty.push(client);
        }
    }

    /// Bytes that wait to be read by a peer.
    pub fn backlog(&self, client: ClientId) -> usize {
        self.peers
            .get(&client)
            .map_or(0, |peer| peer.connection.output_bytes())
    }

    /// Writes all output that was queued, as far as the peers take it. Returns the peers that are
    /// gone, or that read so slowly that they are given up.
    pub fn flush(&mut self, poller: &Poller) -> Vec<ClientId> {
        let mut gone = Vec::new();
        for client in std::mem::take(&mut self.dirty) {
            if !self.flush_one(client, poller) {
                gone.push(client);
            }
        }
        gone
    }

    /// Writes the output of one peer. Returns whether the peer is to be kept.
    pub fn flush_one(&mut self, client: ClientId, poller: &Poller) -> bool {
        let Some(peer) = self.peers.get_mut(&client) else {
            return true;
        };
        peer.is_dirty = false;
        let Ok(is_flushed) = peer.connection.flush() else {
            return false;
        };
        if peer.connection.output_bytes() > limits::CLIENT_OUTPUT_BYTES {
            tracing::warn!(client, "client does not read, its connection is given up");
            return false;
        }
        if is_flushed == peer.waits_to_write {
            let interest = if is_flushed {
                Interest::Read
            } else {
                Interest::ReadWrite
            };
            peer.waits_to_write = !is_flushed;
            return poller.change(&peer.connection, client, interest).is_ok();
        }
        true
    }

    /// Gives a peer's connection to somebody else.
    pub fn take(&mut self, client: ClientId, poller: &Poller) -> Option<Connection> {
        let peer = self.peers.remove(&client)?;
        poller.remove(&peer.connection);
        Some(peer.connection)
    }

    /// Tells all clients why nothing will come any more, as far as they listen.
    pub fn say_last(&mut self, ends: &NodeEnds) {
        let message = ends.clone().into();
        let clients = self.peers.values_mut();
        for peer in clients.filter(|peer| peer.kind == PeerKind::Client) {
            peer.connection.queue(&message);
            let _ = peer.connection.flush();
        }
    }

    /// Writes what can be written at once, and closes.
    pub fn close(&mut self, client: ClientId, poller: &Poller) {
        if let Some(mut peer) = self.peers.remove(&client) {
            // The last words are a courtesy: a peer that cannot take them is closed all the same.
            let _ = peer.connection.flush();
            poller.remove(&peer.connection);
        }
    }

    /// The next peer whose time for a hello is over.
    pub fn take_late(&mut self, now: Micros) -> Option<ClientId> {
        while let Some((deadline, client)) = self.hello_deadlines.front().copied() {
            let waits = self
                .peers
                .get(&client)
                .is_some_and(|peer| peer.kind == PeerKind::Stranger);
            if waits && deadline > now {
                return None;
            }
            self.hello_deadlines.pop_front();
            if waits {
                return Some(client);
            }
        }
        None
    }

    /// When [`Self::take_late`] has something to look at.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.hello_deadlines
            .front()
            .map(|(deadline, _)| Duration::from_micros(*deadline))
    }
}
