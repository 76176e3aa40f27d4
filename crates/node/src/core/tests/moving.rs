//! Objects of a node that is to go: who takes them, and what may come between.

use whipray_proto::link::NodeState;
use whipray_proto::messages::moving::{CopyKept, CopyTaken, TakeOutcome};
use whipray_proto::messages::object::{
    CreateObject, FreeObjects, PinObjects, SealObject, UnpinObjects,
};
use whipray_proto::{ActorId, NodeId, ObjectId, TaskId, limits};
use whipray_store::core::SpillSettings;

use super::cluster::{Cluster, id};
use super::*;

const SIZE_BYTES: u64 = 400_000;

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

/// Nodes of which the first has an owner, and the second a process that writes.
struct Moving {
    cluster: Cluster,
    /// The owner's node, the owner as its client, and as a process.
    owner: (usize, ClientId, WorkerId),
    writer: ClientId,
    /// What owners answer; without it nothing.
    keeps: Option<bool>,
    /// What does not come from node to node.
    is_cut: bool,
}

impl Moving {
    fn new(nodes: usize) -> Self {
        Self::with_owner_at(0, nodes)
    }

    fn with_owner_at(at: usize, nodes: usize) -> Self {
        let mut cluster = Cluster::new(&vec![cpus(1.0); nodes]);
        let (owner, _) = cluster.driver(at);
        let (writer, _) = cluster.driver(1);
        let worker = cluster.nodes[at].node.clients[&owner].worker;
        Self {
            cluster,
            owner: (at, owner, worker),
            writer,
            keeps: Some(true),
            is_cut: false,
        }
    }

    /// An object of the owner is made on the second node.
    fn make(&mut self, number: u64, size_bytes: u64) {
        let (owner, object) = (self.owner.2, object(number));
        let create = CreateObject {
            request: 1,
            object,
            size_bytes,
        };
        let owner_node = Some(id(self.owner.0));
        let seal = SealObject {
            object,
            owner,
            unpin: true,
            owner_node,
        };
        self.cluster.nodes[1].say(self.writer, create);
        self.cluster.nodes[1].say(self.writer, seal);
    }

    /// Fills the store of a node with something of its own, for as long as this client is there.
    fn fill(&mut self, at: usize) -> ClientId {
        let client = self.cluster.nodes[at].driver().0;
        let owner = self.cluster.nodes[at].node.clients[&client].worker;
        let object = object(1000 + at as u64);
        let create = CreateObject {
            request: 1,
            object,
            size_bytes: 900_000,
        };
        let owner_node = None;
        let seal = SealObject {
            object,
            owner,
            unpin: true,
            owner_node,
        };
        self.cluster.nodes[at].say(client, create);
        self.cluster.nodes[at].say(client, seal);
        client
    }

    fn drain(&mut self, node: usize, seconds: u64) {
        self.cluster.nodes[node].control(ControlSays::Drain {
            reason: "it is needed elsewhere".to_owned(),
            deadline_us: seconds * SECOND,
            only_if_idle: false,
        });
        self.cluster.set_state(node, NodeState::Draining);
    }

    /// All that is said arrives, objects travel and owners answer, until nothing more happens.
    fn run(&mut self) {
        loop {
            self.cluster.run();
            if !self.carry() & !self.answer() {
                return;
            }
        }
    }

    /// Brings what is on its way from node to node.
    fn carry(&mut self) -> bool {
        let mut has_come = false;
        for index in 0..self.cluster.nodes.len() {
            let is_cut = self.is_cut;
            let stage = &mut self.cluster.nodes[index];
            let mut pulls = Vec::new();
            stage.effects.retain(|effect| match effect {
                Effect::Pull { pull, .. } => {
                    pulls.push(pull.clone());
                    false
                }
                _ => true,
            });
            for pull in pulls {
                has_come = true;
                let outcome = match is_cut {
                    true => Err("the cable is cut".to_owned()),
                    false => Ok(()),
                };
                stage.node.on_pulled(pull.pull, outcome, stage.now);
                stage.settle();
            }
        }
        has_come
    }

