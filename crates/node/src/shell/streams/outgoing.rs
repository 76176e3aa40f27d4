//! One outgoing stream and the connection that it has at the moment.

use std::io;
use std::net::SocketAddr;

use whipray_net::{
    Connection, ConnectionError, Interest, Poller, ReadOutcome, ReadyEvent, SendingStream,
};
use whipray_proto::messages::membership::{StreamAck, StreamWelcome};
use whipray_proto::{Message, NodeId, limits};

use super::{Identity, StreamEvent, pause};
use crate::core::Micros;

enum Link {
    /// None; the next one is not tried before.
    Rests {
        until: Micros,
    },
    /// The hello is on its way.
    Greets(Connection),
    Stands(Connection),
    /// The other daemon has refused for good.
    Refused,
}

/// A stream to one node.
pub struct Outgoing {
    pub number: u64,
    pub address: Option<SocketAddr>,
    pub stream: SendingStream,
    link: Link,
    waits_to_write: bool,
    tries: u32,
}

impl Outgoing {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            address: None,
            stream: SendingStream::default(),
            link: Link::Rests { until: 0 },
            waits_to_write: false,
            tries: 0,
        }
    }

    /// Takes over a connection whose hello was answered, with nothing of the stream sent yet.
    pub fn adopt(&mut self, connection: Connection, poller: &Poller) -> io::Result<()> {
        poller.add(&connection, self.number, Interest::Read)?;
        self.link = Link::Stands(connection);
        Ok(())
    }

    pub fn queue(&mut self, message: &Message) {
        let frame = self.stream.push(message);
        if let Link::Stands(connection) = &mut self.link {
            connection.queue_frame(&frame);
        }
    }

    /// When a connection is to be tried.
    pub fn deadline(&self) -> Option<Micros> {
        match self.link {
            Link::Rests { until } if self.stream.kept_bytes() > 0 && self.address.is_some() => {
                Some(until)
            }
            _ => None,
        }
    }

    /// Writes what can be written at once, because nothing follows.
    pub fn say_last(&mut self) {
        if let Link::Stands(connection) = &mut self.link {
            let _ = connection.flush();
        }
    }

    pub fn disconnect(&mut self, poller: &Poller) {
        if let Link::Greets(connection) | Link::Stands(connection) = &self.link {
            poller.remove(connection);
        }
        self.link = Link::Rests { until: 0 };
        self.waits_to_write = false;
    }

    /// Connects where that is due, and writes what there is.
    pub fn drive(
        &mut self,
        node: NodeId,
        identity: &Identity,
        poller: &Poller,
        now: Micros,
    ) -> Option<StreamEvent> {
        if self.deadline().is_some_and(|at| at <= now)
            && let Some(address) = self.address
        {
            let begun =
                Connection::begin(&address, limits::STREAM_SILENCE).and_then(|connection| {
                    poller.add(&connection, self.number, Interest::ReadWrite)?;
                    Ok(connection)
                });
            match begun {
                Ok(mut connection) => {
                    let hello = identity.hello(Some(node), self.stream.first());
                    connection.queue(&hello.into());
                    self.waits_to_write = true;
                    self.link = Link::Greets(connection);
                }
                Err(error) => return self.broken(node, &error, poller, now),
            }
        }
        self.write(node, poller, now)
    }

    fn write(&mut self, node: NodeId, poller: &Poller, now: Micros) -> Option<StreamEvent> {
        let (Link::Greets(connection) | Link::Stands(connection)) = &mut self.link else {
            return None;
        };
        match connection.flush() {
            Ok(is_flushed) => {
                if is_flushed == self.waits_to_write {
                    self.waits_to_write = !is_flushed;
                    let interest = match is_flushed {
                        true => Interest::Read,
                        false => Interest::ReadWrite,
                    };
                    let _ = poller.change(&*connection, self.number, interest);
                }
                None
            }
            // What the other end said before it went is read first; its end is seen there.
            Err(ConnectionError::Closed) => None,
            Err(error) => self.broken(node, &io_error(error), poller, now),
        }
    }

    pub fn on_ready(
        &mut self,
        node: NodeId,
        event: ReadyEvent,
        poller: &Poller,
        now: Micros,
    ) -> Option<StreamEvent> {
        if !event.readable && !event.closed {
            return None;
        }
        let (Link::Greets(connection) | Link::Stands(connection)) = &mut self.link else {
            return None;
        };
        let outcome = connection.read();
        let mut happened = None;
        loop {
            let (Link::Greets(connection) | Link::Stands(connection)) = &mut self.link else {
                return happened;
            };
            match connection.next_message() {
                Ok(None) => break,
                Ok(Some(Message::StreamWelcome(welcome))) => {
                    happened = self.welcomed(node, &welcome, poller, now).or(happened);
                }
                Ok(Some(Message::StreamAck(StreamAck { received }))) => {
                    if self.stream.acknowledge(received).is_err() {
                        return Some(self.refused(
                            node,
                            "it acknowledges what it never got",
                            poller,
                        ));
                    }
                }
                Ok(Some(Message::Refused(refused))) => {
                    return Some(self.refused(node, &refused.reason, poller));
                }
                Ok(Some(_)) | Err(_) => {
                    let error = io::Error::from(io::ErrorKind::InvalidData);
                    return self.broken(node, &error, poller, now);
                }
            }
        }
        let error = match outcome {
            Ok(ReadOutcome::Drained | ReadOutcome::More) => return happened,
            Ok(ReadOutcome::Closed) => io::Error::from(io::ErrorKind::ConnectionReset),
            Err(error) => io_error(error),
        };
        self.broken(node, &error, poller, now)
    }

    /// The hello was answered: the rest of the stream follows.
    fn welcomed(
        &mut self,
        node: NodeId,
        welcome: &StreamWelcome,
        poller: &Poller,
        _now: Micros,
    ) -> Option<StreamEvent> {
        if welcome.node != node {
            return Some(self.refused(node, "another node has its address", poller));
        }
        let Link::Greets(mut connection) =
            std::mem::replace(&mut self.link, Link::Rests { until: 0 })
        else {
            return None;
        };
        let Ok(frames) = self.stream.resume(welcome.received) else {
            poller.remove(&connection);
            return Some(self.refused(node, "it has lost what was said to it", poller));
        };
        for frame in frames {
            connection.queue_frame(frame);
        }
        self.tries = 0;
        self.link = Link::Stands(connection);
        Some(StreamEvent::Restored(node))
    }

    fn refused(&mut self, node: NodeId, reason: &str, poller: &Poller) -> StreamEvent {
        tracing::warn!(%node, reason, "a node does not take what is said to it");
        self.disconnect(poller);
        self.link = Link::Refused;
        let reason = reason.to_owned();
        StreamEvent::Refused { node, reason }
    }

    fn broken(
        &mut self,
        node: NodeId,
        error: &io::Error,
        poller: &Poller,
        now: Micros,
    ) -> Option<StreamEvent> {
        tracing::info!(%node, %error, "the connection of a stream ended");
        let is_new = matches!(self.link, Link::Stands(_));
        self.disconnect(poller);
        // A connection that stood is tried again at once: the news may be that nobody is there.
        let rest = if is_new { 0 } else { pause(self.tries) };
        self.tries += 1;
        self.link = Link::Rests { until: now + rest };
        let is_nobody = error.kind() == io::ErrorKind::ConnectionRefused;
        is_nobody.then_some(StreamEvent::NobodyThere(node))
    }
}

fn io_error(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
