//! What must hold after every event.
//!
//! - CT-1: a name belongs to a live actor of that name.
//! - CT-2: what a process owns is alive, says so itself, and is not detached where it is complete.
//! - CT-3: both sides of a subscription know of it.
//! - CT-4: each dead actor lies in the graveyard once.
//! - CT-5: nobody waits for an actor that exists.
//! - CT-6: the name of a placement group belongs to one that is not removed.
//! - CT-7: a group waits for room exactly where it says so, and nobody waits for one that exists.
//! - CT-8: those who wait for a process stand in the line, and nobody else.
//! - CT-9: nothing that lives is on a node that is dead: no process, no actor, no bundle.
//! - CT-10: what a node has promised to an actor, the actor knows of; and dead ones keep nothing.

use whipray_proto::{ActorId, NodeId};

use super::Control;
use super::actors::Life;
use super::groups::Standing;

impl Control {
    /// Checks every invariant; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        for ((namespace, name), actor) in &self.names {
            let is_right = self.actors.get(actor).is_some_and(|entry| {
                !entry.is_dead() && entry.spec.namespace == *namespace && entry.spec.name == *name
            });
            if !is_right {
                return Err(format!("CT-1: {name:?} is the name of {actor}"));
            }
        }
        for (owner, actors) in &self.owned {
            let is_right = |actor| {
                self.actors.get(actor).is_some_and(|entry| {
                    !entry.is_dead()
                        && (!entry.spec.detached || !entry.is_complete)
                        && entry.spec.owner.worker == *owner
                })
            };
            if actors.is_empty() || !actors.iter().all(is_right) {
                return Err(format!("CT-2: {owner} owns {actors:?}"));
            }
        }
        for (client, actors) in &self.subscriptions {
            let is_known = |actor| {
                let entry = self.actors.get(actor);
                entry.is_some_and(|entry| entry.subscribers.contains(client))
            };
            if !actors.iter().all(is_known) {
                return Err(format!("CT-3: {client} is subscribed to {actors:?}"));
            }
        }
        self.validate_groups()?;
        self.validate_line()?;
        self.validate_nodes()?;
        let dead = self.actors.values().filter(|actor| actor.is_dead()).count();
        if dead != self.graveyard.len() {
            let buried = self.graveyard.len();
            return Err(format!(
                "CT-4: {dead} actors are dead, and {buried} in the graveyard"
            ));
        }
        match self
            .awaited
            .keys()
            .find(|actor| self.actors.contains_key(*actor))
        {
            Some(actor) => Err(format!("CT-5: {actor} exists, and is waited for")),
            None => Ok(()),
        }
    }

    fn validate_line(&self) -> Result<(), String> {
        for (actor, entry) in &self.actors {
            let waits = entry.is_complete && matches!(entry.life, Life::WaitsForProcess { .. });
            let place = entry.turn.and_then(|turn| self.line.get(&turn));
            if waits != (place == Some(actor)) {
                return Err(format!("CT-8: {actor} waits without need, or unseen"));
            }
            let by = entry.promised_by.and_then(|node| self.nodes.get(&node));
            if entry.promised_by.is_some() && by.is_none_or(|member| member.is_dead()) {
                return Err(format!("CT-10: {actor} has a promise of a dead node"));
            }
        }
        match self
            .line
            .values()
            .find(|actor| !self.actors.contains_key(*actor))
        {
            Some(actor) => Err(format!("CT-8: {actor} is in the line, and is not there")),
            None => Ok(()),
        }
    }

    fn validate_nodes(&self) -> Result<(), String> {
        let is_dead = |node: &NodeId| self.nodes.get(node).is_some_and(|member| member.is_dead());
        if let Some((process, node)) = self.homes.iter().find(|(_, node)| is_dead(node)) {
            return Err(format!("CT-9: {process} lives on {node}, which is dead"));
        }
        let mut alive = self.actors.values().filter(|actor| !actor.is_dead());
        if let Some(actor) = alive.find(|actor| actor.node.as_ref().is_some_and(is_dead)) {
            return Err(format!("CT-9: {} is on a dead node", actor.spec.actor));
        }
        for (group, entry) in &self.groups {
            let mut places = entry.nodes.iter().flatten();
            if entry.standing != Standing::Removed && places.any(is_dead) {
                return Err(format!("CT-9: {group} has a bundle on a dead node"));
            }
        }
        for (node, member) in &self.nodes {
            let is_known = |actor: &ActorId| {
                let entry = self.actors.get(actor);
                entry.is_some_and(|entry| entry.promised_by == Some(*node))
            };
            if !member.promised.keys().all(is_known) {
                return Err(format!("CT-10: {node} has promised what nobody knows of"));
            }
        }
        Ok(())
    }

    fn validate_groups(&self) -> Result<(), String> {
        for ((namespace, name), group) in &self.group_names {
            let is_right = self.groups.get(group).is_some_and(|entry| {
                entry.standing != Standing::Removed
                    && entry.spec.namespace == *namespace
                    && entry.spec.name == *name
            });
            if !is_right {
                return Err(format!("CT-6: {name:?} is the name of {group}"));
            }
        }
        for (group, entry) in &self.groups {
            let is_listed = self.waiting_groups.contains(group);
            let is_right = match &entry.standing {
                Standing::Waits { .. } => is_listed,
                Standing::Prepares { .. } => true,
                Standing::Stands | Standing::Removed => !is_listed,
            };
            if !is_right {
                return Err(format!("CT-7: {group} waits without need, or unseen"));
            }
        }
        let mut wanted = self.wanted_groups.keys().chain(self.wanting_nodes.keys());
        match wanted.find(|group| self.groups.contains_key(*group)) {
            Some(group) => Err(format!("CT-7: {group} exists, and is waited for")),
            None => Ok(()),
        }
    }
}