    fn asked(&mut self) -> Vec<CopyTaken> {
        let (at, client, _) = self.owner;
        let received = self.cluster.nodes[at].received(client).into_iter();
        let asked = received.filter_map(|message| match message {
            Message::CopyTaken(taken) => Some(taken),
            _ => None,
        });
        asked.collect()
    }

    fn answer(&mut self) -> bool {
        let Some(is_kept) = self.keeps else {
            return false;
        };
        let asked = self.asked();
        for taken in &asked {
            let kept = CopyKept {
                request: Some(taken.request),
                object: taken.object,
                owner: taken.owner,
                by: taken.by,
                is_kept,
            };
            self.cluster.nodes[self.owner.0].say(self.owner.1, kept);
        }
        !asked.is_empty()
    }

    /// What a node said of its end: what it leaves behind.
    fn left(&mut self, node: usize) -> Option<String> {
        let told = self.cluster.nodes[node].told().into_iter();
        let mut drained = told.filter_map(|says| match says {
            NodeSays::Drained { left_behind } => Some(left_behind),
            _ => None,
        });
        drained.next()
    }

    /// How many objects a node has for good.
    fn primaries(&self, node: usize) -> usize {
        self.cluster.nodes[node].node.objects.primaries().len()
    }

    fn outcomes(&self) -> Vec<(usize, TakeOutcome)> {
        let said = self.cluster.said.iter();
        let answers = said.filter_map(|(from, _, message)| match message {
            Message::ObjectsTaken(taken) => Some((*from, taken)),
            _ => None,
        });
        let each = answers.flat_map(|(from, taken)| taken.objects.iter().map(move |it| (from, it)));
        each.map(|(from, it)| (from, it.outcome())).collect()
    }

    fn wait(&mut self, micros: Micros) {
        for stage in &mut self.cluster.nodes {
            stage.wait(micros);
        }
        self.run();
    }
}

const TAKEN: TakeOutcome = TakeOutcome::Taken;

#[test]
fn the_node_of_the_owner_takes_what_another_one_leaves() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.make(2, SIZE_BYTES);
    moving.drain(1, 60);
    assert_eq!(moving.left(1), None, "it goes once they have moved");
    moving.run();
    assert_eq!(moving.outcomes(), [(0, TAKEN), (0, TAKEN)]);
    assert_eq!((moving.primaries(0), moving.primaries(1)), (2, 0));
    assert_eq!(moving.left(1).as_deref(), Some(""));
    // The owner's word ends them there, too.
    let owner = moving.owner.1;
    let free = FreeObjects {
        objects: vec![object(1), object(2)],
        ..FreeObjects::default()
    };
    moving.cluster.nodes[0].say(owner, free);
    assert_eq!(moving.cluster.nodes[0].node.objects.usage().objects, 0);
}

#[test]
fn what_has_moved_is_not_pushed_out_where_it_is() {
    let mut moving = Moving::new(2);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 60);
    moving.run();
    moving.fill(0);
    moving.wait(3 * SECOND);
    assert_eq!(moving.primaries(0), 1, "what was to come has no room");
    assert!(
        moving.cluster.nodes[0]
            .node
            .objects
            .primary(&object(1))
            .is_some()
    );
}

