//! Follows the files that workers write their output to.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::inotify;
use whipray_proto::messages::cluster::LogLines;
use whipray_proto::{JobId, WorkerId, limits};

use super::log_lines::{LogReader, NamedLines, marker};
use crate::core::Micros;

/// How much of the end of a dead worker's standard error is looked at.
const TAIL_BYTES: u64 = 32 * 1024;

/// One of the two outputs of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    pub worker: WorkerId,
    pub is_error: bool,
}

/// How far one output was read.
#[derive(Debug)]
struct Tail {
    pid: u32,
    offset: u64,
    reader: LogReader,
}

/// All outputs of the workers that live. A file is open only while it is read, so that a thousand
/// workers cost no file descriptors.
pub struct Logs {
    directory: PathBuf,
    events: OwnedFd,
    tails: FxHashMap<Stream, Tail>,
    changed: FxHashSet<Stream>,
    /// Since when streams have the beginning of a line whose end was not written.
    partial_since: FxHashMap<Stream, Micros>,
}

/// The name of a worker's output file.
pub fn file_name(worker: WorkerId, pid: u32, is_error: bool) -> String {
    let ending = if is_error { "err" } else { "out" };
    format!("worker-{worker}-{pid}.{ending}")
}

/// Whose output a file is, by its name.
fn parse_file_name(name: &str) -> Option<Stream> {
    let rest = name.strip_prefix("worker-")?;
    let (stem, ending) = rest.rsplit_once('.')?;
    let is_error = match ending {
        "out" => false,
        "err" => true,
        _ => return None,
    };
    let worker = WorkerId::from_hex(stem.split('-').next()?)?;
    Some(Stream { worker, is_error })
}

impl Logs {
    /// Follows the files of `directory`.
    ///
    /// # Errors
    /// The folder cannot be watched.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let events = inotify::init(flags)?;
        inotify::add_watch(&events, directory, inotify::WatchFlags::MODIFY)?;
        Ok(Self {
            directory: directory.to_owned(),
            events,
            tails: FxHashMap::default(),
            changed: FxHashSet::default(),
            partial_since: FxHashMap::default(),
        })
    }

    /// A worker has begun to write. Saying so twice does not start it over.
    pub fn follow(&mut self, worker: WorkerId, pid: u32) {
        for is_error in [false, true] {
            let stream = Stream { worker, is_error };
            self.tails.entry(stream).or_insert_with(|| Tail {
                pid,
                offset: 0,
                reader: LogReader::new(),
            });
            self.changed.insert(stream);
        }
    }

    /// Notes which files have changed.
    pub fn read_events(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        while let Ok(event) = reader.next() {
            let name = event.file_name().and_then(|name| name.to_str().ok());
            match name {
                Some(name) => {
                    let stream = parse_file_name(name);
                    self.changed
                        .extend(stream.filter(|known| self.tails.contains_key(known)));
                }
                // The queue ran over: any file may have changed.
                None => self.changed.extend(self.tails.keys()),
            }
        }
    }

    /// Takes the streams that have changed since they were last taken.
    pub fn take_changed(&mut self) -> Vec<Stream> {
        self.changed.drain().collect()
    }

    /// Notes that a stream is to be looked at again.
    pub fn look_again(&mut self, stream: Stream) {
        if self.tails.contains_key(&stream) {
            self.changed.insert(stream);
        }
    }

    /// The streams of all workers that live.
    pub fn streams(&self) -> Vec<Stream> {
        self.tails.keys().copied().collect()
    }

    /// Reads on, one batch at most. Returns what was read and whether there may be more.
    pub fn read(
        &mut self,
        stream: Stream,
        job: JobId,
        ip: &str,
        now: Micros,
    ) -> (Vec<LogLines>, bool) {
        let Some(tail) = self.tails.get_mut(&stream) else {
            return (Vec::new(), false);
        };
        let path = self
            .directory
            .join(file_name(stream.worker, tail.pid, stream.is_error));
        let Ok(file) = File::open(path) else {
            return (Vec::new(), false);
        };
        let mut buffer = vec![0; limits::LOG_BATCH_BYTES];
        let count = file.read_at(&mut buffer, tail.offset).unwrap_or(0);
        tail.offset += count as u64;
        let mut batches = Vec::new();
        tail.reader.feed(&buffer[..count], &mut batches);
        if !tail.reader.has_partial() {
            self.partial_since.remove(&stream);
        } else if batches.is_empty() {
            self.partial_since.entry(stream).or_insert(now);
        } else {
            self.partial_since.insert(stream, now);
        }
        let lines = named(batches, stream, tail.pid, job, ip);
        (lines, count == limits::LOG_BATCH_BYTES)
    }

    /// Nobody wants to hear what was written so far.
    pub fn skip(&mut self, stream: Stream) {
        let Some(tail) = self.tails.get_mut(&stream) else {
            return;
        };
        let path = self
            .directory
            .join(file_name(stream.worker, tail.pid, stream.is_error));
        if let Ok(metadata) = std::fs::metadata(path) {
            tail.offset = metadata.len();
        }
    }

    /// When the next line that lacks its end is late.
    pub fn next_deadline(&self) -> Option<Micros> {
        let first = self.partial_since.values().min()?;
        Some(first + limits::LOG_LINE_WAIT.as_micros() as Micros)
    }

    /// The streams whose last line lacks its end for too long.
    pub fn late(&self, now: Micros) -> Vec<Stream> {
        let late = now.saturating_sub(limits::LOG_LINE_WAIT.as_micros() as Micros);
        let since = self.partial_since.iter();
        since
            .filter(|(_, since)| **since <= late)
            .map(|(stream, _)| *stream)
            .collect()
    }

    /// The last line of what was read, which counts even without an end.
    pub fn take_partial(&mut self, stream: Stream, job: JobId, ip: &str) -> Vec<LogLines> {
        self.partial_since.remove(&stream);
        let Some(tail) = self.tails.get_mut(&stream) else {
            return Vec::new();
        };
        let mut batches = Vec::new();
        tail.reader.finish(&mut batches);
        named(batches, stream, tail.pid, job, ip)
    }

    /// The worker is gone: gives its last line and forgets the stream.
    pub fn finish(&mut self, stream: Stream, job: JobId, ip: &str) -> Vec<LogLines> {
        let lines = self.take_partial(stream, job, ip);
        self.changed.remove(&stream);
        self.tails.remove(&stream);
        lines
    }

    /// The last lines of a worker's standard error.
    pub fn stderr_tail(&self, worker: WorkerId, pid: u32) -> Vec<String> {
        let path = self.directory.join(file_name(worker, pid, true));
        last_lines(&path, limits::STDERR_TAIL_LINES)
    }
}

