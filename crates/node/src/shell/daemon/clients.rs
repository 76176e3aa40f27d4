//! Clients: in, listened to, out.

use std::time::Duration;

use whipray_net::{ReadOutcome, ReadyEvent, same_token};
use whipray_proto::Message;
use whipray_proto::messages::session::Refused;

use super::{Control, Daemon, ListenerKind};
use crate::core::{ClientId, Micros};
use crate::shell::connections::PeerKind;

impl<C: Control> Daemon<C> {
    pub(super) fn accept(&mut self, listener: usize) {
        let now = self.now();
        let Some((listener, kind)) = self.settings.listeners.get(listener) else {
            return;
        };
        // A bounded number per turn, so that those who are connected already are served, too.
        for _ in 0..64 {
            match listener.accept() {
                Ok(Some(connection)) => {
                    let is_local = *kind == ListenerKind::Local;
                    let accepted = self
                        .connections
                        .accept(connection, is_local, &self.poller, now);
                    if let Err(error) = accepted {
                        tracing::warn!(%error, "cannot take a connection in");
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    // The queue stays readable; without a pause the loop would spin.
                    std::thread::sleep(Duration::from_millis(10));
                    return;
                }
            }
        }
    }

    pub(super) fn on_client(&mut self, client: ClientId, event: ReadyEvent) {
        if event.writable && !self.connections.flush_one(client, &self.poller) {
            return self.drop_client(client);
        }
        if event.readable || event.closed {
            self.read_client(client);
        }
    }

    /// Reads what a client sent, and lets the core decide on each message. Returns whether there is
    /// more to read at once.
    pub(super) fn read_client(&mut self, client: ClientId) -> bool {
        let Some(peer) = self.connections.get_mut(client) else {
            return false;
        };
        let outcome = peer.connection.read().unwrap_or_else(|error| {
            tracing::info!(client, %error, "connection failed");
            ReadOutcome::Closed
        });
        let now = self.now();
        let mut stream = None;
        loop {
            let Some(peer) = self.connections.get_mut(client) else {
                return false;
            };
            let message = match peer.connection.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(client, %error, "client broke the protocol");
                    self.drop_client(client);
                    return false;
                }
            };
            match peer.kind {
                PeerKind::Client => self.guarded("message", |daemon| {
                    daemon.node.on_message(client, message, now)
                }),
                PeerKind::Stranger => self.greet(client, message, now),
                PeerKind::Stream(from) => {
                    stream = Some(from);
                    self.on_stream_message(from, message, now);
                }
                PeerKind::Heartbeat(node) => self.on_heartbeat(client, node, message),
            }
        }
        if let Some(from) = stream {
            self.acknowledge(client, from);
        }
        if outcome == ReadOutcome::Closed {
            // What the messages asked for comes before what the end of the client does.
            self.settle();
            self.drop_client(client);
        }
        outcome == ReadOutcome::More
    }

    /// The first message of a client.
    fn greet(&mut self, client: ClientId, message: Message, now: Micros) {
        match message {
            Message::Hello(mut hello) if same_token(&self.streams.identity.token, &hello.token) => {
                hello.token.clear();
                self.connections.set_known(client, PeerKind::Client);
                let (worker, pid) = (hello.worker, hello.pid);
                self.guarded("hello", |daemon| daemon.node.on_hello(client, *hello, now));
                // The template says the same, but maybe later than the worker itself.
                if self
                    .node
                    .worker_with_pid(pid)
                    .is_some_and(|(known, _)| known == worker)
                {
                    self.logs.follow(worker, pid);
                }
            }
            Message::TransferHello(hello) => self.greet_transfer(client, hello),
            Message::Hello(_) => {
                tracing::warn!(client, "hello with a wrong token");
                let reason = "the token is not the one of this cluster".to_owned();
                self.connections.queue(client, &Refused { reason }.into());
                self.connections.close(client, &self.poller);
            }
            Message::StreamHello(hello) => self.greet_node(client, hello),
            Message::PeerHello(hello) => self.pass_peer(client, hello),
            Message::HeartbeatHello(hello) => self.greet_heartbeat(client, &hello),
            other => {
                tracing::warn!(client, message = other.name(), "expected a hello");
                self.connections.close(client, &self.poller);
            }
        }
    }

    /// Closes a client's connection and lets the core know.
    pub(super) fn drop_client(&mut self, client: ClientId) {
        self.connections.close(client, &self.poller);
        let now = self.now();
        self.guarded("end of a client", |daemon| {
            daemon.node.on_client_gone(client, now)
        });
    }
}
