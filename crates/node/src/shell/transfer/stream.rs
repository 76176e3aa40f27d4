//! One of the connections by which an object comes.

use std::thread::Scope;
use std::time::{Duration, Instant};

use whipray_net::{BulkConnection, ConnectionError, Endpoint};
use whipray_proto::messages::transfer::{FetchObject, TransferHello};
use whipray_proto::{Message, PROTOCOL_VERSION};

use super::fan_out::Receiver;
use super::fetch::{Fetch, Part, Provider};
use super::target::{ReceiveError, Target};
use super::{STACK_BYTES, Shared, lock};

/// What is noted as progress at once, in bytes.
const STEP_BYTES: u64 = 512 * 1024;

/// How long a node may take to answer a new connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The connection of a stream.
struct Line {
    connection: BulkConnection,
    turn: u32,
    /// It was used before, so that it may have ended meanwhile.
    is_old: bool,
}

pub enum Fault {
    Broken(String),
    /// What the other node says.
    Refused(String),
    Elsewhere(Receiver),
    /// On this machine.
    Here(String),
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Fetch {
    /// Brings one part after the other, until none is left. The first stream starts the others, once
    /// somebody gives.
    pub fn stream<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        shared: &'s Shared,
        target: &'s Target<'s>,
        is_first: bool,
    ) {
        let mut line: Option<Line> = None;
        let mut are_started = !is_first || self.streams == 1;
        while let Some((mut part, provider)) = self.next_part() {
            let current = line.take().filter(|line| line.turn == provider.turn);
            let was_old = current.as_ref().is_some_and(|line| line.is_old);
            let mut on_answer = || {
                if !std::mem::replace(&mut are_started, true) {
                    self.start_streams(scope, shared, target);
                }
            };
            match self.bring(
                shared,
                target,
                &provider,
                current,
                &mut part,
                &mut on_answer,
            ) {
                Ok(ready) => line = Some(ready),
                Err(fault) => {
                    lock(&self.state).todo.push_front(part);
                    self.on_fault(fault, &provider, was_old);
                }
            }
        }
        if let Some(line) = line {
            let mut state = lock(&self.state);
            if state.provider.turn == line.turn && state.failure.is_none() {
                let place = state.provider.place.clone();
                state.finished.push((place, line.connection));
            }
        }
    }

    fn start_streams<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        shared: &'s Shared,
        target: &'s Target<'s>,
    ) {
        for _ in 1..self.streams {
            // One that cannot be started is missed by nobody: the others take its parts.
            let _ = std::thread::Builder::new()
                .name("object-fetch".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || self.stream(scope, shared, target, false));
        }
    }

    fn bring(
        &self,
        shared: &Shared,
        target: &Target,
        provider: &Provider,
        line: Option<Line>,
        part: &mut Part,
        on_answer: &mut dyn FnMut(),
    ) -> Result<Line, Fault> {
        let mut line = match line {
            Some(line) => line,
            None => self.connect(shared, provider)?,
        };
        // Before it is asked for: a socket that is full meanwhile takes its time to get going again.
        target
            .prepare(part.offset, part.length)
            .map_err(Fault::Here)?;
        let ask = FetchObject {
            object: self.pull.object,
            offset: part.offset,
            length: part.length,
            size_bytes: self.pull.size_bytes,
            is_direct: provider.is_direct,
        };
        line.connection.send(&ask.into())?;
        self.await_bytes(&mut line.connection, provider, part.length)?;
        line.is_old = false;
        on_answer();
        while part.length > 0 {
            let step = part.length.min(STEP_BYTES);
            match target.receive(&mut line.connection, part.offset, step) {
                Ok(()) => {}
                Err(ReceiveError::Connection(error)) => return Err(error.into()),
                Err(ReceiveError::Here(reason)) => return Err(Fault::Here(reason)),
            }
            part.offset += step;
            part.length -= step;
            let is_whole = self.on_bytes(part.index, step);
            if is_whole {
                shared.outgoing.wake();
            }
        }
        Ok(line)
    }

    fn connect(&self, shared: &Shared, provider: &Provider) -> Result<Line, Fault> {
        let place = &provider.place;
        let (connection, is_old) = match shared.idle.take(place.node) {
            Some(connection) => (connection, true),
            None => {
                let endpoint: Endpoint = place
                    .endpoint
                    .parse()
                    .map_err(|error| Fault::Refused(format!("{error}")))?;
                let connected = BulkConnection::connect(&endpoint, CONNECT_WAIT);
                let mut connection = connected.map_err(|error| {
                    Fault::Broken(format!("{endpoint} cannot be reached: {error}"))
                })?;
                let set = connection.set_patience(self.stall);
                set.map_err(|error| Fault::Broken(error.to_string()))?;
                let identity = &shared.identity;
                let hello = TransferHello {
                    version: PROTOCOL_VERSION,
                    token: identity.token.clone(),
                    from: identity.node,
                    to: place.node,
                    endpoint: identity.endpoint.clone(),
                };
                connection.send_before_bytes(&hello.into())?;
                (connection, false)
            }
        };
        let mut state = lock(&self.state);
        if state.is_over() {
            return Err(Fault::Broken("it is over".to_owned()));
        }
        state.streams.push(connection.closer());
        Ok(Line {
            connection,
            turn: provider.turn,
            is_old,
        })
    }

    /// Waits until the other node begins to send.
    fn await_bytes(
        &self,
        connection: &mut BulkConnection,
        provider: &Provider,
        length: u64,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        loop {
            match connection.receive()? {
                Message::FetchStarted(started) if started.length == length => return Ok(()),
                Message::FetchWaits(_) => {
                    // Who is sent on to others may wait in a circle.
                    if provider.hops > 0 && started.elapsed() > self.stall {
                        return Err(Fault::Refused("it does not get it itself".to_owned()));
                    }
                    lock(&self.state).progress = Instant::now();
                }
                Message::FetchElsewhere(elsewhere) => {
                    return Err(Fault::Elsewhere(Receiver {
                        node: elsewhere.node,
                        endpoint: elsewhere.endpoint,
                    }));
                }
                Message::FetchFailed(failed) => return Err(Fault::Refused(failed.reason)),
                Message::Refused(refused) => return Err(Fault::Refused(refused.reason)),
                other => {
                    let text = format!("it answered with an unexpected {}", other.name());
                    return Err(Fault::Refused(text));
                }
            }
        }
    }
}
