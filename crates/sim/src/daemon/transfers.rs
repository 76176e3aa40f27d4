//! Objects on their way from the arena of one node to that of another one.

use std::collections::BTreeMap;

use whipray_proto::{NodeId, ObjectId, limits};
use whipray_store::core::{Pinned, Pull, PullRoom};

use super::Daemon;
use crate::agenda::{Event, Micros};
use crate::around::Around;
use crate::witness::{Block, place};

/// The longest time that the bytes of an object take, if nothing is in their way.
const TRANSFER_MOST: Micros = 50_000;
const STALL: Micros = limits::TRANSFER_STALL.as_micros() as Micros;

/// What a daemon fetches.
struct Incoming {
    from: usize,
    object: ObjectId,
    at: u64,
    size_bytes: u64,
}

/// What another daemon has asked for.
struct Ask {
    by: usize,
    pull: u64,
    object: ObjectId,
    /// Where it lies, and what lies there, from when it is sent.
    sent_from: Option<(u64, Option<Block>)>,
}

/// What is under way from and to a daemon.
#[derive(Default)]
pub struct Transfers {
    incoming: BTreeMap<u64, Incoming>,
    asks: BTreeMap<u64, Ask>,
    next_ask: u64,
}

impl Transfers {
    /// What comes from a daemon.
    pub fn from(&self, daemon: usize) -> Vec<u64> {
        let incoming = self.incoming.iter();
        let its = incoming.filter(|(_, incoming)| incoming.from == daemon);
        its.map(|(pull, _)| *pull).collect()
    }
}

impl Daemon {
    pub(super) fn start_pull(&mut self, pull: Pull, around: &mut Around) {
        self.note(around, || format!("node pulls {pull:?}"));
        let Some(seat) = around.streams.seat(&pull.from) else {
            let text = format!("an object is fetched from {}, which is no node", pull.from);
            return around.witness.violation(text);
        };
        let at = match &pull.room {
            PullRoom::Arena { offset, .. } => *offset,
            PullRoom::File { path, offset } => place(path, *offset),
        };
        let what = format!("daemon {} fetches {}", self.number, pull.object);
        around
            .witness
            .clear(self.number, at, pull.size_bytes, &what);
        let incoming = Incoming {
            from: seat.daemon,
            object: pull.object,
            at,
            size_bytes: pull.size_bytes,
        };
        if self
            .transfers
            .incoming
            .insert(pull.pull, incoming)
            .is_some()
        {
            let text = format!("daemon {} begins pull {} twice", self.number, pull.pull);
            around.witness.violation(text);
        }
        let delay = around.network.delay(self.machine, seat.machine);
        let event = Event::Wanted {
            daemon: seat.daemon,
            by: self.number,
            pull: pull.pull,
            object: pull.object,
        };
        around.after(delay, event);
        let (daemon, pull) = (self.number, pull.pull);
        around.after(STALL, Event::Stalled { daemon, pull });
    }

    /// Another daemon asks for an object.
    pub fn on_wanted(&mut self, by: usize, pull: u64, object: ObjectId, around: &mut Around) {
        let ask = self.transfers.next_ask;
        self.transfers.next_ask += 1;
        let entry = Ask {
            by,
            pull,
            object,
            sent_from: None,
        };
        self.transfers.asks.insert(ask, entry);
        let now = self.now(around);
        self.node.on_object_wanted(ask, object, now);
        self.end_turn(around);
    }

    pub(super) fn serve(
        &mut self,
        number: u64,
        outcome: Result<Pinned, String>,
        around: &mut Around,
    ) {
        self.note(around, || format!("node serves ask {number}: {outcome:?}"));
        let Some(ask) = self.transfers.asks.get_mut(&number) else {
            // Whoever asked is dead.
            if let Ok(pinned) = outcome {
                let now = around.now + self.clock_ahead;
                self.node.on_object_sent(pinned.object, now);
            }
            return;
        };
        let daemon = self.number;
        match outcome {
            Ok(pinned) => {
                let at = place(pinned.path.as_deref().unwrap_or_default(), pinned.offset);
                ask.sent_from = Some((at, around.witness.block(daemon, at)));
                let duration = around.random.duration(TRANSFER_MOST);
                around.after(
                    duration,
                    Event::Sent {
                        daemon,
                        ask: number,
                    },
                );
            }
            Err(reason) => {
                let (by, pull) = (ask.by, ask.pull);
                self.transfers.asks.remove(&number);
                self.answer_pull(by, pull, Err(reason), around);
            }
        }
    }

    fn answer_pull(&self, by: usize, pull: u64, outcome: Result<(), String>, around: &mut Around) {
        let delay = around.random.duration(1_000);
        let event = Event::Pulled {
            daemon: by,
            from: self.number,
            pull,
            outcome,
        };
        around.after(delay, event);
    }

    /// All bytes of an object are sent.
    pub fn on_sent(&mut self, number: u64, around: &mut Around) {
        let Some(ask) = self.transfers.asks.remove(&number) else {
            return;
        };
        if let Some((at, before)) = ask.sent_from {
            let now = around.witness.block(self.number, at);
            let is_right = now == before && now.is_some_and(|it| it.object == ask.object);
            if !is_right {
                around.witness.violation(format!(
                    "W-5: {} is sent from daemon {}, where {before:?} lay, and now {now:?}",
                    ask.object, self.number
                ));
            }
        }
        let now = self.now(around);
        self.node.on_object_sent(ask.object, now);
        self.answer_pull(ask.by, ask.pull, Ok(()), around);
        self.end_turn(around);
    }

    /// A transfer came to its end; one that has ended before is of no interest.
    pub fn on_pulled(&mut self, pull: u64, outcome: Result<(), String>, around: &mut Around) {
        let Some(incoming) = self.transfers.incoming.remove(&pull) else {
            return;
        };
        self.note(around, || format!("pull {pull} ends: {outcome:?}"));
        match outcome {
            Ok(()) => {
                let block = Block {
                    size_bytes: incoming.size_bytes,
                    object: incoming.object,
                };
                around.witness.transferred(self.number, incoming.at, block);
            }
            // What a node that left in order had, others have.
            Err(_) if around.witness.left_in_order.contains(&incoming.from) => {}
            Err(_) => around
                .witness
                .not_transferred(self.number, incoming.from, incoming.object),
        }
        let now = self.now(around);
        self.node.on_pulled(pull, outcome, now);
        self.end_turn(around);
    }

    pub(super) fn cancel_pull(&mut self, pull: u64, around: &mut Around) {
        let delay = around.random.duration(1_000);
        let daemon = self.number;
        let event = Event::Pulled {
            daemon,
            from: daemon,
            pull,
            outcome: Err("nobody waits for it".to_owned()),
        };
        around.after(delay, event);
    }

    pub(super) fn end_transfers(&mut self, node: NodeId, around: &mut Around) {
        let Some(seat) = around.streams.seat(&node) else {
            return;
        };
        let asks = self.transfers.asks.iter();
        let its = asks.filter(|(_, ask)| ask.by == seat.daemon);
        let its: Vec<u64> = its.map(|(number, _)| *number).collect();
        let now = self.now(around);
        for number in its {
            if let Some(ask) = self.transfers.asks.remove(&number)
                && ask.sent_from.is_some()
            {
                self.node.on_object_sent(ask.object, now);
            }
        }
    }
}
