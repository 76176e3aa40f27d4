//! Two daemons' streams over real sockets whose connections are ended in between.

use std::io;

use whipray_net::{Connection, Endpoint, Interest, Listener, Poller, ReadOutcome};
use whipray_proto::link::NodeNews;
use whipray_proto::messages::membership::{StreamAck, StreamWelcome};
use whipray_proto::messages::session::{Goodbye, Refused};
use whipray_proto::{Message, NodeId};

use super::{FIRST_STREAM, Identity, NodeState, StreamEvent, Streams};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const LISTENER: u64 = 1;
const FIRST_CLIENT: u64 = 10;

/// A daemon of which only the streams are there.
struct Daemon {
    streams: Streams,
    poller: Poller,
    listener: Listener,
    clients: Vec<Option<(Connection, Option<NodeId>)>>,
    heard: Vec<String>,
    events: Vec<StreamEvent>,
    now: u64,
}

impl Daemon {
    fn new(number: u8) -> io::Result<Self> {
        let listener = Listener::bind(&Endpoint::Tcp(([127, 0, 0, 1], 0).into()))?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        let identity = Identity {
            node: NodeId::from_array([number; 28]),
            token: "token".to_owned(),
            endpoint: Endpoint::Tcp(listener.tcp_address()?).to_string(),
            python: "3.11".to_owned(),
        };
        Ok(Self {
            streams: Streams::new(identity),
            poller,
            listener,
            clients: Vec::new(),
            heard: Vec::new(),
            events: Vec::new(),
            now: 0,
        })
    }

    fn node(&self) -> NodeId {
        self.streams.identity.node
    }

    fn knows(&mut self, other: &Daemon) {
        let endpoint = other.streams.identity.endpoint.clone();
        self.streams.set_endpoint(other.node(), &endpoint);
    }

    fn say(&mut self, to: NodeId, text: &str) {
        let reason = text.to_owned();
        self.streams.queue(to, &Goodbye { reason }.into());
    }

    /// Whatever can be done now.
    fn turn(&mut self) -> TestResult {
        self.now += 1_000_000;
        let now = self.now;
        self.streams.on_time(&self.poller, now);
        self.streams.flush(&self.poller, now);
        let mut ready = Vec::new();
        self.poller
            .wait(Some(std::time::Duration::from_millis(1)), &mut ready)?;
        for event in ready {
            match event.token {
                LISTENER => {
                    while let Some(connection) = self.listener.accept()? {
                        let token = FIRST_CLIENT + self.clients.len() as u64;
                        self.poller.add(&connection, token, Interest::Read)?;
                        self.clients.push(Some((connection, None)));
                    }
                }
                token if token >= FIRST_STREAM => {
                    self.streams.on_ready(event, &self.poller, now);
                }
                token => self.read((token - FIRST_CLIENT) as usize)?,
            }
        }
        self.streams.flush(&self.poller, now);
        self.events.extend(self.streams.take_events());
        Ok(())
    }

