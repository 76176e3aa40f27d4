//! How workers end, and who hears of it.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::link::NodeSays;
use whipray_proto::messages::inquiry::EndedWorker;
use whipray_proto::messages::lease::{LeaseLost, WorkerDied};
use whipray_proto::{DeathCause, DeathKind, NodeId, WorkerId, limits};

use super::effect::Environment;
use super::timers::{Micros, Timer, micros};
use super::workers::{Link, Work};
use super::{ClientId, Effect, Node};

/// Who watches whom, and the causes of past deaths.
#[derive(Debug, Default)]
pub struct Obituaries {
    watchers: FxHashMap<WorkerId, Vec<ClientId>>,
    causes: FxHashMap<WorkerId, (DeathCause, Micros)>,
    order: VecDeque<WorkerId>,
    /// The nodes of watched processes that are not here; they will say when these are gone.
    elsewhere: FxHashMap<WorkerId, NodeId>,
    /// Processes of other nodes that own objects here.
    owners: FxHashSet<WorkerId>,
}

impl Obituaries {
    pub fn watch(&mut self, worker: WorkerId, watcher: ClientId) {
        let watchers = self.watchers.entry(worker).or_default();
        if !watchers.contains(&watcher) {
            watchers.push(watcher);
        }
    }

    pub fn unwatch(&mut self, worker: WorkerId, watcher: ClientId) {
        if let Some(watchers) = self.watchers.get_mut(&worker) {
            watchers.retain(|known| *known != watcher);
            if watchers.is_empty() {
                self.watchers.remove(&worker);
            }
        }
    }

    /// Notes that a process of another node is watched. Returns whether it was not before.
    pub fn watch_elsewhere(&mut self, worker: WorkerId, node: NodeId) -> bool {
        self.elsewhere.insert(worker, node).is_none()
    }

    /// The node of a watched process that is not here.
    pub fn node_of(&self, worker: WorkerId) -> Option<NodeId> {
        self.elsewhere.get(&worker).copied()
    }

    /// The watched processes of another node.
    pub fn watched_on(&self, node: NodeId) -> Vec<WorkerId> {
        let watched = self.elsewhere.iter().filter(|(_, of)| **of == node);
        let mut watched: Vec<WorkerId> = watched.map(|(worker, _)| *worker).collect();
        watched.sort_unstable();
        watched
    }

    /// Notes that a process of another node owns objects here. Returns whether it did not before.
    pub fn add_owner(&mut self, worker: WorkerId) -> bool {
        self.owners.insert(worker)
    }

    /// A process of another node is gone. Returns whether it owned objects here.
    pub fn forget_elsewhere(&mut self, worker: WorkerId) -> bool {
        self.elsewhere.remove(&worker);
        self.owners.remove(&worker)
    }

    /// Keeps a cause, and returns those who want to hear of it.
    pub fn record(&mut self, worker: WorkerId, cause: DeathCause, now: Micros) -> Vec<ClientId> {
        if self.causes.insert(worker, (cause, now)).is_none() {
            self.order.push_back(worker);
        }
        if self.order.len() > limits::DEATHS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.causes.remove(&oldest);
        }
        self.watchers.remove(&worker).unwrap_or_default()
    }

    pub fn cause(&self, worker: WorkerId) -> Option<&DeathCause> {
        self.causes.get(&worker).map(|(cause, _)| cause)
    }

    /// The workers of a node that have ended, the last ones, in the order of their ends.
    pub fn ended_of(&self, node: &NodeId, now: Micros) -> Vec<EndedWorker> {
        let ended = self.order.iter().rev().filter(|worker| worker.is_of(node));
        let ended = ended.take(limits::DEATHS_TOLD).filter_map(|worker| {
            let (cause, at) = self.causes.get(worker)?;
            Some(EndedWorker {
                worker: *worker,
                cause: cause.clone(),
                age_us: now.saturating_sub(*at),
            })
        });
        let mut ended: Vec<EndedWorker> = ended.collect();
        ended.reverse();
        ended
    }
}

/// What is known of the end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The status of `wait`, and whether the kernel ended the process for its memory.
    Status { status: i32, is_out_of_memory: bool },
    /// No status came in time.
    NotKnown,
    /// The template is gone, and takes its workers with it.
    WithTemplate,
}