/// The copy of a reader that counts once the one of the maker is lost with its node.
#[test]
fn a_fetched_copy_of_which_the_owner_says_that_it_counts_stays_and_moves() {
    let mut moving = Moving::new(4);
    moving.make(1, SIZE_BYTES);
    let (reader, _) = moving.cluster.nodes[2].driver();
    let pin = PinObjects {
        request: 1,
        objects: vec![object(1)],
        locations: vec![id(1)],
        owners: vec![moving.owner.2],
        sizes: vec![SIZE_BYTES],
        owner_nodes: vec![id(0)],
    };
    moving.cluster.nodes[2].say(reader, pin);
    moving.run();
    let read = vec![object(1)];
    moving.cluster.nodes[2].say(reader, UnpinObjects { objects: read });
    assert_eq!(moving.primaries(2), 0, "it is one of many");
    moving.cluster.set_state(1, NodeState::Dead);
    let kept = CopyKept {
        request: None,
        object: object(1),
        owner: moving.owner.2,
        by: id(2),
        is_kept: true,
    };
    moving.cluster.nodes[0].say(moving.owner.1, kept);
    moving.run();
    assert_eq!(moving.primaries(2), 1);
    moving.drain(2, 60);
    moving.run();
    assert_eq!(moving.left(2).as_deref(), Some(""));
    assert_eq!((moving.primaries(0), moving.primaries(2)), (1, 0));
}

#[test]
fn another_node_takes_what_has_no_room_with_the_owner() {
    let mut moving = Moving::new(3);
    moving.fill(0);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 60);
    moving.run();
    moving.wait(3 * SECOND);
    assert_eq!(moving.outcomes(), [(0, TakeOutcome::NoRoom), (2, TAKEN)]);
    assert_eq!(moving.left(1).as_deref(), Some(""));
    // It goes with its owner, of whose node the taker hears so.
    let owner = moving.owner.1;
    moving.cluster.nodes[0].gone(owner);
    moving.run();
    assert_eq!(moving.primaries(2), 0);
}

#[test]
fn a_node_without_room_puts_others_on_disk_where_it_can() {
    let mut moving = Moving::new(2);
    let config = Config {
        node: id(0),
        resources: cpus(1.0),
        spilling: Some(SpillSettings::default()),
        ..Config::default()
    };
    moving.cluster.nodes[0] = Stage::of(config);
    moving.cluster.news();
    let (owner, _) = moving.cluster.driver(0);
    let worker = moving.cluster.nodes[0].node.clients[&owner].worker;
    moving.owner = (0, owner, worker);
    moving.fill(0);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 60);
    moving.run();
    let jobs = moving.cluster.nodes[0].effects.iter();
    let is_written = |effect: &&Effect| matches!(effect, Effect::Disk(_));
    assert_eq!(jobs.filter(is_written).count(), 1);
    let stage = &mut moving.cluster.nodes[0];
    let place = whipray_store::core::FilePlace::Folder("file".into());
    stage.node.on_disk(1, Ok(place), stage.now);
    stage.settle();
    moving.run();
    assert_eq!((moving.primaries(0), moving.primaries(1)), (2, 0));
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn what_nobody_has_room_for_is_named_at_the_deadline() {
    let mut moving = Moving::new(2);
    moving.fill(0);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 10);
    for _ in 0..9 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.left(1), None, "there may be room yet");
    moving.wait(SECOND);
    let left = moving.left(1).unwrap();
    assert!(
        left.starts_with("1 objects of 400000 bytes could not be moved: node "),
        "{left}"
    );
    assert!(
        left.contains("does not fit into the object store"),
        "{left}"
    );
}

#[test]
fn room_that_comes_is_used() {
    let mut moving = Moving::new(2);
    let filler = moving.fill(0);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 0);
    for _ in 0..20 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.left(1), None, "it may take as long as it takes");
    moving.cluster.nodes[0].gone(filler);
    for _ in 0..4 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn nothing_moves_to_a_node_that_is_to_go_itself() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    // The one that asks has not heard of it yet.
    moving.cluster.nodes[0].control(ControlSays::Drain {
        reason: String::new(),
        deadline_us: 0,
        only_if_idle: false,
    });
    moving.drain(1, 60);
    moving.run();
    assert_eq!(moving.outcomes(), [(0, TakeOutcome::Leaves), (2, TAKEN)]);
    moving.make(2, SIZE_BYTES);
    moving.cluster.set_state(0, NodeState::Draining);
    moving.run();
    assert_eq!((moving.primaries(0), moving.primaries(2)), (0, 2));
}

