//! The template process and the workers that it forks.

use std::collections::BTreeMap;

use rustix::process::Signal;
use whipray_net::{Interest, ReadyEvent};
use whipray_proto::{WorkerId, limits};

use super::{Control, Daemon, ZYGOTE};
use crate::core::{ClientId, Exit, Micros};
use crate::shell::logs::last_lines;
use crate::shell::zygote::{SpawnRequest, Template, Zygote, ZygoteSays};

impl<C: Control> Daemon<C> {
    pub(super) fn start_zygote(&mut self) {
        let log_file = self.settings.log_directory.join("zygote.log");
        let template = Template {
            python: &self.settings.python,
            environment: &self.settings.environment,
            working_directory: &self.settings.working_directory,
            log_file: &log_file,
            file_limit: &self.settings.child_file_limit,
        };
        match Zygote::start(&template) {
            Ok(zygote) => {
                if let Err(error) = self.poller.add(&zygote, ZYGOTE, Interest::Read) {
                    tracing::error!(%error, "cannot listen to the template process");
                    return zygote.end();
                }
                tracing::info!(pid = zygote.pid(), "template process started");
                self.zygote = Some(zygote);
                self.zygote_waits_to_write = false;
            }
            Err(error) => {
                let python = &self.settings.python;
                tracing::error!(%error, python, "cannot start the template process");
            }
        }
    }

    pub(super) fn spawn_worker(
        &mut self,
        worker: WorkerId,
        environment: &BTreeMap<String, String>,
        number: u64,
    ) {
        if self.zygote.is_none() {
            self.start_zygote();
        }
        let Some(zygote) = &mut self.zygote else {
            let reason = format!("cannot run {:?}", self.settings.python);
            let now = self.now();
            return self.node.on_spawn_failed(worker, reason, now);
        };
        zygote.request(SpawnRequest {
            worker: worker.to_hex(),
            endpoint: &self.settings.config.endpoint,
            token: &self.streams.identity.token,
            log_directory: &self.settings.log_directory.to_string_lossy(),
            environment,
            number,
        });
    }

    pub(super) fn flush_zygote(&mut self) {
        let Some(zygote) = &mut self.zygote else {
            return;
        };
        // An error here is the end of the template, which the poller reports, too.
        let is_flushed = zygote.flush().unwrap_or(true);
        if is_flushed == self.zygote_waits_to_write {
            self.zygote_waits_to_write = !is_flushed;
            let interest = if is_flushed {
                Interest::Read
            } else {
                Interest::ReadWrite
            };
            let _ = self.poller.change(&*zygote, ZYGOTE, interest);
        }
    }

    pub(super) fn on_zygote(&mut self, event: ReadyEvent) {
        let Some(zygote) = &mut self.zygote else {
            return;
        };
        if !event.readable && !event.closed {
            return;
        }
        let mut says = Vec::new();
        let is_there = zygote.read(&mut says);
        for said in says {
            self.on_zygote_says(said);
            self.settle();
        }
        if !is_there {
            self.on_zygote_gone();
        }
    }

    fn on_zygote_says(&mut self, said: ZygoteSays) {
        let now = self.now();
        match said {
            ZygoteSays::Ready { pid, python } => {
                tracing::info!(pid, python, "template process is ready");
                self.on_python(python);
            }
            ZygoteSays::Spawned { worker, pid } => match WorkerId::from_hex(&worker) {
                Some(worker) => {
                    self.logs.follow(worker, pid);
                    self.guarded("spawn", |daemon| daemon.node.on_spawned(worker, pid));
                }
                None => tracing::warn!(worker, "the template spawned an unknown worker"),
            },
            ZygoteSays::Exited { pid, status } => self.on_worker_exited(pid, status, now),
        }
    }

    /// A worker's process has ended: first all that it said and wrote, then its end.
    fn on_worker_exited(&mut self, pid: u32, status: i32, now: Micros) {
        let Some((worker, client)) = self.node.worker_with_pid(pid) else {
            return;
        };
        if let Some(client) = client {
            self.read_all(client);
        }
        self.finish_logs(worker);
        let stderr_tail = self.logs.stderr_tail(worker, pid);
        let is_killed = status & 0x7f == Signal::KILL.as_raw();
        let is_out_of_memory = is_killed && self.memory_events.has_new();
        let exit = Exit::Status {
            status,
            is_out_of_memory,
        };
        self.guarded("exit", |daemon| {
            daemon.node.on_exited(pid, exit, stderr_tail, now)
        });
    }

    /// Takes in all that a client has written so far.
    fn read_all(&mut self, client: ClientId) {
        while self.read_client(client) {
            self.settle();
        }
        self.settle();
    }

    fn on_zygote_gone(&mut self) {
        // Owners may have answers of its workers, whose values are to be found here. What is started
        // meanwhile is still asked of this template, and is gone with it.
        for client in self.node.worker_clients() {
            self.read_all(client);
        }
        let Some(zygote) = self.zygote.take() else {
            return;
        };
        self.poller.remove(&zygote);
        zygote.end();
        let log_file = self.settings.log_directory.join("zygote.log");
        let last_words = last_lines(&log_file, limits::STDERR_TAIL_LINES);
        tracing::error!(
            last_words = last_words.join(" | "),
            "template process is gone"
        );
        for stream in self.logs.streams() {
            self.finish_logs(stream.worker);
        }
        let now = self.now();
        self.guarded("end of the template", |daemon| {
            daemon.node.on_template_gone(last_words, now);
        });
    }
}
