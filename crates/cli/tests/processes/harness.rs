//! A daemon of the real program, in a folder of its own, with the fake template for its workers.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whipray_net::{Connection, Endpoint};
use whipray_proto::messages::session::{Hello, JobDescription, Role, Welcome};
use whipray_proto::{Message, PROTOCOL_VERSION, WorkerId};
use whipray_store::Arena;

pub type TestResult = Result<(), Box<dyn Error>>;

/// Far more than anything takes; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_whipray")
}

/// The example `fake_template`, which lies beside the program.
pub fn fake_template() -> PathBuf {
    let folder = Path::new(program()).parent().unwrap_or(Path::new("."));
    folder.join("examples").join("fake_template")
}

/// A daemon that lives as long as this.
pub struct Daemon {
    pub child: Child,
    lifeline: Option<UnixStream>,
    pub ready: Value,
    folder: tempfile::TempDir,
}

impl Daemon {
    pub fn start(options: Value) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut all = json!({
            "num_cpus": 2,
            "num_gpus": 0,
            "object_store_memory": 100 * 1024 * 1024,
            "python": fake_template(),
            "temp_dir": folder.path(),
        });
        if let (Some(all), Some(options)) = (all.as_object_mut(), options.as_object()) {
            all.extend(options.clone());
        }
        let (lifeline, its_lifeline) = UnixStream::pair()?;
        let (ready, its_ready) = UnixStream::pair()?;
        for descriptor in [&its_lifeline, &its_ready] {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        let child = Command::new(program())
            .arg("daemon")
            .args(["--lifeline-fd", &its_lifeline.as_raw_fd().to_string()])
            .args(["--ready-fd", &its_ready.as_raw_fd().to_string()])
            .args(["--options-json", &all.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        drop((its_lifeline, its_ready));
        let mut line = String::new();
        BufReader::new(ready).read_line(&mut line)?;
        let ready = serde_json::from_str(&line)?;
        Ok(Self {
            child,
            lifeline: Some(lifeline),
            ready,
            folder,
        })
    }

    pub fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_default()
    }

    /// The driver goes.
    pub fn cut_lifeline(&mut self) {
        self.lifeline = None;
    }

    pub fn raw_connection(&self) -> Result<Connection, Box<dyn Error>> {
        let endpoint: Endpoint = self.text("endpoint").parse()?;
        Ok(Connection::connect(&endpoint)?)
    }

    pub fn driver(&self) -> Result<Client, Box<dyn Error>> {
        self.client(Role::Driver, self.text("token"))
    }

    pub fn client(&self, role: Role, token: &str) -> Result<Client, Box<dyn Error>> {
        let mut connection = self.raw_connection()?;
        connection.expect_descriptors(true);
        let worker = WorkerId::random();
        let job = JobDescription {
            log_to_driver: true,
            ..JobDescription::default()
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            token: token.to_owned(),
            role: role as i32,
            worker,
            pid: std::process::id(),
            job: (role == Role::Driver).then_some(job),
            ..Hello::default()
        };
        connection.queue(&hello.into());
        match connection.exchange(PATIENCE)? {
            Message::Welcome(welcome) => {
                let descriptor = connection.take_descriptor().ok_or("no arena came")?;
                let arena = Arena::from_descriptor(descriptor, welcome.arena_bytes)?;
                Ok(Client {
                    connection,
                    worker,
                    welcome,
                    arena,
                })
            }
            other => Err(format!("no welcome but {other:?}").into()),
        }
    }

    /// The daemon and its workers, as far as they are there.
    pub fn processes(&self) -> Vec<u32> {
        let mark = self.folder.path().display().to_string();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&mark)
        })
        .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connected driver or tool.
pub struct Client {
    pub connection: Connection,
    pub worker: WorkerId,
    pub welcome: Welcome,
    pub arena: Arena,
}

impl Client {
    pub fn say(&mut self, message: impl Into<Message>) -> TestResult {
        self.connection.queue(&message.into());
        self.connection.flush()?;
        Ok(())
    }

    /// The next message that `wanted` takes; others are passed over.
    pub fn await_message<T>(
        &mut self,
        mut wanted: impl FnMut(Message) -> Option<T>,
    ) -> Result<T, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = wanted(self.connection.exchange(PATIENCE)?) {
                return Ok(found);
            }
        }
        Err("the message did not come".into())
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("{what}: did not come to be").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
