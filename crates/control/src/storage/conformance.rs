//! What every storage must do; each test runs on all of them.

use bytes::Bytes;

use super::{MemoryStorage, RedbStorage, Storage, StorageError, Table, Write};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn put(table: Table, key: &str, value: &str) -> Write {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    Write {
        table,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value,
    }
}

fn delete(table: Table, key: &str) -> Write {
    Write {
        table,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: None,
    }
}

fn texts(records: Vec<(Bytes, Bytes)>) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    records
        .into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

fn on_each(check: impl Fn(&mut dyn Storage) -> Result<(), StorageError>) -> TestResult {
    check(&mut MemoryStorage::default())?;
    let folder = tempfile::tempdir()?;
    check(&mut RedbStorage::open(&folder.path().join("control.redb"))?)?;
    Ok(())
}

#[test]
fn the_last_write_counts() -> TestResult {
    on_each(|storage| {
        storage.write(put(Table::Actors, "a", "1"));
        storage.write(put(Table::Actors, "b", "2"));
        storage.write(put(Table::Actors, "a", "3"));
        storage.write(delete(Table::Actors, "b"));
        storage.write(delete(Table::Actors, "never there"));
        assert_eq!(
            texts(storage.read(Table::Actors)?),
            [("a".into(), "3".into())]
        );
        Ok(())
    })
}

#[test]
fn tables_are_apart_and_in_order_of_keys() -> TestResult {
    on_each(|storage| {
        storage.write(put(Table::Jobs, "2", "b"));
        storage.write(put(Table::Jobs, "1", "a"));
        storage.write(put(Table::Nodes, "1", "n"));
        let jobs = [("1".into(), "a".into()), ("2".into(), "b".into())];
        assert_eq!(texts(storage.read(Table::Jobs)?), jobs);
        assert_eq!(
            texts(storage.read(Table::Nodes)?),
            [("1".into(), "n".into())]
        );
        assert!(storage.read(Table::KeyValues)?.is_empty());
        Ok(())
    })
}

#[test]
fn a_flush_of_nothing_is_no_error() -> TestResult {
    on_each(|storage| {
        storage.flush()?;
        storage.write(put(Table::KeyValues, "", ""));
        storage.flush()?;
        assert_eq!(storage.read(Table::KeyValues)?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_file_is_read_again_by_the_next_one() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("control.redb");
    let mut storage = RedbStorage::open(&path)?;
    storage.write(put(Table::Jobs, "1", "a"));
    drop(storage);
    let mut storage = RedbStorage::open(&path)?;
    assert_eq!(
        texts(storage.read(Table::Jobs)?),
        [("1".into(), "a".into())]
    );
    Ok(())
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_of_the_flush() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut storage = RedbStorage::open(&folder.path().join("missing").join("control.redb"))?;
    storage.write(put(Table::Jobs, "1", "a"));
    assert!(storage.flush().is_err());
    Ok(())
}
