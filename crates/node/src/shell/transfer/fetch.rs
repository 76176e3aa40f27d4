//! One object that comes from another node, over one connection or several.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use whipray_net::{BulkCloser, BulkConnection, ConnectionError, Endpoint};
use whipray_proto::messages::transfer::{FetchEnded, FetchObject, TransferHello};
use whipray_proto::{Message, PROTOCOL_VERSION, limits};
use whipray_store::core::Pull;

use super::fan_out::Receiver;
use super::target::{ReceiveError, Target};
use super::{STACK_BYTES, Shared, TransferSettings, lock};

/// What is noted as progress at once, in bytes.
const STEP_BYTES: u64 = 512 * 1024;

/// How long a node may take to answer a new connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The pause before a connection that broke is made anew.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The transfer of one object.
pub struct Fetch {
    pub pull: Pull,
    origin: Receiver,
    part_bytes: u64,
    streams: u64,
    stall: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Parts, or rests of parts, that no stream has.
    todo: VecDeque<Part>,
    /// What is left of each part, in bytes.
    left: Vec<u64>,
    provider: Provider,
    progress: Instant,
    failure: Option<String>,
    is_cancelled: bool,
    streams: Vec<BulkCloser>,
    /// Connections on which all went well, to be kept for others.
    finished: Vec<(Receiver, BulkConnection)>,
    /// Others read what has come.
    readers: usize,
    /// Nobody may begin to.
    is_closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    index: usize,
    offset: u64,
    length: u64,
}

/// The node that is asked now.
#[derive(Clone)]
struct Provider {
    place: Receiver,
    /// Counts changes.
    turn: u32,
    hops: u32,
    is_direct: bool,
}

/// The connection of a stream.
struct Line {
    connection: BulkConnection,
    turn: u32,
    /// It was used before, so that it may have ended meanwhile.
    is_old: bool,
}

