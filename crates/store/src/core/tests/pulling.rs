use super::*;

const OTHER: ClientId = 3;

fn node(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

/// Objects of owner 9, each of this size, with node 1.
fn wanted(numbers: &[u64], size_bytes: u64) -> Vec<Wanted> {
    let of = |number: &u64| Wanted {
        object: object(*number),
        source: Some(Source {
            node: node(1),
            owner: owner(9),
            size_bytes,
        }),
    };
    numbers.iter().map(of).collect()
}

fn spilling() -> ObjectTable {
    let settings = SpillSettings {
        file_bytes: 2 * MIB,
        file_objects: 2,
        jobs: 1,
    };
    ObjectTable::new(4 * MIB, Some(settings))
}

/// The pulls that are to begin, each with its object and its room.
fn pulls(work: &[Work]) -> Vec<(u64, ObjectId, PullRoom)> {
    let begun = work.iter().filter_map(|work| match work {
        Work::Pull(pull) => Some((pull.pull, pull.object, pull.room.clone())),
        _ => None,
    });
    begun.collect()
}

fn cancelled(work: &[Work]) -> Vec<u64> {
    let ended = work.iter().filter_map(|work| match work {
        Work::CancelPull { pull } => Some(*pull),
        _ => None,
    });
    ended.collect()
}

/// What is told of requests: the request, the objects that are pinned for it, and why others are
/// lost.
fn told(work: &[Work], client: ClientId) -> Vec<(u64, Vec<Pinned>, Vec<Lost>)> {
    let answers = work.iter().filter_map(|work| match work {
        Work::Pinned {
            client: its,
            request,
            found,
            lost,
        } if *its == client => Some((*request, found.clone(), lost.clone())),
        _ => None,
    });
    answers.collect()
}

fn in_arena(offset: u64) -> PullRoom {
    PullRoom::Arena {
        offset,
        cold_bytes: 0,
    }
}

fn new_copy(number: u64, offset: u64, size_bytes: u64) -> Pinned {
    Pinned {
        object: object(number),
        offset,
        size_bytes,
        path: None,
        is_new_copy: true,
    }
}

#[test]
fn what_is_elsewhere_comes_and_is_pinned_for_all_who_wait() {
    let mut table = ObjectTable::new(4 * MIB, None);
    put(&mut table, 5, 64);
    let mut objects = wanted(&[1, 2], MIB);
    objects.push(Wanted {
        object: object(5),
        source: None,
    });
    table.pull_all(READER, 1, objects, 0);
    let work = table.take_work();
    assert_eq!(
        pulls(&work),
        [
            (0, object(1), in_arena(64)),
            (1, object(2), in_arena(MIB + 64))
        ]
    );
    table.pull_all(OTHER, 2, wanted(&[1], MIB), 0);
    assert_eq!(pulls(&table.take_work()), [], "it is on its way");
    table.validate().unwrap();
    table.on_pulled(0, Ok(()), 0);
    let work = table.take_work();
    assert_eq!(told(&work, READER), []);
    assert_eq!(
        told(&work, OTHER),
        [(2, vec![new_copy(1, 64, MIB)], vec![])]
    );
    table.on_pulled(1, Ok(()), 0);
    let work = table.take_work();
    let (_, found, lost) = told(&work, READER).remove(0);
    assert_eq!((found.len(), lost.len()), (3, 0));
    table.validate().unwrap();
    // Whoever comes now finds it, and it is news to nobody.
    table.pull_all(WRITER, 3, wanted(&[1], MIB), 0);
    let found = told(&table.take_work(), WRITER).remove(0).1;
    assert!(!found[0].is_new_copy);
    // Its owner frees it: it lives as long as it is read.
    table.free(owner(9), object(1));
    for client in [READER, OTHER, WRITER] {
        assert!(table.pin(client, object(1)).is_some());
        table.client_gone(client);
    }
    assert_eq!(table.usage().objects, 2);
    table.validate().unwrap();
}

#[test]
fn a_copy_that_nobody_reads_goes_without_being_written() {
    let mut table = spilling();
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.on_pulled(0, Ok(()), 0);
    table.on_pulled(1, Ok(()), 0);
    table.unpin(READER, object(1));
    table.take_work();
    table.create(WRITER, 2, object(3), 3 * MIB, 0);
    let (outcomes, others) = answers(&mut table);
    assert_eq!(outcomes, [], "the other one is read");
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(matches!(others[0], Work::Disk(DiskJob::Reserve { .. })));
    assert!(table.pin(READER, object(1)).is_none());
    table.validate().unwrap();
}

#[test]
fn a_request_gets_room_for_all_or_waits_and_holds_nothing() {
    let mut table = ObjectTable::new(4 * MIB, None);
    put(&mut table, 7, MIB);
    assert!(table.pin(WRITER, object(7)).is_some());
    // Two requests that would each hold half of what the other one needs.
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.pull_all(OTHER, 2, wanted(&[3, 4], MIB), 0);
    let begun = pulls(&table.take_work());
    assert_eq!(begun.len(), 2, "only the first one has begun");
    table.validate().unwrap();
    table.on_pulled(begun[0].0, Ok(()), 0);
    table.on_pulled(begun[1].0, Ok(()), 0);
    assert_eq!(pulls(&table.take_work()), []);
    table.client_gone(READER);
    table.make_room(0);
    assert_eq!(pulls(&table.take_work()).len(), 2, "copies make room");
    table.validate().unwrap();
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1, 2], 3 * MIB), 0);
    let (_, found, lost) = told(&table.take_work(), READER).remove(0);
    assert_eq!((found.len(), lost.len()), (0, 2));
    assert!(lost[0].is_full && lost[0].reason.contains("does not fit"));
    put(&mut table, 7, 3 * MIB);
    assert!(table.pin(WRITER, object(7)).is_some());
    table.pull_all(READER, 2, wanted(&[1], 2 * MIB), 0);
    assert_eq!(told(&table.take_work(), READER), [], "it waits for a while");
    table.on_time(LATER);
    assert!(told(&table.take_work(), READER)[0].2[0].is_full);
    table.validate().unwrap();
}

