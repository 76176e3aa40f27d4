//! Results that come one by one, as their owner sees them.
//!
//! The consumer takes the items of a stream in order, while the task may still make more. An item is
//! an object of ours from its arrival on; the stream holds one reference to each until it is taken.
//!
//! | state of an item | where it is found |
//! | --- | --- |
//! | not made, or on its way | nowhere; in `awaited` where somebody waits for it |
//! | there, not taken | in `ready` |
//! | taken | with whoever took it; the stream only counts it |
//!
//! | state of a stream | meaning |
//! | --- | --- |
//! | open | more may come |
//! | ended | the task is through; what is `ready` can still be taken |
//! | closed | the consumer is gone: what was there is let go of, what comes is refused |
//!
//! Invariants, checked by [`Stream::validate`]:
//! - ST-1: every item that came was taken or is ready.
//! - ST-2: an item is awaited only while the stream is open and nothing is ready.
//! - ST-3: a closed stream holds nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use whipray_proto::generator::GeneratorSpec;
use whipray_proto::messages::execution::{StreamItem, StreamTaken};
use whipray_proto::{ObjectId, ObjectValue, References, TaskId, WorkerAddress};

use crate::cell::ObjectCell;
use crate::core::Core;
use crate::core::effect::Effect;
use crate::core::outcomes::compact;
use crate::core::party::Party;
use crate::core::tasks::{Micros, Task};

/// The serialized `None`, which stands for the whole of a stream.
const NOTHING: Bytes = Bytes::from_static(&[0]);

/// The items of one task; shared by the task and its consumer, who takes what is there without the
/// lock of the core.
pub struct Stream {
    task: TaskId,
    /// Items that may be there and not taken before the task pauses; zero for any number.
    window: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each has one reference in the object table.
    ready: VecDeque<Arc<ObjectCell>>,
    /// The next item, while somebody waits for it; has one reference in the object table.
    awaited: Option<Arc<ObjectCell>>,
    /// Items that came.
    received: u32,
    /// Items that were taken.
    taken: u32,
    /// How many taken items the executor knows of.
    told: u32,
    has_ended: bool,
    is_closed: bool,
    /// Who makes the items, once one has come.
    executor: Option<WorkerAddress>,
}

/// What a consumer gets.
pub enum Taken {
    /// The next item, with its reference. `is_awaited`: the task pauses until it hears of this; see
    /// [`Core::tell_taken`].
    Item {
        cell: Arc<ObjectCell>,
        is_awaited: bool,
    },
    /// Nothing is there yet.
    Nothing,
    /// All items were taken, and no more will come.
    End,
}

impl State {
    /// Whether the task pauses, or is about to, for want of a word that can be given.
    fn owes_word(&self, window: u32) -> bool {
        window > 0 && self.taken > self.told && self.received - self.told >= window
    }
}

impl Stream {
    pub fn new(task: TaskId, window: u32) -> Self {
        Self {
            task,
            window,
            state: Mutex::default(),
        }
    }

    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Takes the next item, if it is there.
    pub fn take(&self) -> Taken {
        let mut state = self.state.lock();
        match state.ready.pop_front() {
            Some(cell) => {
                state.taken += 1;
                let is_awaited = state.owes_word(self.window);
                Taken::Item { cell, is_awaited }
            }
            None if state.has_ended => Taken::End,
            None => Taken::Nothing,
        }
    }

    /// Whether [`Self::take`] has something to give.
    pub fn has_next(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// Whether all items were taken, and no more will come.
    pub fn is_finished(&self) -> bool {
        let state = self.state.lock();
        state.has_ended && state.ready.is_empty()
    }

    /// The object that stands for the whole.
    fn whole(&self) -> ObjectId {
        self.task.return_id(GeneratorSpec::FIRST_ITEM - 1)
    }

    fn item(&self, index: u32) -> ObjectId {
        self.task.return_id(GeneratorSpec::FIRST_ITEM + index)
    }

    /// Fills in what the next try of the task is to be told.
    fn begin_try(&self, generator: &mut GeneratorSpec) {
        let mut state = self.state.lock();
        state.told = state.taken;
        state.executor = None;
        generator.taken = state.taken;
        generator.wanted_from = if state.is_closed {
            GeneratorSpec::NONE_WANTED
        } else {
            state.received
        };
    }

    /// Checks the invariants; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let state = self.state.lock();
        let task = self.task;
        if !state.is_closed && state.received as usize != state.taken as usize + state.ready.len() {
            return Err(format!("ST-1: items of {task} are neither taken nor ready"));
        }
        if state.awaited.is_some() && (state.has_ended || !state.ready.is_empty()) {
            return Err(format!("ST-2: an item of {task} is awaited in vain"));
        }
        if state.is_closed && (state.awaited.is_some() || !state.ready.is_empty()) {
            return Err(format!("ST-3: the closed stream of {task} holds items"));
        }
        Ok(())
    }
}

