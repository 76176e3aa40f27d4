//! The daemons of other nodes: their streams in and out, and the heartbeats between them.

use whipray_net::same_token;
use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::control_said::ControlSaid;
use whipray_proto::messages::membership::{
    Heartbeat, HeartbeatHello, StreamAck, StreamHello, StreamWelcome,
};
use whipray_proto::messages::node_said::NodeSaid;
use whipray_proto::messages::session::{PeerHello, Refused};
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION, limits};

use super::{Control, Daemon, EndReason};
use crate::core::{ClientId, Micros};
use crate::shell::connections::PeerKind;
use crate::shell::streams::StreamEvent;

impl<C: Control> Daemon<C> {
    // ---- in -------------------------------------------------------------------------------------

    /// Another daemon wants to speak.
    pub(super) fn greet_node(&mut self, client: ClientId, hello: StreamHello) {
        if self.streams.identity.python.is_empty() && !hello.python.is_empty() {
            // The template of the workers will say in a moment which Python they have here.
            return self.early_hellos.push((client, hello));
        }
        self.greet_known_python(client, &hello);
    }

    /// The template of the workers has said which Python they have.
    pub(super) fn on_python(&mut self, python: String) {
        self.streams.identity.python = python;
        for (client, hello) in std::mem::take(&mut self.early_hellos) {
            self.greet_known_python(client, &hello);
        }
    }

    fn greet_known_python(&mut self, client: ClientId, hello: &StreamHello) {
        let objection = match same_token(&self.streams.identity.token, &hello.token) {
            false => Some("its token is not the one of this cluster".to_owned()),
            // Nodes that control has not heard of come to the head alone.
            true => self.streams.objection(hello),
        };
        if let Some(reason) = objection {
            tracing::warn!(node = %hello.from, reason, "a node is refused");
            self.connections.queue(client, &Refused { reason }.into());
            return self.connections.close(client, &self.poller);
        }
        self.connections
            .set_known(client, PeerKind::Stream(hello.from));
        self.connections
            .notice_silence(client, limits::STREAM_SILENCE);
        let (received, before) = self.streams.on_hello(hello, client);
        if let Some(before) = before {
            // What is unread there comes again over the new one.
            self.connections.close(before, &self.poller);
        }
        let welcome = StreamWelcome {
            node: self.settings.config.node,
            received,
            cluster_address: self.settings.config.cluster_address.clone(),
            session_name: self.settings.config.session_name.clone(),
            is_head: self.head.is_none(),
            system_config: self.settings.system_config.clone(),
        };
        self.connections.queue(client, &welcome.into());
        if hello.to.is_none() {
            tracing::info!(node = %hello.from, endpoint = hello.endpoint, "a node joins");
        }
    }

    /// A message of a stream.
    pub(super) fn on_stream_message(&mut self, from: NodeId, message: Message, now: Micros) {
        if self.streams.is_dead(&from) {
            return;
        }
        self.streams.on_message(from);
        match message {
            Message::NodeSaid(said) => match NodeSays::try_from(said) {
                Ok(says) if self.head.is_none() => {
                    self.guarded("word of a node", |daemon| {
                        daemon.control.on_node(from, says)
                    });
                }
                Ok(_) => tracing::warn!(%from, "a node takes this one for the head"),
                Err(error) => tracing::warn!(%from, %error, "a word of a node makes no sense"),
            },
            Message::ControlSaid(said) if self.head == Some(from) => {
                match ControlSays::try_from(said) {
                    Ok(says) => self.on_control_says(says, now),
                    Err(error) => tracing::warn!(%error, "a word of control makes no sense"),
                }
            }
            message => self.guarded("message of a node", |daemon| {
                daemon.node.on_node_message(from, message, now)
            }),
        }
    }

    /// All that a connection of a stream had was taken in.
    pub(super) fn acknowledge(&mut self, client: ClientId, from: NodeId) {
        if let Some(received) = self.streams.take_news(from) {
            self.connections
                .queue(client, &StreamAck { received }.into());
        }
    }

    /// A node wants to say that it is alive.
    pub(super) fn greet_heartbeat(&mut self, client: ClientId, hello: &HeartbeatHello) {
        let is_welcome = hello.version == PROTOCOL_VERSION
            && same_token(&self.streams.identity.token, &hello.token)
            && self.head.is_none();
        if !is_welcome {
            tracing::warn!(node = %hello.node, "a heartbeat with a wrong token");
            return self.connections.close(client, &self.poller);
        }
        self.connections
            .set_known(client, PeerKind::Heartbeat(hello.node));
    }

    pub(super) fn on_heartbeat(&mut self, client: ClientId, node: NodeId, message: Message) {
        match message {
            Message::Heartbeat(Heartbeat { beat }) if !self.streams.is_dead(&node) => {
                self.control.on_heartbeat(node);
                self.connections.queue(client, &Heartbeat { beat }.into());
            }
            _ => self.connections.close(client, &self.poller),
        }
    }

    // ---- peers of processes ---------------------------------------------------------------------

