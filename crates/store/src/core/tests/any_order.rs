//! Whatever clients and the disk do, in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Create(u64, u64, u64),
    Seal(u64, u64, bool),
    Pin(u64, u64),
    Unpin(u64, u64),
    Free(u64, u64),
    ClientGone(u64),
    OwnerGone(u64),
    Disk(proptest::sample::Index, bool),
    Pull(u64, u64, u64),
    PullEnd(proptest::sample::Index, bool),
    SourceGone(u64),
    Serve(u64),
    HandOver(u64),
    TakeOver(u64, u64),
    Time,
}

fn step() -> impl Strategy<Value = Step> {
    let (client, number) = (1u64..4, 1u64..7);
    prop_oneof![
        4 => (client.clone(), number.clone(), 0u64..900)
            .prop_map(|(client, number, size)| Step::Create(client, number, size)),
        4 => (client.clone(), number.clone(), any::<bool>())
            .prop_map(|(client, number, unpin)| Step::Seal(client, number, unpin)),
        2 => (client.clone(), number.clone()).prop_map(|(client, number)| Step::Pin(client, number)),
        2 => (client.clone(), number.clone())
            .prop_map(|(client, number)| Step::Unpin(client, number)),
        2 => (client.clone(), number.clone())
            .prop_map(|(client, number)| Step::Free(client, number)),
        4 => (client.clone(), number.clone(), 0u64..900)
            .prop_map(|(client, number, size)| Step::Pull(client, number, size)),
        4 => (any::<proptest::sample::Index>(), proptest::bool::weighted(0.8))
            .prop_map(|(index, works)| Step::PullEnd(index, works)),
        1 => (1u64..3).prop_map(Step::SourceGone),
        1 => number.clone().prop_map(Step::Serve),
        1 => number.clone().prop_map(Step::HandOver),
        1 => (client.clone(), number).prop_map(|(client, number)| Step::TakeOver(client, number)),
        1 => client.clone().prop_map(Step::ClientGone),
        1 => client.prop_map(Step::OwnerGone),
        4 => (any::<proptest::sample::Index>(), proptest::bool::weighted(0.8))
            .prop_map(|(index, works)| Step::Disk(index, works)),
        1 => Just(Step::Time),
    ]
}

/// The world around a table: what is asked of it, until it is done.
#[derive(Default)]
struct World {
    /// The files that are to be made, and whether each one may be in a bucket.
    jobs: Vec<(u64, bool)>,
    files: BTreeSet<String>,
    has_buckets: bool,
    asked: u64,
    answered: u64,
    /// Pulls that are under way.
    pulls: Vec<u64>,
    cancelled: BTreeSet<u64>,
    /// What is pinned to be sent.
    served: Vec<ObjectId>,
}

/// Two objects of which the store may have none, each with a node that has it.
fn wanted(number: u64, size_bytes: u64) -> Vec<Wanted> {
    let of = |number: u64| Wanted {
        object: object(number),
        source: Some(Source {
            node: NodeId::from_array([1 + number as u8 % 2; 28]),
            owner: owner(1 + number as u8 % 3),
            size_bytes,
        }),
    };
    vec![of(number), of(number + 1)]
}

impl World {
    fn take(&mut self, table: &mut ObjectTable) {
        for work in table.take_work() {
            match work {
                Work::Disk(DiskJob::Write { file, .. }) => self.jobs.push((file, self.has_buckets)),
                Work::Disk(DiskJob::Reserve { file, .. } | DiskJob::Fetch { file, .. }) => {
                    self.jobs.push((file, false));
                }
                Work::Disk(DiskJob::Remove { place }) => {
                    let address = place.address();
                    assert!(self.files.remove(&**address), "removed twice: {address}");
                }
                Work::Answer { .. } => self.answered += 1,
                Work::Pull(pull) => {
                    assert!(!self.pulls.contains(&pull.pull), "pulled twice");
                    self.pulls.push(pull.pull);
                }
                Work::CancelPull { pull } => {
                    assert!(self.pulls.contains(&pull), "nothing to cancel");
                    assert!(self.cancelled.insert(pull), "cancelled twice");
                }
                Work::Pinned { client, found, .. } => {
                    self.answered += 1;
                    if client == SERVING {
                        self.served.extend(found.iter().map(|pinned| pinned.object));
                    }
                    for path in found.iter().filter_map(|pinned| pinned.path.as_deref()) {
                        assert!(path.starts_with('/'), "nobody can map {path}");
                    }
                }
                Work::ProvideMemory(_) | Work::Release { .. } => {}
            }
        }
    }

    fn finish(&mut self, table: &mut ObjectTable, index: usize, works: bool, now: Micros) {
        let (file, in_bucket) = self.jobs.remove(index);
        let outcome = if works {
            // Both kinds of places beside each other.
            let place = match in_bucket && file % 3 > 0 {
                true => FilePlace::Bucket(format!("s3://b/{file}").into()),
                false => FilePlace::Folder(format!("/spill/{file}").into()),
            };
            self.files.insert(place.address().to_string());
            Ok(place)
        } else {
            Err(DiskError::Full("full".to_owned()))
        };
        table.on_disk(file, outcome, now);
    }
}

