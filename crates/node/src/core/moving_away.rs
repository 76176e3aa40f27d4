//! A node that is to go has others take the objects that only it has, so that nothing is lost with it
//! and nothing is made again.
//!
//! What was made here, or taken over for good, another node is asked to take: that of its owner if it
//! stays and has room, else any that does. An object is handed over once that node says that the
//! owner counts on the new copy; the old one goes when its room is needed. What is sealed meanwhile
//! moves, too. An object whose owner is here ends with its owner, and stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use whipray_proto::messages::moving::{ObjectToTake, TakeObjects, TakeOutcome, TakenObject};
use whipray_proto::{NodeId, ObjectId, WorkerId, limits};

use super::timers::{Micros, Timer, micros};
use super::{Effect, Node};

/// What stands against the move of an object.
#[derive(Debug, Default)]
struct Trouble {
    /// Nodes that could not take it, since all of them were asked last.
    refused: Vec<NodeId>,
    /// Why the last one could not.
    reason: String,
    failing_since: Option<Micros>,
    /// How often its owner said that it knows of no such copy, and until when that is asked again.
    unknown: u32,
    unknown_until: Option<Micros>,
}

#[derive(Debug)]
struct Asked {
    node: NodeId,
    size_bytes: u64,
}

/// The objects that are to move, and those that have.
#[derive(Debug, Default)]
pub struct Moves {
    waiting: VecDeque<ObjectId>,
    /// Which node was asked to take which.
    asked: FxHashMap<ObjectId, Asked>,
    asked_bytes: u64,
    /// Those that are to be tried later.
    put_off: BTreeSet<(Micros, ObjectId)>,
    armed: Option<Micros>,
    troubles: FxHashMap<ObjectId, Trouble>,
    /// Owners that did not answer, and until when they are left alone.
    silent: FxHashMap<WorkerId, Micros>,
    /// Who has those that have moved, and whose they are.
    moved: FxHashMap<ObjectId, (NodeId, WorkerId)>,
    /// Those that are not tried again.
    given_up: Vec<ObjectId>,
    turn: usize,
}

impl Moves {
    /// Takes an object off those that a node was asked for. Returns whether it was.
    fn answered(&mut self, object: ObjectId, by: NodeId) -> bool {
        let is_asked = self.asked.get(&object).is_some_and(|it| it.node == by);
        if is_asked && let Some(asked) = self.asked.remove(&object) {
            self.asked_bytes -= asked.size_bytes;
        }
        is_asked
    }

    /// Whether one more may be asked for.
    fn has_turn(&self) -> bool {
        let is_below = self.asked_bytes < limits::MOVES_AT_ONCE_BYTES;
        is_below && self.asked.len() < limits::MOVES_AT_ONCE
    }

    /// A node could not take an object: the next one is tried.
    fn refused(&mut self, object: ObjectId, by: NodeId, reason: String) -> &mut Trouble {
        self.waiting.push_front(object);
        let trouble = self.troubles.entry(object).or_default();
        trouble.refused.push(by);
        trouble.reason = format!("node {by}: {reason}");
        trouble
    }

    /// Those that a node was asked for, which does not answer.
    fn take_back(&mut self, node: NodeId) -> Vec<ObjectId> {
        let its = self.asked.iter().filter(|(_, asked)| asked.node == node);
        let mut its: Vec<ObjectId> = its.map(|(object, _)| *object).collect();
        its.sort_unstable();
        for object in &its {
            self.answered(*object, node);
        }
        its
    }

    /// All that is still to move.
    fn left(&self) -> impl Iterator<Item = &ObjectId> {
        let put_off = self.put_off.iter().map(|(_, object)| object);
        self.asked.keys().chain(&self.waiting).chain(put_off)
    }
}

impl Node {
    /// Begins to move what is here.
    pub(super) fn begin_moves(&mut self, now: Micros) {
        self.moves.waiting = self.objects.primaries().into();
        self.go_on_moving(now);
    }

    /// Something was sealed here that is to move, too.
    pub(super) fn move_sealed(&mut self, object: ObjectId, now: Micros) {
        self.moves.moved.remove(&object);
        self.moves.waiting.push_back(object);
        self.go_on_moving(now);
        self.look_if_drained(now);
    }