    /// A process of another machine wants to speak with one of this node: the connection goes to that
    /// one, and the daemon has no part in it any more.
    pub(super) fn pass_peer(&mut self, client: ClientId, mut hello: PeerHello) {
        let is_welcome = hello.version == PROTOCOL_VERSION
            && same_token(&self.streams.identity.token, &hello.token);
        let endpoint = self
            .node
            .endpoint_of(hello.to)
            .and_then(|it| it.parse().ok());
        let Some(connection) = self.connections.take(client, &self.poller) else {
            return;
        };
        let (true, Some(endpoint)) = (is_welcome, endpoint) else {
            // The peer sees the end, and asks its node what it means.
            return tracing::info!(to = %hello.to, is_welcome, "a peer is turned away");
        };
        // The process checks it again: its own is as good as the one that was shown here.
        hello.token.clone_from(&self.streams.identity.token);
        let to = hello.to;
        if let Err(error) = whipray_net::pass_peer(connection, hello, &endpoint) {
            tracing::warn!(%to, %error, "a peer's connection cannot be passed on");
        }
    }

    // ---- out ------------------------------------------------------------------------------------

    /// What a node says to control, wherever that is.
    pub(super) fn tell_control(&mut self, says: NodeSays) {
        match self.head {
            Some(head) => self.streams.queue(head, &NodeSaid::from(&says).into()),
            None => {
                let me = self.settings.config.node;
                self.guarded("word to control", |daemon| daemon.control.on_node(me, says));
            }
        }
    }

    /// What control says to a node.
    pub(super) fn say(&mut self, node: NodeId, says: ControlSays, now: Micros) {
        if node == self.settings.config.node {
            return self.on_control_says(says, now);
        }
        self.streams.queue(node, &ControlSaid::from(&says).into());
    }

    /// Control says something to this node.
    fn on_control_says(&mut self, says: ControlSays, now: Micros) {
        if let Some(on_joined) = self.on_joined.take() {
            self.join_deadline = None;
            on_joined(Ok(()));
        }
        match &says {
            ControlSays::Nodes(news) => self.streams.on_news(news, &self.poller),
            ControlSays::Ends { reason } => {
                self.end = Some(EndReason::Asked(format!("the cluster ends: {reason}")));
            }
            ControlSays::Fenced { reason } => {
                self.end = Some(EndReason::Fenced(reason.clone()));
            }
            _ => {}
        }
        self.guarded("control", |daemon| daemon.node.on_control(says, now));
    }

    /// Writes what is to go to other nodes, and takes in what became of their streams.
    pub(super) fn drive_streams(&mut self) {
        loop {
            let now = self.now();
            self.streams.flush(&self.poller, now);
            let events = self.streams.take_events();
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.on_stream(event));
            self.settle();
        }
    }

    fn on_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Restored(node) => self.control.on_stream_restored(node),
            StreamEvent::NobodyThere(node) => self.control.on_stream_broken(node),
            StreamEvent::Refused { node, reason } if self.head == Some(node) => {
                self.end = Some(EndReason::Fenced(reason));
            }
            // Who refuses for good is not the one that control means.
            StreamEvent::Refused { node, .. } => self.control.on_stream_broken(node),
        }
    }

    /// This daemon ends in order: the others need not wait until its silence tells.
    pub(super) fn say_goodbye(&mut self, reason: &str) {
        let (now, reason) = (self.now(), reason.to_owned());
        match self.head {
            Some(head) => {
                let says = NodeSays::Leaves { reason };
                self.streams.queue(head, &NodeSaid::from(&says).into());
            }
            None => {
                let says = ControlSays::Ends { reason };
                self.streams.queue_all(&ControlSaid::from(&says).into());
            }
        }
        self.streams.flush(&self.poller, now);
    }

    /// Looks whether the head is still heard, and ends what has no head.
    pub(super) fn listen_for_head(&mut self) {
        let Some(heartbeats) = &self.heartbeats else {
            return;
        };
        let hearing = heartbeats.hearing();
        let head = &self.settings.config.cluster_address;
        let lost = hearing
            .nobody_there
            .filter(|since| *since >= limits::HEAD_LOST)
            .map(|since| {
                EndReason::HeadLost(format!(
                    "the head of the cluster at {head} is gone: for {} s nobody has listened there",
                    since.as_secs()
                ))
            });
        let fenced = || {
            (hearing.silence >= self.settings.health.fence).then(|| {
                EndReason::Fenced(format!(
                    "the head of the cluster at {head} has not answered for {} s, so that it is \
                     about to give this node up",
                    hearing.silence.as_secs()
                ))
            })
        };
        if let Some(end) = lost.or_else(fenced) {
            self.end.get_or_insert(end);
        }
    }

    /// The thread of the heartbeats has something to say.
    pub(super) fn on_heartbeat_waker(&mut self) {
        if let Some(heartbeats) = &self.heartbeats {
            heartbeats.reset_waker();
        }
        self.listen_for_head();
    }

    /// The head has not spoken to this node since it joined.
    pub(super) fn give_up_joining(&mut self) {
        let Some(on_joined) = self.on_joined.take() else {
            return;
        };
        let reason = format!(
            "the head of the cluster at {} cannot reach this node at {}: choose another address of \
             this machine with --node-ip-address, and see that the port is open",
            self.settings.config.cluster_address,
            self.settings.identity.endpoint.trim_start_matches("tcp:")
        );
        on_joined(Err(reason.clone()));
        self.end = Some(EndReason::NotJoined(reason));
    }
}
