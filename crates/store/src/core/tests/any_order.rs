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
        2 => (client.clone(), number).prop_map(|(client, number)| Step::Free(client, number)),
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
                Work::Pinned { found, .. } => {
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
        while !world.jobs.is_empty() {
            world.finish(&mut table, 0, true, now);
            world.take(&mut table);
        }
        table.validate().unwrap();
        prop_assert_eq!(table.usage().objects, 0);
        prop_assert_eq!(table.usage().used_bytes, 0);
        prop_assert_eq!(world.files.len(), 0);
    }

    /// Nobody waits for ever: once the disk has done its part and time has passed, every request of
    /// a client that lives is answered.
    #[test]
    fn every_request_is_answered(sizes in proptest::collection::vec((1u64..4, 0u64..3000, any::<bool>()), 1..40)) {
        let settings = SpillSettings { file_bytes: 512, file_objects: 2, jobs: 2 };
        let mut table = ObjectTable::new(2048, Some(settings));
        let mut world = World::default();
        let mut now = 0;
        for (number, (client, size_bytes, unpin)) in sizes.iter().enumerate() {
            world.asked += 1;
            table.create(*client, 1, object(number as u64), *size_bytes, now);
            while world.answered < world.asked {
                world.take(&mut table);
                if world.jobs.is_empty() {
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
