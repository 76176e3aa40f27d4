//! How fast objects travel from one store to another: `cargo bench -p whipray-node --bench transfer`.
//!
//! Without arguments both are in this process, over loopback. Between two machines, or two network
//! namespaces: `serve HOST:PORT` in the one, `fetch HOST:PORT` in the other. Prints GiB/s.
//! `PART_MIB` and `STREAMS` in the environment change how the large object travels.

#[path = "../tests/transfer/harness.rs"]
#[allow(dead_code)]
mod harness;

use std::time::Instant;

use harness::{Options, Side, content, node};
use whipray_node::shell::transfer::TransferSettings;

const LARGE_BYTES: usize = 1 << 30;
const LARGE_ROUNDS: usize = 6;
const SMALL_BYTES: usize = 200 * 1024;
const SMALL_COUNT: u64 = 1000;

fn options(address: &str) -> Options {
    let mut settings = TransferSettings::default();
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(mebibytes) = number("PART_MIB") {
        settings.part_bytes = mebibytes << 20;
    }
    if let Some(streams) = number("STREAMS") {
        settings.streams = streams;
    }
    Options {
        address: address.to_owned(),
        arena_bytes: 2 << 30,
        settings,
        ..Options::default()
    }
}

/// A store with one large object and many small ones.
fn source(address: &str) -> Side {
    let source = Side::start(1, options(address));
    source.put(0, &content(LARGE_BYTES));
    for number in 1..=SMALL_COUNT {
        source.put(number, &content(SMALL_BYTES));
    }
    source
}

fn fetch(endpoint: &str) {
    let side = Side::start(2, options("0.0.0.0:0"));
    side.knows(node(1), endpoint);
    let gibibytes = |bytes: u64, since: Instant| {
        bytes as f64 / f64::from(1 << 30) / since.elapsed().as_secs_f64()
    };
    for round in 0..LARGE_ROUNDS {
        let started = Instant::now();
        side.ask(1, &[(0, LARGE_BYTES)], node(1));
        let (_, (found, lost)) = side.answer();
        assert_eq!((found.len(), lost.len()), (1, 0), "{lost:?}");
        let speed = gibibytes(LARGE_BYTES as u64, started);
        let memory = if round == 0 { "new" } else { "used" };
        println!("one object of 1 GiB into {memory} memory: {speed:.2} GiB/s");
        side.drop_object(0);
        side.wait_until_empty();
    }
    let small: Vec<(u64, usize)> = (1..=SMALL_COUNT)
        .map(|number| (number, SMALL_BYTES))
        .collect();
    for _ in 0..3 {
        let started = Instant::now();
        side.ask(1, &small, node(1));
        let (_, (found, _)) = side.answer();
        assert_eq!(found.len(), small.len());
        let each = started.elapsed() / SMALL_COUNT as u32;
        let speed = gibibytes((SMALL_BYTES as u64) * SMALL_COUNT, started);
        println!("{SMALL_COUNT} objects of 200 KiB: {each:?} each, {speed:.2} GiB/s");
        (1..=SMALL_COUNT).for_each(|number| side.drop_object(number));
        side.wait_until_empty();
    }
    let started = Instant::now();
    for number in 1..=SMALL_COUNT {
        side.ask(number, &[(number, SMALL_BYTES)], node(1));
        side.answer();
    }
    let each = started.elapsed() / SMALL_COUNT as u32;
    println!("one object of 200 KiB after the other: {each:?} each");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", address, ..] => {
            let source = source(address);
            println!("serving at {}", source.endpoint);
            loop {
                std::thread::park();
            }
        }
        ["fetch", address, ..] => fetch(&format!("tcp:{address}")),
        _ => {
            let source = source("127.0.0.1:0");
            fetch(&source.endpoint);
        }
    }
}
