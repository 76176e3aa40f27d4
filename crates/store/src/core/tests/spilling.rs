use super::*;

fn table(capacity_bytes: u64) -> ObjectTable {
    let settings = SpillSettings {
        file_bytes: 4 * MIB,
        file_objects: 3,
        jobs: 2,
    };
    ObjectTable::new(capacity_bytes, Some(settings))
}

/// The files that are to be written, each with the number of its pieces.
fn files(work: &[Work]) -> Vec<(u64, usize)> {
    work.iter()
        .filter_map(|work| match work {
            Work::Disk(DiskJob::Write { file, pieces }) => Some((*file, pieces.len())),
            _ => None,
        })
        .collect()
}

fn path(file: u64) -> Result<FilePlace, DiskError> {
    Ok(FilePlace::Folder(format!("/spill/{file}").into()))
}

/// A table of four MiB with four sealed objects that waits for room for one more.
fn full_table() -> (ObjectTable, Vec<Work>) {
    let mut table = table(4 * MIB);
    for number in 1..=4 {
        put(&mut table, number, MIB);
    }
    table.create(WRITER, 5, object(5), MIB, 0);
    let (outcomes, work) = answers(&mut table);
    assert_eq!(outcomes, [], "it waits");
    table.validate().unwrap();
    (table, work)
}

#[test]
fn the_oldest_give_way_once_they_are_on_disk() {
    let (mut table, work) = full_table();
    assert_eq!(files(&work), [(1, 1)]);
    table.on_disk(1, path(1), 0);
    let (outcomes, _) = answers(&mut table);
    assert_eq!(
        outcomes,
        [Ok(Room::Arena {
            offset: 0,
            cold_bytes: 0
        })]
    );
    assert_eq!(table.usage().spilled_objects, 1);
    let pinned = table.pin(READER, object(1)).unwrap();
    assert_eq!(pinned.path.as_deref(), Some("/spill/1"));
    assert_eq!(pinned.offset, 0);
    let pinned = table.pin(READER, object(2)).unwrap();
    assert_eq!(pinned.path, None, "there was no need for its room");
    table.validate().unwrap();
}

#[test]
fn small_objects_share_a_file() {
    let mut table = table(4 * MIB);
    for number in 1..=8 {
        put(&mut table, number, MIB / 2);
    }
    table.create(WRITER, 9, object(9), 2 * MIB, 0);
    let (_, work) = answers(&mut table);
    assert_eq!(files(&work), [(1, 3), (2, 1)], "as many as fit into each");
    table.on_disk(1, path(1), 0);
    assert_eq!(answers(&mut table).0, [], "not enough yet");
    table.on_disk(2, path(2), 0);
    assert_eq!(answers(&mut table).0.len(), 1);
    assert_eq!(
        table.pin(READER, object(3)).unwrap().offset,
        MIB,
        "the third one of its file"
    );
    // The file stays until its last object goes.
    table.unpin(READER, object(3));
    table.free(owner(7), object(1));
    table.free(owner(7), object(2));
    assert_eq!(removed(&table.take_work()), Vec::<String>::new());
    table.free(owner(7), object(3));
    assert_eq!(removed(&table.take_work()), ["/spill/1"]);
    table.validate().unwrap();
}

#[test]
fn what_is_read_stays_and_another_one_goes() {
    let mut table = table(4 * MIB);
    for number in 1..=4 {
        put(&mut table, number, MIB);
    }
    assert!(table.pin(READER, object(1)).is_some());
    table.create(WRITER, 5, object(5), MIB, 0);
    table.on_disk(1, path(1), 0);
    let (outcomes, _) = answers(&mut table);
    let offset = MIB;
    assert_eq!(
        outcomes,
        [Ok(Room::Arena {
            offset,
            cold_bytes: 0
        })]
    );
    table.validate().unwrap();
}

#[test]
fn a_reader_that_comes_while_it_is_written_keeps_it_in_the_arena() {
    let (mut table, _) = full_table();
    assert_eq!(table.pin(READER, object(1)).unwrap().path, None);
    table.on_disk(1, path(1), 0);
    let (outcomes, work) = answers(&mut table);
    assert_eq!(outcomes, []);
    assert_eq!(files(&work), [(2, 1)], "the next one is written");
    table.unpin(READER, object(1));
    table.make_room(0);
    assert_eq!(answers(&mut table).0.len(), 1, "it has its copy already");
    table.validate().unwrap();
}

#[test]
fn freed_while_it_is_written() {
    let (mut table, _) = full_table();
    table.free(owner(7), object(1));
    table.make_room(0);
    assert_eq!(
        answers(&mut table).0,
        [],
        "the disk still reads from its room"
    );
    table.validate().unwrap();
    table.on_disk(1, path(1), 0);
    let (outcomes, work) = answers(&mut table);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(removed(&work), ["/spill/1"]);
    assert_eq!(table.usage().spilled_objects, 0);
    table.validate().unwrap();
}

