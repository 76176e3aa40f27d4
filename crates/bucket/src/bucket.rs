//! A place in a bucket that holds files, for the life of a session.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::address::Address;
use crate::connection::Connection;
use crate::reason::{BucketError, reason};
use crate::transfer;

/// A folder of our own in a bucket. Methods block the thread that calls them, for a bounded time;
/// several threads may use it at once.
pub struct Bucket {
    /// Of the folder, with a slash at its end.
    root: String,
    folder: Path,
    address: Address,
    state: Mutex<State>,
    is_idle: Condvar,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// A file was sent, or may have been.
    is_used: bool,
    /// Files that are being sent.
    sending: usize,
    is_over: bool,
}

impl Bucket {
    /// The folder of this name at an address. Nothing is asked of the bucket.
    pub fn new(address: Address, folder: &str) -> Self {
        Self {
            root: format!("{address}/{folder}/"),
            folder: address.path().clone().join(folder),
            address,
            state: Mutex::default(),
            is_idle: Condvar::new(),
        }
    }

    /// Writes a file from chunks, which are `size_bytes` together. Returns its address.
    ///
    /// # Errors
    /// The store's reason, after some tries.
    pub fn write<'a>(
        &self,
        name: &str,
        size_bytes: u64,
        chunks: impl Iterator<Item = io::Result<&'a [u8]>>,
    ) -> Result<String, BucketError> {
        let connection = self.begin_sending()?;
        let path = self.folder.clone().join(name);
        let is_over = || self.state().is_over;
        let store = &*connection.store;
        let sent = connection
            .runtime
            .block_on(transfer::send(store, &path, size_bytes, chunks, &is_over));
        self.state().sending -= 1;
        self.is_idle.notify_all();
        match sent {
            Ok(()) => Ok(format!("{}{name}", self.root)),
            Err(reason) => Err(self.failed(reason)),
        }
    }

    /// Brings a part of a file, which [`Self::owns`], to the beginning of `target`.
    ///
    /// # Errors
    /// The store's reason, after some tries, or the disk's.
    pub fn read(
        &self,
        file: &str,
        offset: u64,
        length: u64,
        target: &File,
    ) -> Result<(), BucketError> {
        let path = self.path_of(file)?;
        let connection = self.connection(&mut self.state())?;
        let store = &*connection.store;
        connection
            .runtime
            .block_on(transfer::receive(store, &path, offset, length, target))
            .map_err(|reason| BucketError::new(file, reason))
    }

    /// Removes a file, which [`Self::owns`]. It is no error if it is gone already.
    ///
    /// # Errors
    /// The store's reason.
    pub fn remove(&self, file: &str) -> Result<(), BucketError> {
        let path = self.path_of(file)?;
        let connection = self.connection(&mut self.state())?;
        let request = async {
            match connection.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        connection
            .runtime
            .block_on(Connection::request(request))
            .map_err(|reason| BucketError::new(file, reason))
    }

    /// Whether the file of this address is in this folder.
    pub fn owns(&self, file: &str) -> bool {
        file.starts_with(&self.root)
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether there may be files in it.
    pub fn is_used(&self) -> bool {
        self.state().is_used
    }

    /// The session is over: nothing is sent from here on, and all that is in the folder is removed,
    /// for `within` at most. What is being sent then is waited for, so that it does not come later.
    ///
    /// # Errors
    /// Something stays, and why.
    pub fn end(&self, within: Duration) -> Result<(), BucketError> {
        let mut state = self.state();
        state.is_over = true;
        let connection = match &state.connection {
            Some(connection) if state.is_used => connection.clone(),
            _ => return Ok(()),
        };
        let waited = self
            .is_idle
            .wait_timeout_while(state, within / 2, |state| state.sending > 0);
        drop(waited);
        let removed = connection.runtime.block_on(async {
            tokio::time::timeout(within / 2, self.remove_all(&connection)).await
        });
        match removed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BucketError::new(&*self.root, reason(&error))),
            Err(_) => Err(BucketError::new(
                &*self.root,
                format!("not all could be removed within {} s", within.as_secs()),
            )),
        }
    }

    async fn remove_all(&self, connection: &Connection) -> object_store::Result<()> {
        let store = &connection.store;
        let listed = store
            .list(Some(&self.folder))
            .map_ok(|file| file.location)
            .boxed();
        let mut removed = store.delete_stream(listed);
        let mut failed = None;
        while let Some(outcome) = removed.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                // The others can go all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn begin_sending(&self) -> Result<Arc<Connection>, BucketError> {
        let mut state = self.state();
        if state.is_over {
            return Err(self.failed("the session ends"));
        }
        let connection = self.connection(&mut state)?;
        state.is_used = true;
        state.sending += 1;
        Ok(connection)
    }

    fn connection(&self, state: &mut State) -> Result<Arc<Connection>, BucketError> {
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        let opened = Connection::open(&self.address).map_err(|reason| self.failed(reason))?;
        let opened = Arc::new(opened);
        state.connection = Some(opened.clone());
        Ok(opened)
    }

    fn path_of(&self, file: &str) -> Result<Path, BucketError> {
        match file.strip_prefix(&self.root) {
            Some(name) => Ok(self.folder.clone().join(name)),
            None => Err(BucketError::new(file, "it is in another bucket")),
        }
    }

    fn failed(&self, reason: impl Into<String>) -> BucketError {
        BucketError::new(self.address.text(), reason)
    }

    /// No state is left half changed by whoever panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder in a store that is given, for tests.
    #[cfg(test)]
    fn over(store: Arc<dyn ObjectStore>, address: Address) -> Result<Self, String> {
        let bucket = Self::new(address, "folder");
        bucket.state().connection = Some(Arc::new(Connection::to(store)?));
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests;
