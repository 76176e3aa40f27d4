use super::*;

fn bucket(file: u64) -> Result<FilePlace, DiskError> {
    Ok(FilePlace::Bucket(format!("s3://b/{file}").into()))
}

fn folder(file: u64) -> Result<FilePlace, DiskError> {
    Ok(FilePlace::Folder(format!("/spill/{file}").into()))
}

/// A table of four MiB: objects 1 and 2 are in one file in a bucket, 3 and 5 in the arena.
fn table() -> ObjectTable {
    let settings = SpillSettings {
        file_bytes: 2 * MIB,
        file_objects: 2,
        jobs: 1,
    };
    let mut table = ObjectTable::new(4 * MIB, Some(settings));
    for number in 1..=3 {
        put(&mut table, number, MIB);
    }
    table.create(WRITER, 1, object(5), 2 * MIB, 0);
    table.on_disk(1, bucket(1), 0);
    assert_eq!(table.usage().spilled_objects, 2);
    table.take_work();
    table.validate().unwrap();
    table
}

/// What `client` is told of its requests: how many objects it has pinned, and why others are lost.
fn told(work: &[Work], client: ClientId) -> Vec<(Vec<Pinned>, Vec<String>)> {
    work.iter()
        .filter_map(|work| match work {
            Work::Pinned {
                client: its,
                found,
                lost,
                ..
            } if *its == client => {
                let reasons = lost.iter().map(|lost| lost.reason.clone());
                Some((found.clone(), reasons.collect()))
            }
            _ => None,
        })
        .collect()
}

/// The files that are to be fetched, each with the address and the offset that it comes from.
fn fetches(work: &[Work]) -> Vec<(u64, String, u64)> {
    work.iter()
        .filter_map(|work| match work {
            Work::Disk(DiskJob::Fetch {
                file, from, offset, ..
            }) => Some((*file, from.to_string(), *offset)),
            _ => None,
        })
        .collect()
}

fn fetched(number: u64, file: u64) -> Pinned {
    Pinned {
        object: object(number),
        offset: 0,
        size_bytes: MIB,
        path: Some(format!("/spill/{file}").into()),
        is_new_copy: false,
    }
}

#[test]
fn a_reader_waits_until_the_object_is_here() {
    let mut table = table();
    table.pin_all(READER, 9, &[object(2), object(3), object(77)]);
    let work = table.take_work();
    assert_eq!(fetches(&work), [(2, "s3://b/1".to_owned(), MIB)]);
    assert_eq!(told(&work, READER), [], "all of its objects come at once");
    table.validate().unwrap();
    table.on_disk(2, folder(2), 0);
    let work = table.take_work();
    let found = &told(&work, READER)[0].0;
    assert_eq!(found.len(), 2);
    assert!(found.contains(&fetched(2, 2)));
    table.validate().unwrap();
    table.unpin(READER, object(2));
    assert_eq!(removed(&table.take_work()), ["/spill/2"], "nobody reads it");
    table.validate().unwrap();
}

#[test]
fn several_readers_share_what_comes() {
    let mut table = table();
    table.pin_all(READER, 1, &[object(1)]);
    table.pin_all(WRITER, 2, &[object(1)]);
    assert_eq!(fetches(&table.take_work()).len(), 1);
    table.on_disk(2, folder(2), 0);
    let work = table.take_work();
    for client in [READER, WRITER] {
        assert_eq!(told(&work, client), [(vec![fetched(1, 2)], vec![])]);
    }
    table.pin_all(READER, 3, &[object(1)]);
    let work = table.take_work();
    assert_eq!(told(&work, READER), [(vec![fetched(1, 2)], vec![])]);
    assert_eq!(fetches(&work), [], "it is here");
    table.client_gone(READER);
    assert_eq!(removed(&table.take_work()), Vec::<String>::new());
    table.unpin(WRITER, object(1));
    assert_eq!(removed(&table.take_work()), ["/spill/2"]);
    table.validate().unwrap();
}

#[test]
fn freed_while_it_is_on_its_way() {
    let mut table = table();
    table.pin_all(READER, 1, &[object(1)]);
    table.free(owner(7), object(1));
    table.free(owner(7), object(2));
    table.take_work();
    table.validate().unwrap();
    table.on_disk(2, folder(2), 0);
    let work = table.take_work();
    assert_eq!(told(&work, READER), [(vec![fetched(1, 2)], vec![])]);
    assert_eq!(removed(&work), Vec::<String>::new(), "it is read");
    table.unpin(READER, object(1));
    assert_eq!(removed(&table.take_work()), ["/spill/2", "s3://b/1"]);
    table.validate().unwrap();
}

#[test]
fn a_reader_that_goes_meanwhile_leaves_nothing() {
    let mut table = table();
    table.pin_all(READER, 1, &[object(1)]);
    table.client_gone(READER);
    table.take_work();
    table.validate().unwrap();
    // Another one comes in time for what is on its way.
    table.pin_all(WRITER, 2, &[object(1)]);
    assert_eq!(fetches(&table.take_work()), []);
    table.client_gone(WRITER);
    table.on_disk(2, folder(2), 0);
    let work = table.take_work();
    assert_eq!(told(&work, READER), []);
    assert_eq!(removed(&work), ["/spill/2"]);
    table.validate().unwrap();
}

#[test]
fn an_object_that_is_made_anew_is_not_what_was_on_its_way() {
    let mut table = table();
    table.pin_all(READER, 1, &[object(1)]);
    table.client_gone(READER);
    table.free(owner(7), object(3));
    table.create(WRITER, 4, object(1), MIB, 0);
    assert!(table.seal(WRITER, object(1), owner(7), true));
    table.take_work();
    table.on_disk(2, folder(2), 0);
    assert_eq!(removed(&table.take_work()), ["/spill/2"]);
    let pinned = table.pin(READER, object(1)).unwrap();
    assert_eq!(pinned.path, None, "it lies in the arena");
    table.validate().unwrap();
}

#[test]
fn what_cannot_be_had_is_told_with_the_reason() {
    let mut table = table();
    table.pin_all(READER, 1, &[object(1), object(3)]);
    table.on_disk(2, Err(DiskError::Failed("no answer".to_owned())), 0);
    let work = table.take_work();
    let answers = told(&work, READER);
    assert_eq!(answers[0].0.len(), 1, "the other one is pinned");
    assert_eq!(answers[0].1, ["no answer"]);
    table.validate().unwrap();
    // Whoever asks again has it tried again.
    table.pin_all(READER, 2, &[object(1)]);
    assert_eq!(fetches(&table.take_work()).len(), 1);
    // Freed meanwhile, it goes with the answer.
    table.free(owner(7), object(1));
    table.free(owner(7), object(2));
    table.on_disk(3, Err(DiskError::Failed("no answer".to_owned())), 0);
    assert_eq!(removed(&table.take_work()), ["s3://b/1"]);
    table.validate().unwrap();
}