impl Node {
    /// The template has forked a worker.
    pub fn on_spawned(&mut self, worker: WorkerId, pid: u32) {
        match self.pool.get(worker) {
            Some(entry) if entry.verdict.is_none() => self.pool.set_pid(worker, pid),
            Some(_) => {
                self.pool.set_pid(worker, pid);
                self.effects.push(Effect::KillProcess { pid });
            }
            None => self.effects.push(Effect::KillProcess { pid }),
        }
    }

    /// A process has ended. All that it wrote to its connection must have been delivered before.
    pub fn on_exited(&mut self, pid: u32, exit: Exit, stderr_tail: Vec<String>, now: Micros) {
        if let Some(worker) = self.pool.by_pid(pid) {
            self.bury(worker, exit, stderr_tail, now);
            self.schedule(now);
        }
    }

    /// The template could not fork a worker.
    pub fn on_spawn_failed(&mut self, worker: WorkerId, reason: String, now: Micros) {
        self.pool
            .condemn(worker, DeathCause::new(DeathKind::StartFailed, reason));
        self.bury(worker, Exit::NotKnown, Vec::new(), now);
        self.schedule(now);
    }

    /// The worker with this process, and its connection.
    pub fn worker_with_pid(&self, pid: u32) -> Option<(WorkerId, Option<ClientId>)> {
        let worker = self.pool.by_pid(pid)?;
        Some((worker, self.pool.get(worker)?.client()))
    }

    /// The connections of all workers.
    pub fn worker_clients(&self) -> Vec<ClientId> {
        let workers = self.pool.iter();
        workers.filter_map(|(_, entry)| entry.client()).collect()
    }

    /// The template process is gone; the kernel ends its children. All that these wrote to their
    /// connections must have been delivered before.
    pub fn on_template_gone(&mut self, last_words: Vec<String>, now: Micros) {
        let workers: Vec<WorkerId> = self.pool.iter().map(|(worker, _)| worker).collect();
        let mut failed = None;
        for worker in workers {
            if let Some(pid) = self.pool.get(worker).and_then(|entry| entry.pid) {
                self.effects.push(Effect::KillProcess { pid });
            }
            let start = self.remove_dead(worker, Exit::WithTemplate, last_words.clone(), now);
            failed = failed.or(start);
        }
        // However many workers were on their way, it is one thing that went wrong.
        if let Some((environment, cause)) = failed {
            self.start_failed(&environment, &cause, now);
        }
        self.schedule(now);
    }

    /// Ends a worker now. Those concerned hear of it once it is gone.
    pub(super) fn end_worker(&mut self, worker: WorkerId, cause: DeathCause) {
        self.pool.condemn(worker, cause);
        self.kill_process_of(worker);
    }

    /// The same for a worker that nothing is wrong with: it may say what it has counted before.
    pub(super) fn end_worker_in_order(&mut self, worker: WorkerId, cause: DeathCause, now: Micros) {
        self.pool.condemn(worker, cause);
        self.kill_in_order(worker, now);
    }

    pub(super) fn kill_process_of(&mut self, worker: WorkerId) {
        // One whose process is not known yet is ended when the template says its number.
        if let Some(pid) = self.pool.get(worker).and_then(|entry| entry.pid) {
            self.effects.push(Effect::KillProcess { pid });
        }
    }

    /// Lets an idle worker go in order: its connection ends, and it leaves by itself.
    pub(super) fn dismiss_worker(&mut self, worker: WorkerId, cause: DeathCause, now: Micros) {
        self.pool.condemn(worker, cause);
        if let Some(client) = self.pool.get(worker).and_then(|entry| entry.client()) {
            self.close_in_order(client, now);
        }
    }

    pub(super) fn give_up_start(&mut self, worker: WorkerId, now: Micros) {
        let Some(entry) = self.pool.get(worker) else {
            return;
        };
        if entry.link != Link::Starting {
            return;
        }
        let seconds = limits::WORKER_START.as_secs();
        let detail = format!("it did not say hello within {seconds} s");
        self.end_worker(worker, DeathCause::new(DeathKind::StartFailed, detail));
        let at = now + micros(limits::DEATH_CAUSE_WAIT);
        self.timers.set(at, Timer::WorkerLost(worker));
    }

    pub(super) fn give_up_exit_status(&mut self, worker: WorkerId, now: Micros) {
        let Some(entry) = self.pool.get(worker) else {
            return;
        };
        if matches!(entry.link, Link::Connected { .. }) {
            return;
        }
        if let Some(pid) = entry.pid {
            self.effects.push(Effect::KillProcess { pid });
        }
        self.bury(worker, Exit::NotKnown, Vec::new(), now);
        self.schedule(now);
    }

