//! The template process, which forks the workers. It speaks lines of JSON over a socket pair.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::{Deserialize, Serialize};

use super::line_reader::LineReader;

/// A line of the template is never longer; it says numbers only.
const LINE_BYTES: usize = 64 * 1024;

/// What the daemon asks for.
#[derive(Clone, Debug, Serialize)]
pub struct SpawnRequest<'a> {
    pub worker: String,
    pub endpoint: &'a str,
    pub token: &'a str,
    pub log_directory: &'a str,
    pub environment: &'a BTreeMap<String, String>,
    pub number: u64,
}

#[derive(Serialize)]
struct ToZygote<'a> {
    spawn: SpawnRequest<'a>,
}

/// What the template says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZygoteSays {
    Ready { pid: u32, python: String },
    Spawned { worker: String, pid: u32 },
    Exited { pid: u32, status: i32 },
}

/// How the template is run.
pub struct Template<'a> {
    pub python: &'a str,
    /// Variables of the environment beyond the daemon's own.
    pub environment: &'a BTreeMap<String, String>,
    pub working_directory: &'a Path,
    /// Where its output goes.
    pub log_file: &'a Path,
    /// How many files it and its workers may have open: what is usual, not what the daemon needs.
    pub file_limit: &'a Rlimit,
}

/// A running template process.
pub struct Zygote {
    child: Child,
    socket: OwnedFd,
    input: LineReader,
    output: Vec<u8>,
}

impl Zygote {
    /// Starts `python -m whipray._zygote`.
    ///
    /// # Errors
    /// There is no such program, or the system is out of something.
    pub fn start(template: &Template<'_>) -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // The child inherits its end. No other child is started meanwhile by this one thread.
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(template.log_file)?;
        let child = Command::new(template.python)
            .args(["-m", "whipray._zygote", &theirs.as_raw_fd().to_string()])
            .envs(template.environment)
            .current_dir(template.working_directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is the driver's business, not the workers'.
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let _ = prlimit(Some(pid), Resource::Nofile, *template.file_limit);
        Ok(Self {
            child,
            socket: ours,
            input: LineReader::new(LINE_BYTES),
            output: Vec::new(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a worker. Written with [`Self::flush`].
    pub fn request(&mut self, spawn: SpawnRequest<'_>) {
        if let Ok(line) = serde_json::to_vec(&ToZygote { spawn }) {
            self.output.extend_from_slice(&line);
            self.output.push(b'\n');
        }
    }

    /// Writes what the socket takes. Returns whether all is written.
    ///
    /// # Errors
    /// The template is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        while written < self.output.len() {
            match rustix::net::send(&self.socket, &self.output[written..], SendFlags::NOSIGNAL) {
                Ok(count) => written += count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.output.drain(..written);
        Ok(self.output.is_empty())
    }

    /// Reads what the template says. Returns whether it is still there.
    pub fn read(&mut self, says: &mut Vec<ZygoteSays>) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        loop {
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.input.feed(&buffer[..count], |line| {
                        match serde_json::from_slice(line) {
                            Ok(said) => says.push(said),
                            Err(error) => {
                                let line = String::from_utf8_lossy(line);
                                tracing::warn!(%error, %line, "the template said something odd");
                            }
                        }
                    })
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Ends the template, which has nothing to put in order.
    pub fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl AsFd for Zygote {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_the_template_reads() -> serde_json::Result<()> {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let spawn = SpawnRequest {
            worker: "ab".to_owned(),
            endpoint: "unix:@x/node",
            token: "t",
            log_directory: "/logs",
            environment: &environment,
            number: 3,
        };
        assert_eq!(
            serde_json::to_string(&ToZygote { spawn })?,
            r#"{"spawn":{"worker":"ab","endpoint":"unix:@x/node","token":"t","log_directory":"/logs","environment":{"A":"1"},"number":3}}"#
        );
        Ok(())
    }

    #[test]
    fn what_the_template_says_is_understood() -> serde_json::Result<()> {
        let said: ZygoteSays = serde_json::from_str(r#"{"exited": {"pid": 7, "status": 9}}"#)?;
        assert_eq!(said, ZygoteSays::Exited { pid: 7, status: 9 });
        let said: ZygoteSays = serde_json::from_str(r#"{"spawned": {"worker": "ab", "pid": 7}}"#)?;
        assert_eq!(
            said,
            ZygoteSays::Spawned {
                worker: "ab".to_owned(),
                pid: 7
            }
        );
        Ok(())
    }
}