    /// Whether an object, or the word on one, is still on its way. The seal of what a task has made may
    /// be read later than the word that the task is over.
    pub(super) fn has_moves(&self) -> bool {
        let mut left = self.moves.left();
        let is_moving = left.any(|object| self.to_move(object).is_some());
        is_moving || self.has_takes() || self.objects.has_unsealed()
    }

    /// An object as others are asked to take it; `None` where it need not move.
    fn to_move(&self, object: &ObjectId) -> Option<ObjectToTake> {
        let (owner, size_bytes) = self.objects.primary(object)?;
        Some(ObjectToTake {
            object: *object,
            owner,
            owner_node: self.obituaries.node_of(owner)?,
            size_bytes,
        })
    }

    /// Asks others to take what waits, as much as may be on its way at a time.
    fn go_on_moving(&mut self, now: Micros) {
        let mut asks: BTreeMap<NodeId, Vec<ObjectToTake>> = BTreeMap::new();
        while self.moves.has_turn()
            && let Some(object) = self.moves.waiting.pop_front()
        {
            let Some(wanted) = self.to_move(&object) else {
                self.moves.troubles.remove(&object);
                continue;
            };
            let silent_until = self.moves.silent.get(&wanted.owner).copied();
            if let Some(until) = silent_until.filter(|until| *until > now) {
                self.moves.put_off.insert((until, object));
            } else if let Some(node) = self.choose_taker(&wanted) {
                let size_bytes = wanted.size_bytes;
                let asked = Asked { node, size_bytes };
                if self.moves.asked.insert(object, asked).is_none() {
                    self.moves.asked_bytes += size_bytes;
                }
                asks.entry(node).or_default().push(wanted);
            } else {
                let at = now + micros(limits::MOVE_RETRY);
                self.moves.put_off.insert((at, object));
            }
        }
        for (node, objects) in asks {
            let message = TakeObjects { objects }.into();
            self.effects.push(Effect::ToNode { node, message });
        }
        let first = self.moves.put_off.first().map(|(at, _)| *at);
        if let Some(at) = first
            && self.moves.armed != first
        {
            self.moves.armed = first;
            self.timers.set(at, Timer::Moves);
        }
    }

    /// The node that is asked next to take an object; `None` where none is left to ask for now.
    fn choose_taker(&mut self, wanted: &ObjectToTake) -> Option<NodeId> {
        let trouble = self.moves.troubles.get(&wanted.object);
        let refused = trouble.map_or(&[][..], |it| &it.refused);
        let home = wanted.owner_node;
        if self.neighbours.is_open(home) && !refused.contains(&home) {
            return Some(home);
        }
        let open = self.neighbours.open_others().iter().map(|view| view.node);
        let open: Vec<NodeId> = open.filter(|node| !refused.contains(node)).collect();
        self.moves.turn = self.moves.turn.wrapping_add(1);
        let chosen = open.get(self.moves.turn % open.len().max(1)).copied();
        if chosen.is_none()
            && let Some(trouble) = self.moves.troubles.get_mut(&wanted.object)
        {
            trouble.refused.clear();
        }
        chosen
    }

    /// Those that were put off are tried again.
    pub(super) fn on_moves_due(&mut self, now: Micros) {
        self.moves.armed = None;
        while let Some((at, object)) = self.moves.put_off.first().copied()
            && at <= now
        {
            self.moves.put_off.pop_first();
            self.moves.waiting.push_back(object);
        }
        self.go_on_moving(now);
        self.look_if_drained(now);
    }

    /// A node says what became of objects that it was asked to take.
    pub(super) fn objects_taken(&mut self, by: NodeId, taken: Vec<TakenObject>, now: Micros) {
        for it in taken {
            if self.moves.answered(it.object, by) {
                self.object_taken(by, it, now);
            }
        }
        self.settle_objects(now);
        self.go_on_moving(now);
        if self.draining.is_some() {
            self.look_if_drained(now);
        }
    }

