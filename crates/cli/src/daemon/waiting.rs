//! The time between two lives of a daemon, in which it still ends when it is asked to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Notices that whoever started the daemon is gone, or that a signal asks it to end.
pub struct Waiting {
    lifeline: Option<OwnedFd>,
    asked: Arc<AtomicBool>,
}

impl Waiting {
    /// Watches from now on.
    ///
    /// # Errors
    /// The system is out of something.
    pub fn new(lifeline: Option<OwnedFd>) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self { lifeline, asked })
    }

    /// Waits for so long; at once false where the daemon is to end.
    pub fn pause(&self, time: Duration) -> bool {
        if self.asked.load(Ordering::Relaxed) {
            return false;
        }
        let mut watched: Vec<PollFd<'_>> = self
            .lifeline
            .iter()
            .map(|lifeline| PollFd::from_borrowed_fd(lifeline.as_fd(), PollFlags::IN))
            .collect();
        let time = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        // A signal ends the wait, too.
        let is_gone = poll(&mut watched, Some(&time)).is_ok_and(|ready| ready > 0);
        !is_gone && !self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_wait_ends_with_the_lifeline() -> io::Result<()> {
        let (lifeline, theirs) = rustix::pipe::pipe()?;
        let waiting = Waiting::new(Some(lifeline))?;
        assert!(waiting.pause(Duration::from_millis(1)));
        drop(theirs);
        let begin = Instant::now();
        assert!(!waiting.pause(Duration::from_secs(60)));
        assert!(begin.elapsed() < Duration::from_secs(30));
        Ok(())
    }

    #[test]
    fn without_a_lifeline_time_passes() -> io::Result<()> {
        let waiting = Waiting::new(None)?;
        let begin = Instant::now();
        assert!(waiting.pause(Duration::from_millis(5)));
        assert!(begin.elapsed() >= Duration::from_millis(5));
        Ok(())
    }
}
