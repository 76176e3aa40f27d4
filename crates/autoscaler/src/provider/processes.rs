//! Instances that are daemons on this machine: the provider for tests of programs, and for trying
//! out what an autoscaled cluster does.
//!
//! Each daemon holds the end of a pipe, and ends with all that it has when nothing holds the other
//! one any more: also where this process is killed.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use serde_json::{Map, Value};
use whipray_proto::Resources;
use whipray_proto::resources::{CPU, GPU, MEMORY, OBJECT_STORE_MEMORY};

use super::{Instance, InstanceId, Launch, LaunchFailure, Provider};

/// How long a daemon may take to end in order before it is killed.
const END_WAIT: Duration = Duration::from_secs(15);

/// How long a daemon may take until its node is one of the cluster.
pub const START_WAIT: Duration = Duration::from_secs(120);

/// The longest line that a daemon may say, in bytes.
const LINE_BYTES: usize = 64 * 1024;

/// How daemons are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The native program.
    pub program: PathBuf,
    /// The options that all of these daemons have in common.
    pub options: Map<String, Value>,
}

/// One daemon.
struct Process {
    id: InstanceId,
    launch: u64,
    node_type: String,
    child: Child,
    /// Where it says that it is one of the cluster, or why not.
    ready: PipeReader,
    said: Vec<u8>,
    /// Closed: it is to end.
    lifeline: Option<PipeWriter>,
    /// When it is killed.
    killed_at: Option<Instant>,
    /// Whether anybody was told of it.
    is_listed: bool,
}

/// Starts daemons on this machine.
pub struct Processes {
    settings: Settings,
    running: Vec<Process>,
    failures: Vec<LaunchFailure>,
}

impl Processes {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            running: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn start(&self, launch: &Launch) -> io::Result<Process> {
        let id = format!("{}-{}", launch.node_type.name, launch.number);
        let (theirs, lifeline) = io::pipe()?;
        let (ready, their_ready) = io::pipe()?;
        rustix::io::ioctl_fionbio(&ready, true)?;
        inherit(&theirs)?;
        inherit(&their_ready)?;
        let options = serde_json::to_string(&self.options(&id, launch))?;
        let child = Command::new(&self.settings.program)
            .arg("daemon")
            .arg("--lifeline-fd")
            .arg(theirs.as_raw_fd().to_string())
            .arg("--ready-fd")
            .arg(their_ready.as_raw_fd().to_string())
            .arg("--options-json")
            .arg(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal of the terminal is for the head alone, which then ends its nodes.
            .process_group(0)
            .spawn()?;
        Ok(Process {
            id,
            launch: launch.number,
            node_type: launch.node_type.name.clone(),
            child,
            ready,
            said: Vec::new(),
            lifeline: Some(lifeline),
            killed_at: None,
            is_listed: false,
        })
    }

    fn options(&self, id: &str, launch: &Launch) -> Map<String, Value> {
        let node_type = &launch.node_type;
        let mut options = self.settings.options.clone();
        options.extend(amounts(&node_type.resources));
        options.insert("labels".to_owned(), serde_json::json!(node_type.labels));
        options.insert("instance".to_owned(), id.into());
        options.insert("node_type".to_owned(), node_type.name.clone().into());
        options
    }

    /// Notices those that have ended, and kills those that should have.
    fn look(&mut self) {
        let now = Instant::now();
        let mut failures = Vec::new();
        self.running.retain_mut(|process| {
            process.listen();
            let status = match process.child.try_wait() {
                Ok(Some(status)) => status,
                Ok(None) => {
                    if process.killed_at.is_some_and(|at| at <= now) {
                        let _ = process.child.kill();
                    }
                    return true;
                }
                Err(error) => {
                    tracing::warn!(instance = process.id, %error, "process is lost");
                    return false;
                }
            };
            process.listen();
            tracing::info!(instance = process.id, %status, "process has ended");
            if process.killed_at.is_none()
                && let Some(reason) = process.why_failed(status)
            {
                failures.push(LaunchFailure {
                    launch: process.launch,
                    reason,
                });
            }
            false
        });
        self.failures.extend(failures);
    }
}

impl Process {
    /// Reads what the daemon says.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while self.said.len() < LINE_BYTES {
            match self.ready.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => self.said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Why the launch of a daemon that has ended came to nothing; `None` where it did not: it was one
    /// of the cluster, and listed.
    fn why_failed(&self, status: ExitStatus) -> Option<String> {
        let line: Value = match serde_json::from_slice(&self.said) {
            Ok(line) => line,
            Err(_) => return Some(format!("its daemon ended before it was ready: {status}")),
        };
        match line.get("error").and_then(Value::as_str) {
            Some(error) => Some(error.to_owned()),
            None => (!self.is_listed)
                .then(|| format!("its daemon ended as soon as it was ready: {status}")),
        }
    }

    fn end(&mut self) {
        self.lifeline = None;
        self.killed_at.get_or_insert(Instant::now() + END_WAIT);
    }
}

impl Provider for Processes {
    fn launch(&mut self, launch: Launch) {
        match self.start(&launch) {
            Ok(process) => {
                tracing::info!(
                    instance = process.id,
                    pid = process.child.id(),
                    "process starts"
                );
                self.running.push(process);
            }
            Err(error) => self.failures.push(LaunchFailure {
                launch: launch.number,
                reason: format!("cannot start {}: {error}", self.settings.program.display()),
            }),
        }
    }

    fn terminate(&mut self, instance: &InstanceId) {
        let mut running = self.running.iter_mut();
        if let Some(process) = running.find(|process| process.id == *instance) {
            process.end();
        }
    }

