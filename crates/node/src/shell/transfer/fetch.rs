//! One object that comes from another node, over one connection or several.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use whipray_net::{BulkCloser, BulkConnection};
use whipray_proto::limits;
use whipray_proto::messages::transfer::FetchEnded;
use whipray_store::core::Pull;

use super::fan_out::Receiver;
use super::stream::Fault;
use super::target::Target;
use super::{Shared, TransferSettings, lock};

/// The pause before a connection that broke is made anew.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The transfer of one object.
pub struct Fetch {
    pub pull: Pull,
    origin: Receiver,
    part_bytes: u64,
    pub streams: u64,
    pub stall: Duration,
    pub state: Mutex<State>,
    pub changed: Condvar,
}

pub struct State {
    /// Parts, or rests of parts, that no stream has.
    pub todo: VecDeque<Part>,
    /// What is left of each part, in bytes.
    left: Vec<u64>,
    pub provider: Provider,
    pub progress: Instant,
    pub failure: Option<String>,
    is_cancelled: bool,
    pub streams: Vec<BulkCloser>,
    /// Connections on which all went well, to be kept for others.
    pub finished: Vec<(Receiver, BulkConnection)>,
    /// Others read what has come.
    pub readers: usize,
    /// Nobody may begin to.
    pub is_closed: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub index: usize,
    pub offset: u64,
    pub length: u64,
}

/// The node that is asked now.
#[derive(Clone)]
pub struct Provider {
    pub place: Receiver,
    /// Counts changes.
    pub turn: u32,
    pub hops: u32,
    pub is_direct: bool,
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

    /// The next part and whom to ask for it; `None` when nothing is left to do.
    pub fn next_part(&self) -> Option<(Part, Provider)> {
        let mut state = lock(&self.state);
        if state.is_over() {
            return None;
        }
        let part = state.todo.pop_front()?;
        Some((part, state.provider.clone()))
    }

    /// Bytes of a part have come. Returns whether the part is whole now.
    pub fn on_bytes(&self, index: usize, count: u64) -> bool {
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
    pub fn on_fault(&self, fault: Fault, asked: &Provider, was_old: bool) {
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
    pub fn has(&self, state: &State, offset: u64, length: u64) -> bool {
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
    pub fn is_over(&self) -> bool {
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
