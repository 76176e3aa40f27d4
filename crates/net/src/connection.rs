//! A connection that carries messages: bytes in, messages out, and the other way round.

use std::collections::VecDeque;
use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use whipray_proto::frame::HEADER_BYTES;
use whipray_proto::messages::execution::PushTask;
use whipray_proto::{Assignment, FrameHeader, Message, ProtocolError, TaskSpec, limits};

use crate::endpoint::Endpoint;

/// Room for input that a connection starts with, in bytes.
const INPUT_BYTES: usize = 64 * 1024;

/// The most that one call of [`Connection::read`] takes in, so that one busy peer starves nobody.
const READ_BYTES: usize = 1024 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the other end closed the connection")]
    Closed,
    #[error("the other end broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl From<Errno> for ConnectionError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

/// What a call of [`Connection::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// All that was there was read.
    Drained,
    /// There may be more; the poller will say so again.
    More,
    /// The other end is gone; what it sent before can still be taken.
    Closed,
}

/// One end of a connection. Never blocks, but where it says so.
pub struct Connection {
    socket: OwnedFd,
    input: BytesMut,
    output: BytesMut,
    /// Bytes of `output` that were written already.
    written: usize,
    frame_limit_bytes: usize,
    /// Descriptors to send, each with the position in `output` of the frame that they belong to.
    descriptors_out: VecDeque<(usize, OwnedFd)>,
    descriptors_in: VecDeque<OwnedFd>,
    expects_descriptors: bool,
}

