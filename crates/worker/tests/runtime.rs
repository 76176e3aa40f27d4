//! Sockets, threads and waiting of the runtime, against a node that is only a thread.

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harness::{FakeNode, echo, template};
use whipray_net::{Connection, Endpoint};
use whipray_proto::messages::session::{PeerHello, Role};
use whipray_proto::{TaskId, WorkerAddress, WorkerId};
use whipray_worker::{
    ArgumentInput, ConnectError, NextWork, ObjectHandle, Runtime, WaitOutcome, Work,
};

const BOUND: Option<Duration> = Some(Duration::from_secs(60));

fn submit(driver: &Runtime, text: &str) -> ObjectHandle {
    let data = Bytes::copy_from_slice(text.as_bytes());
    let argument = ArgumentInput::Value {
        data,
        contained: Vec::new(),
    };
    driver
        .submit(&template(), TaskId::default(), vec![argument], Vec::new())
        .remove(0)
}

fn wait(driver: &Runtime, handles: &[&ObjectHandle]) -> WaitOutcome {
    driver.wait_all(handles, BOUND, None, &mut || false)
}

#[test]
fn calls_come_back_one_by_one_and_in_batches() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    for number in 0..200 {
        let text = number.to_string();
        let handle = submit(&driver, &text);
        assert_eq!(wait(&driver, &[&handle]), WaitOutcome::Ready);
        assert_eq!(handle.value().unwrap().data, text.as_bytes());
    }
    let template = template();
    let handles: Vec<ObjectHandle> = (0..20_000)
        .flat_map(|_| driver.submit(&template, TaskId::default(), Vec::new(), Vec::new()))
        .collect();
    let all: Vec<&ObjectHandle> = handles.iter().collect();
    assert_eq!(wait(&driver, &all), WaitOutcome::Ready);
    driver.disconnect();
    worker.disconnect();
    assert_eq!(serving.join().unwrap(), 20_200);
}

#[test]
fn several_threads_wait_at_once() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let driver = &driver;
            scope.spawn(move || {
                for number in 0..200 {
                    let text = format!("{thread}-{number}");
                    let handle = submit(driver, &text);
                    assert_eq!(wait(driver, &[&handle]), WaitOutcome::Ready);
                    assert_eq!(handle.value().unwrap().data, text.as_bytes());
                }
            });
        }
    });
    driver.disconnect();
    worker.disconnect();
    serving.join().unwrap();
}

#[test]
fn callbacks_come_without_a_waiting_thread() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..100 {
        let handle = submit(&driver, &number.to_string());
        let sender = sender.clone();
        let kept = handle.clone();
        driver.when_ready(
            &handle,
            Box::new(move || sender.send(kept.is_ready()).unwrap()),
        );
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(true));
    }
    driver.disconnect();
    worker.disconnect();
    serving.join().unwrap();
}

#[test]
fn large_results_are_read_where_they_lie() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, Some(1 << 20));
    let driver = node.connect(Role::Driver);
    let handle = submit(&driver, "");
    assert_eq!(wait(&driver, &[&handle]), WaitOutcome::Ready);
    let view = driver
        .map_shared(&[&handle], &mut || false)
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(view.as_slice().len(), 1 << 20);
    assert!(view.as_slice().iter().all(|byte| *byte == 7));
    let again = driver
        .map_shared(&[&handle], &mut || false)
        .unwrap()
        .remove(0)
        .unwrap();
    assert!(
        Arc::ptr_eq(&view, &again),
        "a mapping is shared by its readers"
    );
    driver.disconnect();
    // The bytes outlive the connection.
    assert_eq!(view.as_slice()[0], 7);
    worker.disconnect();
    serving.join().unwrap();
}

