//! A connection for many bytes: it blocks, and is used by a thread of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};
use whipray_proto::frame::HEADER_BYTES;
use whipray_proto::{FrameHeader, Message, limits};

use crate::connection::{Connection, ConnectionError, tune};
use crate::endpoint::Endpoint;

/// The most that is given to one system call, in bytes.
const STEP_BYTES: usize = 1 << 20;

/// One end of a connection that carries messages, and raw bytes behind those that announce them.
pub struct BulkConnection {
    socket: Arc<OwnedFd>,
    /// Read before this was a bulk connection.
    early: Bytes,
    patience: Duration,
}

/// Ends a connection from another thread: whoever waits on it gets an error.
#[derive(Clone)]
pub struct BulkCloser {
    socket: Arc<OwnedFd>,
}

impl BulkCloser {
    pub fn close(&self) {
        // One that is closed already is what was wanted.
        let _ = net::shutdown(&*self.socket, Shutdown::Both);
    }
}

impl BulkConnection {
    /// Connects to a TCP endpoint.
    ///
    /// # Errors
    /// Nobody listens there, or nobody answers within `timeout`.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> io::Result<Self> {
        let Endpoint::Tcp(address) = endpoint else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{endpoint} is no endpoint of another machine"),
            ));
        };
        let stream = std::net::TcpStream::connect_timeout(address, timeout)?;
        let socket = stream.into();
        tune(&socket)?;
        Ok(Self {
            socket: Arc::new(socket),
            early: Bytes::new(),
            patience: Duration::ZERO,
        })
    }

    pub(crate) fn from_parts(socket: OwnedFd, early: Bytes) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, false)?;
        Ok(Self {
            socket: Arc::new(socket),
            early,
            patience: Duration::ZERO,
        })
    }

    /// How long the other end may take to send, or to take, anything at all.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        set_socket_timeout(&*self.socket, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&*self.socket, Timeout::Send, Some(patience))?;
        self.patience = patience;
        Ok(())
    }

    /// What ends this connection from another thread.
    pub fn closer(&self) -> BulkCloser {
        BulkCloser {
            socket: self.socket.clone(),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing.
    pub fn send(&self, message: &Message) -> Result<(), ConnectionError> {
        self.send_frame(message, SendFlags::NOSIGNAL)
    }

    /// Sends a message that raw bytes follow at once.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing.
    pub fn send_before_bytes(&self, message: &Message) -> Result<(), ConnectionError> {
        self.send_frame(message, SendFlags::NOSIGNAL | SendFlags::MORE)
    }

    fn send_frame(&self, message: &Message, flags: SendFlags) -> Result<(), ConnectionError> {
        let mut frame = BytesMut::new();
        message.encode_frame(&mut frame);
        self.send_with(&frame, flags)
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.send_with(bytes, SendFlags::NOSIGNAL)
    }

    fn send_with(&self, mut bytes: &[u8], flags: SendFlags) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let step = bytes.len().min(STEP_BYTES);
            match net::send(&*self.socket, &bytes[..step], flags) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(())
    }

    /// Sends as many of these bytes as the other end takes within `wait`; maybe none.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn send_some(&self, bytes: &[u8], wait: Duration) -> Result<usize, ConnectionError> {
        let wait = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut sockets = [PollFd::new(&*self.socket, PollFlags::OUT)];
        match rustix::event::poll(&mut sockets, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(0),
            Ok(_) => {}
            Err(error) => return Err(self.failure(error)),
        }
        let step = bytes.len().min(STEP_BYTES);
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match net::send(&*self.socket, &bytes[..step], flags) {
            Ok(count) => Ok(count),
            Err(Errno::INTR | Errno::AGAIN) => Ok(0),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Sends a part of a file, without bringing it into this process.
    ///
    /// # Errors
    /// The other end is gone or takes nothing, or the file cannot be read that far.
    pub fn send_file(&self, file: &File, offset: u64, length: u64) -> Result<(), ConnectionError> {
        let (mut position, end) = (offset, offset.saturating_add(length));
        while position < end {
            let step = (end - position).min(STEP_BYTES as u64) as usize;
            // The call moves the position on by what it sent.
            match rustix::fs::sendfile(&*self.socket, file, Some(&mut position), step) {
                Ok(0) => {
                    let text = format!("the file ends at {position}, before {end}");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(())
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The other end is gone, says nothing, or no message.
    pub fn receive(&mut self) -> Result<Message, ConnectionError> {
        let mut header = [0; HEADER_BYTES];
        self.receive_bytes(&mut header)?;
        // Never `None`: the bytes of a header are there.
        let header = FrameHeader::parse(&header, limits::HELLO_FRAME_BYTES)?
            .ok_or(ConnectionError::Closed)?;
        let mut body = vec![0; header.length];
        self.receive_bytes(&mut body)?;
        Ok(Message::decode(header.code, Bytes::from(body))?)
    }

    /// Fills `into` with raw bytes.
    ///
    /// # Errors
    /// The other end is gone, or sends nothing.
    pub fn receive_bytes(&mut self, mut into: &mut [u8]) -> Result<(), ConnectionError> {
        let early = self.early.len().min(into.len());
        if early > 0 {
            self.early.copy_to_slice(&mut into[..early]);
            into = &mut into[early..];
        }
        while !into.is_empty() {
            match net::recv(&*self.socket, &mut *into, RecvFlags::empty()) {
                Ok((0, _)) => return Err(ConnectionError::Closed),
                Ok((count, _)) => into = &mut into[count..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(())
    }

    fn failure(&self, error: Errno) -> ConnectionError {
        match error {
            // The time of the socket is over.
            Errno::AGAIN => ConnectionError::Timeout(self.patience),
            other => other.into(),
        }
    }
}

impl AsFd for BulkConnection {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// The same connection for a thread that blocks on it, with what was read and not taken. Output
    /// that was not written is dropped.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn into_bulk(self) -> io::Result<BulkConnection> {
        let (socket, input) = self.into_parts();
        BulkConnection::from_parts(socket, input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use whipray_proto::messages::session::Goodbye;

    fn goodbye(reason: &str) -> Message {
        Goodbye {
            reason: reason.to_owned(),
        }
        .into()
    }

    fn pair() -> io::Result<(BulkConnection, BulkConnection)> {
        let (left, right) = Connection::pair()?;
        Ok((left.into_bulk()?, right.into_bulk()?))
    }

    #[test]
    fn bytes_come_between_messages() -> Result<(), Box<dyn std::error::Error>> {
        let (left, mut right) = pair()?;
        left.send_before_bytes(&goodbye("one"))?;
        left.send_bytes(b"raw")?;
        let mut file = tempfile::tempfile()?;
        file.write_all(b"0123456789")?;
        left.send_file(&file, 3, 4)?;
        left.send(&goodbye("two"))?;
        assert_eq!(right.receive()?, goodbye("one"));
        let mut bytes = [0; 7];
        right.receive_bytes(&mut bytes)?;
        assert_eq!(&bytes, b"raw3456");
        assert_eq!(right.receive()?, goodbye("two"));
        assert!(left.send_file(&file, 8, 4).is_err(), "it is not that long");
        Ok(())
    }

    #[test]
    fn what_was_read_before_is_not_lost() -> Result<(), Box<dyn std::error::Error>> {
        let (mut left, mut right) = Connection::pair()?;
        left.queue(&goodbye("one"));
        left.queue(&goodbye("two"));
        left.flush()?;
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("one")));
        let mut right = right.into_bulk()?;
        left.queue(&goodbye("three"));
        left.flush()?;
        assert_eq!(right.receive()?, goodbye("two"));
        assert_eq!(right.receive()?, goodbye("three"));
        Ok(())
    }

    #[test]
    fn a_silent_peer_is_not_waited_for_longer_than_patience_has_it() -> io::Result<()> {
        let (mut left, right) = pair()?;
        left.set_patience(Duration::from_millis(10))?;
        assert!(matches!(left.receive(), Err(ConnectionError::Timeout(_))));
        let many = vec![0; 64 << 20];
        assert!(left.send_bytes(&many).is_err());
        assert_eq!(left.send_some(&many, Duration::ZERO).ok(), Some(0));
        drop(right);
        Ok(())
    }

    #[test]
    fn a_closer_ends_a_wait_of_another_thread() -> io::Result<()> {
        let (left, mut right) = pair()?;
        let closer = right.closer();
        let waiting = std::thread::spawn(move || right.receive().is_err());
        closer.close();
        assert!(waiting.join().is_ok_and(|is_over| is_over));
        drop(left);
        Ok(())
    }
}
