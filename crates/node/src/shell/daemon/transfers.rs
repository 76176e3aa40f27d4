//! Objects on their way to and from other nodes, as the loop has to do with them.

use std::io;

use whipray_net::{Poller, Waker, same_token};
use whipray_proto::PROTOCOL_VERSION;
use whipray_proto::messages::session::Refused;
use whipray_proto::messages::transfer::TransferHello;

use super::{Control, Daemon, Settings, TRANSFERS};
use crate::core::ClientId;
use crate::shell::transfer::{TransferEvent, TransferSettings, Transfers};

/// The transfers of a daemon that starts.
pub(super) fn of(settings: &Settings, poller: &Poller) -> io::Result<Transfers> {
    let waker = Waker::new(poller, TRANSFERS)?;
    let arena = settings.arena.clone();
    let identity = settings.identity.clone();
    let how = TransferSettings::default();
    Ok(Transfers::new(arena, identity, how, waker))
}

impl<C: Control> Daemon<C> {
    pub(super) fn on_transfers(&mut self) {
        let now = self.now();
        for event in self.transfers.take_events() {
            self.guarded("transfer", |daemon| match event {
                TransferEvent::Pulled { pull, outcome } => {
                    daemon.node.on_pulled(pull, outcome, now);
                }
                TransferEvent::Wanted { ask, object } => {
                    daemon.node.on_object_wanted(ask, object, now);
                }
                TransferEvent::Sent { object } => daemon.node.on_object_sent(object, now),
            });
        }
    }

    /// Another node wants objects by this connection, which a thread takes over.
    pub(super) fn greet_transfer(&mut self, client: ClientId, hello: TransferHello) {
        let refusal = if !same_token(&self.streams.identity.token, &hello.token) {
            Some("the token is not the one of this cluster".to_owned())
        } else if hello.version != PROTOCOL_VERSION {
            Some(format!(
                "version {} of the protocol is spoken there, and {PROTOCOL_VERSION} here",
                hello.version
            ))
        } else if hello.to != self.settings.config.node {
            Some(format!(
                "node {} is not here, but node {}",
                hello.to, self.settings.config.node
            ))
        } else {
            None
        };
        if let Some(reason) = refusal {
            tracing::warn!(client, reason, "a connection for objects is refused");
            self.connections.queue(client, &Refused { reason }.into());
            self.connections.close(client, &self.poller);
        } else if let Some(connection) = self.connections.take(client, &self.poller) {
            self.transfers.take_in(connection, hello);
        }
    }
}
