//! A daemon among others: what nodes and control say to each other, and heartbeats.

use whipray_proto::link::{ControlSays, NodeSays, NodeState};
use whipray_proto::messages::control_said::ControlSaid;
use whipray_proto::messages::draining::{DrainNode, DrainReason};
use whipray_proto::messages::moving::TakeOutcome;
use whipray_proto::messages::node_said::NodeSaid;
use whipray_proto::{Message, NodeId, WorkerId, limits};

use super::{Daemon, FIRST_ID};
use crate::agenda::{Event, Micros};
use crate::around::Around;
use crate::streams::Seat;

const HEARTBEAT: Micros = limits::HEARTBEAT.as_micros() as Micros;
const FENCE: Micros = limits::NODE_FENCE.as_micros() as Micros;
const JOIN_WAIT: Micros = limits::JOIN_WAIT.as_micros() as Micros;

impl Daemon {
    pub fn seat(&self) -> Seat {
        Seat {
            daemon: self.number,
            machine: self.machine,
        }
    }

    /// The first daemon is the head of all others.
    fn head(around: &Around) -> Option<(NodeId, Seat)> {
        around.streams.nodes().find(|(_, seat)| seat.daemon == 0)
    }

    pub(super) fn begin_membership(&mut self, around: &mut Around) {
        if self.is_head() {
            return;
        }
        if let Some((head, _)) = Self::head(around) {
            self.known.insert(head);
        }
        self.answered_at = self.now(around);
        let daemon = self.number;
        around.after(1, Event::Beat { daemon });
        around.after(JOIN_WAIT, Event::JoinDue { daemon });
    }

    // ---- out

    pub(super) fn tell_control(&mut self, says: NodeSays, around: &mut Around) {
        self.note(around, || format!("node > control: {says:?}"));
        if let NodeSays::ProcessGone { process, .. } = &says {
            // Also one whose end the node has not heard of within the time that it waits for that.
            self.grants.worker_gone(process);
        }
        if let NodeSays::Drained { left_behind } = &says {
            self.has_moved_all = left_behind.is_empty() && self.now(around) < self.drain_until;
        }
        if self.is_head() {
            return self.on_node_says(self.id, says, around);
        }
        if let Some((head, _)) = Self::head(around) {
            self.send_to(head, NodeSaid::from(&says).into(), around);
        }
    }

    pub(super) fn say(&mut self, node: NodeId, says: ControlSays, around: &mut Around) {
        self.note(around, || {
            format!("control > node {}: {says:?}", first(&node))
        });
        if let ControlSays::KillActor { actor, .. } = &says
            && let Some(record) = around.witness.actors.get_mut(actor)
        {
            record.is_ended = true;
        }
        if node == self.id {
            return self.on_control_says(says, around);
        }
        self.send_to(node, ControlSaid::from(&says).into(), around);
    }

    /// Says something over the stream to another daemon.
    pub(super) fn send_to(&mut self, node: NodeId, message: Message, around: &mut Around) {
        let Some(seat) = around.streams.seat(&node) else {
            let text = format!("a word to {node}, which is no node: {}", message.name());
            return around.witness.violation(text);
        };
        if self.dead.contains(&node) {
            return;
        }
        if !self.known.contains(&node) {
            return self.held.entry(node).or_default().push(message);
        }
        let from = self.seat();
        let (network, agenda) = (&mut around.network, &mut around.agenda);
        around
            .streams
            .send(from, seat, &message, around.now, network, agenda);
    }

    /// It is known now where a node is.
    fn meet(&mut self, node: NodeId, around: &mut Around) {
        if self.known.insert(node) {
            for message in self.held.remove(&node).unwrap_or_default() {
                self.send_to(node, message, around);
            }
        }
    }

    /// Somebody asks control to have a node go.
    pub fn ask_to_drain(&mut self, node: NodeId, deadline_ms: u64, around: &mut Around) {
        let message = DrainNode {
            node,
            deadline_ms,
            reason: DrainReason::Preemption as i32,
            ..DrainNode::default()
        };
        // Nobody waits for the answer.
        let says = NodeSays::ClientSaid {
            client: WorkerId::default(),
            message: Box::new(message.into()),
        };
        self.on_node_says(self.id, says, around);
        self.end_turn(around);
    }

    // ---- in

    /// Something came over the stream of another daemon.
    pub fn on_stream(&mut self, from: usize, around: &mut Around) {
        let arrived = around.streams.take(from, self.number, around.now);
        let sender = around
            .streams
            .nodes()
            .find(|(_, seat)| seat.daemon == from)
            .map(|(node, _)| node);
        let Some(sender) = sender.filter(|node| !self.dead.contains(node)) else {
            return;
        };
        self.meet(sender, around);
        for frame in arrived {
            match Message::decode_frame(&frame) {
                Ok(message) => self.on_stream_message(sender, message, around),
                Err(error) => around
                    .witness
                    .violation(format!("a word of a node cannot be read: {error:?}")),
            }
            if around.random.percent(30) {
                self.settle(around);
            }
        }
        self.end_turn(around);
    }

