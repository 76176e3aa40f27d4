//! Says which sockets are ready. Level-triggered, so that several threads may wait on one poller.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

/// What to wait for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    /// Also when output can be written again.
    ReadWrite,
}

/// One socket that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyEvent {
    /// The token that the socket was registered with.
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// The other end is gone, or the socket failed; there may still be input to read.
    pub closed: bool,
}

/// A set of sockets to wait for.
pub struct Poller {
    epoll: OwnedFd,
}

/// The most events that one wait returns.
const EVENTS: usize = 64;

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// The system is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    fn flags(interest: Interest) -> epoll::EventFlags {
        match interest {
            Interest::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Interest::ReadWrite => {
                epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT
            }
        }
    }

    /// Adds a socket under a token.
    ///
    /// # Errors
    /// The socket is in the set already, or the system is out of memory.
    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(token),
            Self::flags(interest),
        )?;
        Ok(())
    }

    /// Changes what a socket is waited for.
    ///
    /// # Errors
    /// The socket is not in the set.
    pub fn change(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(token),
            Self::flags(interest),
        )?;
        Ok(())
    }

    /// Removes a socket; one that is not there is no error.
    pub fn remove(&self, socket: impl AsFd) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits until something is ready or `timeout` is over (`None`: without end), and appends what
    /// is ready to `ready`. A signal ends the wait early with nothing, so that the caller can look
    /// what the signal was for.
    ///
    /// # Errors
    /// The poller itself is broken.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<ReadyEvent>) -> io::Result<()> {
        let timeout = timeout.map(|duration| Timespec {
            tv_sec: duration.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: i64::from(duration.subsec_nanos()),
        });
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(parts) => parts,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let flags = event.flags;
            ready.push(ReadyEvent {
                token: event.data.u64(),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                closed: flags.intersects(
                    epoll::EventFlags::HUP | epoll::EventFlags::RDHUP | epoll::EventFlags::ERR,
                ),
            });
        }
        Ok(())
    }
}

impl AsFd for Poller {
    /// Readable whenever something in the set is ready; for event loops of others.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Waker {
    counter: Arc<OwnedFd>,
}

impl Waker {
    /// A waker of `poller`, seen there as `token`.
    ///
    /// # Errors
    /// The system is out of file descriptors.
    pub fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        poller.add(&counter, token, Interest::Read)?;
        Ok(Self {
            counter: Arc::new(counter),
        })
    }

    /// Makes the poller ready. Cheap to call twice.
    pub fn wake(&self) {
        // The only failure is a full counter, which means that it is awake already.
        let _ = rustix::io::write(&*self.counter, &1u64.to_ne_bytes());
    }

    /// Takes the readiness back; whoever was woken calls it.
    pub fn reset(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.counter, &mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_ends_the_wait_until_it_is_reset() -> io::Result<()> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, 9)?;
        let mut ready = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut ready)?;
        assert!(ready.is_empty());
        waker.wake();
        waker.wake();
        poller.wait(None, &mut ready)?;
        assert_eq!(
            ready.first().map(|event| (event.token, event.readable)),
            Some((9, true))
        );
        ready.clear();
        waker.reset();
        poller.wait(Some(Duration::ZERO), &mut ready)?;
        assert!(ready.is_empty());
        Ok(())
    }
}
