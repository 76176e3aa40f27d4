//! The metrics of the processes of this node, for whoever reads them.
//!
//! A process with metrics says so, and says their values when it is asked, now and then by itself, and
//! before it leaves. Its last words are kept. Whoever reads gets what the processes say at that
//! moment; of those that say nothing in time, what they said before.

mod departed;
mod own;
mod page;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::messages::metrics::{MetricFamily, MetricsReported, MetricsRequest};
use whipray_proto::messages::session::Role;
use whipray_proto::{WorkerId, limits};

use super::memory::MachineMemory;
use super::timers::{Micros, Timer, micros};
use super::{ClientId, Effect, Node};

use departed::Departed;
pub use page::Page;

/// What one process has said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessMetrics {
    pub worker: WorkerId,
    pub families: Vec<MetricFamily>,
    /// Values that it had no room for.
    pub dropped: u64,
}

/// Where metrics can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Door {
    /// Nobody wanted it so far.
    #[default]
    Closed,
    /// The shell was asked for it; where it could not be opened, it stays so.
    Asked,
    Open {
        port: u16,
    },
}

/// Answers that are awaited.
#[derive(Debug)]
enum Pending {
    /// Somebody reads.
    Reading {
        reading: u64,
        memory: Option<MachineMemory>,
        waiting: FxHashSet<ClientId>,
    },
    /// A process is to end once it has said its last values.
    Farewell { client: ClientId, end: End },
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself, once its connection is closed.
    Closed,
    Killed(WorkerId),
}

/// What the node knows of metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    door: Door,
    /// Of those that are connected and have metrics.
    processes: FxHashMap<ClientId, Arc<ProcessMetrics>>,
    departed: Arc<Departed>,
    last_request: u64,
    pending: FxHashMap<u64, Pending>,
}

impl Metrics {
    /// Where metrics can be read; zero while nowhere.
    pub fn port(&self) -> u16 {
        match self.door {
            Door::Closed | Door::Asked => 0,
            Door::Open { port } => port,
        }
    }
}

impl Node {
    /// Metrics can be read at this port from now on.
    pub fn on_metrics_door(&mut self, port: u16) {
        self.metrics.door = Door::Open { port };
    }

    /// Somebody wants to read. `reading` stands for it in the answer, which comes as an effect.
    pub fn on_reading(&mut self, reading: u64, memory: Option<MachineMemory>, now: Micros) {
        let waiting: FxHashSet<ClientId> = self.metrics.processes.keys().copied().collect();
        if waiting.is_empty() {
            return self.answer_reading(reading, memory, 0);
        }
        let clients: Vec<ClientId> = waiting.iter().copied().collect();
        let pending = Pending::Reading {
            reading,
            memory,
            waiting,
        };
        let request = self.await_metrics(pending, now);
        for client in clients {
            self.send(client, MetricsRequest { request });
        }
    }

    fn await_metrics(&mut self, pending: Pending, now: Micros) -> u64 {
        self.metrics.last_request += 1;
        let request = self.metrics.last_request;
        self.metrics.pending.insert(request, pending);
        let at = now + micros(limits::INQUIRY_WAIT);
        self.timers.set(at, Timer::Metrics(request));
        request
    }

    pub(super) fn metrics_reported(&mut self, client: ClientId, reported: MetricsReported) {
        let Some(entry) = self.clients.get(&client) else {
            return;
        };
        if entry.role == Role::Tool {
            return;
        }
        let said = ProcessMetrics {
            worker: entry.worker,
            families: reported.families,
            dropped: reported.dropped,
        };
        if self.metrics.door == Door::Closed && !said.families.is_empty() {
            self.metrics.door = Door::Asked;
            self.effects.push(Effect::OpenMetricsDoor);
        }
        self.metrics.processes.insert(client, Arc::new(said));
        self.count_answer(reported.request, client);
    }

    /// Nobody waits for this process's answer to that question any more.
    fn count_answer(&mut self, request: u64, client: ClientId) {
        let is_complete = match self.metrics.pending.get_mut(&request) {
            Some(Pending::Reading { waiting, .. }) => {
                waiting.remove(&client);
                waiting.is_empty()
            }
            Some(Pending::Farewell {
                client: leaving, ..
            }) => *leaving == client,
            None => false,
        };
        if is_complete {
            self.end_metrics_wait(request);
        }
    }

    /// All have answered, or the time is over.
    pub(super) fn end_metrics_wait(&mut self, request: u64) {
        match self.metrics.pending.remove(&request) {
            Some(Pending::Reading {
                reading,
                memory,
                waiting,
            }) => self.answer_reading(reading, memory, waiting.len()),
            Some(Pending::Farewell { client, end }) => self.carry_out_end(client, end),
            None => {}
        }
    }

    fn answer_reading(&mut self, reading: u64, memory: Option<MachineMemory>, silent: usize) {
        let page = Box::new(Page {
            node_ip: self.config.node_ip.clone(),
            session_name: self.config.session_name.clone(),
            own: self.own_metrics(memory, silent),
            processes: self.metrics.processes.values().cloned().collect(),
            departed: self.metrics.departed.clone(),
        });
        self.effects.push(Effect::MetricsRead { reading, page });
    }

    /// Lets a process leave, as soon as it has said its last values.
    pub(super) fn close_in_order(&mut self, client: ClientId, now: Micros) {
        self.end_in_order(client, End::Closed, now);
    }

    /// Ends the process of a worker, as soon as it has said its last values.
    pub(super) fn kill_in_order(&mut self, worker: WorkerId, now: Micros) {
        match self.by_worker.get(&worker) {
            Some(client) => self.end_in_order(*client, End::Killed(worker), now),
            None => self.kill_process_of(worker),
        }
    }

    fn end_in_order(&mut self, client: ClientId, end: End, now: Micros) {
        if self.metrics.processes.contains_key(&client) {
            let request = self.await_metrics(Pending::Farewell { client, end }, now);
            self.send(client, MetricsRequest { request });
        } else {
            self.carry_out_end(client, end);
        }
    }

    fn carry_out_end(&mut self, client: ClientId, end: End) {
        match end {
            End::Closed => self.effects.push(Effect::Close { client }),
            End::Killed(worker) => self.kill_process_of(worker),
        }
    }

    /// A process is gone. What it has counted stays.
    pub(super) fn keep_metrics_of(&mut self, client: ClientId) {
        let Some(said) = self.metrics.processes.remove(&client) else {
            return;
        };
        Arc::make_mut(&mut self.metrics.departed).add(said);
        let requests: Vec<u64> = self.metrics.pending.keys().copied().collect();
        for request in requests {
            match self.metrics.pending.get(&request) {
                Some(Pending::Farewell {
                    client: leaving, ..
                }) if *leaving == client => {
                    self.metrics.pending.remove(&request);
                }
                _ => self.count_answer(request, client),
            }
        }
    }
}
