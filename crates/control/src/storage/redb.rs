//! Records in a file, by the embedded database `redb`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use whipray_proto::limits;

use super::{Storage, StorageError, Table, Write};

/// Memory that the database may use for its pages, in bytes: records are written, hardly read.
const CACHE_BYTES: usize = 256 * 1024;

/// What the writing thread is asked for.
enum Order {
    Write(Write),
    Read(Table, SyncSender<Result<Vec<(Bytes, Bytes)>, StorageError>>),
    Flush(SyncSender<Result<(), StorageError>>),
}

/// Keeps records in one file.
///
/// A thread of its own writes, since a commit waits for the disk: all writes that have come
/// meanwhile go into the next commit together. Where the disk is so slow that the queue is full, the
/// daemon waits for it.
pub struct RedbStorage {
    orders: Option<SyncSender<Order>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbStorage {
    /// Storage in the file at `path`, which is made if it does not exist.
    ///
    /// The file is opened by the writing thread, so that a daemon does not wait for it at its start;
    /// what goes wrong is logged there, and is the error of the next read or flush.
    ///
    /// # Errors
    /// The system is out of threads.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let (orders, received) = sync_channel(limits::STORAGE_QUEUE);
        let path = path.to_owned();
        let writer = std::thread::Builder::new()
            .name("control-storage".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || serve(&path, &received))?;
        Ok(Self {
            orders: Some(orders),
            writer: Some(writer),
        })
    }

    fn ask<T>(
        &self,
        order: impl FnOnce(SyncSender<Result<T, StorageError>>) -> Order,
    ) -> Result<T, StorageError> {
        let (sender, answer) = sync_channel(1);
        let orders = self.orders.as_ref().ok_or(StorageError::WriterGone)?;
        orders
            .send(order(sender))
            .map_err(|_| StorageError::WriterGone)?;
        answer.recv().map_err(|_| StorageError::WriterGone)?
    }
}

impl Storage for RedbStorage {
    fn write(&mut self, write: Write) {
        // A writer that is gone has logged why; the cluster goes on with its state in memory.
        if let Some(orders) = &self.orders
            && orders.send(Order::Write(write)).is_err()
        {
            self.orders = None;
        }
    }

    fn read(&mut self, table: Table) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.ask(|sender| Order::Read(table, sender))
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.ask(Order::Flush)
    }
}

impl Drop for RedbStorage {
    fn drop(&mut self) {
        // The end of the queue ends the writer, once it has written what is in it.
        self.orders = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writing thread.
fn serve(path: &Path, orders: &Receiver<Order>) {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| unusable(path, &error.into()));
    let database = match database {
        Ok(database) => database,
        Err(error) => {
            tracing::error!(%error, "the state of the cluster is not kept on disk");
            return;
        }
    };
    let mut batch = Vec::new();
    while let Ok(first) = orders.recv() {
        let mut next = Some(first);
        let mut question = None;
        while let Some(order) = next {
            match order {
                Order::Write(write) => batch.push(write),
                other => {
                    question = Some(other);
                    break;
                }
            }
            next = orders.try_recv().ok();
        }
        let written = commit(&database, &mut batch).map_err(|error| unusable(path, &error));
        if let Err(error) = &written {
            tracing::error!(%error, "some of the cluster's state is not kept on disk");
        }
        match question {
            Some(Order::Flush(sender)) => {
                let _ = sender.send(written);
            }
            Some(Order::Read(table, sender)) => {
                let records = read(&database, table).map_err(|error| unusable(path, &error));
                let _ = sender.send(written.and(records));
            }
            Some(Order::Write(_)) | None => {}
        }
    }
}

fn unusable(path: &Path, error: &redb::Error) -> StorageError {
    let path = PathBuf::from(path).display().to_string();
    StorageError::Unusable {
        path,
        reason: error.to_string(),
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

fn commit(database: &Database, batch: &mut Vec<Write>) -> Result<(), redb::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    for table in Table::ALL {
        if !batch.iter().any(|write| write.table == table) {
            continue;
        }
        let mut open = transaction.open_table(definition(table))?;
        for write in batch.iter().filter(|write| write.table == table) {
            match &write.value {
                Some(value) => drop(open.insert(&write.key[..], &value[..])?),
                None => drop(open.remove(&write.key[..])?),
            }
        }
    }
    batch.clear();
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database, table: Table) -> Result<Vec<(Bytes, Bytes)>, redb::Error> {
    let transaction = database.begin_read()?;
    let open = match transaction.open_table(definition(table)) {
        Ok(open) => open,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::new();
    for record in open.iter()? {
        let (key, value) = record?;
        records.push((
            Bytes::copy_from_slice(key.value()),
            Bytes::copy_from_slice(value.value()),
        ));
    }
    Ok(records)
}
