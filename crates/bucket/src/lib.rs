//! Files in buckets of the cloud, for threads that may wait.
//!
//! The only crate with an asynchronous runtime, which runs in the threads that call it and while
//! they do: nothing of it is there before the first file is written.

mod address;
mod bucket;
mod connection;
mod reason;
mod transfer;

pub use address::{Address, AddressError};
pub use bucket::Bucket;
pub use reason::BucketError;
