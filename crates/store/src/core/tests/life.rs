use super::*;

fn table_with_sealed(size_bytes: u64) -> ObjectTable {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, size_bytes), Ok(0));
    assert!(table.seal(WRITER, object(1), owner(7), true));
    table
}

#[test]
fn an_object_lives_while_its_owner_keeps_it() {
    let mut table = table_with_sealed(100);
    assert_eq!(table.usage().objects, 1);
    table.free(owner(7), object(1));
    assert_eq!(
        table.usage(),
        Usage {
            used_bytes: 0,
            capacity_bytes: 1024,
            ..Usage::default()
        }
    );
    table.validate().unwrap();
}

#[test]
fn only_its_owner_frees_an_object() {
    let mut table = table_with_sealed(100);
    table.free(owner(8), object(1));
    assert_eq!(table.usage().objects, 1);
    assert_eq!(created(&mut table, WRITER, 2, 100), Ok(128));
    table.free(owner(8), object(2));
    assert!(table.seal(WRITER, object(2), owner(7), true));
    assert_eq!(table.usage().objects, 2, "it was not the other one's");
    table.free(owner(7), object(1));
    table.free(owner(7), object(2));
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_freed_object_lives_by_its_pins() {
    let mut table = table_with_sealed(100);
    let pinned = Pinned {
        object: object(1),
        offset: 0,
        size_bytes: 100,
        path: None,
        is_new_copy: false,
    };
    assert_eq!(table.pin(READER, object(1)), Some(pinned));
    table.free(owner(7), object(1));
    assert_eq!(table.usage().objects, 1);
    table.unpin(READER, object(1));
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

/// A caller that was told of a result asked for it before the writer's seal was read: the two
/// travel on different sockets. The object counted as missing, and the caller as broken.
#[test]
fn a_pin_may_overtake_the_seal() {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, 10), Ok(0));
    assert!(table.pin(READER, object(1)).is_some());
    table.unpin(READER, object(1));
    assert!(table.pin(READER, object(1)).is_some());
    assert!(
        !table.seal(READER, object(1), owner(7), false),
        "only the writer may seal"
    );
    assert!(table.seal(WRITER, object(1), owner(7), true));
    table.free(owner(7), object(1));
    assert_eq!(table.usage().objects, 1, "the reader still reads");
    table.unpin(READER, object(1));
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_writer_that_lets_go_before_its_seal_loses_nothing() {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, 10), Ok(0));
    table.unpin(WRITER, object(1));
    assert!(table.seal(WRITER, object(1), owner(7), false));
    assert_eq!(table.usage().objects, 1);
    table.validate().unwrap();
}

#[test]
fn a_free_before_the_seal_takes_effect_at_the_seal() {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, 10), Ok(0));
    table.free(owner(7), object(1));
    assert_eq!(table.usage().objects, 1);
    assert!(table.seal(WRITER, object(1), owner(7), true));
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_dead_writer_leaves_nothing() {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, 10), Ok(0));
    table.client_gone(WRITER);
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_dead_owner_leaves_what_others_read() {
    let mut table = table_with_sealed(100);
    assert!(table.pin(READER, object(1)).is_some());
    table.owner_gone(owner(7));
    assert_eq!(table.usage().objects, 1);
    table.client_gone(READER);
    assert_eq!(table.usage().objects, 0);
    table.validate().unwrap();
}

#[test]
fn a_second_try_replaces_what_nobody_reads() {
    let mut table = table_with_sealed(100);
    assert_eq!(created(&mut table, READER, 1, 200), Ok(0));
    assert_eq!(
        created(&mut table, WRITER, 1, 200),
        Err(CreateError::Exists { object: object(1) }),
        "it is being written"
    );
    table.validate().unwrap();
}

#[test]
fn a_full_store_says_what_is_in_it() {
    let mut table = table_with_sealed(1000);
    let error = created(&mut table, WRITER, 2, 100);
    assert_eq!(
        error,
        Err(CreateError::Full {
            size_bytes: 100,
            used_bytes: 1024,
            capacity_bytes: 1024,
            largest_free_bytes: 0,
            objects: 1
        })
    );
    table.validate().unwrap();
}

#[test]
fn what_is_not_there_is_ignored() {
    let mut table = table_with_sealed(10);
    table.unpin(READER, object(1));
    table.unpin(READER, object(9));
    table.free(owner(7), object(9));
    assert!(
        !table.seal(WRITER, object(1), owner(7), true),
        "sealed already"
    );
    assert_eq!(table.pin(READER, object(9)), None);
    table.validate().unwrap();
}

/// A result was lost, and made again on the same node. A reader that had been told of the lost copy
/// came while the new one was being written, and read what lay there before.
#[test]
fn a_result_that_is_written_is_read_once_it_is_whole() {
    let mut table = ObjectTable::new(1024, None);
    assert_eq!(created(&mut table, WRITER, 1, 10), Ok(0));
    table.pin_all(READER, 1, &[object(1)]);
    assert_eq!(pinned(&mut table), None);
    assert!(table.seal(WRITER, object(1), owner(7), true));
    assert_eq!(pinned(&mut table), Some((1, 0)));
    // One that was given up instead is lost.
    assert!(created(&mut table, WRITER, 2, 10).is_ok());
    table.pin_all(READER, 2, &[object(1), object(2)]);
    table.free(owner(7), object(2));
    assert!(table.seal(WRITER, object(2), owner(7), true));
    assert_eq!(pinned(&mut table), Some((1, 1)));
    assert_eq!(table.usage().objects, 1);
    // What was put is read at once: whoever can name it was told of it.
    let put = object(3).task().return_id(ObjectId::FIRST_PUT);
    table.create(WRITER, 3, put, 10, 0);
    table.take_work();
    table.pin_all(READER, 3, &[put]);
    assert_eq!(pinned(&mut table), Some((1, 0)));
    table.validate().unwrap();
}

/// How many objects a request has pinned, and how many are lost.
fn pinned(table: &mut ObjectTable) -> Option<(usize, usize)> {
    table.take_work().iter().find_map(|work| match work {
        Work::Pinned { found, lost, .. } => Some((found.len(), lost.len())),
        _ => None,
    })
}