#[test]
fn what_the_arena_cannot_take_comes_into_one_file() {
    let mut table = spilling();
    table.pull_all(READER, 1, wanted(&[1, 2], 3 * MIB + 1), 0);
    let work = table.take_work();
    assert_eq!(
        work,
        [Work::Disk(DiskJob::Reserve {
            file: 1,
            size_bytes: 6 * MIB + 4097
        })]
    );
    // Who comes meanwhile waits for the same.
    table.pull_all(OTHER, 2, wanted(&[2], 3 * MIB + 1), 0);
    assert_eq!(table.take_work(), []);
    table.validate().unwrap();
    table.on_disk(1, Ok(FilePlace::Folder("/spill/1".into())), 0);
    let begun = pulls(&table.take_work());
    let path: std::sync::Arc<str> = "/spill/1".into();
    let offset = 3 * MIB + 4096;
    assert_eq!(begun[1].2, PullRoom::File { path, offset });
    table.validate().unwrap();
    table.on_pulled(0, Ok(()), 0);
    table.on_pulled(1, Err("no".to_owned()), 0);
    let work = table.take_work();
    let (_, found, lost) = told(&work, READER).remove(0);
    assert_eq!(found[0].path.as_deref(), Some("/spill/1"));
    assert_eq!(lost[0].reason, "no");
    assert!(!lost[0].is_full);
    assert_eq!(told(&work, OTHER)[0].2.len(), 1);
    table.validate().unwrap();
    table.unpin(READER, object(1));
    assert_eq!(removed(&table.take_work()), ["/spill/1"]);
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_full_disk_refuses_what_comes() {
    let mut table = spilling();
    table.pull_all(READER, 1, wanted(&[1], 5 * MIB), 0);
    table.on_disk(1, Err(DiskError::Full("the disk is full".to_owned())), 0);
    let (_, _, lost) = told(&table.take_work(), READER).remove(0);
    assert!(lost[0].is_full);
    assert_eq!(lost[0].reason, "the disk is full");
    table.validate().unwrap();
}

#[test]
fn a_pull_that_fails_gives_its_room_back() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.pull_all(OTHER, 2, wanted(&[1], MIB), 0);
    table.on_pulled(0, Err("it has it not".to_owned()), 0);
    let work = table.take_work();
    assert_eq!(told(&work, OTHER)[0].2[0].reason, "it has it not");
    table.on_pulled(1, Ok(()), 0);
    let (_, found, lost) = told(&table.take_work(), READER).remove(0);
    assert_eq!((found.len(), lost.len()), (1, 1));
    assert_eq!(table.usage().used_bytes, MIB);
    // Whoever asks again has it tried again.
    table.pull_all(READER, 3, wanted(&[1], MIB), 0);
    assert_eq!(pulls(&table.take_work()).len(), 1);
    table.validate().unwrap();
}