#[test]
fn a_node_that_dies_meanwhile_is_replaced_by_another_one() {
    let mut moving = Moving::with_owner_at(2, 4);
    moving.make(1, SIZE_BYTES);
    let filler = moving.fill(2);
    moving.drain(1, 60);
    moving.run();
    moving.wait(3 * SECOND);
    let taker = [0, 3].into_iter().find(|it| moving.primaries(*it) == 1);
    let taker = taker.unwrap();
    // It has it, and dies before the first node is gone.
    moving.cluster.set_state(taker, NodeState::Dead);
    moving.run();
    moving.wait(3 * SECOND);
    assert_eq!(moving.primaries(3 - taker), 1);
    // One that has not answered yet.
    moving.make(2, SIZE_BYTES);
    moving.cluster.collect();
    moving.cluster.set_state(3 - taker, NodeState::Dead);
    moving.run();
    moving.cluster.nodes[2].gone(filler);
    for _ in 0..4 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.primaries(2), 2);
    assert_eq!(moving.primaries(1), 0);
}

#[test]
fn an_object_that_is_freed_meanwhile_holds_nobody_up() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.keeps = None;
    moving.drain(1, 60);
    moving.run();
    assert_eq!(moving.asked().len(), 1);
    assert_eq!(moving.left(1), None);
    let owner = moving.owner.1;
    let free = FreeObjects {
        objects: vec![object(1)],
        node: Some(id(1)),
        owner: None,
    };
    moving.cluster.nodes[0].say(owner, free);
    moving.run();
    moving.wait(11 * SECOND);
    assert_eq!(moving.left(1).as_deref(), Some(""));
    assert_eq!(moving.primaries(0), 0);
}

#[test]
fn an_owner_that_ends_meanwhile_needs_nothing() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.keeps = None;
    moving.drain(1, 60);
    moving.run();
    let owner = moving.owner.1;
    moving.cluster.nodes[0].gone(owner);
    moving.run();
    assert_eq!(moving.primaries(1), 0);
    moving.wait(11 * SECOND);
    assert_eq!(moving.left(1).as_deref(), Some(""));
    assert_eq!(moving.cluster.nodes[0].node.objects.usage().objects, 0);
}

/// The owner was cut off: who had fetched its object never heard of it again, and kept the copy.
#[test]
fn a_copy_goes_with_an_owner_that_never_answered() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.keeps = None;
    moving.cluster.set_state(0, NodeState::Suspect);
    moving.drain(1, 60);
    moving.run();
    let objects = |moving: &Moving| moving.cluster.nodes[2].node.objects.usage().objects;
    assert_eq!(objects(&moving), 1);
    moving.wait(11 * SECOND);
    moving.cluster.set_state(0, NodeState::Dead);
    moving.run();
    assert_eq!(objects(&moving), 0);
}

#[test]
fn an_owner_that_does_not_answer_holds_up_its_own_objects_alone() {
    let mut moving = Moving::new(3);
    for number in 0..40 {
        moving.make(number, 1000);
    }
    let (silent, _, _) = moving.owner;
    assert_eq!(silent, 0);
    moving.keeps = None;
    // The objects of another owner come after them.
    let (other, _) = moving.cluster.driver(2);
    let silent = moving.owner;
    moving.owner = (
        2,
        other,
        moving.cluster.nodes[2].node.clients[&other].worker,
    );
    moving.make(100, 1000);
    moving.drain(1, 60);
    moving.run();
    moving.keeps = Some(true);
    moving.wait(11 * SECOND);
    assert_eq!(moving.primaries(2), 1);
    assert_eq!(moving.left(1), None);
    moving.owner = silent;
    for _ in 0..12 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.primaries(0), 40);
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn what_the_owner_has_not_heard_of_is_asked_again() {
    let mut moving = Moving::new(2);
    moving.make(1, SIZE_BYTES);
    moving.keeps = Some(false);
    moving.drain(1, 60);
    moving.run();
    assert_eq!((moving.left(1), moving.primaries(0)), (None, 0));
    moving.keeps = Some(true);
    moving.wait(SECOND);
    assert_eq!(moving.left(1).as_deref(), Some(""));
    assert_eq!(moving.primaries(0), 1);
}

