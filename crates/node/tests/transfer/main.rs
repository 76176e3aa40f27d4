//! Objects between nodes, over real sockets.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;

use std::time::{Duration, Instant};

use fake::{FakeSource, RawAsker};
use harness::{Options, Side, content, node, object};
use whipray_node::shell::transfer::TransferSettings;
use whipray_proto::Message;
use whipray_proto::messages::transfer::{FetchElsewhere, FetchFailed, FetchStarted};

const MIB: usize = 1 << 20;

fn two() -> (Side, Side) {
    let (left, right) = (
        Side::start(1, Options::default()),
        Side::start(2, Options::default()),
    );
    right.knows(left.node, &left.endpoint);
    (left, right)
}

#[test]
fn objects_of_all_sizes_come_as_they_are() {
    let (left, right) = two();
    for (number, size_bytes) in [0, 1, 100_000, MIB, MIB + 1, 5 * MIB + 17]
        .into_iter()
        .enumerate()
    {
        let number = number as u64;
        let bytes = content(size_bytes);
        left.put(number, &bytes);
        assert!(
            right.get(number, size_bytes, left.node) == bytes,
            "{size_bytes}"
        );
        left.drop_object(number);
        right.drop_object(number);
    }
    left.wait_until_empty();
    right.wait_until_empty();
}

#[test]
fn many_objects_of_one_request_come_together() {
    let (left, right) = two();
    let objects: Vec<(u64, usize)> = (0..50)
        .map(|number| (number, 1000 * number as usize))
        .collect();
    for (number, size_bytes) in &objects {
        left.put(*number, &content(*size_bytes));
    }
    right.ask(1, &objects, left.node);
    let (_, (found, lost)) = right.answer();
    assert_eq!((found.len(), lost.len()), (50, 0));
    for pinned in &found {
        assert!(pinned.is_new_copy);
        assert_eq!(right.read(pinned), content(pinned.size_bytes as usize));
    }
}

#[test]
fn what_cannot_be_had_is_said_with_the_reason() {
    let (left, right) = two();
    left.put(1, &content(1000));
    assert_eq!(right.reason(2, 1000, left.node), "it is not there");
    let reason = right.reason(1, 1001, left.node);
    assert_eq!(reason, "it has 1000 bytes there, and not 1001");
    assert_eq!(right.reason(1, 1000, node(7)), "it is unknown");
    right.wait_until_empty();
    assert_eq!(right.get(1, 1000, left.node), content(1000));
}

#[test]
fn what_was_written_to_disk_is_sent_from_there_and_may_come_into_a_file() {
    let options = || Options {
        arena_bytes: 4 << 20,
        spills: true,
        ..Options::default()
    };
    let left = Side::start(1, options());
    let right = Side::start(2, options());
    right.knows(left.node, &left.endpoint);
    left.put(1, &content(3 * MIB));
    left.put(2, &content(2 * MIB));
    assert_eq!(left.with(|inner| inner.table.usage().spilled_objects), 1);
    assert!(right.get(1, 3 * MIB, left.node) == content(3 * MIB));
    // The arena is full of what is read: the next one goes into a file.
    right.ask(2, &[(2, 2 * MIB)], left.node);
    let (_, (found, _)) = right.answer();
    assert!(found[0].path.is_some());
    assert!(right.read(&found[0]) == content(2 * MIB));
    right.drop_object(2);
    right.drop_object(1);
    right.wait_until_empty();
}

#[test]
fn a_transfer_goes_on_where_its_connection_broke() {
    let right = Side::start(2, Options::default());
    let bytes = content(3 * MIB + 5);
    // Each connection ends after half a part.
    let source = FakeSource::start(move |asked, connection, fetch| {
        let end = if asked < 6 { MIB / 2 } else { usize::MAX };
        connection.send_part(&bytes, fetch, end)
    });
    right.knows(node(1), &source.endpoint);
    let received = right.get(1, 3 * MIB + 5, node(1));
    assert!(received == content(3 * MIB + 5));
    let again = source
        .asked()
        .iter()
        .filter(|fetch| fetch.offset % MIB as u64 != 0)
        .count();
    assert!(again > 0, "it asks for what is missing alone");
}

#[test]
fn a_source_that_never_comes_back_is_given_up() {
    let settings = TransferSettings {
        stall: Duration::from_millis(300),
        ..Options::default().settings
    };
    let right = Side::start(
        2,
        Options {
            settings,
            ..Options::default()
        },
    );
    let source = FakeSource::start(|_, _, _| Err(()));
    right.knows(node(1), &source.endpoint);
    let reason = right.reason(1, MIB, node(1));
    assert!(reason.contains("nothing came from node"), "{reason}");
    // One that is silent.
    let source = FakeSource::start(|_, connection, _| connection.wait_for_end());
    right.knows(node(1), &source.endpoint);
    let reason = right.reason(1, MIB, node(1));
    assert!(reason.contains("nothing came from node"), "{reason}");
    right.wait_until_empty();
}

#[test]
fn the_death_of_a_source_ends_its_transfers_at_once() {
    let right = Side::start(2, Options::default());
    let source = FakeSource::start(|_, connection, _| connection.wait_for_end());
    right.knows(node(1), &source.endpoint);
    let started = Instant::now();
    right.ask(1, &[(1, 3 * MIB), (2, MIB)], node(1));
    source.wait_for_asks(1);
    right.source_gone(node(1));
    let (_, (_, lost)) = right.answer();
    assert_eq!(lost.len(), 2);
    assert_eq!(lost[0].reason, "it is dead");
    right.wait_until_empty();
    let deadline = Options::default().settings.stall;
    assert!(started.elapsed() < deadline, "it waits for no time-out");
}

