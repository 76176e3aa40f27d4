//! Results that come one by one: order, ends, retries, early closes, and the words between the two
//! ends.

use std::sync::Arc;

use whipray_proto::generator::{GeneratorMode, GeneratorSpec};
use whipray_proto::messages::execution::{CancelTask, PushTask, StreamItem, StreamTaken};
use whipray_proto::messages::object::AddBorrower;
use whipray_proto::task::TaskOutcome;
use whipray_proto::{
    ActorId, JobId, Message, ObjectId, ObjectValue, References, SharedLocation, TaskId, TaskSpec,
};

use super::{TestOwner, address, template, text, value};
use crate::cell::{ObjectCell, WaitSet, Waiter};
use crate::core::Call;
use crate::core::effect::Effect;
use crate::core::sources::Source;
use crate::core::streams::{Stream, Taken};
use crate::template::TaskTemplate;

fn generator(window: u32) -> TaskTemplate {
    TaskTemplate {
        generator: Some(Box::new(GeneratorSpec {
            window,
            ..GeneratorSpec::default()
        })),
        ..template()
    }
}

/// An owner whose one stream is made by the worker `w`.
struct Consumer {
    owner: TestOwner,
    stream: Arc<Stream>,
    whole: ObjectId,
}

impl Consumer {
    fn new(template: &TaskTemplate) -> Self {
        let mut owner = TestOwner::new("o");
        let task = TaskId::of(500, ActorId::none_of(JobId::from_number(1)));
        let window = template.generator.as_ref().unwrap().window;
        let stream = Arc::new(Stream::new(task, window));
        let call = Call {
            task,
            parent: TaskId::default(),
            arguments: Vec::new(),
            keywords: Vec::new(),
            stream: Some(stream.clone()),
        };
        let whole = owner.core.submit(template, call, 0).remove(0).id();
        owner.grant(1, "w");
        owner.effects();
        Self {
            owner,
            stream,
            whole,
        }
    }

    fn item(&mut self, index: u32, value: ObjectValue) {
        self.item_of_try(0, index, value);
    }

    fn item_of_try(&mut self, attempt: u32, index: u32, value: ObjectValue) {
        let item = StreamItem {
            task: self.stream.task(),
            attempt,
            index,
            value,
        };
        self.owner.peer(&address("w"), item);
    }

    fn take(&self) -> Option<Arc<ObjectCell>> {
        match self.stream.take() {
            Taken::Item { cell, .. } => Some(cell),
            Taken::Nothing | Taken::End => None,
        }
    }

    fn take_text(&mut self) -> String {
        let cell = self.take().expect("an item is there");
        let text = text(&cell);
        self.owner.core.release(&cell.id());
        text
    }

    fn end(&mut self) {
        self.owner.answer("w", self.whole, "");
    }

    /// The generator goes, and with it the whole.
    fn close(&mut self) {
        self.owner.core.close_stream(&self.stream);
        self.owner.core.release(&self.whole);
    }

    fn check_over(&mut self) {
        self.close();
        self.owner.check_empty();
        self.stream.validate().unwrap();
    }
}

fn shared() -> ObjectValue {
    ObjectValue {
        shared: Some(SharedLocation::default()),
        ..ObjectValue::default()
    }
}

fn exception() -> ObjectValue {
    ObjectValue {
        is_error: true,
        ..value("boom")
    }
}

#[test]
fn items_are_taken_in_order_and_then_there_is_an_end() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.item(0, value("a"));
    consumer.item(1, value("b"));
    assert!(consumer.stream.has_next());
    assert_eq!(consumer.take_text(), "a");
    consumer.end();
    assert!(!consumer.stream.is_finished());
    assert_eq!(consumer.take_text(), "b");
    assert!(matches!(consumer.stream.take(), Taken::End));
    assert!(consumer.stream.is_finished());
    consumer.check_over();
}

#[test]
fn the_ids_of_items_follow_from_the_task_and_their_index() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.item(0, value("a"));
    consumer.item(1, value("b"));
    for index in [2, 3] {
        let cell = consumer.take().unwrap();
        assert_eq!(cell.id(), consumer.stream.task().return_id(index));
        consumer.owner.core.release(&cell.id());
    }
    consumer.end();
    consumer.check_over();
}

