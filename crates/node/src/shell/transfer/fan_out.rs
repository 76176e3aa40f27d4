//! Which nodes an object is sent to, so that those who come later are sent to one of them.

use rustc_hash::FxHashMap;
use whipray_proto::{NodeId, ObjectId};

/// Notes on objects that are being sent. Nothing is kept of one that is sent to nobody.
#[derive(Debug)]
pub struct FanOut {
    objects: FxHashMap<ObjectId, Receivers>,
    /// The most nodes that an object is sent to at the same time.
    most: usize,
}

#[derive(Debug, Default)]
struct Receivers {
    /// Those that are getting it, each with its connections.
    getting: Vec<(Receiver, usize)>,
    /// Those that have all of it.
    having: Vec<Receiver>,
    turns: usize,
}

/// A node, and where its daemon is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub node: NodeId,
    pub endpoint: String,
}

impl FanOut {
    pub fn new(most: usize) -> Self {
        Self {
            objects: FxHashMap::default(),
            most: most.max(1),
        }
    }

    /// A connection of `receiver` begins to ask for an object. Returns where to send it instead;
    /// `None`: it is served here, until [`Self::end`] is called for it.
    pub fn begin(
        &mut self,
        object: ObjectId,
        receiver: &Receiver,
        is_direct: bool,
    ) -> Option<Receiver> {
        let receivers = self.objects.entry(object).or_default();
        let getting = &mut receivers.getting;
        if let Some((_, connections)) = getting.iter_mut().find(|(it, _)| it == receiver) {
            *connections += 1;
            return None;
        }
        if !is_direct && getting.len() >= self.most {
            receivers.turns += 1;
            // Those that have it serve at once; the others what they have by then.
            let having = receivers.having.iter();
            let others: Vec<&Receiver> = having.filter(|it| *it != receiver).collect();
            let chosen = match others.is_empty() {
                false => others.get(receivers.turns % others.len()).copied(),
                true => {
                    let index = receivers.turns % getting.len();
                    getting.get(index).map(|(it, _)| it)
                }
            };
            return chosen.cloned();
        }
        getting.push((receiver.clone(), 1));
        None
    }

    /// A connection of `receiver` asks for an object no more.
    pub fn end(&mut self, object: ObjectId, receiver: &Receiver, is_complete: bool) {
        let Some(receivers) = self.objects.get_mut(&object) else {
            return;
        };
        let getting = &mut receivers.getting;
        if let Some(index) = getting.iter().position(|(it, _)| it == receiver) {
            getting[index].1 -= 1;
            if getting[index].1 == 0 {
                getting.swap_remove(index);
            }
        }
        if is_complete && !receivers.having.contains(receiver) {
            receivers.having.push(receiver.clone());
        }
        if receivers.getting.is_empty() {
            self.objects.remove(&object);
        }
    }

    /// A node is dead.
    pub fn forget(&mut self, node: NodeId) {
        for receivers in self.objects.values_mut() {
            receivers.having.retain(|it| it.node != node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(number: u8) -> Receiver {
        Receiver {
            node: NodeId::from_array([number; 28]),
            endpoint: format!("tcp:10.0.0.{number}:1"),
        }
    }

    #[test]
    fn many_are_sent_to_those_that_came_first() {
        let mut fan_out = FanOut::new(2);
        let object = ObjectId::default();
        assert_eq!(fan_out.begin(object, &receiver(1), false), None);
        assert_eq!(fan_out.begin(object, &receiver(2), false), None);
        assert_eq!(fan_out.begin(object, &receiver(2), false), None, "one node");
        let mut chosen: Vec<u8> = (3..7)
            .filter_map(|number| fan_out.begin(object, &receiver(number), false))
            .map(|it| it.node.to_array()[0])
            .collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 1, 2, 2], "in turns");
        assert_eq!(
            fan_out.begin(object, &receiver(3), true),
            None,
            "it insists"
        );
        fan_out.end(object, &receiver(2), true);
        assert_eq!(
            fan_out.begin(object, &receiver(7), false),
            Some(receiver(2)),
            "who has it is asked first"
        );
        fan_out.forget(receiver(2).node);
        assert_ne!(fan_out.begin(object, &receiver(7), false), None);
        for number in [1, 2, 3] {
            fan_out.end(object, &receiver(number), false);
        }
        assert!(fan_out.objects.is_empty());
        assert_eq!(fan_out.begin(object, &receiver(7), false), None);
    }
}