    fn on_stream_message(&mut self, from: NodeId, message: Message, around: &mut Around) {
        if self.dead.contains(&from) {
            return;
        }
        match message {
            Message::NodeSaid(said) => match NodeSays::try_from(said) {
                Ok(says) => {
                    self.note(around, || {
                        format!("control < node {}: {says:?}", first(&from))
                    });
                    self.on_node_says(from, says, around);
                }
                Err(error) => nonsense(&format!("{error:?}"), around),
            },
            Message::ControlSaid(said) => match ControlSays::try_from(said) {
                Ok(says) => self.on_control_says(says, around),
                Err(error) => nonsense(&format!("{error:?}"), around),
            },
            message => {
                self.note(around, || {
                    format!("node < node {}: {message:?}", first(&from))
                });
                self.observe_return(&message);
                if let Message::ObjectsTaken(taken) = &message {
                    let taken = taken.objects.iter();
                    let moved = taken.filter(|it| it.outcome() == TakeOutcome::Taken);
                    around.witness.objects_moved += moved.count() as u64;
                }
                let now = self.now(around);
                self.node.on_node_message(from, message, now);
            }
        }
    }

    fn on_node_says(&mut self, from: NodeId, says: NodeSays, around: &mut Around) {
        let now = self.now(around);
        let Some(control) = &mut self.control else {
            return nonsense("a node takes another one for the head", around);
        };
        if let NodeSays::ActorEnded { actor, .. } = &says {
            around.witness.life_ended(actor);
        }
        control.set_time(now);
        control.on_node(from, says);
    }

    fn on_control_says(&mut self, says: ControlSays, around: &mut Around) {
        self.note(around, || format!("node < control: {says:?}"));
        if !std::mem::replace(&mut self.is_joined, true) {
            around.witness.nodes.push(self.id);
        }
        match &says {
            ControlSays::Nodes(news) => {
                let me = self.id;
                for news in news.iter().filter(|news| news.node != me) {
                    if news.state() == NodeState::Dead {
                        self.close_stream(news.node, around);
                    } else {
                        self.meet(news.node, around);
                    }
                }
            }
            ControlSays::Drain { deadline_us, .. } => {
                self.drain_until = match deadline_us {
                    0 => Micros::MAX,
                    _ => self.now(around) + deadline_us,
                };
            }
            ControlSays::Fenced { reason } => {
                self.end.get_or_insert_with(|| reason.clone());
            }
            _ => {}
        }
        let now = self.now(around);
        self.node.on_control(says, now);
    }

    /// A node is dead: what was to be said to it is not of interest any more.
    fn close_stream(&mut self, node: NodeId, around: &mut Around) {
        self.held.remove(&node);
        let Some(seat) = around.streams.seat(&node) else {
            return;
        };
        if !self.dead.insert(node) {
            return;
        }
        around.streams.close(self.number, seat.daemon);
        if self.is_head() {
            around.witness.node_given_up(seat.daemon, node);
            // Its own stream is refused from now on.
            let delay = around.network.delay(self.machine, seat.machine);
            let daemon = seat.daemon;
            around.after(delay, Event::Refused { daemon });
        }
    }

    /// Nobody listens any more where this daemon was.
    pub fn on_stream_broken(&mut self, daemon: usize, around: &mut Around) {
        let node = around
            .streams
            .nodes()
            .find(|(_, seat)| seat.daemon == daemon)
            .map(|(node, _)| node);
        let now = self.now(around);
        if let (Some(node), Some(control)) = (node, &mut self.control)
            && !self.dead.contains(&node)
        {
            around.note(|| format!("control: the stream of node {node} is broken"));
            control.set_time(now);
            control.on_stream_broken(node);
        }
        self.end_turn(around);
    }

    // ---- heartbeats

    /// It is time to say to the head that this machine is alive.
    pub fn on_beat(&mut self, around: &mut Around) {
        let now = self.now(around);
        let silence = now.saturating_sub(self.answered_at);
        if silence >= FENCE {
            let reason = format!("the head has not answered for {silence} us");
            self.end.get_or_insert(reason);
            return;
        }
        let Some((_, head)) = Self::head(around) else {
            return;
        };
        let daemon = self.number;
        let is_open = around
            .network
            .cut_until(self.machine, head.machine, around.now)
            .is_none();
        if is_open {
            let delay = around.network.delay(self.machine, head.machine);
            around.after(delay, Event::Heard { daemon });
        }
        let pause = if silence > 2 * HEARTBEAT {
            HEARTBEAT / 4
        } else {
            HEARTBEAT
        };
        around.after(pause, Event::Beat { daemon });
    }

    /// The head hears a heartbeat of another daemon.
    pub fn on_heard(&mut self, of: Seat, node: NodeId, around: &mut Around) {
        let now = self.now(around);
        let Some(control) = &mut self.control else {
            return;
        };
        if self.dead.contains(&node) {
            return;
        }
        control.set_time(now);
        control.on_heartbeat(node);
        let is_open = around
            .network
            .cut_until(self.machine, of.machine, around.now)
            .is_none();
        if is_open {
            let delay = around.network.delay(self.machine, of.machine);
            let daemon = of.daemon;
            around.after(delay, Event::Answered { daemon });
        }
        self.end_turn(around);
    }

    /// The head has answered a heartbeat.
    pub fn on_answered(&mut self, around: &Around) {
        self.answered_at = self.now(around);
    }

    /// The head has refused the stream of this daemon.
    pub fn on_refused(&mut self) {
        let reason = "the cluster has given this node up".to_owned();
        self.end.get_or_insert(reason);
    }

    /// Control should have spoken by now.
    pub fn on_join_due(&mut self) {
        if !self.is_joined {
            let reason = "the head cannot reach this node".to_owned();
            self.end.get_or_insert(reason);
        }
    }
}

/// The number of the daemon of a node, for logs.
pub(super) fn first(node: &NodeId) -> u8 {
    node.to_array()[0].wrapping_sub(FIRST_ID)
}

fn nonsense(what: &str, around: &mut Around) {
    around
        .witness
        .violation(format!("a word between daemons makes no sense: {what}"));
}
