//! Who borrows an object of ours, and from whom we borrow: registrations and their accounts.

use std::collections::hash_map::Entry;

use smallvec::SmallVec;
use whipray_proto::messages::lease::WatchWorker;
use whipray_proto::messages::object::{
    AddBorrower, ConfirmBorrower, Registrations, RemoveBorrower,
};
use whipray_proto::{ObjectId, References, WorkerAddress};

use crate::core::effect::Effect;
use crate::core::objects::{ObjectTable, Ownership, Watched};
use crate::core::party::Party;

impl ObjectTable {
    /// References that came with a value from a process that registered us at their owners.
    pub(super) fn receive(
        &mut self,
        contained: &References,
        from: Party,
        effects: &mut Vec<Effect>,
    ) -> SmallVec<[ObjectId; 0]> {
        let me = self.me.worker;
        let mut ids = SmallVec::new();
        for (object, owner) in contained.iter() {
            self.refer(object, owner);
            if owner.worker != me {
                self.note_registration(&object, from, effects);
            }
            ids.push(object);
        }
        ids
    }

    /// `registrar` registers us at the owner of an object that we borrow. We want to hear of its
    /// death, since what it had not said by then it never says.
    pub(super) fn note_registration(
        &mut self,
        object: &ObjectId,
        registrar: Party,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(entry) = self.entries.get_mut(object)
            && let Ownership::Borrowed {
                owner, registered, ..
            } = &mut entry.ownership
        {
            registered.add(registrar, &owner.worker);
            if registrar.worker != owner.worker && registrar.worker != self.me.worker {
                self.watch(registrar, effects);
            }
        }
    }

    /// Registers `receiver` at the owner of each reference, because it gets them from us.
    pub fn register_receiver(
        &mut self,
        references: &References,
        receiver: &WorkerAddress,
        effects: &mut Vec<Effect>,
    ) {
        for (object, owner) in references.iter() {
            if owner.worker == receiver.worker {
                continue;
            }
            if owner.worker == self.me.worker {
                self.count_borrower(object, receiver.into(), owner.into(), 1, effects);
            } else {
                let message = AddBorrower {
                    object,
                    borrower: receiver.clone(),
                };
                effects.push(Effect::ToPeer(owner.clone(), message.into()));
            }
        }
    }

    /// An executor keeps these references of a task's arguments beyond the task; we tell the
    /// owners on its behalf, before our own references may go.
    pub fn register_kept(
        &mut self,
        kept: &References,
        executor: &WorkerAddress,
        effects: &mut Vec<Effect>,
    ) {
        self.register_receiver(kept, executor, effects);
    }

    /// What of the references that a task brought is still referred to here; counts one more
    /// registration for each, which `registrar` makes: the caller of the task, or we ourselves.
    pub fn keep(
        &mut self,
        brought: &[ObjectId],
        registrar: Party,
        effects: &mut Vec<Effect>,
    ) -> Option<References> {
        let mut kept = References::default();
        for object in brought {
            if let Some(entry) = self.entries.get(object)
                && entry.local > 0
                && let Ownership::Borrowed { owner, .. } = &entry.ownership
            {
                kept.push(*object, owner);
                self.note_registration(object, registrar, effects);
            }
        }
        (!kept.is_empty()).then_some(kept)
    }

    pub(super) fn watch(&mut self, party: Party, effects: &mut Vec<Effect>) {
        let Party { worker, node } = party;
        if let Entry::Vacant(entry) = self.watched.entry(worker) {
            entry.insert(Watched {
                node,
                address: None,
            });
            let node = (node != self.me.node).then_some(node);
            effects.push(Effect::ToNode(WatchWorker { worker, node }.into()));
        }
    }

    fn count_borrower(
        &mut self,
        object: ObjectId,
        borrower: Party,
        registrar: Party,
        change: i64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(&object) else {
            return;
        };
        let Ownership::Ours { borrowers } = &mut entry.ownership else {
            return;
        };
        let count = borrowers.change(borrower.worker, registrar.worker, change);
        self.collect(object, effects);
        if count != 0 {
            // Also where the count is below zero: the news of a borrower's death may have come
            // before its last word, and then nobody else would ever settle the account.
            self.watch(borrower, effects);
        }
        if count < 0 {
            // The node tells us at once where it is dead already.
            self.watch(registrar, effects);
        }
    }

    /// Somebody says that `borrower` refers to an object of ours.
    pub fn on_add_borrower(
        &mut self,
        message: AddBorrower,
        from: Party,
        effects: &mut Vec<Effect>,
    ) {
        let borrower = Party::from(&message.borrower);
        if borrower.worker == self.me.worker {
            return;
        }
        self.count_borrower(message.object, borrower, from, 1, effects);
        if from.worker != borrower.worker
            && let Some(watched) = self.watched.get_mut(&borrower.worker)
        {
            // Should the registrar die, the borrower is asked.
            watched.address.get_or_insert(message.borrower);
            self.watch(from, effects);
        }
    }

    /// The owner of an object asks what came of the registrations of a dead process, whose words to
    /// us were read.
    pub fn on_confirm_borrower(
        &mut self,
        message: ConfirmBorrower,
        from: &WorkerAddress,
        effects: &mut Vec<Effect>,
    ) {
        let Registrations {
            registrar,
            count,
            node,
        } = message.registered;
        let known = match self.entries.get(&message.object).map(|it| &it.ownership) {
            Some(Ownership::Borrowed { registered, .. }) => registered.count_by(&registrar),
            _ => 0,
        };
        let count = count.saturating_sub(known);
        if count > 0 {
            let message = RemoveBorrower {
                object: message.object,
                borrower: self.me.worker,
                count: 0,
                by_others: vec![Registrations {
                    registrar,
                    count,
                    node,
                }],
            };
            effects.push(Effect::ToPeer(from.clone(), message.into()));
        }
    }

    /// A borrower lets go.
    pub fn on_remove_borrower(
        &mut self,
        message: RemoveBorrower,
        from: Party,
        effects: &mut Vec<Effect>,
    ) {
        let (object, me) = (message.object, Party::from(&self.me));
        let borrower = Party {
            worker: message.borrower,
            node: from.node,
        };
        // The object goes with the last account: what others registered is taken back before what
        // we did, which is never below zero.
        for taken in message.by_others {
            let count = -i64::from(taken.count);
            let registrar = Party {
                worker: taken.registrar,
                node: taken.node,
            };
            self.count_borrower(object, borrower, registrar, count, effects);
        }
        if message.count > 0 {
            self.count_borrower(object, borrower, me, -i64::from(message.count), effects);
        }
    }
}