#[test]
fn who_waits_for_the_next_item_is_told_of_it() {
    let mut consumer = Consumer::new(&generator(0));
    let awaited = consumer.owner.core.await_item(&consumer.stream).unwrap();
    let set = Arc::new(WaitSet::new(1));
    assert!(awaited.wait(Waiter::Count(set)).is_none());
    consumer.owner.effects();
    consumer.item(0, value("a"));
    let told = |effect: &Effect| matches!(effect, Effect::Notify(waiters) if waiters.len() == 1);
    assert!(consumer.owner.effects().iter().any(told));
    assert_eq!(consumer.take_text(), "a");
    consumer.owner.core.release(&awaited.id());
    consumer.end();
    consumer.check_over();
}

#[test]
fn who_waits_at_the_end_is_told_that_there_is_no_more() {
    let mut consumer = Consumer::new(&generator(0));
    let awaited = consumer.owner.core.await_item(&consumer.stream).unwrap();
    let set = Arc::new(WaitSet::new(1));
    assert!(awaited.wait(Waiter::Count(set)).is_none());
    consumer.end();
    let told = |effect: &Effect| matches!(effect, Effect::Notify(_));
    assert!(consumer.owner.effects().iter().any(told));
    assert!(matches!(consumer.stream.take(), Taken::End));
    assert!(consumer.owner.core.await_item(&consumer.stream).is_none());
    consumer.owner.core.release(&awaited.id());
    consumer.check_over();
}

#[test]
fn an_exception_beyond_the_retries_is_the_last_item() {
    let mut consumer = Consumer::new(&TaskTemplate {
        max_retries: 0,
        ..generator(0)
    });
    consumer.item(0, value("a"));
    let (whole, outcome) = (consumer.whole, TaskOutcome::RaisedRetryable);
    consumer
        .owner
        .reply("w", whole, outcome, vec![exception()], 10);
    assert_eq!(consumer.take_text(), "a");
    let error = consumer.take().unwrap();
    assert!(error.value().unwrap().is_error);
    consumer.owner.core.release(&error.id());
    assert!(matches!(consumer.stream.take(), Taken::End));
    let cell = consumer.owner.core.objects.cell(&whole).unwrap();
    assert!(cell.unseen_exception().is_none(), "it was seen as an item");
    assert!(cell.value().unwrap().is_error);
    consumer.check_over();
}

#[test]
fn a_retry_asks_only_for_what_did_not_come() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.item(0, value("a"));
    consumer.item(1, value("b"));
    assert_eq!(consumer.take_text(), "a");
    consumer.owner.lose(1);
    consumer.owner.grant(2, "w");
    consumer.owner.effects();
    let spec = &consumer.owner.core.tasks.tasks[&consumer.stream.task()].spec;
    let again = spec.generator.as_ref().unwrap();
    assert_eq!((again.wanted_from, again.taken), (2, 1));
    consumer.item_of_try(1, 2, value("c"));
    consumer.end();
    assert_eq!(consumer.take_text(), "b");
    assert_eq!(consumer.take_text(), "c");
    assert!(matches!(consumer.stream.take(), Taken::End));
    consumer.check_over();
}

#[test]
fn what_a_lost_try_says_late_is_not_taken() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.owner.lose(1);
    consumer.owner.grant(2, "w");
    consumer.item_of_try(0, 0, shared());
    assert!(!consumer.stream.has_next());
    let freed = |message: &Message| matches!(message, Message::FreeObjects(_));
    let told = consumer.owner.told_node();
    // The present try may be about to write an object of this very name.
    assert!(!told.iter().any(freed));
    consumer.item_of_try(1, 0, value("a"));
    consumer.end();
    assert_eq!(consumer.take_text(), "a");
    consumer.check_over();
}

#[test]
fn a_crash_without_retries_is_the_last_item() {
    let mut consumer = Consumer::new(&TaskTemplate {
        max_retries: 0,
        ..generator(0)
    });
    consumer.item(0, value("a"));
    consumer.owner.lose(1);
    assert_eq!(consumer.take_text(), "a");
    let error = consumer.take().unwrap();
    assert!(error.value().unwrap().failure.is_some());
    consumer.owner.core.release(&error.id());
    assert!(matches!(consumer.stream.take(), Taken::End));
    consumer.check_over();
}

#[test]
fn an_early_close_frees_what_came_and_what_comes() {
    let mut consumer = Consumer::new(&generator(1));
    consumer.item(0, shared());
    consumer.owner.effects();
    consumer.close();
    let effects = consumer.owner.effects();
    let freed = effects.iter().any(
        |effect| matches!(effect, Effect::ToNode(Message::FreeObjects(free)) if free.objects.len() == 1),
    );
    assert!(freed);
    let told = effects.iter().any(|effect| {
        matches!(effect, Effect::ToPeer(to, Message::StreamTaken(taken))
            if to.endpoint == "unix:@w" && taken.taken == GeneratorSpec::NONE_WANTED)
    });
    assert!(told, "the task does not pause for ever");
    consumer.item(1, shared());
    let freed = |message: &Message| matches!(message, Message::FreeObjects(_));
    assert!(consumer.owner.told_node().iter().any(freed));
    consumer.end();
    consumer.owner.check_empty();
}

