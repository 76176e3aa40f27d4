//! What the daemons of other nodes say: as owners that want something, and as those that serve.

use whipray_proto::messages::cluster::WarnDriver;
use whipray_proto::messages::inquiry::Inquiry;
use whipray_proto::{JobId, Message, NodeId};

use super::timers::Micros;
use super::{ClientId, Node};

impl Node {
    /// Another daemon of the cluster says something.
    pub fn on_node_message(&mut self, from: NodeId, message: Message, now: Micros) {
        // What comes of a node that is dead is of the past.
        let Some(client) = self.ensure_neighbour(from) else {
            return;
        };
        match message {
            Message::LeaseTarget(target) => {
                self.expect_change();
                self.lease_target(client, target, now);
            }
            Message::LeaseReturn(lease) => {
                self.lease_return(client, lease.lease, lease.end_worker, now);
            }
            Message::KillWorker(kill) => self.kill_leased(client, kill.worker, kill.reason),
            Message::WatchWorker(watch) => self.watch(client, watch.worker),
            Message::LeaseGranted(granted) => self.granted_elsewhere(from, granted, now),
            Message::LeaseLost(lost) => self.lost_elsewhere(from, lost, now),
            Message::ReclaimIdle(reclaim) => self.reclaim_for(from, reclaim.round, now),
            Message::IdleReturned(returned) => self.idle_returned(client, returned.round, now),
            Message::LeasePending(pending) => self.pending_elsewhere(from, pending, now),
            Message::LeaseRefused(refused) => self.refused_elsewhere(from, refused, now),
            Message::WorkerDied(died) if self.obituaries.node_of(died.worker) == Some(from) => {
                self.died_elsewhere(died.worker, died.cause, now);
            }
            Message::FreeObjects(free) => {
                if let Some(owner) = free.owner {
                    for object in free.objects {
                        self.objects.free(owner, object);
                    }
                    self.settle_objects(now);
                }
            }
            Message::TakeObjects(take) => self.take_objects(from, take.objects, now),
            Message::ObjectsTaken(taken) => self.objects_taken(from, taken.objects, now),
            Message::CopyTaken(taken) if taken.by == from => self.ask_owner(taken, now),
            Message::CopyKept(kept) if kept.by == self.config.node => {
                self.copy_kept(&kept, from, now);
            }
            Message::LogLines(lines) => {
                if let Some(driver) = self.local_driver(lines.job) {
                    self.send(driver, lines);
                }
            }
            Message::WarnDriver(warning) => {
                let job = warning.job.unwrap_or_default();
                if let Some(driver) = self.local_driver(job) {
                    self.send(
                        driver,
                        WarnDriver {
                            job: None,
                            ..warning
                        },
                    );
                }
            }
            Message::Inquiry(inquiry) => {
                // A node asks others itself.
                let is_for_all = false;
                let inquiry = Inquiry {
                    is_for_all,
                    ..inquiry
                };
                self.inquire(client, inquiry, now);
            }
            Message::InquiryAnswered(answered) => self.inquiry_answered(from, answered),
            Message::CycleFound(cycle) => {
                if self.local_driver(cycle.job).is_some() {
                    self.cycle_found(&cycle);
                }
            }
            unexpected => {
                tracing::warn!(%from, message = unexpected.name(), "unexpected message of a node");
            }
        }
    }

    /// The driver of a job, where it is connected to this node.
    fn local_driver(&self, job: JobId) -> Option<ClientId> {
        let driver = self.jobs.get(&job)?.driver;
        self.neighbours.node_of(driver).is_none().then_some(driver)
    }

    /// Tells the driver of a job something that its user should see, wherever it is.
    pub(super) fn warn_driver(&mut self, job: JobId, text: String) {
        if let Some(driver) = self.jobs.get(&job).map(|job| job.driver) {
            let is_elsewhere = self.neighbours.node_of(driver).is_some();
            let job = is_elsewhere.then_some(job);
            self.send(driver, WarnDriver { text, job });
        }
    }
}