impl Connection {
    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            output: BytesMut::new(),
            written: 0,
            frame_limit_bytes: limits::FRAME_BYTES,
            descriptors_out: VecDeque::new(),
            descriptors_in: VecDeque::new(),
            expects_descriptors: false,
        }
    }

    /// A connection that another process has accepted and handed over, with what was read of it
    /// there and not used.
    ///
    /// # Errors
    /// The descriptor is no stream socket.
    pub fn from_passed(socket: OwnedFd, early: &[u8]) -> io::Result<Self> {
        if net::sockopt::socket_type(&socket)? != SocketType::STREAM {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        tune(&socket)?;
        let mut connection = Self::from_socket(socket);
        connection.input.extend_from_slice(early);
        Ok(connection)
    }

    /// The socket, and what was read of it and is no message yet, to hand both over.
    pub fn into_parts(self) -> (OwnedFd, Bytes) {
        (self.socket, self.input.freeze())
    }

    /// Connects; blocks while the other end's queue of connections is full.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let socket = match endpoint {
            Endpoint::Unix(name) => {
                let socket = net::socket_with(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
                rustix::io::retry_on_intr(|| net::connect(&socket, &address))?;
                socket
            }
            Endpoint::Tcp(address) => {
                let stream = std::net::TcpStream::connect_timeout(address, limits::HELLO_WAIT)?;
                let socket = stream.into();
                tune(&socket)?;
                socket
            }
        };
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self::from_socket(socket))
    }

    /// Begins to connect by TCP, and never waits: until the other end has answered, output stays
    /// queued, and the poller says that the socket can be written to; a failure shows in
    /// [`Self::flush`]. The connection ends where what was sent is not acknowledged for
    /// `silence`, or the other machine does not answer for as long.
    ///
    /// # Errors
    /// The system has no way there, or is out of file descriptors.
    pub fn begin(address: &SocketAddr, silence: Duration) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&socket, true)?;
        notice_silence(&socket, silence)?;
        match net::connect(&socket, address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Self::from_socket(socket)),
            Err(error) => Err(error.into()),
        }
    }

    /// [`Self::connect`] for a peer: without waiting for the answer of another machine.
    ///
    /// # Errors
    /// Nobody listens there, as far as that is known at once.
    pub fn begin_connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(_) => Self::connect(endpoint),
            Endpoint::Tcp(address) => Self::begin(address, limits::PEER_SILENCE),
        }
    }

    /// Has the connection end where the other machine is silent for so long.
    ///
    /// # Errors
    /// It is no TCP connection.
    pub fn notice_silence(&self, silence: Duration) -> io::Result<()> {
        notice_silence(&self.socket, silence)
    }

    /// Two connected ends within this process.
    ///
    /// # Errors
    /// The system is out of file descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self::from_socket(one), Self::from_socket(other)))
    }

    /// The longest frame that is accepted from now on; small until a peer has said its token.
    pub fn set_frame_limit(&mut self, bytes: usize) {
        self.frame_limit_bytes = bytes;
    }

    /// Whether file descriptors that come with messages are kept; see [`Self::take_descriptor`].
    pub fn expect_descriptors(&mut self, expects: bool) {
        self.expects_descriptors = expects;
    }

    /// The next file descriptor that came with a message.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors_in.pop_front()
    }

    /// Appends a message to the output. Nothing is written before [`Self::flush`].
    pub fn queue(&mut self, message: &Message) {
        message.encode_frame(&mut self.output);
    }

    /// Appends a frame that was encoded before.
    pub fn queue_frame(&mut self, frame: &[u8]) {
        self.output.extend_from_slice(frame);
    }

    /// Appends a message that a file descriptor travels with (Unix sockets only).
    pub fn queue_with_descriptor(&mut self, message: &Message, descriptor: OwnedFd) {
        self.descriptors_out
            .push_back((self.output.len(), descriptor));
        message.encode_frame(&mut self.output);
    }

    /// Appends a task to push, straight from its spec.
    pub fn queue_push_task(&mut self, spec: &TaskSpec, assignment: Option<&Assignment>) {
        PushTask::encode_frame_of(spec, assignment, &mut self.output);
    }

    /// Bytes that wait to be written.
    pub fn output_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes as much of the output as the socket takes. Returns whether all of it is written.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn flush(&mut self) -> Result<bool, ConnectionError> {
        while self.written < self.output.len() {
            let sent = match self.descriptors_out.front() {
                Some((position, _)) if *position == self.written => self.send_with_descriptor(),
                Some((position, _)) => {
                    let chunk = &self.output[self.written..*position];
                    net::send(&self.socket, chunk, SendFlags::NOSIGNAL)
                }
                None => net::send(
                    &self.socket,
                    &self.output[self.written..],
                    SendFlags::NOSIGNAL,
                ),
            };
            match sent {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }

    fn send_with_descriptor(&mut self) -> Result<usize, Errno> {
        let Some((_, descriptor)) = self.descriptors_out.front() else {
            return Ok(0);
        };
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let end = self
            .descriptors_out
            .get(1)
            .map_or(self.output.len(), |(position, _)| *position);
        let chunk = [IoSlice::new(&self.output[self.written..end])];
        let sent = net::sendmsg(&self.socket, &chunk, &mut control, SendFlags::NOSIGNAL)?;
        self.descriptors_out.pop_front();
        Ok(sent)
    }

    /// Reads what the socket has. Messages are taken with [`Self::next_message`].
    ///
    /// # Errors
    /// The socket failed. An end of the connection is no error but an outcome.
    pub fn read(&mut self) -> Result<ReadOutcome, ConnectionError> {
        let mut total = 0;
        // Of whoever has not said hello no more is taken in than a hello has: it may be handed over.
        let most = READ_BYTES.min(self.frame_limit_bytes.max(1));
        while total < most {
            self.make_room();
            let spare = self.input.capacity() - self.input.len();
            let count = match self.receive() {
                Ok(0) => return Ok(ReadOutcome::Closed),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(ReadOutcome::Drained),
                Err(Errno::CONNRESET) => return Ok(ReadOutcome::Closed),
                Err(error) => return Err(error.into()),
            };
            total += count;
            if count < spare && !self.expects_descriptors {
                // A stream socket that gave less than it could have has no more now; asking again
                // would cost a system call per message. (Descriptors cut the stream into pieces.)
                return Ok(ReadOutcome::Drained);
            }
        }
        Ok(ReadOutcome::More)
    }

    /// Makes room for the rest of the frame that has begun, or for a handful of small ones.
    fn make_room(&mut self) {
        let wanted = match FrameHeader::parse(&self.input, self.frame_limit_bytes) {
            Ok(Some(header)) => (HEADER_BYTES + header.length).saturating_sub(self.input.len()),
            _ => 0,
        };
        if self.input.capacity() - self.input.len() < wanted.max(4096) {
            self.input.reserve(wanted.max(INPUT_BYTES));
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        let spare = self.input.chunk_mut();
        // SAFETY: the slice is only handed to a system call that writes into it, and never read
        // before `advance_mut` below says how much of it was written.
        let spare = unsafe { spare.as_uninit_slice_mut() };
        let count = if self.expects_descriptors {
            let spare = initialized(spare);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(spare)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors_in.extend(descriptors);
                }
            }
            received.bytes
        } else {
            let ((received, _), _) = net::recv(&self.socket, spare, RecvFlags::empty())?;
            received.len()
        };
        // SAFETY: the system wrote `count` bytes to the start of the spare room.
        unsafe { self.input.advance_mut(count) };
        Ok(count)
    }

    /// The next whole message of the input.
    ///
    /// # Errors
    /// The peer sent something that is no message; the connection must be closed.
    pub fn next_message(&mut self) -> Result<Option<Message>, ProtocolError> {
        let Some(header) = FrameHeader::parse(&self.input, self.frame_limit_bytes)? else {
            return Ok(None);
        };
        if self.input.len() < HEADER_BYTES + header.length {
            return Ok(None);
        }
        let mut frame = self.input.split_to(HEADER_BYTES + header.length);
        let body = frame.split_off(HEADER_BYTES).freeze();
        Message::decode(header.code, body).map(Some)
    }

    /// Writes all output and waits for one message; for hellos and tools. Blocks.
    ///
    /// # Errors
    /// The connection ended, or nothing came within `timeout`.
    pub fn exchange(&mut self, timeout: Duration) -> Result<Message, ConnectionError> {
        let deadline = Instant::now() + timeout;
        loop {
            let is_flushed = self.flush()?;
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConnectionError::Timeout(timeout));
            }
            let wanted = if is_flushed {
                PollFlags::IN
            } else {
                PollFlags::IN | PollFlags::OUT
            };
            let left = rustix::event::Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match rustix::event::poll(&mut [PollFd::new(&self.socket, wanted)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.read()? == ReadOutcome::Closed {
                // The last words of a peer that refuses may lie before the end.
                return self.next_message()?.ok_or(ConnectionError::Closed);
            }
        }
    }
}

