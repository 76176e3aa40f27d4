//! Processes by their number.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

fn pid_of(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Whether this is the process of a daemon, and not one that got its number later.
pub fn is_daemon(number: u32) -> bool {
    let Ok(command) = std::fs::read(format!("/proc/{number}/cmdline")) else {
        return false;
    };
    let mut words = command.split(|byte| *byte == 0);
    words.nth(1) == Some(b"daemon") && words.any(|word| word.starts_with(b"--options-json"))
}

/// Sends a signal. A process that is gone already is no error.
pub fn signal(number: u32, signal: Signal) {
    if let Some(pid) = pid_of(number) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Waits for the end of any process, child or not. Returns whether it came in time.
pub fn wait_for_end(number: u32, patience: Duration) -> bool {
    let Some(pid) = pid_of(number) else {
        return true;
    };
    let Ok(descriptor) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
        // It is gone, or the system does not let us look: then its number tells.
        return !is_daemon(number);
    };
    let patience = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
    matches!(rustix::event::poll(&mut watched, Some(&patience)), Ok(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_end_of_a_process_is_seen() -> std::io::Result<()> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        assert!(!wait_for_end(child.id(), Duration::from_millis(1)));
        assert!(!is_daemon(child.id()));
        signal(child.id(), Signal::KILL);
        assert!(wait_for_end(child.id(), Duration::from_secs(10)));
        child.wait()?;
        Ok(())
    }
}
