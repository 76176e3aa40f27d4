//! Actors on nodes that come and go, whose words are on their way for a while.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use whipray_proto::messages::actor::{CreateActor, KillActor};
use whipray_proto::messages::cluster::NodeEnd;

use super::super::actors::Life;
use super::*;

/// What a node has of an actor.
#[derive(Clone, Debug)]
struct Placed {
    incarnation: u32,
    cpus: f64,
    runs: bool,
}

/// A node that does what it is told, once it hears of it.
#[derive(Debug)]
struct Player {
    total: f64,
    told: f64,
    actors: BTreeMap<ActorId, Placed>,
    line: VecDeque<ActorId>,
    unread: VecDeque<ControlSays>,
    unsent: VecDeque<NodeSays>,
}

impl Player {
    fn free(&self) -> f64 {
        let runs = self.actors.values().filter(|placed| placed.runs);
        self.total - runs.map(|placed| placed.cpus).sum::<f64>()
    }

    fn read(&mut self, me: NodeId, order: ControlSays) {
        match order {
            ControlSays::PlaceActor { spec, incarnation } => {
                let placed = Placed {
                    incarnation,
                    cpus: spec.resources.amount(CPU),
                    runs: false,
                };
                self.actors.insert(spec.actor, placed);
                self.line.push_back(spec.actor);
            }
            ControlSays::RecallActor { actor, incarnation } => {
                let known = self.actors.get(&actor);
                if known.is_some_and(|it| it.incarnation == incarnation && !it.runs) {
                    self.forget(actor);
                    let recalled = NodeSays::ActorRecalled { actor, incarnation };
                    self.unsent.push_back(recalled);
                }
            }
            ControlSays::KillActor {
                actor, incarnation, ..
            } => {
                let known = self.actors.get(&actor);
                if known.is_some_and(|it| it.incarnation == incarnation) {
                    self.end(actor);
                }
            }
            _ => {}
        }
        self.serve(me);
    }

    fn forget(&mut self, actor: ActorId) -> Option<Placed> {
        self.line.retain(|waiting| *waiting != actor);
        self.actors.remove(&actor)
    }

    /// The process of an actor is gone.
    fn end(&mut self, actor: ActorId) {
        if let Some(placed) = self.forget(actor)
            && placed.runs
        {
            self.unsent.push_back(NodeSays::ActorEnded {
                actor,
                incarnation: placed.incarnation,
                cause: Box::new(DeathCause::new(DeathKind::Signalled, "")),
            });
        }
    }

    fn serve(&mut self, me: NodeId) {
        for actor in std::mem::take(&mut self.line) {
            let free = self.free();
            let Some(placed) = self.actors.get_mut(&actor) else {
                continue;
            };
            if placed.cpus > free {
                self.line.push_back(actor);
                continue;
            }
            placed.runs = true;
            let placed = NodeSays::ActorPlaced {
                actor,
                incarnation: placed.incarnation,
                address: WorkerAddress {
                    worker: WorkerId::random(),
                    node: me,
                    ..WorkerAddress::default()
                },
                pid: 1,
            };
            self.unsent.push_back(placed);
        }
        let free = self.free();
        if free != self.told {
            self.told = free;
            let available = Resources::none().with(CPU, free);
            self.unsent.push_back(NodeSays::Available { available });
        }
    }
}

struct Traffic {
    stage: Stage,
    driver: WorkerId,
    job: JobId,
    players: BTreeMap<NodeId, Player>,
    actors: Vec<ActorId>,
    next: u8,
}

impl Traffic {
    fn new() -> Self {
        let mut stage = Stage::empty();
        stage.join(0, 0.0);
        let (driver, job) = stage.driver();
        let mut traffic = Self {
            stage,
            driver,
            job,
            players: BTreeMap::new(),
            actors: Vec::new(),
            next: 0,
        };
        traffic.join(0.0);
        traffic
    }

    fn join(&mut self, cpus: f64) {
        let player = Player {
            total: cpus,
            told: cpus,
            actors: BTreeMap::new(),
            line: VecDeque::new(),
            unread: VecDeque::new(),
            unsent: VecDeque::new(),
        };
        self.players.insert(node(self.next), player);
        self.stage.join(self.next, cpus);
        self.next += 1;
        self.collect();
    }

    fn lose(&mut self, lost: NodeId) {
        if lost == node(0) {
            return;
        }
        self.players.remove(&lost);
        let control = &mut self.stage.control;
        control.node_lost(lost, "was lost", NodeEnd::Unexpected);
        self.stage.take_in();
        self.collect();
    }

    fn collect(&mut self) {
        for (to, order) in self.stage.addressed_orders() {
            if let Some(player) = self.players.get_mut(&to) {
                player.unread.push_back(order);
            }
        }
    }