impl AsFd for Logs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// The last lines of a text file, without the ones that only announce names.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(TAIL_BYTES);
        let mut bytes = vec![0; (length - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    };
    let Ok(bytes) = read() else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && marker(line).is_none())
        .collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

fn named(
    batches: Vec<NamedLines>,
    stream: Stream,
    pid: u32,
    job: JobId,
    ip: &str,
) -> Vec<LogLines> {
    let lines = |batch: NamedLines| LogLines {
        job,
        worker: stream.worker,
        pid,
        ip: ip.to_owned(),
        name: batch.name,
        is_error: stream.is_error,
        lines: batch.lines,
    };
    batches.into_iter().map(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn job() -> JobId {
        JobId::from_number(1)
    }

    #[test]
    fn what_a_worker_writes_is_read_once() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut logs = Logs::new(folder.path())?;
        let worker = WorkerId::random();
        let path = folder.path().join(file_name(worker, 7, false));
        let mut file = File::create(path)?;
        logs.follow(worker, 7);
        file.write_all(b":task_name:f\nhello\nwor")?;
        logs.read_events();
        let stream = Stream {
            worker,
            is_error: false,
        };
        assert!(logs.take_changed().contains(&stream));
        let (batches, has_more) = logs.read(stream, job(), "ip", 0);
        assert!(!has_more);
        assert_eq!(batches.len(), 1);
        assert_eq!(
            (batches[0].name.as_str(), &batches[0].lines[..]),
            ("f", &["hello".into()][..])
        );
        file.write_all(b"ld")?;
        assert!(logs.read(stream, job(), "ip", 0).0.is_empty());
        assert_eq!(logs.take_partial(stream, job(), "ip")[0].lines, ["world"]);
        file.write_all(b"!")?;
        assert!(logs.read(stream, job(), "ip", 0).0.is_empty());
        assert_eq!(logs.finish(stream, job(), "ip")[0].lines, ["!"]);
        assert!(logs.finish(stream, job(), "ip").is_empty());
        Ok(())
    }

    #[test]
    fn a_line_is_late_by_its_beginning() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut logs = Logs::new(folder.path())?;
        let worker = WorkerId::random();
        let mut file = File::create(folder.path().join(file_name(worker, 7, false)))?;
        logs.follow(worker, 7);
        let stream = Stream {
            worker,
            is_error: false,
        };
        let wait = limits::LOG_LINE_WAIT.as_micros() as Micros;
        file.write_all(b"a bar: 1%")?;
        logs.read(stream, job(), "ip", 10);
        file.write_all(b"\r2%")?;
        logs.read(stream, job(), "ip", wait);
        assert_eq!(logs.next_deadline(), Some(10 + wait));
        assert!(logs.late(9 + wait).is_empty());
        assert_eq!(logs.late(10 + wait), [stream]);
        logs.take_partial(stream, job(), "ip");
        assert_eq!(logs.next_deadline(), None);
        file.write_all(b"\nnext")?;
        assert!(logs.read(stream, job(), "ip", 20 + wait).0.is_empty());
        file.write_all(b"\nand next")?;
        logs.read(stream, job(), "ip", 30 + wait);
        assert_eq!(logs.next_deadline(), Some(30 + wait + wait));
        Ok(())
    }

    #[test]
    fn other_files_are_no_streams() {
        let worker = WorkerId::random();
        let name = file_name(worker, 9, true);
        assert_eq!(
            parse_file_name(&name),
            Some(Stream {
                worker,
                is_error: true
            })
        );
        for name in ["daemon.log", "worker-zz-1.out", "worker-1.txt", ""] {
            assert_eq!(parse_file_name(name), None);
        }
    }

    #[test]
    fn last_lines_leave_markers_out() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.err");
        std::fs::write(&path, "one\n:task_name:f\ntwo\n\nthree\n")?;
        assert_eq!(last_lines(&path, 2), ["two", "three"]);
        assert!(last_lines(&folder.path().join("none"), 2).is_empty());
        Ok(())
    }
}
