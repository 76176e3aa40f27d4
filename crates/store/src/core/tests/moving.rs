//! Copies that count, and those that do not, change places.

use super::*;

fn wanted(number: u64, size_bytes: u64) -> Vec<Wanted> {
    let source = Some(Source {
        node: NodeId::from_array([1; 28]),
        owner: owner(9),
        size_bytes,
    });
    let object = object(number);
    vec![Wanted { object, source }]
}

fn settings() -> SpillSettings {
    SpillSettings {
        file_bytes: MIB,
        file_objects: 1,
        jobs: 1,
    }
}

/// The files that are to be written.
fn written(work: &[Work]) -> Vec<u64> {
    let written = work.iter().filter_map(|work| match work {
        Work::Disk(DiskJob::Write { file, .. }) => Some(*file),
        _ => None,
    });
    written.collect()
}

#[test]
fn what_is_handed_over_makes_room_without_being_written() {
    let mut table = ObjectTable::new(2 * MIB, Some(settings()));
    put(&mut table, 1, MIB);
    put(&mut table, 2, MIB);
    assert_eq!(table.primaries(), [object(1), object(2)]);
    table.hand_over(object(2));
    assert_eq!(table.primaries(), [object(1)]);
    assert_eq!(table.primary(&object(2)), None);
    table.validate().unwrap();
    assert!(table.pin(READER, object(2)).is_some(), "it can be read yet");
    table.unpin(READER, object(2));
    put(&mut table, 3, MIB);
    assert_eq!(table.primaries(), [object(1), object(3)]);
    assert_eq!(table.usage().objects, 2);
    table.validate().unwrap();
}

#[test]
fn what_is_handed_over_on_disk_goes_once_nobody_reads_it() {
    let mut table = ObjectTable::new(MIB, Some(settings()));
    put(&mut table, 1, MIB);
    table.create(WRITER, 2, object(2), MIB, 0);
    let work = table.take_work();
    let file = written(&work)[0];
    table.on_disk(file, Ok(FilePlace::Folder("/spill/1".into())), 0);
    table.take_work();
    assert!(table.pin(READER, object(1)).is_some());
    table.hand_over(object(1));
    table.validate().unwrap();
    assert_eq!(removed(&table.take_work()), Vec::<String>::new());
    table.unpin(READER, object(1));
    assert_eq!(removed(&table.take_work()), ["/spill/1"]);
    table.validate().unwrap();
}

#[test]
fn what_is_handed_over_while_it_is_written_needs_no_file() {
    let mut table = ObjectTable::new(MIB, Some(settings()));
    put(&mut table, 1, MIB);
    table.create(WRITER, 2, object(2), MIB, 0);
    let file = written(&table.take_work())[0];
    table.hand_over(object(1));
    table.validate().unwrap();
    table.on_disk(file, Ok(FilePlace::Folder("/spill/1".into())), 0);
    let (outcomes, work) = answers(&mut table);
    assert!(matches!(outcomes[..], [Ok(Room::Arena { .. })]));
    assert_eq!(removed(&work), ["/spill/1"]);
    table.validate().unwrap();
}

#[test]
fn what_its_maker_keeps_mapped_is_asked_back_also_when_it_is_handed_over() {
    let mut table = ObjectTable::new(MIB, Some(settings()));
    table.create(WRITER, 1, object(1), MIB, 0);
    assert!(table.seal(WRITER, object(1), owner(7), false));
    table.hand_over(object(1));
    table.take_work();
    table.create(READER, 2, object(2), MIB, 0);
    let objects = vec![object(1)];
    let client = WRITER;
    assert_eq!(table.take_work(), [Work::Release { client, objects }]);
    table.unpin(WRITER, object(1));
    table.on_time(0);
    let (outcomes, _) = answers(&mut table);
    assert!(matches!(outcomes[..], [Ok(Room::Arena { .. })]));
    table.validate().unwrap();
}

#[test]
fn what_is_taken_over_stays_until_its_owner_frees_it() {
    let mut table = ObjectTable::new(2 * MIB, None);
    table.pull_all(TAKING, 1, wanted(1, MIB), 0);
    table.take_work();
    assert!(!table.take_over(owner(9), object(1)), "it is not here yet");
    table.on_pulled(0, Ok(()), 0);
    assert_eq!(table.sealed_bytes(owner(9), &object(1)), Some(MIB));
    assert_eq!(table.sealed_bytes(owner(8), &object(1)), None);
    assert!(!table.take_over(owner(8), object(1)));
    assert!(table.take_over(owner(9), object(1)));
    table.unpin(TAKING, object(1));
    table.take_work();
    table.validate().unwrap();
    assert!(created(&mut table, WRITER, 2, 2 * MIB).is_err());
    table.free(owner(9), object(1));
    assert_eq!(table.usage().objects, 0);
    assert!(!table.take_over(owner(9), object(1)));
    table.validate().unwrap();
}

#[test]
fn what_is_taken_over_goes_to_disk_for_others() {
    let mut table = ObjectTable::new(MIB, Some(settings()));
    table.pull_all(TAKING, 1, wanted(1, MIB), 0);
    table.take_work();
    table.on_pulled(0, Ok(()), 0);
    assert!(table.take_over(owner(9), object(1)));
    table.unpin(TAKING, object(1));
    table.take_work();
    table.create(WRITER, 2, object(2), MIB, 0);
    assert_eq!(written(&table.take_work()).len(), 1);
    table.validate().unwrap();
}

#[test]
fn what_is_taken_over_into_a_file_stays_there() {
    let mut table = ObjectTable::new(MIB, Some(settings()));
    table.create(WRITER, 1, object(1), MIB, 0);
    table.take_work();
    table.pull_all(TAKING, 1, wanted(2, MIB), 0);
    let reserved = table.take_work().into_iter().find_map(|work| match work {
        Work::Disk(DiskJob::Reserve { file, .. }) => Some(file),
        _ => None,
    });
    let place = FilePlace::Folder("/spill/2".into());
    table.on_disk(reserved.unwrap(), Ok(place), 0);
    table.on_pulled(0, Ok(()), 0);
    assert!(table.take_over(owner(9), object(2)));
    table.unpin(TAKING, object(2));
    assert_eq!(removed(&table.take_work()), Vec::<String>::new());
    assert_eq!(table.usage().spilled_objects, 1);
    table.validate().unwrap();
}