    fn create(&mut self, cpus: f64, max_restarts: i32) {
        let amounts = Resources::none().with(CPU, cpus);
        let spec = ActorSpec {
            placement: amounts.clone(),
            resources: amounts,
            max_restarts,
            ..spec(self.driver, self.job)
        };
        self.actors.push(spec.actor);
        let create = CreateActor {
            request: 0,
            spec,
            ..CreateActor::default()
        };
        self.stage.say(self.driver, create);
        self.collect();
    }

    fn kill(&mut self, actor: ActorId) {
        let kill = KillActor {
            actor,
            no_restart: true,
        };
        self.stage.say(self.driver, kill);
        self.collect();
    }

    /// A node reads one word. Returns whether there was one.
    fn read(&mut self, number: NodeId) -> bool {
        let player = self.players.get_mut(&number);
        let order = player.and_then(|player| player.unread.pop_front());
        if let Some(player) = self.players.get_mut(&number)
            && let Some(order) = order
        {
            player.read(number, order);
            return true;
        }
        false
    }

    /// Control reads one word of a node. Returns whether there was one.
    fn hear(&mut self, number: NodeId) -> bool {
        let player = self.players.get_mut(&number);
        let Some(says) = player.and_then(|player| player.unsent.pop_front()) else {
            return false;
        };
        self.stage.on_node_from(number, says);
        self.collect();
        true
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            let mut is_quiet = true;
            for number in self.players.keys().copied().collect::<Vec<_>>() {
                while self.read(number) || self.hear(number) {
                    is_quiet = false;
                }
            }
            rounds += 1;
            assert!(rounds < 1000, "they never come to rest");
            if is_quiet {
                return;
            }
        }
    }

    /// Nodes say of those who wait long that they do.
    fn complain(&mut self) {
        for player in self.players.values_mut() {
            for actor in &player.line {
                player.unsent.push_back(NodeSays::ActorPending {
                    actor: *actor,
                    incarnation: player.actors[actor].incarnation,
                    reason: "waits".to_owned(),
                });
            }
        }
    }

    fn check(&self) {
        for actor in &self.actors {
            let entry = &self.stage.control.actors[actor];
            let at = self.players.iter();
            let at: Vec<(NodeId, bool)> = at
                .filter_map(|(node, player)| Some((*node, player.actors.get(actor)?.runs)))
                .collect();
            match &entry.life {
                Life::Dead { .. } => assert!(at.is_empty(), "a dead actor lives on: {at:?}"),
                Life::WaitsForProcess { .. } => {
                    let expected: Vec<_> =
                        entry.node.map(|node| (node, false)).into_iter().collect();
                    assert_eq!(at, expected, "it waits where it should");
                    let cpus = entry.spec.resources.amount(CPU);
                    let roomy = self.players.values().find(|player| player.free() >= cpus);
                    assert!(roomy.is_none(), "it waits, and there is room: {roomy:?}");
                }
                Life::Starting { address, .. } | Life::Alive { address, .. } => {
                    assert_eq!(at, [(address.node, true)], "it runs where it should, once");
                }
            }
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: in the end each actor runs once, or there is no room.
    #[test]
    fn actors_run_once_or_there_is_no_room(
        steps in proptest::collection::vec(
            (0u8..10, 1u8..4, any::<prop::sample::Index>()),
            1..60,
        ),
    ) {
        let mut traffic = Traffic::new();
        traffic.join(2.0);
        traffic.join(3.0);
        for (what, amount, which) in steps {
            let nodes: Vec<NodeId> = traffic.players.keys().copied().collect();
            let number = nodes[which.index(nodes.len())];
            match what {
                0..=2 => traffic.create(f64::from(amount), i32::from(amount) - 2),
                3 if traffic.next < 12 => traffic.join(f64::from(amount)),
                4 if nodes.len() > 2 => traffic.lose(number),
                5 if !traffic.actors.is_empty() => {
                    let actor = traffic.actors[which.index(traffic.actors.len())];
                    if amount > 1 {
                        traffic.kill(actor);
                    } else {
                        for (node, player) in &mut traffic.players {
                            if player.actors.get(&actor).is_some_and(|it| it.runs) {
                                player.end(actor);
                                player.serve(*node);
                            }
                        }
                    }
                }
                6 | 7 => {
                    traffic.hear(number);
                }
                8 | 9 => {
                    traffic.read(number);
                }
                _ => {}
            }
        }
        traffic.settle();
        // The pass between two complaints is what a node's notice takes.
        for _ in 0..8 {
            traffic.complain();
            traffic.settle();
        }
        traffic.check();
    }
}
