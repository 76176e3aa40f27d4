//! Values: Python objects as the bytes that travel and lie in shared memory.
//!
//! The format is described in `docs/internals/values.md`. Scalars and lists of references are written
//! natively; other values of built-in types by the interpreter's own pickle; everything else by the
//! serializer of the package.

pub mod buffers;
mod decode;
mod encode;
pub mod layout;
pub mod pickle;
mod plain;
pub mod references;

pub use buffers::Memory;
pub use decode::decode;
pub use encode::{Encoded, encode};
