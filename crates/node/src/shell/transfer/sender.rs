//! A connection by which another node asks for objects.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use whipray_net::{BulkConnection, Connection, ConnectionError};
use whipray_proto::messages::session::Refused;
use whipray_proto::messages::transfer::{
    FetchElsewhere, FetchFailed, FetchObject, FetchStarted, FetchWaits, TransferHello,
};
use whipray_proto::{Message, ObjectId, limits};
use whipray_store::core::Pinned;

use super::fan_out::Receiver;
use super::outgoing::{Ask, Found, Turn};
use super::reading::Reading;
use super::{STACK_BYTES, Shared};

/// How often whoever waits for an answer hears that it is still to come.
const WAIT_NOTICE: Duration = Duration::from_secs(1);

/// How long bytes that may have to be let go of are offered to a socket at once.
const OFFER: Duration = Duration::from_millis(50);

/// What is sent at once of an object that is still coming, in bytes.
const STEP_BYTES: u64 = 1 << 20;

/// Serves a connection on a thread of its own, until the other node is through.
pub fn start(shared: &Arc<Shared>, connection: Connection, hello: TransferHello) {
    let mut connection = match connection.into_bulk() {
        Ok(connection) => connection,
        Err(error) => return tracing::warn!(%error, "a connection for objects is broken"),
    };
    let Some(number) = shared
        .outgoing
        .add_connection(hello.from, connection.closer())
    else {
        let reason = "too many connections ask for objects".to_owned();
        // A courtesy: who does not hear it tries again.
        let _ = connection.send(&Refused { reason }.into());
        return;
    };
    let receiver = Receiver {
        node: hello.from,
        endpoint: hello.endpoint,
    };
    let for_thread = shared.clone();
    let spawned = std::thread::Builder::new()
        .name("object-send".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let shared = &*for_thread;
            let mut engaged = Engaged {
                shared,
                receiver,
                object: None,
            };
            // An error is the end of the connection, and the other node's to act on.
            if let Err(error) = serve(&mut connection, &mut engaged) {
                tracing::debug!(%error, to = %engaged.receiver.node, "an object was not sent");
            }
            drop(engaged);
            shared.outgoing.remove_connection(number);
        });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread can be started to send an object");
        shared.outgoing.remove_connection(number);
    }
}

/// The object that a connection asks for, as others are to know of it.
struct Engaged<'a> {
    shared: &'a Shared,
    receiver: Receiver,
    object: Option<ObjectId>,
}