enum Fault {
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
    pub fn new(pull: Pull, origin: Receiver, settings: &TransferSettings) -> Self {
        let part_bytes = settings.part_bytes.max(1);
        // One part at least: that nothing is there has to be said as well.
        let parts = pull.size_bytes.div_ceil(part_bytes).max(1);
        let part = |index: u64| Part {
            index: index as usize,
            offset: index * part_bytes,
            length: part_bytes.min(pull.size_bytes - index * part_bytes),
        };
        let todo: VecDeque<Part> = (0..parts).map(part).collect();
        let state = State {
            left: todo.iter().map(|part| part.length).collect(),
            todo,
            provider: Provider {
                place: origin.clone(),
                turn: 0,
                hops: 0,
                is_direct: false,
            },
            progress: Instant::now(),
            failure: None,
            is_cancelled: false,
            streams: Vec::new(),
            finished: Vec::new(),
            readers: 0,
            is_closed: pull.size_bytes == 0,
        };
        Self {
            pull,
            origin,
            part_bytes,
            streams: settings.streams.clamp(1, parts),
            stall: settings.stall,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Brings the object, or fails. Nobody touches its room any more when this returns.
    pub fn run(&self, shared: &Shared) -> Result<(), String> {
        let outcome = match Target::open(&shared.arena, &self.pull) {
            Ok(target) => {
                lock(&self.state).progress = Instant::now();
                std::thread::scope(|scope| self.stream(scope, shared, &target, true));
                self.outcome()
            }
            Err(reason) => Err(reason),
        };
        let mut state = lock(&self.state);
        state.is_closed = true;
        let finished = std::mem::take(&mut state.finished);
        while state.readers > 0 {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        for (place, connection) in finished {
            let ended = FetchEnded {
                object: self.pull.object,
                is_complete: outcome.is_ok(),
            };
            if connection.send(&ended.into()).is_ok() {
                shared.idle.put(place.node, connection);
            }
        }
        outcome
    }

    fn outcome(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        match state.failure.take() {
            Some(reason) => Err(reason),
            None if state.is_cancelled => Err("nobody waits for it any more".to_owned()),
            None if state.left.iter().any(|left| *left > 0) => {
                Err("a part of it did not come".to_owned())
            }
            None => Ok(()),
        }
    }

    pub fn cancel(&self) {
        let mut state = lock(&self.state);
        state.is_cancelled = true;
        state.end_streams();
        self.changed.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        lock(&self.state).is_cancelled
    }

    /// Brings one part after the other, until none is left. The first stream starts the others, once
    /// somebody gives.
    fn stream<'s>(
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

    /// The next part and whom to ask for it; `None` when nothing is left to do.
    fn next_part(&self) -> Option<(Part, Provider)> {
        let mut state = lock(&self.state);
        if state.is_over() {
            return None;
        }
        let part = state.todo.pop_front()?;
        Some((part, state.provider.clone()))
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
        target
            .prepare(part.offset, part.length)
            .map_err(Fault::Here)?;
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

    /// Bytes of a part have come. Returns whether the part is whole now.
    fn on_bytes(&self, index: usize, count: u64) -> bool {
        let mut state = lock(&self.state);
        state.progress = Instant::now();
        match state.left.get_mut(index) {
            Some(left) => {
                *left = left.saturating_sub(count);
                *left == 0
            }
            None => false,
        }
    }

    /// Decides how to go on after a fault, and pauses where that is wise.
    fn on_fault(&self, fault: Fault, asked: &Provider, was_old: bool) {
        let mut state = lock(&self.state);
        if state.is_over() {
            return;
        }
        // Another stream may have turned elsewhere already.
        let is_current = state.provider.turn == asked.turn;
        let is_origin = asked.place == self.origin;
        let reason = match fault {
            Fault::Here(reason) => return self.fail(&mut state, reason),
            _ if !is_current => return,
            Fault::Elsewhere(place) => {
                let hops = asked.hops + 1;
                let is_back = place.node == self.origin.node;
                return match hops > limits::TRANSFER_HOPS || is_back || asked.is_direct {
                    true => state.turn_to(self.origin.clone(), hops, true),
                    false => state.turn_to(place, hops, false),
                };
            }
            Fault::Broken(_) if was_old => return,
            Fault::Broken(reason) | Fault::Refused(reason) if !is_origin => {
                tracing::debug!(object = %self.pull.object, at = %asked.place.node, reason,
                    "back to the node that has it");
                return state.turn_to(self.origin.clone(), 0, true);
            }
            Fault::Refused(reason) => return self.fail(&mut state, reason),
            Fault::Broken(reason) => reason,
        };
        if state.progress.elapsed() > self.stall {
            let seconds = self.stall.as_secs_f32();
            let text = format!(
                "nothing came from node {} for {seconds} s: {reason}",
                self.origin.node
            );
            return self.fail(&mut state, text);
        }
        // Only an end of this fetch cuts the pause short.
        let over = |state: &mut State| !state.is_over();
        drop(self.changed.wait_timeout_while(state, RETRY_PAUSE, over));
    }

    fn fail(&self, state: &mut State, reason: String) {
        state.failure.get_or_insert(reason);
        state.end_streams();
        self.changed.notify_all();
    }

    /// Whether these bytes have come. They end where a part does.
    fn has(&self, state: &State, offset: u64, length: u64) -> bool {
        let Some(end) = offset.checked_add(length) else {
            return false;
        };
        if length == 0 || end > self.pull.size_bytes {
            return false;
        }
        let parts = (offset / self.part_bytes) as usize..=((end - 1) / self.part_bytes) as usize;
        let parts = state.left.get(parts);
        parts.is_some_and(|parts| parts.iter().all(|left| *left == 0))
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.is_cancelled || self.failure.is_some()
    }

    fn end_streams(&mut self) {
        for stream in self.streams.drain(..) {
            stream.close();
        }
    }

    fn turn_to(&mut self, place: Receiver, hops: u32, is_direct: bool) {
        self.provider = Provider {
            place,
            turn: self.provider.turn + 1,
            hops,
            is_direct,
        };
    }
}

/// Bytes of an object that is still coming, to be sent on. They stay as long as this lives, and
/// whoever has it lets go soon after [`Self::is_closed`] says so.
pub struct Reading {
    fetch: Arc<Fetch>,
    /// Where they lie in the arena.
    pub arena_offset: u64,
}

impl Reading {
    /// `None` where these bytes have not come yet, or all of it is there.
    pub fn begin(fetch: Arc<Fetch>, offset: u64, length: u64) -> Option<Self> {
        let arena_offset = Target::arena_offset(&fetch.pull, offset)?;
        {
            let mut state = lock(&fetch.state);
            if state.is_closed || state.is_over() || !fetch.has(&state, offset, length) {
                return None;
            }
            state.readers += 1;
        }
        Some(Self {
            fetch,
            arena_offset,
        })
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.fetch.state).is_closed
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        lock(&self.fetch.state).readers -= 1;
        self.fetch.changed.notify_all();
    }
}