    fn object_taken(&mut self, by: NodeId, taken: TakenObject, now: Micros) {
        let object = taken.object;
        let Some(wanted) = self.to_move(&object) else {
            // It was freed meanwhile.
            self.moves.troubles.remove(&object);
            return;
        };
        match taken.outcome() {
            TakeOutcome::Taken => {
                self.objects.hand_over(object);
                self.moves.moved.insert(object, (by, wanted.owner));
                self.moves.troubles.remove(&object);
            }
            TakeOutcome::NoRoom => {
                self.moves.refused(object, by, taken.reason).failing_since = None;
            }
            TakeOutcome::Leaves => {
                self.moves
                    .refused(object, by, "it is to go itself".to_owned());
            }
            TakeOutcome::Failed => {
                let trouble = self.moves.refused(object, by, taken.reason);
                let since = *trouble.failing_since.get_or_insert(now);
                if now >= since + micros(limits::MOVE_FAILING) {
                    self.moves.waiting.retain(|it| *it != object);
                    self.moves.given_up.push(object);
                }
            }
            TakeOutcome::NotKept => self.unknown_to_owner(object, now),
            TakeOutcome::Unanswered => {
                let until = now + micros(limits::MOVE_RETRY_LONGEST);
                self.moves.silent.insert(wanted.owner, until);
                self.moves.put_off.insert((until, object));
                let trouble = self.moves.troubles.entry(object).or_default();
                trouble.reason = "its owner did not answer".to_owned();
            }
        }
    }

    /// The word on an object may be on its way to its owner yet, or that of the owner, that it needs it
    /// no more, to this node.
    fn unknown_to_owner(&mut self, object: ObjectId, now: Micros) {
        let has_work = self.has_work();
        let trouble = self.moves.troubles.entry(object).or_default();
        if has_work {
            trouble.unknown_until = None;
        } else {
            let until = now + micros(limits::MOVE_UNKNOWN);
            if now >= *trouble.unknown_until.get_or_insert(until) {
                return;
            }
        }
        let pause = micros(limits::MOVE_RETRY) << trouble.unknown.min(4);
        trouble.unknown += 1;
        let pause = match has_work {
            true => pause.min(micros(limits::MOVE_RETRY_LONGEST)),
            false => micros(limits::MOVE_RETRY),
        };
        self.moves.put_off.insert((now + pause, object));
    }

    /// Nodes that were asked for something may be silent: others are asked for it.
    pub(super) fn look_at_takers(&mut self, now: Micros) {
        let asked = self.moves.asked.values().map(|asked| asked.node);
        let silent = asked.filter(|node| self.neighbours.is_suspect(*node));
        let silent: BTreeSet<NodeId> = silent.collect();
        for node in silent {
            for object in self.moves.take_back(node) {
                self.moves.refused(object, node, "it is silent".to_owned());
            }
        }
        self.go_on_moving(now);
    }

    /// A node is dead: what it was to take others are asked for, and what it had taken moves again.
    pub(super) fn moves_without(&mut self, node: NodeId, now: Micros) {
        if self.draining.is_none() {
            return;
        }
        let asked = self.moves.take_back(node);
        self.moves.waiting.extend(asked);
        let moved = self.moves.moved.iter();
        let lost = moved.filter(|(_, (taker, _))| *taker == node);
        let mut lost: Vec<(ObjectId, WorkerId)> =
            lost.map(|(object, (_, owner))| (*object, *owner)).collect();
        lost.sort_unstable();
        for (object, owner) in lost {
            self.moves.moved.remove(&object);
            if self.objects.take_over(owner, object) {
                self.moves.waiting.push_back(object);
            }
        }
        self.go_on_moving(now);
    }

    /// What has not moved, and why, as a clause; empty where all has.
    pub(super) fn left_behind(&self) -> String {
        let is_wanted = |object: &&ObjectId| {
            let trouble = self.moves.troubles.get(object);
            trouble.is_none_or(|trouble| trouble.unknown == 0)
        };
        let left = self.moves.left().chain(&self.moves.given_up);
        let left = left.filter(is_wanted).filter_map(|it| self.to_move(it));
        let left: Vec<ObjectToTake> = left.collect();
        if left.is_empty() {
            return String::new();
        }
        let bytes: u64 = left.iter().map(|object| object.size_bytes).sum();
        let mut reasons = left
            .iter()
            .filter_map(|it| self.moves.troubles.get(&it.object))
            .map(|trouble| trouble.reason.as_str());
        let reason = match reasons.find(|reason| !reason.is_empty()) {
            Some(reason) => format!("could not be moved: {reason}"),
            None => "have not moved yet".to_owned(),
        };
        format!("{} objects of {bytes} bytes {reason}", left.len())
    }
}