impl World {
    fn end_pull(&mut self, table: &mut ObjectTable, index: usize, works: bool, now: Micros) {
        let pull = self.pulls.remove(index);
        let outcome = match works {
            true => Ok(()),
            false => Err("the link is broken".to_owned()),
        };
        table.on_pulled(pull, outcome, now);
    }
}

proptest! {
    /// Whatever clients and the disk do, rooms, pins and files add up, and nothing stays when all
    /// are gone.
    #[test]
    fn invariants_hold(
        steps in proptest::collection::vec(step(), 1..150),
        spills in any::<bool>(),
        has_buckets in any::<bool>(),
    ) {
        let settings = SpillSettings { file_bytes: 512, file_objects: 2, jobs: 2 };
        let mut table = ObjectTable::new(2048, spills.then_some(settings));
        let mut world = World { has_buckets, ..World::default() };
        let mut now = 0;
        for step in steps {
            now += 10_000;
            match step {
                Step::Create(client, number, size_bytes) => {
                    world.asked += 1;
                    table.create(client, 1, object(number), size_bytes, now);
                }
                Step::Seal(client, number, unpin) => {
                    table.seal(client, object(number), owner(client as u8), unpin);
                }
                Step::Pin(client, number) => table.pin_all(client, 1, &[object(number), object(number + 1)]),
                Step::Unpin(client, number) => table.unpin(client, object(number)),
                Step::Free(client, number) => table.free(owner(client as u8), object(number)),
                Step::ClientGone(client) => table.client_gone(client),
                Step::OwnerGone(client) => table.owner_gone(owner(client as u8)),
                Step::Disk(index, works) if !world.jobs.is_empty() => {
                    let index = index.index(world.jobs.len());
                    world.finish(&mut table, index, works, now);
                }
                Step::Disk(..) => {}
                Step::Pull(client, number, size_bytes) => {
                    table.pull_all(client, 1, wanted(number, size_bytes), now);
                }
                Step::PullEnd(index, works) if !world.pulls.is_empty() => {
                    let index = index.index(world.pulls.len());
                    world.end_pull(&mut table, index, works, now);
                }
                Step::PullEnd(..) => {}
                Step::SourceGone(number) => {
                    table.source_gone(NodeId::from_array([number as u8; 28]), "dead", now);
                }
                Step::Serve(number) => {
                    table.serve_object(1, object(number));
                    world.take(&mut table);
                    if let Some(object) = world.served.pop() {
                        table.unpin(SERVING, object);
                    }
                }
                Step::HandOver(number) => table.hand_over(object(number)),
                Step::TakeOver(client, number) => {
                    table.take_over(owner(client as u8), object(number));
                }
                Step::Time => {
                    now += LATER;
                    table.on_time(now);
                }
            }
            table.make_room(now);
            world.take(&mut table);
            table.validate().unwrap();
        }
        for client in 1..4 {
            table.client_gone(client);
            table.owner_gone(owner(client as u8));
            table.make_room(now);
            world.take(&mut table);
        }
        while !world.jobs.is_empty() || !world.pulls.is_empty() || !world.served.is_empty() {
            match (world.jobs.is_empty(), world.pulls.is_empty()) {
                (false, _) => world.finish(&mut table, 0, true, now),
                (_, false) => world.end_pull(&mut table, 0, true, now),
                _ => table.unpin(SERVING, world.served.remove(0)),
            }
            table.make_room(now);
            world.take(&mut table);
            table.validate().unwrap();
        }
        for client in 1..4 {
            table.owner_gone(owner(client as u8));
        }
        world.take(&mut table);
        table.validate().unwrap();
        prop_assert_eq!(table.usage().objects, 0);
        prop_assert_eq!(table.usage().used_bytes, 0);
        prop_assert_eq!(world.files.len(), 0);
    }

    /// Nobody waits for ever: once the disk has done its part and time has passed, every request of
    /// a client that lives is answered.
    #[test]
    fn every_request_is_answered(
        sizes in proptest::collection::vec((1u64..4, 0u64..3000, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let settings = SpillSettings { file_bytes: 512, file_objects: 2, jobs: 2 };
        let mut table = ObjectTable::new(2048, Some(settings));
        let mut world = World::default();
        let mut now = 0;
        for (number, (client, size_bytes, unpin, is_elsewhere)) in sizes.iter().enumerate() {
            world.asked += 1;
            if *is_elsewhere {
                table.pull_all(*client, 1, wanted(number as u64, *size_bytes), now);
            } else {
                table.create(*client, 1, object(number as u64), *size_bytes, now);
            }
            while world.answered < world.asked {
                world.take(&mut table);
                if world.answered == world.asked {
                    break;
                }
                if !world.pulls.is_empty() {
                    world.end_pull(&mut table, 0, true, now);
                } else if world.jobs.is_empty() {
                    if let Some(deadline) = table.next_deadline() {
                        prop_assert!(deadline > now, "a wait that is over");
                        now = deadline;
                    }
                    table.on_time(now);
                } else {
                    world.finish(&mut table, 0, true, now);
                }
            }
            table.seal(*client, object(number as u64), owner(1), *unpin);
            table.validate().unwrap();
        }
    }
}
