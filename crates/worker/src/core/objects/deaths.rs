//! What the death of a process, or of the connection, means for the objects.

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::{
    AddBorrower, ConfirmBorrower, Registrations, SubscribeObject,
};
use whipray_proto::{DeathCause, NodeId, ObjectId, ObjectValue, TaskId, WorkerId};

use crate::core::effect::Effect;
use crate::core::objects::{ObjectTable, Ownership, is_handle_object};
use crate::core::party::Party;

impl ObjectTable {
    /// A borrower, registrar or owner is gone, and all that it had written was read; returns tasks
    /// of ours that waited for the owner's objects.
    pub fn on_worker_died(
        &mut self,
        worker: WorkerId,
        death: &DeathCause,
        effects: &mut Vec<Effect>,
    ) -> Vec<TaskId> {
        let node = match self.watched.remove(&worker) {
            Some(watched) => watched.node,
            None => death.node,
        };
        self.lost_owners.remove(&worker);
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
                        let watched = self.watched.get(&borrower);
                        if let Some(address) = watched.and_then(|it| it.address.as_ref()) {
                            let message = ConfirmBorrower {
                                object: *object,
                                registered: Registrations {
                                    registrar: worker,
                                    count,
                                    node,
                                },
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
                        registered.add(Party::from(&me), &owner.worker);
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
            waiting.extend(self.complete(object, value, Party::from(&me), effects));
        }
        for object in lighter {
            self.collect(object, effects);
        }
        waiting
    }

    /// The processes of a node of whose deaths we want to hear.
    pub(crate) fn watched_on(&self, node: &NodeId) -> Vec<WorkerId> {
        let its = self.watched.iter();
        let its = its.filter(|(_, watched)| watched.node == *node);
        let mut its: Vec<WorkerId> = its.map(|(worker, _)| *worker).collect();
        its.sort_unstable();
        its
    }

    /// The connection to a process is lost; whether values that it owns are awaited.
    pub(crate) fn on_owner_unreachable(&mut self, owner: &WorkerId) -> bool {
        let is_lost = self.watched.contains_key(owner)
            && self.entries.values().any(|entry| entry.awaits_from(owner));
        if is_lost {
            self.lost_owners.insert(*owner);
        }
        is_lost
    }

    /// Whether the word on this owner, to whom the connection is lost, is waited for.
    pub(crate) fn is_lost_owner(&self, owner: &WorkerId) -> bool {
        self.lost_owners.contains(owner)
    }

    /// The connection to an owner was lost, and it lives on: what was asked, or what was answered,
    /// may be lost with it. A value that comes twice is taken once.
    pub(crate) fn ask_again(&mut self, owner: &WorkerId, effects: &mut Vec<Effect>) {
        if !self.lost_owners.remove(owner) {
            return;
        }
        let entries = self.entries.iter();
        let awaited = entries.filter(|(_, entry)| entry.awaits_from(owner));
        let mut awaited: Vec<ObjectId> = awaited.map(|(object, _)| *object).collect();
        awaited.sort_unstable();
        for object in awaited {
            if let Some(owner) = self.owner(&object).cloned() {
                let lost = None;
                let message = SubscribeObject { object, lost };
                effects.push(Effect::ToPeer(owner, message.into()));
            }
        }
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
            let me = Party::from(&self.me);
            self.complete(object, ObjectValue::failed(failure), me, effects);
        }
    }
}
