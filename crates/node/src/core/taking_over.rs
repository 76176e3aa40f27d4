//! Objects of a node that is to go, which this one takes over; and the words between an owner of this
//! node and whoever took over what it owns.

use rustc_hash::FxHashMap;
use whipray_proto::messages::moving::{
    CopyKept, CopyTaken, ObjectToTake, ObjectsTaken, TakeOutcome, TakenObject,
};
use whipray_proto::{NodeId, limits};
use whipray_store::core::{Lost, Pinned, Source, TAKING, Wanted};

use super::timers::{Micros, Timer, micros};
use super::{Effect, Node};

/// One object on its way here for good.
#[derive(Debug)]
struct Take {
    wanted: ObjectToTake,
    from: NodeId,
    /// It is here, and its owner has been asked.
    is_here: bool,
}

/// All that is on its way here for good.
#[derive(Debug, Default)]
pub struct Takes {
    next: u64,
    takes: FxHashMap<u64, Take>,
}

impl Node {
    /// Whether something that others count on may come to count here.
    pub(super) fn has_takes(&self) -> bool {
        !self.takes.takes.is_empty()
    }

    /// A node that is to go asks for objects to be taken.
    pub(super) fn take_objects(&mut self, from: NodeId, objects: Vec<ObjectToTake>, now: Micros) {
        let mut refused = Vec::new();
        for wanted in objects {
            if self.draining.is_some() || self.is_fenced {
                refused.push(answer(&wanted, TakeOutcome::Leaves, String::new()));
                continue;
            }
            // Also where its owner never answers: the copy goes with it.
            if !self.will_hear_of_end(wanted.owner, wanted.owner_node, now) {
                refused.push(answer(&wanted, TakeOutcome::NotKept, String::new()));
                continue;
            }
            let request = self.takes.next;
            self.takes.next += 1;
            let take = Take {
                wanted,
                from,
                is_here: false,
            };
            self.takes.takes.insert(request, take);
            let source = Source {
                node: from,
                owner: wanted.owner,
                size_bytes: wanted.size_bytes,
            };
            let wanted = Wanted {
                object: wanted.object,
                source: Some(source),
            };
            self.objects.pull_all(TAKING, request, vec![wanted], now);
        }
        if !refused.is_empty() {
            self.answer_takes(from, refused);
        }
        self.settle_objects(now);
    }

    /// An object that is to be taken over has come, or cannot be had.
    pub(super) fn take_came(
        &mut self,
        request: u64,
        found: Vec<Pinned>,
        lost: Vec<Lost>,
        now: Micros,
    ) {
        let Some(take) = self.takes.takes.get_mut(&request) else {
            return found
                .iter()
                .for_each(|it| self.objects.unpin(TAKING, it.object));
        };
        let wanted = take.wanted;
        take.is_here = !found.is_empty();
        if found.is_empty() {
            let (outcome, reason) = match lost.into_iter().next() {
                Some(lost) if lost.is_full => (TakeOutcome::NoRoom, lost.reason),
                Some(lost) => (TakeOutcome::Failed, lost.reason),
                None => (TakeOutcome::Failed, "it did not come".to_owned()),
            };
            return self.end_take(request, outcome, reason, now);
        }
        if self.objects.sealed_bytes(wanted.owner, &wanted.object) != Some(wanted.size_bytes) {
            let reason = "another one of that id is there".to_owned();
            return self.end_take(request, TakeOutcome::Failed, reason, now);
        }
        let taken = CopyTaken {
            request,
            object: wanted.object,
            owner: wanted.owner,
            from: take.from,
            by: self.config.node,
        };
        let node = wanted.owner_node;
        if node == self.config.node {
            self.ask_owner(taken, now);
        } else {
            let message = taken.into();
            self.effects.push(Effect::ToNode { node, message });
        }
        let at = now + micros(limits::COPY_ANSWER_WAIT);
        self.timers.set(at, Timer::Take(request));
    }

    /// An object of an owner of this node was taken over: the owner says whether it is wanted.
    pub(super) fn ask_owner(&mut self, taken: CopyTaken, now: Micros) {
        if let Some(client) = self.by_worker.get(&taken.owner).copied() {
            return self.send(client, taken);
        }
        let kept = CopyKept {
            request: Some(taken.request),
            object: taken.object,
            owner: taken.owner,
            by: taken.by,
            is_kept: false,
        };
        self.pass_kept_on(kept, now);
    }

    /// An owner of this node has said whether it wants a copy.
    pub(super) fn pass_kept_on(&mut self, kept: CopyKept, now: Micros) {
        let node = kept.by;
        if node == self.config.node {
            self.copy_kept(&kept, node, now);
        } else if self.neighbours.is_known(node) {
            let message = kept.into();
            self.effects.push(Effect::ToNode { node, message });
        }
    }

    /// The owner of an object that was taken over says whether it is wanted; or that the copy here,
    /// which was one of many, is the one that counts. `home` is its node.
    pub(super) fn copy_kept(&mut self, kept: &CopyKept, home: NodeId, now: Micros) {
        let awaited = kept.request.filter(|request| {
            let take = self.takes.takes.get(request);
            take.is_some_and(|take| take.wanted.object == kept.object && take.is_here)
        });
        // Also where it took the owner so long that nobody waits for it: it counts on the copy.
        if kept.is_kept && self.objects.take_over(kept.owner, kept.object) {
            let is_far = home != self.config.node;
            if is_far && !self.watch_owner(kept.owner, home, now) {
                self.objects.free(kept.owner, kept.object);
            }
            if self.draining.is_some() {
                self.move_sealed(kept.object, now);
            }
        }
        if let Some(request) = awaited {
            let outcome = match kept.is_kept {
                true => TakeOutcome::Taken,
                false => TakeOutcome::NotKept,
            };
            self.end_take(request, outcome, String::new(), now);
        }
        self.settle_objects(now);
    }

    /// The owner did not answer.
    pub(super) fn give_up_take(&mut self, request: u64, now: Micros) {
        self.end_take(request, TakeOutcome::Unanswered, String::new(), now);
        self.settle_objects(now);
    }

    /// A node is gone: owners that were there want nothing any more.
    pub(super) fn takes_without(&mut self, node: NodeId, now: Micros) {
        let takes = self.takes.takes.iter();
        let its = takes.filter(|(_, take)| take.is_here && take.wanted.owner_node == node);
        let mut its: Vec<u64> = its.map(|(request, _)| *request).collect();
        its.sort_unstable();
        for request in its {
            self.end_take(request, TakeOutcome::NotKept, String::new(), now);
        }
        self.settle_objects(now);
    }

    fn end_take(&mut self, request: u64, outcome: TakeOutcome, reason: String, now: Micros) {
        let Some(take) = self.takes.takes.remove(&request) else {
            return;
        };
        if self.draining.is_some() {
            // That may have been what it waited for.
            self.timers.set(now, Timer::Moves);
        }
        if take.is_here {
            self.objects.unpin(TAKING, take.wanted.object);
        }
        let answer = answer(&take.wanted, outcome, reason);
        self.answer_takes(take.from, vec![answer]);
    }

    fn answer_takes(&mut self, node: NodeId, objects: Vec<TakenObject>) {
        if self.neighbours.is_known(node) {
            let message = ObjectsTaken { objects }.into();
            self.effects.push(Effect::ToNode { node, message });
        }
    }
}

fn answer(wanted: &ObjectToTake, outcome: TakeOutcome, reason: String) -> TakenObject {
    TakenObject {
        object: wanted.object,
        outcome: outcome as i32,
        reason,
    }
}
