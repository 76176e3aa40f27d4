//! The template process of a machine, which forks workers.

use whipray_node::core::{ClientId, Exit};
use whipray_proto::WorkerId;

use super::Daemon;
use crate::agenda::{Event, TemplateSays};
use crate::around::Around;

impl Daemon {
    pub(super) fn spawn(&mut self, worker: WorkerId, around: &mut Around) {
        let delay = around.random.duration(20_000);
        let (daemon, template) = (self.number, self.template);
        around.after(
            delay,
            Event::Fork {
                daemon,
                worker,
                template,
            },
        );
    }

    /// The template says something: later, and in the order in which it says it.
    pub fn template_says(&mut self, says: TemplateSays, around: &mut Around) {
        let delay = around.random.duration(10_000);
        self.template_latest = self.template_latest.max(around.now + delay);
        let event = Event::TemplateSays {
            daemon: self.number,
            says,
            template: self.template,
        };
        around.agenda.add(self.template_latest, event);
    }

    /// A word of the template has arrived.
    pub fn on_template_says(&mut self, says: TemplateSays, around: &mut Around) {
        around.note(|| format!("template > node: {says:?}"));
        match says {
            TemplateSays::Spawned { worker, pid } => {
                self.node.on_spawned(worker, pid);
            }
            TemplateSays::Exited { pid, status } => {
                let client = self
                    .node
                    .worker_with_pid(pid)
                    .and_then(|(_, client)| client);
                if let Some(client) = client {
                    self.read_all(client, around);
                }
                if let Some((worker, _)) = self.node.worker_with_pid(pid) {
                    self.grants.worker_gone(&worker);
                }
                let exit = Exit::Status {
                    status,
                    is_out_of_memory: false,
                };
                let now = self.now(around);
                self.node.on_exited(pid, exit, Vec::new(), now);
            }
        }
        self.end_turn(around);
    }

    /// Takes in all that a client has written.
    fn read_all(&mut self, client: ClientId, around: &mut Around) {
        if let Some(peer) = self.peers.get(&client) {
            let socket = peer.socket;
            self.read(socket, u64::MAX, around);
        }
    }

    /// The template is gone; a new one is started with the next worker.
    pub fn on_template_gone(&mut self, around: &mut Around) {
        around.note(|| "template is gone".to_owned());
        for client in self.node.worker_clients() {
            self.read_all(client, around);
        }
        self.template += 1;
        self.is_template_dead = false;
        self.grants.all_workers_gone();
        let now = self.now(around);
        self.node.on_template_gone(Vec::new(), now);
        self.end_turn(around);
    }
}
