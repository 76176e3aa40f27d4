//! The line with which a daemon tells whoever started it that it is ready, or why it is not.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

/// The line, as JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ReadyLine {
    Ready {
        endpoint: String,
        token: String,
        node_ip: String,
        session_directory: String,
        cluster_address: String,
    },
    Failed {
        error: String,
    },
}

/// Where the line goes.
pub struct Ready {
    target: Option<File>,
}

impl Ready {
    /// The file descriptor that was inherited; without one the line goes to standard output.
    ///
    /// # Errors
    /// There is no such descriptor.
    pub fn inherit(descriptor: Option<RawFd>) -> io::Result<Self> {
        Ok(Self {
            target: descriptor.map(inherit).transpose()?.map(File::from),
        })
    }

    /// Says it. Nobody may be there to hear it any more, which shows in the lifeline.
    pub fn say(&mut self, line: &ReadyLine) {
        let Ok(mut text) = serde_json::to_string(line) else {
            return;
        };
        text.push('\n');
        let _ = match &mut self.target {
            Some(file) => file.write_all(text.as_bytes()),
            None => io::stdout().write_all(text.as_bytes()),
        };
    }
}

/// Takes over a file descriptor that the parent left open, so that no child inherits it.
///
/// # Errors
/// It is not open.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("file descriptor {number} belongs to standard input or output"),
        ));
    }
    // SAFETY: it is only asked whether the descriptor is open, before anything else uses it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open, as the call above has shown, and the parent's command line gives it to
    // this process for this one purpose; each number is taken over once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_can_be_told_apart() -> serde_json::Result<()> {
        let failed: ReadyLine = serde_json::from_str(r#"{"error": "no"}"#)?;
        assert_eq!(
            failed,
            ReadyLine::Failed {
                error: "no".to_owned()
            }
        );
        let ready = ReadyLine::Ready {
            endpoint: "e".into(),
            token: "t".into(),
            node_ip: "i".into(),
            session_directory: "s".into(),
            cluster_address: "c".into(),
        };
        let text = serde_json::to_string(&ready)?;
        assert_eq!(serde_json::from_str::<ReadyLine>(&text)?, ready);
        Ok(())
    }

    #[test]
    fn descriptors_that_are_not_open_are_refused() {
        assert!(inherit(1).is_err());
        assert!(inherit(100_000).is_err());
    }
}
