//! The ends of processes of other nodes, and those who want to hear of them.

use whipray_proto::messages::lease::{WatchWorker, WorkerDied};
use whipray_proto::{DeathCause, DeathKind, NodeId, WorkerId, limits};

use super::timers::{Micros, Timer, micros};
use super::{ClientId, Effect, Node};

impl Node {
    /// A client wants to hear when a process is gone.
    pub(super) fn watch_anywhere(&mut self, client: ClientId, watch: &WatchWorker, now: Micros) {
        match watch.node.filter(|node| *node != self.config.node) {
            None => self.watch(client, watch.worker),
            Some(node) => self.watch_elsewhere(client, watch.worker, node, now),
        }
    }

    fn watch_elsewhere(&mut self, client: ClientId, worker: WorkerId, node: NodeId, now: Micros) {
        if let Some(cause) = self.known_death(worker, node) {
            return self.send(client, WorkerDied { worker, cause });
        }
        self.obituaries.watch(worker, client);
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.watches.insert(worker);
        }
        self.ask_to_watch(worker, node, now);
    }

    /// Why a process of another node is dead, where that is known.
    pub(super) fn known_death(&self, worker: WorkerId, node: NodeId) -> Option<DeathCause> {
        if let Some(cause) = self.obituaries.cause(worker) {
            return Some(cause.clone());
        }
        let cause = self.neighbours.death_of(node)?.clone();
        Some(DeathCause { worker, ..cause })
    }

    /// Has the node of a process say when it is gone: once, however many want to hear it here.
    fn ask_to_watch(&mut self, worker: WorkerId, node: NodeId, now: Micros) {
        if !self.obituaries.watch_elsewhere(worker, node) {
            return;
        }
        if self.neighbours.is_known(node) {
            self.pass_watch_on(worker, node);
        } else {
            let at = now + 2 * micros(limits::DEATH_CAUSE_WAIT);
            self.timers.set(at, Timer::NodeUnheard(worker));
        }
    }

    fn pass_watch_on(&mut self, worker: WorkerId, node: NodeId) {
        let message = WatchWorker { worker, node: None }.into();
        self.effects.push(Effect::ToNode { node, message });
    }

    /// A node is there that nobody told of before: those who watch its processes have waited for it.
    pub(super) fn ask_for_watched(&mut self, node: NodeId) {
        for worker in self.obituaries.watched_on(node) {
            self.pass_watch_on(worker, node);
        }
    }

    /// Nobody has told of the node of a watched process until now.
    pub(super) fn give_up_watch(&mut self, worker: WorkerId, now: Micros) {
        let Some(node) = self.obituaries.node_of(worker) else {
            return;
        };
        if !self.neighbours.is_known(node) {
            let detail = format!("nobody knows of its node {node}");
            let cause = DeathCause {
                worker,
                node,
                ..DeathCause::new(DeathKind::Unknown, detail)
            };
            self.died_elsewhere(worker, cause, now);
        }
    }

    /// A process of another node that is watched here is gone.
    pub(super) fn died_elsewhere(&mut self, worker: WorkerId, cause: DeathCause, now: Micros) {
        let is_owner = self.obituaries.forget_elsewhere(worker);
        for watcher in self.obituaries.record(worker, cause.clone(), now) {
            let cause = cause.clone();
            self.send(watcher, WorkerDied { worker, cause });
        }
        if is_owner {
            self.objects.owner_gone(worker);
            self.settle_objects(now);
        }
    }

    /// A node is gone, with all its processes.
    pub(super) fn watched_died_with(&mut self, node: NodeId, cause: &DeathCause, now: Micros) {
        for worker in self.obituaries.watched_on(node) {
            let mut cause = cause.clone();
            cause.worker = worker;
            self.died_elsewhere(worker, cause, now);
        }
    }

    /// Something was sealed here for an owner of another node: it goes when that one is gone.
    /// Returns whether the owner is, as far as is known, alive.
    pub(super) fn watch_owner(&mut self, owner: WorkerId, node: NodeId, now: Micros) -> bool {
        if self.known_death(owner, node).is_some() {
            return false;
        }
        if self.obituaries.add_owner(owner) {
            self.ask_to_watch(owner, node, now);
        }
        true
    }
}