#[test]
fn nobody_waits_for_a_dead_source() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.pull_all(OTHER, 2, wanted(&[3], 3 * MIB), 0);
    table.take_work();
    table.source_gone(node(2), "node 2 is dead", 0);
    assert_eq!(table.take_work(), []);
    table.source_gone(node(1), "node 1 is dead", 0);
    let work = table.take_work();
    assert_eq!(told(&work, READER)[0].2.len(), 2);
    assert_eq!(told(&work, OTHER)[0].2[0].reason, "node 1 is dead");
    let mut ended = cancelled(&work);
    ended.sort_unstable();
    assert_eq!(ended, [0, 1]);
    assert_eq!(table.usage().used_bytes, 2 * MIB, "bytes may still come");
    table.on_pulled(0, Ok(()), 0);
    table.on_pulled(1, Err(String::new()), 0);
    assert_eq!(table.usage().used_bytes, 0);
    assert_eq!(table.take_work(), []);
    table.validate().unwrap();
}

#[test]
fn a_reader_that_goes_ends_what_comes_for_it_alone() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.pull_all(OTHER, 2, wanted(&[2], MIB), 0);
    table.pull_all(READER, 3, wanted(&[3], 4 * MIB), 0);
    table.take_work();
    table.client_gone(READER);
    assert_eq!(cancelled(&table.take_work()), [0]);
    table.validate().unwrap();
    // Another reader does not wait for what is ending.
    table.pull_all(OTHER, 4, wanted(&[1], MIB), 0);
    let begun = pulls(&table.take_work());
    assert_eq!(begun, [(2, object(1), in_arena(2 * MIB))]);
    table.on_pulled(0, Ok(()), 0);
    table.on_pulled(2, Ok(()), 0);
    table.on_pulled(1, Ok(()), 0);
    assert_eq!(told(&table.take_work(), OTHER).len(), 2);
    table.validate().unwrap();
}

#[test]
fn freed_while_it_comes_it_lives_by_its_pins() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.free(owner(8), object(1));
    table.free(owner(9), object(2));
    table.on_pulled(0, Ok(()), 0);
    table.on_pulled(1, Ok(()), 0);
    assert_eq!(told(&table.take_work(), READER)[0].1.len(), 2);
    table.client_gone(READER);
    assert_eq!(
        table.usage().objects,
        1,
        "of another owner it was not freed"
    );
    table.owner_gone(owner(9));
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn what_waits_for_room_is_not_fetched_once_its_owner_is_gone() {
    let mut table = ObjectTable::new(4 * MIB, None);
    put(&mut table, 7, 3 * MIB);
    assert!(table.pin(WRITER, object(7)).is_some());
    table.pull_all(READER, 1, wanted(&[1, 2], MIB), 0);
    table.owner_gone(owner(9));
    table.make_room(0);
    let work = table.take_work();
    assert_eq!(pulls(&work), []);
    assert_eq!(told(&work, READER), [(1, Vec::new(), Vec::new())]);
    table.validate().unwrap();
}