#[test]
fn what_the_owner_never_hears_of_is_left_without_a_word() {
    let mut moving = Moving::new(2);
    moving.make(1, SIZE_BYTES);
    moving.keeps = Some(false);
    moving.drain(1, 60);
    for _ in 0..4 {
        moving.wait(SECOND);
    }
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn what_cannot_be_fetched_is_given_up_at_last() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.is_cut = true;
    moving.drain(1, 0);
    for _ in 0..130 {
        moving.wait(SECOND / 2);
    }
    let left = moving.left(1).unwrap();
    assert!(left.ends_with("the cable is cut"), "{left}");
}

#[test]
fn what_is_made_while_others_move_moves_too() {
    let mut moving = Moving::new(2);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 60);
    moving.make(2, SIZE_BYTES);
    moving.run();
    assert_eq!((moving.primaries(0), moving.primaries(1)), (2, 0));
}

/// The word that a lease is back overtook the seal of what its task had made: the node said that
/// nothing was left, and the value was made again.
#[test]
fn what_is_written_is_waited_for() {
    let mut moving = Moving::new(2);
    let create = CreateObject {
        request: 1,
        object: object(1),
        size_bytes: SIZE_BYTES,
    };
    let writer = moving.writer;
    moving.cluster.nodes[1].say(writer, create);
    moving.drain(1, 60);
    moving.run();
    assert_eq!(moving.left(1), None);
    let seal = SealObject {
        object: object(1),
        owner: moving.owner.2,
        unpin: true,
        owner_node: Some(id(0)),
    };
    moving.cluster.nodes[1].say(writer, seal);
    moving.run();
    assert_eq!(moving.primaries(0), 1);
    assert_eq!(moving.left(1).as_deref(), Some(""));
    // One whose maker ends is never sealed.
    let mut moving = Moving::new(2);
    let create = CreateObject {
        request: 1,
        object: object(1),
        size_bytes: SIZE_BYTES,
    };
    let writer = moving.writer;
    moving.cluster.nodes[1].say(writer, create);
    moving.drain(1, 60);
    moving.cluster.nodes[1].gone(writer);
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn many_objects_move_some_at_a_time() {
    let mut moving = Moving::new(2);
    for number in 0..100 {
        moving.make(number, 1000);
    }
    moving.drain(1, 60);
    moving.cluster.run();
    let pulls = moving.cluster.nodes[0].effects.iter();
    let pulls = pulls.filter(|effect| matches!(effect, Effect::Pull { .. }));
    assert_eq!(pulls.count(), limits::MOVES_AT_ONCE);
    moving.run();
    assert_eq!((moving.primaries(0), moving.primaries(1)), (100, 0));
}

#[test]
fn an_object_of_an_owner_that_goes_with_the_node_stays() {
    let mut moving = Moving::with_owner_at(1, 2);
    moving.owner.0 = 1;
    moving.fill(1);
    moving.drain(1, 60);
    moving.run();
    assert_eq!(moving.outcomes(), []);
    assert_eq!(moving.left(1).as_deref(), Some(""));
}

#[test]
fn a_silent_node_is_not_waited_for() {
    let mut moving = Moving::new(3);
    moving.make(1, SIZE_BYTES);
    moving.drain(1, 15);
    moving.cluster.set_state(0, NodeState::Suspect);
    // What it was asked is under way to it.
    let waiting: Vec<NodeId> = moving
        .cluster
        .said
        .iter()
        .filter(|(_, _, message)| matches!(message, Message::TakeObjects(_)))
        .map(|(_, to, _)| id(*to))
        .collect();
    assert_eq!(waiting, [id(0), id(2)]);
}
