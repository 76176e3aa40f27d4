//! Scenarios of the table of objects.

mod any_order;
mod fetching;
mod life;
mod moving;
mod pulling;
mod spilling;

use whipray_proto::{ActorId, JobId, NodeId, ObjectId, TaskId, WorkerId};

use super::*;

const WRITER: ClientId = 1;
const READER: ClientId = 2;

/// Later than any wait.
const LATER: Micros = 3_000_000;

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

fn owner(number: u8) -> WorkerId {
    WorkerId::from_array([number; 28])
}

const MIB: u64 = 1024 * 1024;

fn put(table: &mut ObjectTable, number: u64, size_bytes: u64) {
    table.create(WRITER, 1, object(number), size_bytes, 0);
    let (outcomes, others) = answers(table);
    assert!(
        matches!(outcomes[..], [Ok(Room::Arena { .. })]),
        "{outcomes:?}"
    );
    assert_eq!(others, []);
    assert!(table.seal(WRITER, object(number), owner(7), true));
}

/// The files that are to be removed.
fn removed(work: &[Work]) -> Vec<String> {
    work.iter()
        .filter_map(|work| match work {
            Work::Disk(DiskJob::Remove { place }) => Some(place.address().to_string()),
            _ => None,
        })
        .collect()
}

/// The answers among the work, and the rest of it.
fn answers(table: &mut ObjectTable) -> (Vec<Result<Room, CreateError>>, Vec<Work>) {
    let mut outcomes = Vec::new();
    let mut others = Vec::new();
    for work in table.take_work() {
        match work {
            Work::Answer { outcome, .. } => outcomes.push(outcome),
            Work::ProvideMemory(_) => {}
            other => others.push(other),
        }
    }
    (outcomes, others)
}

/// Creates an object in a table that writes nothing to disk; its offset.
fn created(
    table: &mut ObjectTable,
    client: ClientId,
    number: u64,
    size_bytes: u64,
) -> Result<u64, CreateError> {
    table.create(client, 1, object(number), size_bytes, 0);
    if !table.has_work() {
        table.on_time(LATER);
    }
    let (mut outcomes, others) = answers(table);
    assert_eq!(others, []);
    assert_eq!(outcomes.len(), 1);
    match outcomes.remove(0)? {
        Room::Arena { offset, .. } => Ok(offset),
        Room::File { path } => panic!("a file: {path}"),
    }
}
