//! What this process tells those for whom it runs tasks.

use smallvec::SmallVec;
use whipray_proto::messages::execution::TaskReplied;
use whipray_proto::messages::object::AddBorrower;
use whipray_proto::task::{TaskOutcome, TaskReply};
use whipray_proto::{ObjectId, ObjectValue, TaskId, WorkerAddress, WorkerId};

use crate::core::Core;
use crate::core::effect::Effect;
use crate::core::party::Party;
use crate::core::tasks::Micros;

impl Core {
    /// A task that ran here is through. `returns` name the references inside them; the receiver of
    /// each is registered before we let go of ours. `lost` are arguments that were not found.
    pub fn finish_execution(
        &mut self,
        task: TaskId,
        mut outcome: TaskOutcome,
        mut returns: Vec<(ObjectValue, SmallVec<[ObjectId; 0]>)>,
        lost: Vec<ObjectId>,
        now: Micros,
    ) {
        let Some(ended) = self.execution.finish(&task, now) else {
            return;
        };
        // With its node the process is of the past: its caller hears of that, and what a task makes of
        // it, an exception as a rule, is none of its results.
        if self.is_over {
            return;
        }
        let caller = ended.caller;
        if ended.is_refused && outcome != TaskOutcome::Cancelled {
            outcome = TaskOutcome::Cancelled;
            returns.clear();
        }
        let kept = self
            .objects
            .keep(&ended.brought, Party::from(&caller), &mut self.effects);
        let is_own = caller.worker == self.me.worker;
        let returns = returns
            .into_iter()
            .map(|(mut value, contained)| {
                value.contained = self.references(&contained);
                if let Some(references) = &value.contained {
                    self.objects
                        .register_receiver(references, &caller, &mut self.effects);
                    if is_own {
                        self.objects.hold_on_the_way(references);
                    }
                }
                value
            })
            .collect();
        let reply = TaskReply {
            task,
            outcome: outcome as i32,
            returns,
            kept,
            duration_us: ended.duration_us,
            lost,
            ended_at_us: self.began_at_us + now,
        };
        self.effects
            .push(Effect::ToPeer(caller, TaskReplied { reply }.into()));
    }

    /// An actor that lives here keeps references that its constructor took: we register ourselves
    /// at their owners. The actor's owner holds them meanwhile, and as long as it may restart.
    pub fn keep_constructor_references(&mut self, brought: &[ObjectId]) {
        let Some(kept) = self
            .objects
            .keep(brought, Party::from(&self.me), &mut self.effects)
        else {
            return;
        };
        for (object, owner) in kept.iter() {
            let message = AddBorrower {
                object,
                borrower: self.me.clone(),
            };
            self.effects
                .push(Effect::ToPeer(owner.clone(), message.into()));
        }
    }

    /// The task that runs here waits for others: what queues behind it goes back to its owners.
    pub fn hand_back_all(&mut self) {
        self.execution
            .hand_back(usize::MAX, None, &mut self.effects);
    }

    /// Where a worker that tasks are pushed to can be reached.
    pub fn address_of(&self, worker: &WorkerId) -> Option<WorkerAddress> {
        self.tasks
            .leases
            .values()
            .find(|lease| lease.worker.worker == *worker)
            .map(|lease| &lease.worker)
            .or_else(|| self.actors.address_of_worker(worker))
            .cloned()
    }
}