impl Task {
    /// It is tried again, at the cost of a retry.
    pub fn begin_retry(&mut self) {
        self.retries_left -= i32::from(self.retries_left > 0);
        self.retries_used += 1;
        self.begin_try();
    }

    /// It is tried again: counts the try, and says which items are still wanted.
    pub fn begin_try(&mut self) {
        self.spec.attempt += 1;
        if let (Some(stream), Some(generator)) = (&self.stream, &mut self.spec.generator) {
            stream.begin_try(generator);
        }
    }
}

impl Core {
    /// The next item, there or not, with one more reference for the caller, who may wait for it;
    /// `None` where no more will come.
    pub fn await_item(&mut self, stream: &Stream) -> Option<Arc<ObjectCell>> {
        let mut state = stream.state.lock();
        let cell = match (state.ready.front(), &state.awaited) {
            (Some(cell), _) | (None, Some(cell)) => cell.clone(),
            (None, None) if state.has_ended || state.is_closed => return None,
            (None, None) => {
                let cell = Arc::new(ObjectCell::pending(stream.item(state.received)));
                self.objects.insert_ours(cell.clone(), &[]);
                state.awaited = Some(cell.clone());
                cell
            }
        };
        self.objects.retain(&cell.id());
        Some(cell)
    }

    /// An executor has made an item of a task of ours.
    pub(super) fn on_stream_item(&mut self, from: &WorkerAddress, item: StreamItem, now: Micros) {
        // What we sent to ourselves is held on the way.
        let own = (from.worker == self.me.worker)
            .then(|| item.value.contained.clone())
            .flatten();
        self.take_item(from, item, now);
        if let Some(references) = own {
            self.objects.release_arrived(&references, &mut self.effects);
        }
    }

    fn take_item(&mut self, from: &WorkerAddress, item: StreamItem, now: Micros) {
        let StreamItem {
            task,
            attempt,
            index,
            value,
        } = item;
        let object = task.return_id(GeneratorSpec::FIRST_ITEM.saturating_add(index));
        let Some(entry) = self.tasks.tasks.get(&task) else {
            self.objects
                .refuse(object, &value, from.into(), &mut self.effects);
            return;
        };
        let current = entry.spec.attempt;
        let Some(stream) = entry.stream.clone().filter(|_| current == attempt) else {
            // Of a try that was given up. Its memory is not freed: the present try may be about to
            // write an object of this very name, in whose favour it goes.
            self.objects
                .refuse_contained(&value, from.into(), &mut self.effects);
            return;
        };
        let mut state = stream.state.lock();
        if state.executor.is_none() {
            state.executor = Some(from.clone());
        }
        if state.is_closed || index != state.received {
            drop(state);
            self.take_old_item(object, value, from.into(), now);
            return;
        }
        let awaited = state.awaited.take();
        drop(state);
        // An earlier try may have sealed the item before it died.
        let node = value.shared.as_ref().map(|location| location.node);
        if attempt > 0 && node.is_none() {
            self.objects.free_unknown(object);
        }
        self.add_item(&stream, awaited, value, from.into(), now);
        if attempt > 0 {
            self.free_earlier_tries(object, &self.tried.nodes(&task), node);
        }
        let owes_word = stream.state.lock().owes_word(stream.window);
        if owes_word {
            self.tell_taken(&stream);
        }
    }

    /// An item that the stream has given out already: of use where its value was lost.
    fn take_old_item(&mut self, object: ObjectId, value: ObjectValue, from: Party, now: Micros) {
        let is_missed = |cell: &Arc<ObjectCell>| !cell.is_ready();
        if self.objects.cell(&object).is_some_and(is_missed) {
            let waiting = self
                .objects
                .complete(object, compact(value), from, &mut self.effects);
            self.on_dependencies(waiting, now);
        } else {
            self.objects.refuse(object, &value, from, &mut self.effects);
        }
    }