#[test]
fn a_retry_of_a_closed_stream_wants_nothing() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.close();
    consumer.owner.lose(1);
    let spec = &consumer.owner.core.tasks.tasks[&consumer.stream.task()].spec;
    let wanted_from = spec.generator.as_ref().unwrap().wanted_from;
    assert_eq!(wanted_from, GeneratorSpec::NONE_WANTED);
    consumer.owner.grant(2, "w");
    consumer.owner.effects();
    consumer.end();
    consumer.owner.check_empty();
}

fn words(consumer: &mut Consumer) -> Vec<u32> {
    let told = consumer.owner.told_peers();
    let word = |(_, message): (String, Message)| match message {
        Message::StreamTaken(taken) => Some(taken.taken),
        _ => None,
    };
    told.into_iter().filter_map(word).collect()
}

#[test]
fn the_executor_hears_of_what_was_taken_only_when_it_may_pause() {
    let mut consumer = Consumer::new(&generator(2));
    consumer.item(0, value("a"));
    // One more may be made without a word.
    assert!(matches!(
        consumer.stream.take(),
        Taken::Item {
            is_awaited: false,
            ..
        }
    ));
    assert!(words(&mut consumer).is_empty());
    // Now the executor has made as many as it may: what was taken before is said.
    consumer.item(1, value("b"));
    assert_eq!(words(&mut consumer), [1]);
    consumer.item(2, value("c"));
    assert!(matches!(
        consumer.stream.take(),
        Taken::Item {
            is_awaited: true,
            ..
        }
    ));
    let stream = consumer.stream.clone();
    consumer.owner.core.tell_taken(&stream);
    assert_eq!(words(&mut consumer), [2]);
    consumer.end();
    for index in [2, 3] {
        let object = stream.task().return_id(index);
        consumer.owner.core.release(&object);
    }
    consumer.check_over();
}

#[test]
fn a_stream_without_a_bound_needs_no_words() {
    let mut consumer = Consumer::new(&generator(0));
    for index in 0..100 {
        consumer.item(index, value("a"));
        consumer.take_text();
    }
    assert!(words(&mut consumer).is_empty());
    consumer.end();
    consumer.check_over();
}

#[test]
fn references_inside_an_item_are_borrowed_until_it_goes() {
    let mut consumer = Consumer::new(&generator(0));
    let inner = TaskId::of(9, ActorId::none_of(JobId::from_number(1))).return_id(1);
    let mut references = References::default();
    references.push(inner, &address("w"));
    let item = ObjectValue {
        contained: Some(references),
        ..value("a")
    };
    consumer.item(0, item);
    assert_eq!(consumer.owner.core.objects.local_count(&inner), 1);
    consumer.take_text();
    let gone = consumer.owner.told_peers();
    assert!(matches!(gone[..], [(_, Message::RemoveBorrower(_))]));
    consumer.end();
    consumer.check_over();
}

#[test]
fn the_end_of_the_node_ends_the_stream() {
    let mut consumer = Consumer::new(&generator(0));
    consumer.owner.core.on_node_gone();
    let error = consumer.take().unwrap();
    assert!(error.value().unwrap().failure.is_some());
    assert!(matches!(consumer.stream.take(), Taken::End));
}

#[test]
fn results_behind_the_first_one_live_by_the_references_in_it() {
    let mut owner = TestOwner::new("o");
    let whole = owner.submit(&TaskTemplate {
        generator: Some(Box::new(GeneratorSpec {
            mode: GeneratorMode::Dynamic as i32,
            ..GeneratorSpec::default()
        })),
        ..template()
    });
    owner.grant(1, "w");
    owner.effects();
    let mut references = References::default();
    references.push(whole.id().task().return_id(2), &owner.me());
    let first = ObjectValue {
        contained: Some(references),
        ..value("one item")
    };
    owner.reply(
        "w",
        whole.id(),
        TaskOutcome::Returned,
        vec![first, shared()],
        10,
    );
    let item = whole.id().task().return_id(2);
    assert!(owner.core.objects.cell(&item).unwrap().is_ready());
    owner.core.release(&whole.id());
    let freed = |message: &Message| matches!(message, Message::FreeObjects(_));
    assert!(owner.told_node().iter().any(freed));
    owner.check_empty();
}

// ---- the executor's end -------------------------------------------------------------------------

