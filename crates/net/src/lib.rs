//! The only crate that opens a socket.
//!
//! Everything but the [`HttpDoor`] and the [`BulkConnection`] is synchronous and never blocks (but for [`Connection::connect`]
//! and [`Connection::exchange`]): a [`Poller`] says what is ready, a [`Connection`] turns bytes into
//! messages and back. There is no thread and no runtime, so that the thread which waits for an
//! answer can be the one that reads it; see `docs/internals/hot-path.md`.

mod bulk;
mod connection;
mod credentials;
mod endpoint;
mod http;
mod listener;
mod passing;
mod poller;
mod stream;

pub use bulk::{BulkCloser, BulkConnection};
pub use connection::{Connection, ConnectionError, ReadOutcome};
pub use credentials::same_token;
pub use endpoint::{Endpoint, EndpointError, local_address_towards};
pub use http::{HttpAnswer, HttpBounds, HttpDoor, HttpListener};
pub use listener::Listener;
pub use passing::pass_peer;
pub use poller::{Interest, Poller, ReadyEvent, Waker};
pub use stream::{ReceivingStream, SendingStream, StreamBroken};