    fn instances(&mut self) -> Vec<Instance> {
        self.look();
        let running = self.running.iter_mut();
        running
            .map(|process| {
                process.is_listed = true;
                Instance {
                    id: process.id.clone(),
                    node_type: process.node_type.clone(),
                    launch: Some(process.launch),
                }
            })
            .collect()
    }

    fn take_failures(&mut self) -> Vec<LaunchFailure> {
        std::mem::take(&mut self.failures)
    }

    fn end(&mut self) {
        self.running.iter_mut().for_each(Process::end);
        loop {
            self.look();
            if self.running.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets a child have a descriptor. Another child that is started at this moment may get it, too: it
/// has no use for it, and the ends that matter are never inherited.
fn inherit(descriptor: &impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// What a daemon is told of its resources.
fn amounts(resources: &Resources) -> Map<String, Value> {
    let mut options = Map::new();
    options.insert("num_cpus".to_owned(), resources.amount(CPU).into());
    options.insert("num_gpus".to_owned(), resources.amount(GPU).into());
    let mut custom = Map::new();
    for name in resources.amounts.keys() {
        let amount = resources.amount(name);
        match name.as_str() {
            CPU | GPU => {}
            MEMORY | OBJECT_STORE_MEMORY => {
                options.insert(name.clone(), (amount as u64).into());
            }
            _ => {
                custom.insert(name.clone(), amount.into());
            }
        }
    }
    options.insert("resources".to_owned(), custom.into());
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::conformance::{self, Stage};
    use std::os::unix::fs::PermissionsExt;

    /// A daemon as far as the provider sees one: joins at once, or says why it does not.
    const DAEMON: &str = r#"#!/bin/sh
case "$7" in
    *refused*) echo '{"error": "the head refuses it"}' > "/dev/fd/$5"; exit 1 ;;
    *crashes*) exit 3 ;;
esac
echo '{"cluster_address": "127.0.0.1:1"}' > "/dev/fd/$5"
case "$7" in
    *brief*) exit 4 ;;
esac
exec cat "/dev/fd/$3"
"#;

    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> io::Result<Self> {
            let folder = tempfile::tempdir()?;
            let program = folder.path().join("daemon");
            std::fs::write(&program, DAEMON)?;
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700))?;
            Ok(Self { folder })
        }

        fn processes(&self) -> Processes {
            Processes::new(Settings {
                program: self.folder.path().join("daemon"),
                options: Map::new(),
            })
        }
    }

    impl Stage for Machine {
        fn provider(&self) -> Box<dyn Provider> {
            Box::new(self.processes())
        }
    }

    #[test]
    fn it_does_what_every_provider_does() -> io::Result<()> {
        conformance::check(&Machine::new()?);
        Ok(())
    }

    #[test]
    fn why_a_daemon_does_not_start_is_its_own_word_or_its_end() -> io::Result<()> {
        let machine = Machine::new()?;
        let reason = |name: &str| {
            let mut provider = machine.provider();
            provider.launch(conformance::launch(1, name));
            conformance::failure_of(&mut *provider, 1)
        };
        assert_eq!(reason("refused"), "the head refuses it");
        assert!(reason("crashes").contains("before it was ready: exit status: 3"));
        Ok(())
    }

    /// Between two looks a daemon can come, join and be killed: its launch is neither on its way nor
    /// listed, and whoever asked for it must hear that.
    #[test]
    fn a_daemon_that_ends_before_it_was_listed_is_a_failed_launch() -> io::Result<()> {
        let machine = Machine::new()?;
        let mut provider = machine.processes();
        provider.launch(conformance::launch(1, "brief"));
        provider.running[0].child.wait()?;
        let reason = conformance::failure_of(&mut provider, 1);
        assert!(
            reason.contains("as soon as it was ready: exit status: 4"),
            "{reason}"
        );
        assert_eq!(provider.take_failures(), []);
        Ok(())
    }

    #[test]
    fn the_end_of_a_daemon_that_was_listed_is_no_failed_launch() -> io::Result<()> {
        let machine = Machine::new()?;
        let mut provider = machine.processes();
        provider.launch(conformance::launch(1, "small"));
        assert_eq!(provider.instances().len(), 1);
        while !provider.running[0].said.ends_with(b"\n") {
            provider.running[0].listen();
            std::thread::yield_now();
        }
        provider.running[0].child.kill()?;
        provider.running[0].child.wait()?;
        assert_eq!(provider.instances(), []);
        assert_eq!(provider.take_failures(), []);
        Ok(())
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failed_launch() {
        let mut provider = Processes::new(Settings {
            program: PathBuf::from("/nowhere/whipray"),
            options: Map::new(),
        });
        provider.launch(conformance::launch(4, "small"));
        let [failure] = &provider.take_failures()[..] else {
            panic!("one failure");
        };
        assert!(failure.reason.contains("/nowhere/whipray"), "{failure:?}");
        assert_eq!(provider.instances(), []);
    }

    #[test]
    fn amounts_become_the_options_of_a_daemon() {
        let resources = Resources::none()
            .with(CPU, 2.0)
            .with(MEMORY, 1e9)
            .with("gold", 0.5);
        let options = Value::Object(amounts(&resources));
        let expected = serde_json::json!({
            "num_cpus": 2.0, "num_gpus": 0.0, "memory": 1_000_000_000_u64,
            "resources": {"gold": 0.5},
        });
        assert_eq!(options, expected);
    }
}
