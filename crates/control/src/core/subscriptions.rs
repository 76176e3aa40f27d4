//! Who hears of which actor.
//!
//! A handle may travel faster than the word that its actor exists: the owner tells control on one
//! connection, and whoever gets the handle asks on another one. So a question about an unknown actor
//! waits until the actor is created, or its owner is gone.

use whipray_proto::messages::actor::{ActorState, ActorUpdate, SubscribeActor};
use whipray_proto::{ActorId, DeathCause, DeathKind, WorkerId};

use super::Control;

/// Those who wait for an actor that was not created yet.
#[derive(Clone, Debug)]
pub struct Awaited {
    owner: WorkerId,
    subscribers: Vec<WorkerId>,
}

impl Control {
    pub(super) fn subscribe_actor(&mut self, client: WorkerId, subscribe: SubscribeActor) {
        let actor = subscribe.actor;
        if let Some(entry) = self.actors.get(&actor) {
            let update = entry.update();
            self.subscribe(client, actor);
            return self.tell(client, update);
        }
        match subscribe.owner {
            Some(owner) if !self.forgotten.contains(&actor) && !self.gone.contains(&owner) => {
                let awaited = self.awaited.entry(actor).or_insert_with(|| Awaited {
                    owner,
                    subscribers: Vec::new(),
                });
                if !awaited.subscribers.contains(&client) {
                    awaited.subscribers.push(client);
                }
            }
            _ => {
                let cause = DeathCause::new(
                    DeathKind::Unknown,
                    "the cluster knows of no such actor any more",
                );
                self.tell(client, never_created(actor, cause));
            }
        }
    }

    pub(super) fn subscribe(&mut self, client: WorkerId, actor: ActorId) {
        if let Some(entry) = self.actors.get_mut(&actor)
            && self.subscriptions.entry(client).or_default().insert(actor)
        {
            entry.subscribers.push(client);
        }
    }

    /// An actor exists now: those who waited for it hear of it.
    pub(super) fn greet_awaited(&mut self, actor: ActorId) {
        let Some(awaited) = self.awaited.remove(&actor) else {
            return;
        };
        for client in awaited.subscribers {
            let update = self.actors.get(&actor).map(|entry| entry.update());
            self.subscribe(client, actor);
            if let Some(update) = update {
                self.tell(client, update);
            }
        }
    }

    /// A process is gone: it hears of no actor any more, and creates none.
    pub(super) fn unsubscribe(&mut self, process: WorkerId, cause: &DeathCause) {
        self.gone.insert(process);
        for actor in self.subscriptions.remove(&process).unwrap_or_default() {
            if let Some(entry) = self.actors.get_mut(&actor) {
                entry
                    .subscribers
                    .retain(|subscriber| *subscriber != process);
            }
        }
        for awaited in self.awaited.values_mut() {
            awaited
                .subscribers
                .retain(|subscriber| *subscriber != process);
        }
        let mut orphaned: Vec<(ActorId, Awaited)> = Vec::new();
        self.awaited.retain(|actor, awaited| {
            let is_orphaned = awaited.owner == process;
            if is_orphaned {
                orphaned.push((*actor, awaited.clone()));
            }
            !is_orphaned && !awaited.subscribers.is_empty()
        });
        orphaned.sort_unstable_by_key(|(actor, _)| *actor);
        for (actor, awaited) in orphaned {
            let cause = DeathCause::new(DeathKind::OwnerDied, cause.headline());
            for client in awaited.subscribers {
                self.tell(client, never_created(actor, cause.clone()));
            }
        }
    }
}

fn never_created(actor: ActorId, cause: DeathCause) -> ActorUpdate {
    ActorUpdate {
        actor,
        state: ActorState::Dead as i32,
        cause: Some(cause),
        ..ActorUpdate::default()
    }
}
