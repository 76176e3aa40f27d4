//! Objects that come from other nodes, and go there.

use rustc_hash::FxHashMap;
use whipray_proto::messages::object::PinObjects;
use whipray_proto::{NodeId, ObjectId};
use whipray_store::core::{Lost, Pinned, Pull, SERVING, Source, Wanted};

use super::{ClientId, Effect, Micros, Node};

/// Where the daemons of other nodes are reached.
pub(super) type Endpoints = FxHashMap<NodeId, String>;

impl Node {
    /// Another node is there, and reached at `tcp:host:port`.
    pub(super) fn set_endpoint(&mut self, node: NodeId, endpoint: String) {
        if self.endpoints.get(&node) != Some(&endpoint) {
            self.endpoints.insert(node, endpoint);
        }
    }

    /// Another node is dead: nothing comes from there any more, and nothing is sent there.
    pub(super) fn pulls_source_gone(&mut self, node: NodeId, now: Micros) {
        self.endpoints.remove(&node);
        self.effects.push(Effect::EndTransfers { node });
        self.objects.source_gone(node, &is_gone(node), now);
        self.settle_objects(now);
    }

    /// Pins objects for a client, and has those fetched that are on other nodes.
    pub(super) fn pull_objects(&mut self, client: ClientId, pin: &PinObjects, now: Micros) {
        let wanted = pin
            .objects
            .iter()
            .enumerate()
            .map(|(index, object)| Wanted {
                object: *object,
                source: self.source(pin, index, now),
            });
        let wanted = wanted.collect();
        self.objects.pull_all(client, pin.request, wanted, now);
        self.settle_objects(now);
    }

    /// Where one object of a request may be fetched from; nowhere once its owner is gone, since
    /// nobody would ever free the copy.
    fn source(&mut self, pin: &PinObjects, index: usize, now: Micros) -> Option<Source> {
        let node = *pin.locations.get(index)?;
        if node == self.config.node || node.is_nil() {
            return None;
        }
        let source = Source {
            node,
            owner: *pin.owners.get(index)?,
            size_bytes: *pin.sizes.get(index)?,
        };
        let owner_node = *pin.owner_nodes.get(index)?;
        self.will_hear_of_end(source.owner, owner_node, now)
            .then_some(source)
    }

    pub(super) fn pull(&mut self, pull: Pull, now: Micros) {
        match self.endpoints.get(&pull.from) {
            Some(endpoint) => {
                let endpoint = endpoint.clone();
                self.effects.push(Effect::Pull { pull, endpoint });
            }
            None => {
                let reason = is_gone(pull.from);
                self.objects.on_pulled(pull.pull, Err(reason), now);
            }
        }
    }

    /// The threads that fetch objects are done with one.
    pub fn on_pulled(&mut self, pull: u64, outcome: Result<(), String>, now: Micros) {
        self.objects.on_pulled(pull, outcome, now);
        self.settle_objects(now);
    }

    /// Another node asks for an object; the answer is [`Effect::Serve`].
    pub fn on_object_wanted(&mut self, ask: u64, object: ObjectId, now: Micros) {
        self.objects.serve_object(ask, object);
        self.settle_objects(now);
    }

    /// What was pinned for an ask is sent, or wanted no more.
    pub fn on_object_sent(&mut self, object: ObjectId, now: Micros) {
        self.objects.unpin(SERVING, object);
        self.settle_objects(now);
    }

    pub(super) fn serve(&mut self, ask: u64, found: Vec<Pinned>, lost: Vec<Lost>) {
        let outcome = match (found.into_iter().next(), lost.into_iter().next()) {
            (Some(pinned), _) => Ok(pinned),
            (None, Some(lost)) => Err(lost.reason),
            (None, None) => Err(format!("node {} does not have it", self.config.node)),
        };
        self.effects.push(Effect::Serve { ask, outcome });
    }
}

fn is_gone(node: NodeId) -> String {
    format!("node {node}, which has it, is not part of the cluster any more")
}