/// Small messages must not wait for the acknowledgement of earlier ones, and a machine that does not
/// answer any more is to be noticed. Nothing for a socket that is not TCP.
pub(crate) fn tune(socket: &OwnedFd) -> io::Result<()> {
    let family = net::sockopt::socket_domain(socket)?;
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return Ok(());
    }
    net::sockopt::set_tcp_nodelay(socket, true)?;
    notice_silence(socket, limits::PEER_SILENCE)
}

/// Keepalives and the time for acknowledgements, so that no silence lasts longer.
fn notice_silence(socket: &OwnedFd, silence: Duration) -> io::Result<()> {
    let interval = (silence / 4).max(Duration::from_secs(1));
    net::sockopt::set_socket_keepalive(socket, true)?;
    net::sockopt::set_tcp_keepidle(socket, interval)?;
    net::sockopt::set_tcp_keepintvl(socket, interval)?;
    net::sockopt::set_tcp_keepcnt(socket, 3)?;
    let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    net::sockopt::set_tcp_user_timeout(socket, milliseconds)?;
    Ok(())
}

/// The same room, zeroed: `recvmsg` takes initialized bytes only, and is not on the hot path.
fn initialized(spare: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    spare.fill(MaybeUninit::new(0));
    // SAFETY: every byte was just written.
    unsafe { &mut *(spare as *mut [MaybeUninit<u8>] as *mut [u8]) }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::messages::session::Goodbye;

    fn goodbye(reason: &str) -> Message {
        Goodbye {
            reason: reason.to_owned(),
        }
        .into()
    }

    #[test]
    fn messages_arrive_whole_and_in_order() -> Result<(), ConnectionError> {
        let (mut left, mut right) = Connection::pair()?;
        let long = "x".repeat(3_000_000);
        left.queue(&goodbye("one"));
        left.queue(&goodbye(&long));
        let mut received = Vec::new();
        while received.len() < 2 {
            left.flush()?;
            right.read()?;
            while let Some(message) = right.next_message()? {
                received.push(message);
            }
        }
        assert_eq!(received, [goodbye("one"), goodbye(&long)]);
        Ok(())
    }

    #[test]
    fn the_end_is_seen_after_the_last_message() -> Result<(), ConnectionError> {
        let (mut left, mut right) = Connection::pair()?;
        left.queue(&goodbye("bye"));
        left.flush()?;
        drop(left);
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("bye")));
        assert_eq!(right.read()?, ReadOutcome::Closed);
        Ok(())
    }

    #[test]
    fn a_frame_above_the_limit_is_an_error() -> Result<(), ConnectionError> {
        let (mut left, mut right) = Connection::pair()?;
        right.set_frame_limit(10);
        left.queue(&goodbye("longer than ten bytes"));
        left.flush()?;
        right.read()?;
        assert!(right.next_message().is_err());
        Ok(())
    }

    #[test]
    fn a_connection_that_nobody_takes_is_found_when_it_is_read() -> Result<(), ConnectionError> {
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.local_addr()?
        };
        let Ok(mut connection) = Connection::begin_connect(&Endpoint::Tcp(nobody)) else {
            return Ok(()); // The system knew it at once.
        };
        connection.queue(&goodbye("anybody?"));
        let ended = connection.exchange(Duration::from_secs(60));
        assert!(matches!(
            ended,
            Err(ConnectionError::Io(_) | ConnectionError::Closed)
        ));
        Ok(())
    }

    #[test]
    fn what_is_written_before_a_connection_stands_arrives() -> Result<(), ConnectionError> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let mut left = Connection::begin_connect(&Endpoint::Tcp(listener.local_addr()?))?;
        left.queue(&goodbye("early"));
        let (stream, _) = listener.accept()?;
        let mut right = Connection::from_passed(stream.into(), &[])?;
        while !left.flush()? {}
        assert_eq!(right.exchange(Duration::from_secs(60))?, goodbye("early"));
        Ok(())
    }

    #[test]
    fn what_was_read_already_comes_first_after_a_hand_over() -> Result<(), ConnectionError> {
        let (mut left, mut right) = Connection::pair()?;
        left.queue(&goodbye("one"));
        left.queue(&goodbye("two"));
        left.flush()?;
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("one")));
        let (socket, early) = right.into_parts();
        left.queue(&goodbye("three"));
        left.flush()?;
        let mut right = Connection::from_passed(socket, &early)?;
        assert_eq!(right.next_message()?, Some(goodbye("two")));
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("three")));
        Ok(())
    }

    #[test]
    fn a_descriptor_travels_with_its_message() -> Result<(), ConnectionError> {
        let (mut left, mut right) = Connection::pair()?;
        right.expect_descriptors(true);
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC)?;
        left.queue(&goodbye("first"));
        left.queue_with_descriptor(&goodbye("second"), file);
        left.flush()?;
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("first")));
        right.read()?;
        assert_eq!(right.next_message()?, Some(goodbye("second")));
        assert!(right.take_descriptor().is_some());
        Ok(())
    }
}