#[test]
fn room_that_comes_back_serves_those_who_wait() {
    let (mut table, _) = full_table();
    table.free(owner(7), object(4));
    table.make_room(0);
    assert_eq!(answers(&mut table).0.len(), 1);
    table.on_disk(1, path(1), 0);
    assert_eq!(table.pin(READER, object(1)).unwrap().path, None);
    table.validate().unwrap();
}

#[test]
fn a_full_disk_is_said_at_once() {
    let (mut table, _) = full_table();
    let full = DiskError::Full("no room".to_owned());
    table.on_disk(1, Err(full.clone()), 0);
    let (outcomes, _) = answers(&mut table);
    assert_eq!(outcomes, [Err(CreateError::Disk(full))]);
    table.validate().unwrap();
    // The next request tries again.
    table.create(WRITER, 6, object(6), MIB, 0);
    assert_eq!(files(&table.take_work()), [(2, 1)]);
}

#[test]
fn those_who_keep_a_mapping_are_asked() {
    let mut table = table(2 * MIB);
    for number in 1..=2 {
        table.create(WRITER, 1, object(number), MIB, 0);
        assert!(table.seal(WRITER, object(number), owner(7), false));
    }
    table.take_work();
    table.create(READER, 3, object(3), MIB, 10);
    let release = Work::Release {
        client: WRITER,
        objects: vec![object(1)],
    };
    assert_eq!(answers(&mut table), (vec![], vec![release]));
    table.unpin(WRITER, object(1));
    table.make_room(20);
    assert_eq!(files(&table.take_work()), [(1, 1)]);
    table.on_disk(1, path(1), 30);
    assert_eq!(answers(&mut table).0.len(), 1);
    table.validate().unwrap();
}

#[test]
fn what_nobody_lets_go_of_is_got_around_by_a_file() {
    let mut table = table(2 * MIB);
    put(&mut table, 1, 2 * MIB);
    assert!(table.pin(READER, object(1)).is_some());
    table.create(WRITER, 2, object(2), MIB, 0);
    let reserve = Work::Disk(DiskJob::Reserve {
        file: 1,
        size_bytes: MIB,
    });
    assert_eq!(table.take_work(), [reserve]);
    table.on_disk(1, path(1), 0);
    let (outcomes, _) = answers(&mut table);
    assert_eq!(
        outcomes,
        [Ok(Room::File {
            path: "/spill/1".into()
        })]
    );
    assert!(table.seal(WRITER, object(2), owner(7), true));
    let pinned = table.pin(READER, object(2)).unwrap();
    assert_eq!(pinned.path.as_deref(), Some("/spill/1"));
    table.validate().unwrap();
    table.unpin(READER, object(2));
    table.owner_gone(owner(7));
    assert_eq!(removed(&table.take_work()), ["/spill/1"]);
    table.validate().unwrap();
}

#[test]
fn an_object_larger_than_the_arena_goes_to_a_file() {
    let mut table = table(2 * MIB);
    table.create(WRITER, 1, object(1), 3 * MIB, 0);
    let reserve = Work::Disk(DiskJob::Reserve {
        file: 1,
        size_bytes: 3 * MIB,
    });
    assert_eq!(table.take_work(), [reserve]);
    // Its maker dies before the file is there.
    table.client_gone(WRITER);
    table.on_disk(1, path(1), 0);
    let (outcomes, work) = answers(&mut table);
    assert_eq!(outcomes, []);
    assert_eq!(removed(&work), ["/spill/1"]);
    table.validate().unwrap();
}

#[test]
fn a_client_that_goes_waits_no_longer() {
    let (mut table, _) = full_table();
    table.client_gone(WRITER);
    table.on_disk(1, path(1), 0);
    assert_eq!(answers(&mut table).0, []);
    table.validate().unwrap();
}

#[test]
fn small_requests_do_not_overtake_while_room_is_made() {
    let mut table = table(4 * MIB);
    for number in 1..=3 {
        put(&mut table, number, MIB);
    }
    table.create(WRITER, 4, object(4), 2 * MIB, 0);
    table.create(READER, 5, object(5), MIB, 0);
    assert_eq!(answers(&mut table).0, []);
    table.on_disk(1, path(1), 0);
    table.on_disk(2, path(2), 0);
    let order: Vec<u64> = table
        .take_work()
        .iter()
        .filter_map(|work| match work {
            Work::Answer { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(order[..1], [4]);
    table.validate().unwrap();
}
