//! Signals of the daemon, as something that a poller can wait for.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A socket that becomes readable once the daemon is asked to end by SIGTERM.
///
/// SIGINT and SIGHUP do nothing from here on: they are meant for the program in the foreground, and
/// the daemon ends with it in order.
///
/// # Errors
/// The system is out of file descriptors.
pub fn termination() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGTERM, writer)?;
    for signal in [SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(reader)
}