    fn read(&mut self, index: usize) -> TestResult {
        let Some(Some((connection, from))) = self.clients.get_mut(index) else {
            return Ok(());
        };
        let outcome = connection.read()?;
        let mut replaced = None;
        while let Some(message) = connection.next_message()? {
            match (message, *from) {
                (Message::StreamHello(hello), None) => {
                    if let Some(reason) = self.streams.objection(&hello) {
                        connection.queue(&Refused { reason }.into());
                        continue;
                    }
                    *from = Some(hello.from);
                    let (received, before) = self.streams.on_hello(&hello, index as u64);
                    replaced = before;
                    let welcome = StreamWelcome {
                        node: self.streams.identity.node,
                        received,
                        ..StreamWelcome::default()
                    };
                    connection.queue(&welcome.into());
                }
                (Message::Goodbye(goodbye), Some(node)) => {
                    self.streams.on_message(node);
                    self.heard.push(goodbye.reason);
                }
                (other, _) => return Err(other.name().into()),
            }
        }
        if let Some(received) = from.and_then(|node| self.streams.take_news(node)) {
            connection.queue(&StreamAck { received }.into());
        }
        let is_gone = connection.flush().is_err() || outcome == ReadOutcome::Closed;
        if is_gone {
            self.close(index);
        }
        if let Some(before) = replaced {
            self.close(before as usize);
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        if let Some((connection, _)) = self.clients.get_mut(index).and_then(Option::take) {
            self.poller.remove(&connection);
        }
    }

    /// All connections of others end, in the middle of whatever they carry.
    fn cut(&mut self) {
        (0..self.clients.len()).for_each(|index| self.close(index));
    }
}

fn until(
    one: &mut Daemon,
    other: &mut Daemon,
    mut is_done: impl FnMut(&Daemon, &Daemon) -> bool,
) -> TestResult {
    for _ in 0..20_000 {
        if is_done(one, other) {
            return Ok(());
        }
        one.turn()?;
        other.turn()?;
    }
    Err("it does not come to that".into())
}

#[test]
fn each_message_arrives_once_however_often_connections_end() -> TestResult {
    let (mut one, mut other) = (Daemon::new(1)?, Daemon::new(2)?);
    one.knows(&other);
    let to = other.node();
    let mut expected = Vec::new();
    for number in 0..300 {
        one.say(to, &number.to_string());
        expected.push(number.to_string());
        if number % 7 == 0 {
            one.turn()?;
            other.turn()?;
        }
        if number % 50 == 49 {
            other.cut();
        }
    }
    until(&mut one, &mut other, |_, other| other.heard.len() >= 300)?;
    assert_eq!(other.heard, expected);
    assert!(one.events.contains(&StreamEvent::Restored(to)));
    Ok(())
}

#[test]
fn what_was_said_before_an_address_is_known_is_said_then() -> TestResult {
    let (mut one, mut other) = (Daemon::new(1)?, Daemon::new(2)?);
    one.say(other.node(), "early");
    one.turn()?;
    one.knows(&other);
    until(&mut one, &mut other, |_, other| other.heard.len() == 1)
}

#[test]
fn nobody_at_an_address_is_told_from_silence() -> TestResult {
    let (mut one, other) = (Daemon::new(1)?, Daemon::new(2)?);
    one.knows(&other);
    let to = other.node();
    drop(other);
    one.say(to, "hello?");
    for _ in 0..100 {
        one.turn()?;
    }
    assert!(one.events.contains(&StreamEvent::NobodyThere(to)));
    Ok(())
}

#[test]
fn a_daemon_that_has_forgotten_is_another_one() -> TestResult {
    let (mut one, mut other) = (Daemon::new(1)?, Daemon::new(2)?);
    one.knows(&other);
    let to = other.node();
    one.say(to, "first");
    until(&mut one, &mut other, |one, _| {
        one.streams
            .outgoing
            .get(&to)
            .is_some_and(|outgoing| outgoing.stream.kept_bytes() == 0)
    })?;
    other.streams = Streams::new(other.streams.identity.clone());
    other.cut();
    one.say(to, "second");
    until(&mut one, &mut other, |one, _| {
        one.events
            .iter()
            .any(|event| matches!(event, StreamEvent::Refused { .. }))
    })?;
    assert_eq!(other.heard, ["first"]);
    Ok(())
}

#[test]
fn the_dead_are_neither_heard_nor_spoken_to() -> TestResult {
    let (mut one, mut other) = (Daemon::new(1)?, Daemon::new(2)?);
    other.knows(&one);
    let (of_one, to) = (one.node(), other.node());
    let news = NodeNews {
        node: to,
        state: NodeState::Dead as i32,
        ..NodeNews::default()
    };
    one.streams.on_news(&[news], &one.poller);
    other.say(of_one, "from the grave");
    until(&mut one, &mut other, |_, other| {
        other
            .events
            .iter()
            .any(|event| matches!(event, StreamEvent::Refused { .. }))
    })?;
    assert!(one.heard.is_empty() && one.streams.is_dead(&to));
    one.say(to, "anybody?");
    assert!(one.streams.next_deadline().is_none());
    Ok(())
}

#[test]
fn others_are_told_why_they_are_not_wanted() -> TestResult {
    let one = Daemon::new(1)?;
    let stranger = Identity {
        node: NodeId::from_array([9; 28]),
        python: "3.12".to_owned(),
        ..one.streams.identity.clone()
    };
    let hello = stranger.hello(None, 0);
    let reason = one.streams.objection(&hello).unwrap_or_default();
    assert!(
        reason.contains("3.12") && reason.contains("3.11"),
        "{reason}"
    );
    let mut old = hello.clone();
    old.version = 0;
    let reason = one.streams.objection(&old).unwrap_or_default();
    assert!(reason.contains("version 0"), "{reason}");
    Ok(())
}
