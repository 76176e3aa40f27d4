//! Bytes on their way: large files go and come in parts, of which few are in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use crate::connection::Connection;

/// What is sent or asked for at once.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// A file up to this size is sent in one piece.
const WHOLE_BYTES: u64 = 2 * PART_BYTES;

/// The most parts of a file; stores take 10,000.
const MOST_PARTS: u64 = 9000;

/// Parts of one file that travel at the same time.
const PARTS_TRAVELLING: usize = 2;

/// The bytes of a file, cut anew.
struct Cutter<'a, I> {
    chunks: I,
    /// What is left of the last chunk.
    rest: &'a [u8],
}

impl<'a, I: Iterator<Item = io::Result<&'a [u8]>>> Cutter<'a, I> {
    /// The next `length` bytes; fewer at the end.
    fn next_part(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let mut part = Vec::with_capacity(length);
        while part.len() < length {
            if self.rest.is_empty() {
                match self.chunks.next() {
                    Some(chunk) => self.rest = chunk.map_err(|error| error.to_string())?,
                    None => break,
                }
            }
            let (now, later) = self.rest.split_at(self.rest.len().min(length - part.len()));
            part.extend_from_slice(now);
            self.rest = later;
        }
        Ok(part)
    }
}

/// Makes a file of `size_bytes` from chunks. `is_over` says when it is not wanted any more.
///
/// # Errors
/// A chunk cannot be read, or the store's reason.
pub(crate) async fn send<'a>(
    store: &dyn ObjectStore,
    path: &Path,
    size_bytes: u64,
    chunks: impl Iterator<Item = io::Result<&'a [u8]>>,
    is_over: &dyn Fn() -> bool,
) -> Result<(), String> {
    let mut cutter = Cutter { chunks, rest: &[] };
    if size_bytes <= WHOLE_BYTES {
        let whole = cutter.next_part(size_bytes)?;
        return Connection::request(store.put(path, whole.into()))
            .await
            .map(drop);
    }
    let mut upload = Connection::request(store.put_multipart(path)).await?;
    let sent = send_parts(upload.as_mut(), size_bytes, &mut cutter, is_over).await;
    let outcome = match sent {
        Ok(()) => Connection::request(upload.complete()).await.map(drop),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        // Parts that stay behind cost money. Where this fails, the first reason is what matters.
        let _ = Connection::request(upload.abort()).await;
    }
    outcome
}

async fn send_parts<'a>(
    upload: &mut dyn MultipartUpload,
    size_bytes: u64,
    cutter: &mut Cutter<'a, impl Iterator<Item = io::Result<&'a [u8]>>>,
    is_over: &dyn Fn() -> bool,
) -> Result<(), String> {
    let part_bytes = PART_BYTES.max(size_bytes.div_ceil(MOST_PARTS));
    let mut travelling = FuturesUnordered::new();
    loop {
        if is_over() {
            return Err("the session ends".to_owned());
        }
        let part = cutter.next_part(part_bytes)?;
        if part.is_empty() {
            break;
        }
        if travelling.len() >= PARTS_TRAVELLING {
            travelling.next().await.unwrap_or(Ok(()))?;
        }
        travelling.push(Connection::request(upload.put_part(part.into())));
    }
    travelling.try_collect().await
}

/// Brings `length` bytes at `offset` of a file to the beginning of `target`.
///
/// # Errors
/// The store's reason, or the disk's.
pub(crate) async fn receive(
    store: &dyn ObjectStore,
    path: &Path,
    offset: u64,
    length: u64,
    target: &File,
) -> Result<(), String> {
    let starts = (0..length).step_by(PART_BYTES as usize);
    let parts = starts.map(|start| async move {
        let end = length.min(start + PART_BYTES);
        let range = offset + start..offset + end;
        let bytes = Connection::request(store.get_range(path, range)).await?;
        if bytes.len() as u64 != end - start {
            return Err("the file is shorter than it was written".to_owned());
        }
        Ok((start, bytes))
    });
    let mut parts = stream::iter(parts).buffer_unordered(PARTS_TRAVELLING);
    while let Some((start, bytes)) = parts.try_next().await? {
        target
            .write_all_at(&bytes, start)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