impl Engaged<'_> {
    /// Returns where the other node is to go instead.
    fn begin(&mut self, fetch: &FetchObject) -> Option<Receiver> {
        if self.object == Some(fetch.object) {
            return None;
        }
        self.end(false);
        let outgoing = &self.shared.outgoing;
        let elsewhere = outgoing.begin(fetch.object, &self.receiver, fetch.is_direct);
        if elsewhere.is_none() {
            self.object = Some(fetch.object);
        }
        elsewhere
    }

    fn end(&mut self, is_complete: bool) {
        if let Some(object) = self.object.take() {
            let outgoing = &self.shared.outgoing;
            outgoing.end(object, &self.receiver, is_complete);
        }
    }
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn serve(connection: &mut BulkConnection, engaged: &mut Engaged) -> Result<(), ConnectionError> {
    let shared = engaged.shared;
    connection.set_patience(shared.settings.stall)?;
    loop {
        match connection.receive() {
            Ok(Message::FetchObject(fetch)) => match engaged.begin(&fetch) {
                Some(Receiver { node, endpoint }) => {
                    connection.send(&FetchElsewhere { node, endpoint }.into())?;
                }
                None => answer(shared, connection, &fetch)?,
            },
            Ok(Message::FetchEnded(ended)) => {
                if engaged.object == Some(ended.object) {
                    engaged.end(ended.is_complete);
                }
            }
            Ok(other) => {
                tracing::warn!(message = other.name(), from = %engaged.receiver.node,
                    "unexpected message on a connection for objects");
                return Ok(());
            }
            // Idle for long, or through.
            Err(ConnectionError::Timeout(_) | ConnectionError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Sends a part of an object, or says why not.
fn answer(
    shared: &Shared,
    connection: &BulkConnection,
    fetch: &FetchObject,
) -> Result<(), ConnectionError> {
    // First of all: should the object be whole meanwhile, it is pinned for this.
    let ask = Ask::begin(shared, fetch.object);
    let (offset, length) = (fetch.offset, fetch.length);
    let early = || shared.incoming.read(fetch.object, offset, length);
    let (found, turn) = loop {
        // Nothing of what is still coming is held while this waits for its turn.
        if ask.wait(WAIT_NOTICE, || early().map(drop)).is_none() {
            connection.send(&FetchWaits {}.into())?;
            continue;
        }
        let Some(turn) = Turn::wait(&shared.outgoing, WAIT_NOTICE) else {
            connection.send(&FetchWaits {}.into())?;
            continue;
        };
        if let Some(found) = ask.wait(Duration::ZERO, early) {
            break (found, turn);
        }
    };
    let refusal = match &found {
        Found::Answer(Ok(pinned)) => check(pinned, fetch).err(),
        Found::Answer(Err(reason)) => Some(reason.clone()),
        Found::Other(_) => None,
    };
    if let Some(reason) = refusal {
        return connection.send(&FetchFailed { reason }.into());
    }
    let started = FetchStarted { length };
    match found {
        Found::Answer(Ok(pinned)) => send_pinned(shared, connection, &pinned, offset, started)?,
        Found::Answer(Err(_)) => {}
        Found::Other(reading) => send_early(shared, connection, &ask, reading, fetch)?,
    }
    drop(turn);
    Ok(())
}

fn check(pinned: &Pinned, fetch: &FetchObject) -> Result<(), String> {
    let end = fetch.offset.checked_add(fetch.length);
    if pinned.size_bytes == fetch.size_bytes && end.is_some_and(|end| end <= pinned.size_bytes) {
        return Ok(());
    }
    Err(format!(
        "it has {} bytes there, and not {}",
        pinned.size_bytes, fetch.size_bytes
    ))
}

/// Sends a part of an object that is pinned meanwhile.
fn send_pinned(
    shared: &Shared,
    connection: &BulkConnection,
    pinned: &Pinned,
    start: u64,
    started: FetchStarted,
) -> Result<(), ConnectionError> {
    let (offset, length) = (pinned.offset + start, started.length);
    match &pinned.path {
        Some(path) => {
            let file = match File::open(&**path) {
                Ok(file) => file,
                Err(error) => {
                    let reason = format!("{path}, where it was written to, is not there: {error}");
                    return connection.send(&FetchFailed { reason }.into());
                }
            };
            connection.send_before_bytes(&started.into())?;
            connection.send_file(&file, offset, length)
        }
        None => {
            // SAFETY: the object is sealed, and pinned as long as its ask lives.
            let bytes = unsafe { shared.arena.slice(offset, length) };
            let bytes = bytes.map_err(std::io::Error::other)?;
            connection.send_before_bytes(&started.into())?;
            connection.send_bytes(bytes)
        }
    }
}

/// Sends a part of an object that is still coming. Where it comes to its end meanwhile, what is left
/// is sent of the object, if there is one then.
fn send_early(
    shared: &Shared,
    connection: &BulkConnection,
    ask: &Ask,
    reading: Reading,
    fetch: &FetchObject,
) -> Result<(), ConnectionError> {
    let length = fetch.length;
    connection.send_before_bytes(&FetchStarted { length }.into())?;
    let mut sent = 0;
    let mut progress = Instant::now();
    while sent < length {
        if reading.is_closed() {
            drop(reading);
            return send_rest(shared, connection, ask, fetch, sent);
        }
        let step = (length - sent).min(STEP_BYTES);
        // SAFETY: these bytes have come, and stay as they are while the reading lives.
        let bytes = unsafe { shared.arena.slice(reading.arena_offset + sent, step) };
        let bytes = bytes.map_err(std::io::Error::other)?;
        let count = connection.send_some(bytes, OFFER)? as u64;
        sent += count;
        if count > 0 {
            progress = Instant::now();
        } else if progress.elapsed() > shared.settings.stall {
            return Err(ConnectionError::Timeout(shared.settings.stall));
        }
    }
    Ok(())
}

fn send_rest(
    shared: &Shared,
    connection: &BulkConnection,
    ask: &Ask,
    fetch: &FetchObject,
    sent: u64,
) -> Result<(), ConnectionError> {
    let nothing = || None::<()>;
    match ask.wait(limits::TRANSFER_STALL, nothing) {
        Some(Found::Answer(Ok(pinned))) if check(&pinned, fetch).is_ok() => {
            let start = pinned.offset + fetch.offset + sent;
            let length = fetch.length - sent;
            if pinned.path.is_some() {
                // Never so: what comes into a file is not sent early.
                return Err(ConnectionError::Closed);
            }
            // SAFETY: the object is sealed, and pinned as long as its ask lives.
            let bytes = unsafe { shared.arena.slice(start, length) };
            connection.send_bytes(bytes.map_err(std::io::Error::other)?)
        }
        // It has begun to come, and will not: the other node notices by the end of the connection.
        _ => Err(ConnectionError::Closed),
    }
}
