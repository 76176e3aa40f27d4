//! What a call costs without a language around it: `cargo bench -p whipray-worker`.
//!
//! Prints microseconds per synchronous call, and per call of a batch, between two runtimes of one
//! process over the real sockets. The difference to the figures of `whipray microbenchmark` is
//! Python's share.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::Instant;

use harness::{FakeNode, echo, template};
use whipray_proto::TaskId;
use whipray_proto::messages::session::Role;
use whipray_worker::ObjectHandle;

const SYNCHRONOUS: usize = 20_000;
const BATCH: usize = 1_000;
const BATCHES: usize = 100;

fn main() {
    let node = FakeNode::start();
    let worker = node.connect(Role::Worker);
    let serving = echo(&worker, None);
    let driver = node.connect(Role::Driver);
    let template = template();
    let submit = || {
        driver
            .submit(&template, TaskId::default(), Vec::new(), Vec::new())
            .remove(0)
    };
    let wait = |handles: &[&ObjectHandle]| {
        driver.wait_all(handles, None, None, &mut || false);
    };
    wait(&[&submit()]);
    let started = Instant::now();
    for _ in 0..SYNCHRONOUS {
        wait(&[&submit()]);
    }
    let each = started.elapsed() / SYNCHRONOUS as u32;
    println!("synchronous call: {:.2} us", each.as_secs_f64() * 1e6);
    let started = Instant::now();
    for _ in 0..BATCHES {
        let handles: Vec<ObjectHandle> = (0..BATCH).map(|_| submit()).collect();
        wait(&handles.iter().collect::<Vec<_>>());
    }
    let each = started.elapsed() / (BATCH * BATCHES) as u32;
    println!(
        "call in a batch of {BATCH}: {:.2} us",
        each.as_secs_f64() * 1e6
    );
    driver.disconnect();
    worker.disconnect();
    let _ = serving.join();
}