fn pushed(executor: &mut TestOwner, generator: GeneratorSpec) -> TaskId {
    let task = TaskId::of(7, ActorId::none_of(JobId::from_number(1)));
    let spec = TaskSpec {
        task,
        num_returns: 1,
        generator: Some(Box::new(generator)),
        ..TaskSpec::default()
    };
    let push = PushTask {
        spec,
        ..PushTask::default()
    };
    executor.peer(&address("o"), push);
    task
}

fn source(executor: &mut TestOwner, generator: GeneratorSpec) -> Arc<Source> {
    let task = pushed(executor, generator);
    executor.core.execution.start(0).unwrap();
    executor.core.execution.source(&task).unwrap()
}

fn make(source: &Source) -> Option<u32> {
    let index = source.wanted();
    source.count();
    index
}

#[test]
fn a_task_pauses_until_its_consumer_has_taken_enough() {
    let mut executor = TestOwner::new("w");
    let source = source(
        &mut executor,
        GeneratorSpec {
            window: 2,
            ..GeneratorSpec::default()
        },
    );
    assert_eq!(make(&source), Some(0));
    assert!(source.has_room());
    assert_eq!(make(&source), Some(1));
    assert!(!source.has_room());
    let set = Arc::new(WaitSet::new(1));
    assert!(source.wait(Waiter::Count(set)).is_none());
    let task = source.task;
    executor.peer(&address("o"), StreamTaken { task, taken: 1 });
    assert!(matches!(executor.effects()[..], [Effect::Notify(_)]));
    assert!(source.has_room());
}

#[test]
fn a_task_that_pauses_goes_on_when_it_is_cancelled_or_its_caller_is_gone() {
    for is_cancelled in [true, false] {
        let mut executor = TestOwner::new("w");
        let source = source(
            &mut executor,
            GeneratorSpec {
                window: 1,
                ..GeneratorSpec::default()
            },
        );
        make(&source);
        assert!(!source.has_room());
        if is_cancelled {
            let task = source.task;
            let cancel = CancelTask {
                task,
                ..CancelTask::default()
            };
            executor.peer(&address("o"), cancel);
            assert!(source.is_cancelled());
        } else {
            executor.core.on_peer_closed(&address("o").worker);
            assert_eq!(source.wanted(), None);
        }
        assert!(source.has_room());
    }
}

#[test]
fn a_second_try_makes_the_first_items_for_nobody() {
    let mut executor = TestOwner::new("w");
    let source = source(
        &mut executor,
        GeneratorSpec {
            wanted_from: 2,
            taken: 1,
            window: 2,
            ..GeneratorSpec::default()
        },
    );
    assert_eq!(make(&source), None);
    assert_eq!(make(&source), None);
    assert!(source.has_room(), "one of the two was taken");
    assert_eq!(make(&source), Some(2));
    assert!(!source.has_room());
}

#[test]
fn a_close_reaches_a_task_that_has_not_started() {
    let mut executor = TestOwner::new("w");
    let bounded = GeneratorSpec {
        window: 1,
        ..GeneratorSpec::default()
    };
    let task = pushed(&mut executor, bounded);
    let taken = GeneratorSpec::NONE_WANTED;
    executor.peer(&address("o"), StreamTaken { task, taken });
    executor.core.execution.start(0).unwrap();
    let source = executor.core.execution.source(&task).unwrap();
    assert_eq!(make(&source), None);
    assert!(source.has_room(), "nobody will ever take anything");
}

#[test]
fn the_owner_of_an_item_is_registered_for_the_references_inside() {
    let mut executor = TestOwner::new("w");
    let inner = executor.put("inner", &[]);
    let borrowed = TaskId::of(9, ActorId::none_of(JobId::from_number(1))).return_id(1);
    executor.core.objects.refer(borrowed, &address("x"));
    let source = source(&mut executor, GeneratorSpec::default());
    let item = StreamItem {
        task: source.task,
        value: value("a"),
        ..StreamItem::default()
    };
    executor
        .core
        .send_item(&source.caller, item, &[inner, borrowed]);
    let told = executor.told_peers();
    let added = |(to, message): &(String, Message)| {
        to == "unix:@x" && matches!(message, Message::AddBorrower(AddBorrower { .. }))
    };
    let added = told.iter().position(added).unwrap();
    let sent = |(_, message): &(String, Message)| matches!(message, Message::StreamItem(_));
    assert!(added < told.iter().position(sent).unwrap());
    executor.core.release(&inner);
    assert!(
        executor.core.objects.cell(&inner).is_some(),
        "the owner of the item borrows it"
    );
}
