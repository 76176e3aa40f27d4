//! What workers write, on its way to their drivers.

use whipray_proto::messages::cluster::LogsFlushed;
use whipray_proto::{WorkerId, limits};

use super::{Control, Daemon};
use crate::core::{Audience, ClientId, Micros};
use crate::shell::logs::Stream;

/// How far the output of a worker has come to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is not known yet whose it is.
    Held,
    Done,
    /// There is more to send at once.
    More,
    /// The driver must read first.
    Behind,
}

impl<C: Control> Daemon<C> {
    /// Sends drivers what their workers wrote, then lets the files rest for a moment: a worker that
    /// writes all the time wakes the daemon a hundred times a second, not at each line.
    pub(super) fn forward_logs(&mut self) {
        let mut has_looked = false;
        for stream in self.logs.take_changed() {
            has_looked |= self.forward_stream(stream) != Progress::Held;
        }
        if has_looked {
            let rest = self.now() + limits::LOG_INTERVAL.as_micros() as Micros;
            if self.logs_rest_until.replace(rest).is_none() {
                self.poller.remove(&self.logs);
            }
        }
    }

    /// Sends one batch of one stream.
    fn forward_stream(&mut self, stream: Stream) -> Progress {
        let now = self.now();
        match self.node.audience(stream.worker) {
            Audience::NotKnownYet => {
                self.logs.look_again(stream);
                Progress::Held
            }
            Audience::Nobody => {
                self.logs.skip(stream);
                Progress::Done
            }
            Audience::Driver { client, .. } if self.backlog(client) > limits::LOG_BACKLOG_BYTES => {
                self.logs.look_again(stream);
                Progress::Behind
            }
            Audience::Driver { client, job } => {
                let ip = &self.settings.config.node_ip;
                let (batches, has_more) = self.logs.read(stream, job, ip, now);
                for lines in batches {
                    self.deliver(client, &lines.into());
                }
                if !has_more {
                    return Progress::Done;
                }
                self.logs.look_again(stream);
                Progress::More
            }
        }
    }

    /// Sends the beginning of a line whose end is not written yet: a prompt, a bar of progress.
    pub(super) fn forward_partial(&mut self, stream: Stream) {
        let (client, job) = match self.node.audience(stream.worker) {
            Audience::Driver { client, job } => (Some(client), job),
            _ => (None, whipray_proto::JobId::default()),
        };
        let lines = self
            .logs
            .take_partial(stream, job, &self.settings.config.node_ip);
        for lines in lines {
            if let Some(client) = client {
                self.deliver(client, &lines.into());
            }
        }
    }

    /// Sends all that a worker wrote before its end.
    pub(super) fn finish_logs(&mut self, worker: WorkerId) {
        for is_error in [false, true] {
            let stream = Stream { worker, is_error };
            let audience = self.node.audience(worker);
            let Audience::Driver { client, job } = audience else {
                self.logs
                    .finish(stream, whipray_proto::JobId::default(), "");
                continue;
            };
            while self.forward_stream(stream) == Progress::More {}
            for lines in self.logs.finish(stream, job, &self.settings.config.node_ip) {
                self.deliver(client, &lines.into());
            }
        }
    }

    /// Sends a driver all that its workers here wrote until now, lines without an end too, and says
    /// so. What workers of other nodes wrote comes as their nodes see it, a moment later.
    pub(super) fn flush_logs(&mut self, driver: ClientId, request: u64) {
        for stream in self.logs.streams() {
            if !matches!(
                self.node.audience(stream.worker),
                Audience::Driver { client, .. } if client == driver
            ) {
                continue;
            }
            let mut progress = Progress::More;
            while progress == Progress::More {
                progress = self.forward_stream(stream);
            }
            if progress == Progress::Done {
                self.forward_partial(stream);
            }
        }
        self.connections
            .queue(driver, &LogsFlushed { request }.into());
    }
}
