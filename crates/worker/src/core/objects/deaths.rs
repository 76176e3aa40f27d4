//! What the death of a process, or of the connection, means for the objects.

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::{AddBorrower, ConfirmBorrower, Registrations};
use whipray_proto::{DeathCause, ObjectValue, TaskId, WorkerId};

use crate::core::effect::Effect;
use crate::core::objects::{ObjectTable, Ownership, is_handle_object};

impl ObjectTable {
    /// A borrower, registrar or owner is gone, and all that it had written was read; returns tasks
    /// of ours that waited for the owner's objects.
    pub fn on_worker_died(
        &mut self,
        worker: WorkerId,
        death: &DeathCause,
        effects: &mut Vec<Effect>,
    ) -> Vec<TaskId> {
        self.watched.remove(&worker);
        let mut orphaned = Vec::new();
        let mut lighter = Vec::new();
        let me = self.me.clone();
        for (object, entry) in &mut self.entries {
            match &mut entry.ownership {
                Ownership::Ours { borrowers } => {
                    if let Some(awaited) = &mut entry.awaited {
                        let subscribers = &mut awaited.subscribers;
                        subscribers.retain(|subscriber| subscriber.worker != worker);
                    }
                    if borrowers.on_dead(&worker) {
                        lighter.push(*object);
                    }
                    for (borrower, count) in borrowers.by_dead(&worker) {
                        if let Some(Some(address)) = self.watched.get(&borrower) {
                            let registrar = worker;
                            let message = ConfirmBorrower {
                                object: *object,
                                registered: Registrations { registrar, count },
                            };
                            effects.push(Effect::ToPeer(address.clone(), message.into()));
                        }
                    }
                }
                Ownership::Borrowed {
                    owner, registered, ..
                } => {
                    if owner.worker == worker {
                        if !entry.cell.is_ready() {
                            orphaned.push(*object);
                        }
                    } else if registered.is_by(&worker) {
                        registered.add(me.worker, &owner.worker);
                        let message = AddBorrower {
                            object: *object,
                            borrower: me.clone(),
                        };
                        effects.push(Effect::ToPeer((**owner).clone(), message.into()));
                    }
                }
            }
        }
        let mut waiting = Vec::new();
        for object in orphaned {
            let failure = Failure::new(
                FailureKind::OwnerDied,
                object.to_hex(),
                format!(
                    "object {object} is lost, because the process that owned it is gone: {}",
                    death.headline()
                ),
            )
            .because_of(death.clone());
            let value = ObjectValue::failed(failure);
            waiting.extend(self.complete(object, value, me.worker, effects));
        }
        for object in lighter {
            self.collect(object, effects);
        }
        waiting
    }

    /// Nothing will come any more: every object that is not there yet fails. For the end of a
    /// connection. Borrowers that wait hear from their node why we are gone: our reason is not
    /// theirs.
    pub fn fail_all(&mut self, failure: &Failure, effects: &mut Vec<Effect>) {
        let mut pending = Vec::new();
        for (object, entry) in &mut self.entries {
            if !entry.cell.is_ready() && !is_handle_object(object) {
                if let Some(awaited) = &mut entry.awaited {
                    awaited.subscribers.clear();
                }
                pending.push(*object);
            }
        }
        for object in pending {
            let mut failure = failure.clone();
            failure.subject = object.to_hex();
            let me = self.me.worker;
            self.complete(object, ObjectValue::failed(failure), me, effects);
        }
    }
}
