//! Records in memory only, for tests and simulations.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Storage, StorageError, Table, Write};

/// Keeps records as long as it lives.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    records: BTreeMap<(Table, Bytes), Bytes>,
}

impl Storage for MemoryStorage {
    fn write(&mut self, write: Write) {
        let key = (write.table, write.key);
        match write.value {
            Some(value) => drop(self.records.insert(key, value)),
            None => drop(self.records.remove(&key)),
        }
    }

    fn read(&mut self, table: Table) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let of_table = self.records.iter().filter(|((of, _), _)| *of == table);
        Ok(of_table
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