    /// The next item of a stream, which `from` sent; `awaited` where somebody waits for it.
    fn add_item(
        &mut self,
        stream: &Stream,
        awaited: Option<Arc<ObjectCell>>,
        value: ObjectValue,
        from: Party,
        now: Micros,
    ) {
        let cell = awaited.unwrap_or_else(|| {
            let object = stream.item(stream.state.lock().received);
            let cell = Arc::new(ObjectCell::pending(object));
            self.objects.insert_ours(cell.clone(), &[]);
            cell
        });
        let waiting = self
            .objects
            .complete(cell.id(), compact(value), from, &mut self.effects);
        let mut state = stream.state.lock();
        state.received += 1;
        state.ready.push_back(cell);
        drop(state);
        if !waiting.is_empty() {
            self.on_dependencies(waiting, now);
        }
    }

    /// Tells the executor how many items were taken, so that it goes on.
    pub fn tell_taken(&mut self, stream: &Stream) {
        let mut state = stream.state.lock();
        let Some(executor) = state.executor.clone() else {
            return;
        };
        if state.has_ended || state.told == state.taken {
            return;
        }
        state.told = state.taken;
        let message = StreamTaken {
            task: stream.task,
            taken: state.taken,
        };
        drop(state);
        self.effects.push(Effect::ToPeer(executor, message.into()));
    }

    /// The task is through. `returned` is what stands for the whole; an error there is the last
    /// item, too.
    pub(super) fn end_stream(
        &mut self,
        stream: &Stream,
        returned: &ObjectValue,
        from: Party,
        now: Micros,
    ) {
        if returned.is_error {
            self.fail_stream(stream, returned.clone(), from, now);
            // Whoever takes the items sees it there: nobody has to look at it twice.
            if let Some(whole) = self.objects.cell(&stream.whole()) {
                whole.mark_seen();
            }
        }
        let mut state = stream.state.lock();
        state.has_ended = true;
        let awaited = state.awaited.take();
        drop(state);
        if let Some(cell) = awaited {
            // Nobody gets this one: those who wait find out that there is no more.
            let nothing = ObjectValue::inline(NOTHING);
            self.objects
                .complete(cell.id(), nothing, from, &mut self.effects);
            self.objects.release(&cell.id(), &mut self.effects);
        }
    }

    /// The task ends with an error behind the items that it has made.
    fn fail_stream(&mut self, stream: &Stream, error: ObjectValue, from: Party, now: Micros) {
        let mut state = stream.state.lock();
        if state.is_closed {
            return;
        }
        let awaited = state.awaited.take();
        drop(state);
        self.add_item(stream, awaited, error, from, now);
    }

    /// The consumer is gone. What it has not taken goes with it; the task may run to its end, but
    /// nobody waits for it any more.
    pub fn close_stream(&mut self, stream: &Stream) {
        let mut state = stream.state.lock();
        if state.is_closed {
            return;
        }
        state.is_closed = true;
        let mut untaken = std::mem::take(&mut state.ready);
        untaken.extend(state.awaited.take());
        let executor = state.executor.take();
        drop(state);
        for cell in untaken {
            self.objects.release(&cell.id(), &mut self.effects);
        }
        let Some(entry) = self.tasks.tasks.get_mut(&stream.task) else {
            return;
        };
        if let Some(generator) = &mut entry.spec.generator {
            generator.wanted_from = GeneratorSpec::NONE_WANTED;
        }
        let executor = executor
            .or_else(|| self.tasks.worker_of(&stream.task).cloned())
            .or_else(|| self.actors.address(&stream.task.actor()).cloned());
        if let Some(executor) = executor {
            let message = StreamTaken {
                task: stream.task,
                taken: GeneratorSpec::NONE_WANTED,
            };
            self.effects.push(Effect::ToPeer(executor, message.into()));
        }
    }

    /// Nothing will come any more: every stream ends with `failure`.
    pub(super) fn fail_streams(&mut self, failure: &ObjectValue) {
        let tasks = self.tasks.tasks.values();
        let streams: Vec<_> = tasks.filter_map(|task| task.stream.clone()).collect();
        let me = Party::from(&self.me);
        for stream in streams {
            let has_ended = stream.state.lock().has_ended;
            if !has_ended {
                self.end_stream(&stream, failure, me, 0);
            }
        }
    }

    /// An item on its way to its owner: for the references inside it the owner is registered before
    /// we let go of ours.
    pub fn send_item(&mut self, to: &WorkerAddress, mut item: StreamItem, contained: &[ObjectId]) {
        if self.is_over {
            return;
        }
        let references: Option<References> = self.references(contained);
        if let Some(references) = &references {
            self.objects
                .register_receiver(references, to, &mut self.effects);
            if to.worker == self.me.worker {
                self.objects.hold_on_the_way(references);
            }
        }
        item.value.contained = references;
        self.effects.push(Effect::ToPeer(to.clone(), item.into()));
    }
}