    /// Removes a worker whose process is gone, and tells everyone concerned why.
    fn bury(&mut self, worker: WorkerId, exit: Exit, stderr_tail: Vec<String>, now: Micros) {
        if let Some((environment, cause)) = self.remove_dead(worker, exit, stderr_tail, now) {
            self.start_failed(&environment, &cause, now);
        }
    }

    /// The same; a worker that never started is given back, with why.
    fn remove_dead(
        &mut self,
        worker: WorkerId,
        exit: Exit,
        stderr_tail: Vec<String>,
        now: Micros,
    ) -> Option<(Environment, DeathCause)> {
        let entry = self.pool.remove(worker)?;
        let has_started = entry.link != Link::Starting;
        let mut cause = judge(entry.verdict.clone(), exit, has_started);
        cause.pid = entry.pid.unwrap_or(0);
        cause.worker = worker;
        cause.node = self.config.node;
        cause.node_ip = self.config.node_ip.clone();
        cause.stderr_tail = stderr_tail;
        tracing::info!(worker = %worker, pid = cause.pid, cause = cause.headline(), "worker ended");
        match &entry.work {
            Work::Leased { lease, owner, .. } => {
                let (lease, owner) = (*lease, *owner);
                self.leases.remove(&lease);
                self.send(
                    owner,
                    LeaseLost {
                        lease,
                        cause: cause.clone(),
                    },
                );
            }
            Work::Actor {
                actor, incarnation, ..
            } => {
                self.tell_control(NodeSays::ActorEnded {
                    actor: *actor,
                    incarnation: *incarnation,
                    cause: Box::new(cause.clone()),
                });
            }
            Work::Idle { .. } => {}
        }
        self.settle(entry.work, now);
        if let Link::Connected { client, .. } | Link::Lost { client } = entry.link {
            self.remove_client(client, now);
            self.effects.push(Effect::Close { client });
        }
        self.announce_death(worker, cause.clone(), now);
        (!has_started).then_some((entry.environment, cause))
    }

    /// Tells control and those who watch a process that it is gone.
    pub(super) fn announce_death(&mut self, worker: WorkerId, cause: DeathCause, now: Micros) {
        for watcher in self.obituaries.record(worker, cause.clone(), now) {
            self.send(
                watcher,
                WorkerDied {
                    worker,
                    cause: cause.clone(),
                },
            );
        }
        self.tell_control(NodeSays::ProcessGone {
            process: worker,
            cause: Box::new(cause),
        });
    }

    pub(super) fn watch(&mut self, client: ClientId, worker: WorkerId) {
        if self.by_worker.contains_key(&worker) || self.pool.get(worker).is_some() {
            self.obituaries.watch(worker, client);
            if let Some(entry) = self.clients.get_mut(&client) {
                entry.watches.insert(worker);
            }
            return;
        }
        let cause = self
            .obituaries
            .cause(worker)
            .cloned()
            .unwrap_or_else(|| DeathCause {
                worker,
                node: self.config.node,
                node_ip: self.config.node_ip.clone(),
                ..DeathCause::new(
                    DeathKind::Unknown,
                    "the node knows of no such process any more",
                )
            });
        self.send(client, WorkerDied { worker, cause });
    }
}

/// The cause of a death, by what the node had decided and what the system says.
fn judge(verdict: Option<DeathCause>, exit: Exit, has_started: bool) -> DeathCause {
    let mut observed = match exit {
        Exit::Status {
            status,
            is_out_of_memory,
        } => {
            let signal = status & 0x7f;
            let exit_code = if signal == 0 { (status >> 8) & 0xff } else { 0 };
            let kind = match (signal, is_out_of_memory) {
                (0, _) => DeathKind::Exited,
                (_, true) => DeathKind::OutOfMemory,
                (_, false) => DeathKind::Signalled,
            };
            DeathCause {
                exit_code,
                signal,
                ..DeathCause::new(kind, "")
            }
        }
        Exit::NotKnown => DeathCause::new(DeathKind::Unknown, "no exit status came"),
        Exit::WithTemplate => DeathCause::new(DeathKind::TemplateDied, ""),
    };
    if let Some(verdict) = verdict {
        observed.kind = verdict.kind;
        observed.detail = verdict.detail;
        observed.memory = verdict.memory;
    } else if !has_started {
        observed.detail = format!("before it said hello, {}", observed.headline());
        observed.kind = DeathKind::StartFailed as i32;
    }
    observed
}