#[test]
fn an_object_that_is_made_here_meanwhile_goes_to_those_who_wait() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.pull_all(READER, 1, wanted(&[1], MIB), 0);
    table.take_work();
    table.create(WRITER, 1, object(1), 2 * MIB, 0);
    let work = table.take_work();
    assert_eq!(cancelled(&work), [0]);
    // Nobody who knows of the other copy reads half a value.
    table.pull_all(OTHER, 2, wanted(&[1], MIB), 0);
    assert_eq!(told(&table.take_work(), OTHER), []);
    table.validate().unwrap();
    table.seal(WRITER, object(1), owner(9), true);
    let work = table.take_work();
    let found = &told(&work, READER)[0].1[0];
    assert_eq!((found.size_bytes, found.is_new_copy), (2 * MIB, false));
    assert_eq!(told(&work, OTHER)[0].1.len(), 1);
    table.on_pulled(0, Ok(()), 0);
    assert_eq!(table.usage().used_bytes, 2 * MIB);
    table.validate().unwrap();
}

#[test]
fn a_writer_that_goes_before_the_seal_is_told() {
    let mut table = ObjectTable::new(4 * MIB, None);
    table.create(WRITER, 1, object(1), MIB, 0);
    table.pull_all(READER, 1, wanted(&[1], MIB), 0);
    table.serve_object(7, object(1));
    table.client_gone(WRITER);
    let work = table.take_work();
    assert_eq!(told(&work, READER)[0].2.len(), 1);
    assert_eq!(told(&work, SERVING)[0].2.len(), 1);
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn what_is_sent_stays_until_it_is_sent() {
    let mut table = spilling();
    put(&mut table, 1, MIB);
    table.serve_object(1, object(1));
    table.serve_object(2, object(77));
    let work = table.take_work();
    let answers = told(&work, SERVING);
    assert_eq!((answers[0].1.len(), answers[1].1.len()), (1, 0));
    table.free(owner(7), object(1));
    assert_eq!(table.usage().objects, 1);
    table.unpin(SERVING, object(1));
    assert_eq!(table.usage().objects, 0);
    // What is still on its way is sent on when it has come.
    table.pull_all(READER, 1, wanted(&[2], MIB), 0);
    table.serve_object(3, object(2));
    assert_eq!(told(&table.take_work(), SERVING), []);
    table.on_pulled(0, Ok(()), 0);
    assert_eq!(told(&table.take_work(), SERVING)[0].0, 3);
    table.validate().unwrap();
}

#[test]
fn requests_for_room_are_served_in_their_order() {
    let mut table = spilling();
    put(&mut table, 1, 2 * MIB);
    put(&mut table, 2, 2 * MIB);
    table.pull_all(READER, 1, wanted(&[3, 4], MIB + MIB / 2), 0);
    table.create(WRITER, 2, object(5), MIB, 0);
    let work = table.take_work();
    assert_eq!(pulls(&work), []);
    assert!(matches!(work[..], [Work::Disk(DiskJob::Write { .. })]));
    table.on_disk(1, Ok(FilePlace::Folder("/spill/1".into())), 0);
    let work = table.take_work();
    assert_eq!(pulls(&work), [], "one file is not enough");
    assert!(matches!(work[..], [Work::Disk(DiskJob::Write { .. })]));
    table.on_disk(2, Ok(FilePlace::Folder("/spill/2".into())), 0);
    let work = table.take_work();
    assert_eq!(pulls(&work).len(), 2);
    assert!(work.iter().any(|work| matches!(work, Work::Answer { .. })));
    table.validate().unwrap();
}