#[test]
fn many_that_want_the_same_are_sent_to_each_other() {
    let settings = TransferSettings {
        fan_out: 1,
        ..Options::default().settings
    };
    let options = || Options {
        settings,
        ..Options::default()
    };
    let left = Side::start(1, options());
    let bytes = content(4 * MIB);
    left.put(1, &bytes);
    let mut first = RawAsker::connect(&left, 50);
    let part = first.fetch(1, 0, 10, 4 * MIB, false);
    assert_eq!(part, Ok(bytes[..10].to_vec()));
    let mut second = RawAsker::connect(&left, 51);
    let elsewhere = second.ask(1, 0, 10, 4 * MIB, false);
    let expected = FetchElsewhere {
        node: node(50),
        endpoint: "tcp:127.0.0.1:50".to_owned(),
    };
    assert_eq!(elsewhere, Message::from(expected));
    assert!(second.fetch(1, 0, 10, 4 * MIB, true).is_ok(), "it insists");
    drop((first, second));
    // All at the same time.
    let others: Vec<Side> = (2..7)
        .map(|number| Side::start(number, options()))
        .collect();
    for other in &others {
        other.knows(left.node, &left.endpoint);
        other.ask(1, &[(1, 4 * MIB)], left.node);
    }
    for other in &others {
        let (_, (found, lost)) = other.answer();
        assert_eq!(lost, []);
        assert!(other.read(&found[0]) == bytes);
    }
    left.drop_object(1);
    left.wait_until_empty();
}

#[test]
fn who_is_sent_elsewhere_goes_there_and_comes_back_where_nothing_is() {
    let right = Side::start(2, Options::default());
    let third = Side::start(3, Options::default());
    third.put(1, &content(MIB));
    let endpoint = third.endpoint.clone();
    let source = FakeSource::start(move |_, connection, fetch| {
        if fetch.is_direct {
            return connection.send_part(&content(MIB), fetch, usize::MAX);
        }
        let endpoint = endpoint.clone();
        connection.say(FetchElsewhere {
            node: node(3),
            endpoint,
        })
    });
    right.knows(node(1), &source.endpoint);
    assert!(right.get(1, MIB, node(1)) == content(MIB));
    assert_eq!(source.asked().len(), 1, "it came from elsewhere");
    right.drop_object(1);
    third.drop_object(1);
    third.wait_until_empty();
    assert!(right.get(1, MIB, node(1)) == content(MIB));
    assert!(source.asked().iter().any(|fetch| fetch.is_direct));
}

#[test]
fn what_has_come_is_sent_on_before_the_rest_is_there() {
    let right = Side::start(2, Options::default());
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let source = FakeSource::start(move |_, connection, fetch| {
        if fetch.offset > 0 {
            // The rest comes later.
            let _ = may_go_on.lock().map(|it| it.recv());
        }
        connection.send_part(&content(2 * MIB), fetch, usize::MAX)
    });
    right.knows(node(1), &source.endpoint);
    right.ask(1, &[(1, 2 * MIB)], node(1));
    source.wait_for_asks(2);
    let mut asker = RawAsker::connect(&right, 50);
    let bytes = content(2 * MIB);
    let part = asker.fetch(1, 0, MIB, 2 * MIB, false);
    assert!(part.is_ok_and(|part| part == bytes[..MIB]));
    assert!(
        right.with(|inner| inner.table.usage().objects) == 0,
        "it is not whole"
    );
    go_on.send(()).unwrap();
    let part = asker.fetch(1, MIB, MIB, 2 * MIB, false);
    assert!(part.is_ok_and(|part| part == bytes[MIB..]));
    let (_, (found, _)) = right.answer();
    assert!(right.read(&found[0]) == bytes);
    drop(asker);
    right.drop_object(1);
    right.wait_until_empty();
}

#[test]
fn what_will_not_come_is_not_sent_on() {
    let right = Side::start(2, Options::default());
    let source = FakeSource::start(|_, connection, _| connection.wait_for_end());
    right.knows(node(1), &source.endpoint);
    right.ask(1, &[(1, 2 * MIB)], node(1));
    source.wait_for_asks(1);
    let mut asker = RawAsker::connect(&right, 50);
    asker.begin(1, 0, MIB, 2 * MIB, false);
    // Whoever asks here keeps it coming; its source is dead.
    right.source_gone(node(1));
    let failed = FetchFailed {
        reason: "it is dead".to_owned(),
    };
    let answer = asker.hear();
    let is_late = Message::from(FetchFailed {
        reason: "it is not there".to_owned(),
    });
    assert!(answer == failed.into() || answer == is_late, "{answer:?}");
    right.wait_until_empty();
}

#[test]
fn ranges_beyond_the_object_are_refused() {
    let left = Side::start(1, Options::default());
    left.put(1, &content(100));
    let mut asker = RawAsker::connect(&left, 50);
    for (offset, length) in [(0, 101), (101, 0), (u64::MAX, 2), (50, 51)] {
        let answer = asker.ask_raw(1, offset, length, 100, false);
        assert!(matches!(answer, Message::FetchFailed(_)), "{answer:?}");
    }
    assert_eq!(
        asker.ask(1, 100, 0, 100, false),
        Message::from(FetchStarted { length: 0 })
    );
    drop(asker);
    left.with(|inner| inner.table.free(harness::owner(), object(1)));
    left.wait_until_empty();
}