/// The last view of a large argument went together with the entry of its object, under the lock of
/// the state, which the view took again to give its pin back: the process stood still.
#[test]
fn a_large_argument_goes_with_the_task_that_took_it() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    let id = driver.next_put_id(TaskId::default());
    let writer = driver.create_shared(id, 1 << 20).unwrap();
    let argument = ArgumentInput::Object(driver.seal_put(writer, Vec::new()));
    let handle = driver
        .submit(&template(), TaskId::default(), vec![argument], Vec::new())
        .remove(0);
    assert_eq!(wait(&driver, &[&handle]), WaitOutcome::Ready);
    driver.disconnect();
    worker.disconnect();
    serving.join().unwrap();
}

#[test]
fn a_wait_ends_by_its_timeout_and_by_an_interrupt() {
    let node = FakeNode::start();
    let driver = node.connect(Role::Driver);
    let handle = submit(&driver, "nobody runs this");
    let soon = Some(Duration::from_millis(20));
    let outcome = driver.wait_all(&[&handle], soon, None, &mut || false);
    assert_eq!(outcome, WaitOutcome::TimedOut);
    let asked = AtomicUsize::new(0);
    let outcome = driver.wait_all(&[&handle], BOUND, None, &mut || {
        asked.fetch_add(1, Ordering::Relaxed) > 0
    });
    assert_eq!(outcome, WaitOutcome::Interrupted);
    driver.disconnect();
    assert_eq!(
        wait(&driver, &[&handle]),
        WaitOutcome::Ready,
        "it failed with the connection"
    );
    assert!(handle.value().unwrap().is_error);
}

#[test]
fn the_end_of_the_node_ends_every_wait() {
    let mut node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    let waiting = {
        let driver = driver.clone();
        let handle = driver.handle(
            TaskId::default().return_id(5),
            &whipray_proto::WorkerAddress {
                endpoint: "unix:@nobody".into(),
                ..Default::default()
            },
        );
        std::thread::spawn(move || wait(&driver, &[&handle]))
    };
    node.kill();
    assert_eq!(waiting.join().unwrap(), WaitOutcome::Ready);
    serving.join().unwrap();
    assert!(!driver.is_connected());
    driver.disconnect();
    worker.disconnect();
}

#[test]
fn strangers_without_the_token_are_cut_off_and_nobody_else_is() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    let endpoint: Endpoint = worker.address().endpoint.parse().unwrap();
    let hello = |token: &str| PeerHello {
        version: whipray_proto::PROTOCOL_VERSION,
        token: token.into(),
        from: WorkerAddress {
            worker: WorkerId::random(),
            ..driver.address().clone()
        },
        to: worker.address().worker,
    };
    let mut stranger = Connection::connect(&endpoint).unwrap();
    stranger.queue(&hello("wrong").into());
    assert!(stranger.exchange(Duration::from_secs(60)).is_err());
    let mut garbled = Connection::connect(&endpoint).unwrap();
    garbled.queue(&hello("secret").into());
    garbled.queue_push_task(&whipray_proto::TaskSpec::default(), None);
    garbled.flush().unwrap();
    drop(garbled);
    let handle = submit(&driver, "still served");
    assert_eq!(wait(&driver, &[&handle]), WaitOutcome::Ready);
    driver.disconnect();
    worker.disconnect();
    serving.join().unwrap();
}

/// A message that arrived together with the welcome was left in the buffer of the connection, since
/// no event of the poller told of it: an actor whose worker was fresh never started.
#[test]
fn what_comes_right_behind_the_welcome_is_not_left_lying() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    match worker.next_work(&mut || true) {
        NextWork::Work(Work::StartActor(..)) => {}
        _ => panic!("the actor was not started"),
    }
    worker.disconnect();
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let node = FakeNode::start();
    let mut options = node.options(Role::Driver);
    options.endpoint = "unix:@whipray-test-nobody".into();
    match Runtime::connect(options) {
        Err(error @ ConnectError::Unreachable { .. }) => {
            assert!(error.to_string().contains("whipray-test-nobody"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("connected to nobody"),
    }
}
