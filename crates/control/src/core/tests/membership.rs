//! Nodes that come, fall silent, and go.

use super::*;
use whipray_proto::health::HealthSettings;
use whipray_proto::link::NodeState;
use whipray_proto::messages::actor::{ActorState, CreateActor, SubscribeActor};
use whipray_proto::messages::cluster::{NodeEnd, StatusRequest};

const SECOND: Duration = Duration::from_secs(1);

/// A head, and two more nodes with four CPUs each.
fn three() -> Stage {
    let mut stage = Stage::empty();
    for number in 0..3 {
        stage.join(number, 4.0);
    }
    stage.said.clear();
    stage
}

fn states(news: &[NodeNews]) -> Vec<(u8, NodeState)> {
    let states = news.iter().map(|news| {
        let state = NodeState::try_from(news.state).unwrap_or(NodeState::Dead);
        (news.node.to_array()[0], state)
    });
    states.collect()
}

#[test]
fn a_head_alone_hears_nothing_and_waits_for_nothing() {
    let mut stage = Stage::empty();
    stage.join(0, 4.0);
    assert!(stage.orders().is_empty());
    assert_eq!(stage.control.next_deadline(), None);
}

#[test]
fn who_joins_hears_of_all_and_all_hear_of_it() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    stage.orders();
    stage.join(1, 4.0);
    let orders = stage.orders_of(1);
    assert!(orders.iter().any(
        |order| matches!(order, ControlSays::JobStarted { description, driver: known }
        if description.job == job && known.worker == driver)
    ));
    assert!(orders.contains(&ControlSays::WatchResources {
        is_on: false,
        with_decreases: true
    }));
    let Some(ControlSays::Nodes(news)) = orders.first() else {
        panic!("{orders:?}")
    };
    assert_eq!(states(news), [(0, NodeState::Alive), (1, NodeState::Alive)]);
    let orders = stage.orders_of(0);
    assert!(orders.contains(&ControlSays::WatchResources {
        is_on: false,
        with_decreases: true
    }));
    stage.join(2, 1.0);
    assert_eq!(states(&stage.news_of(1)), [(2, NodeState::Alive)]);
    assert_eq!(states(&stage.news_of(0)), [(2, NodeState::Alive)]);
}

#[test]
fn who_asks_for_a_node_hears_what_is_known_of_it() {
    let mut stage = three();
    stage.news_of(2);
    stage.on_node_from(node(2), NodeSays::NodeWanted { node: node(1) });
    assert_eq!(states(&stage.news_of(2)), [(1, NodeState::Alive)]);
    stage.on_node_from(node(2), NodeSays::NodeWanted { node: node(9) });
    let unknown = ControlSays::NodeUnknown { node: node(9) };
    assert_eq!(stage.orders_of(2), [unknown]);
}

#[test]
fn what_is_free_travels_together_and_not_too_often() {
    let mut stage = three();
    stage.pass(SECOND, &[1, 2]);
    stage.said.clear();
    stage.has_left(1, 3.0);
    let news = stage.news_of(2);
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].available.amount(CPU), 3.0);
    assert!(stage.news_of(1).is_empty(), "it knows that itself");
    stage.has_left(1, 2.0);
    stage.has_left(0, 1.0);
    stage.has_left(1, 1.0);
    assert!(
        stage.news_of(2).is_empty(),
        "a moment ago it heard of others"
    );
    stage.pass(Duration::from_millis(100), &[1, 2]);
    let news: Vec<(u8, f64)> = stage
        .news_of(2)
        .iter()
        .map(|news| (news.node.to_array()[0], news.available.amount(CPU)))
        .collect();
    assert_eq!(news, [(0, 1.0), (1, 1.0)]);
    // Who has counted off what it asked for must hear that there is as much as before.
    stage.has_left(1, 1.0);
    stage.pass(Duration::from_millis(100), &[1, 2]);
    assert_eq!(stage.news_of(2).len(), 1);
}

#[test]
fn silence_makes_suspect_and_a_word_makes_good() {
    let mut stage = three();
    stage.pass(4 * SECOND, &[1]);
    assert_eq!(states(&stage.news_of(1)), [(2, NodeState::Suspect)]);
    assert!(stage.news_of(2).is_empty());
    stage.pass(SECOND, &[1, 2]);
    assert_eq!(states(&stage.news_of(1)), [(2, NodeState::Alive)]);
}

#[test]
fn a_long_silence_is_death_and_the_dead_stay_dead() -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = three();
    stage.pass(21 * SECOND, &[1]);
    let news = stage.news_of(1);
    assert_eq!(
        states(&news),
        [(2, NodeState::Suspect), (2, NodeState::Dead)]
    );
    let cause = news[1].cause.clone().unwrap_or_default();
    assert_eq!(cause.kind(), DeathKind::NodeDied);
    assert!(
        cause.headline().contains("10.0.0.2 was silent for 20 s"),
        "{}",
        cause.headline()
    );
    assert!(matches!(
        &stage.orders_of(2)[..],
        [ControlSays::Fenced { .. }]
    ));
    // It was only frozen: what it says is of the past.
    stage.has_left(2, 4.0);
    stage.has_left(2, 4.0);
    assert!(matches!(
        &stage.orders_of(2)[..],
        [ControlSays::Fenced { .. }]
    ));
    stage.join(2, 4.0);
    assert!(matches!(
        &stage.orders_of(2)[..],
        [ControlSays::Fenced { .. }]
    ));
    assert!(stage.news_of(1).is_empty());
    let (driver, _) = stage.driver();
    stage.say(driver, StatusRequest { request: 1 });
    assert!(stage.orders_of(2).is_empty(), "the dead are not asked");
    let records = stage.storage.read(Table::Nodes)?;
    assert_eq!(records.len(), 3);
    let alive = records.iter().filter(|(_, value)| {
        let status: Result<NodeStatus, _> = prost::Message::decode(value.clone());
        status.is_ok_and(|status| status.alive)
    });
    assert_eq!(alive.count(), 2);
    Ok(())
}

#[test]
fn a_pause_of_the_head_is_no_silence_of_the_others() {
    let mut stage = three();
    stage.pass(SECOND, &[1, 2]);
    stage.said.clear();
    // The head is stopped for an hour, and looks before it has read what waits in its sockets.
    stage.now_us += 3_600_000_000;
    stage.control.set_time(stage.now_us);
    stage.control.on_time();
    stage.take_in();
    stage.pass(SECOND, &[1, 2]);
    assert!(stage.news_of(1).is_empty());
}

#[test]
fn the_head_may_be_as_silent_as_it_likes() {
    let mut stage = three();
    stage.pass(60 * SECOND, &[1, 2]);
    assert!(stage.said.is_empty());
}

#[test]
fn a_daemon_that_is_gone_is_dead_soon_and_a_broken_link_is_nothing() {
    let mut stage = three();
    stage.control.on_stream_broken(node(1));
    stage.control.on_stream_broken(node(2));
    stage.pass(SECOND, &[]);
    stage.control.on_stream_restored(node(1));
    stage.pass(2 * SECOND, &[1]);
    let news = stage.news_of(1);
    assert_eq!(states(&news), [(2, NodeState::Dead)]);
    let cause = news[0].cause.clone().unwrap_or_default();
    assert!(
        cause.detail.contains("ended all its connections"),
        "{}",
        cause.detail
    );
}

#[test]
fn who_leaves_in_order_is_gone_at_once() {
    let mut stage = three();
    let reason = "it was told to".to_owned();
    stage.control.on_node(node(2), NodeSays::Leaves { reason });
    stage.take_in();
    let news = stage.news_of(1);
    assert_eq!(states(&news), [(2, NodeState::Dead)]);
    let cause = news[0].cause.clone().unwrap_or_default();
    assert!(
        cause.detail.contains("left the cluster"),
        "{}",
        cause.detail
    );
}

#[test]
fn the_settings_say_how_long() {
    let mut stage = three();
    stage
        .control
        .set_health(HealthSettings::dead_after(2 * SECOND));
    stage.pass(Duration::from_millis(1500), &[1]);
    assert_eq!(states(&stage.news_of(1)), [(2, NodeState::Suspect)]);
    stage.pass(SECOND, &[1]);
    assert_eq!(states(&stage.news_of(1)), [(2, NodeState::Dead)]);
}

#[test]
fn jobs_and_actors_of_drivers_there_end_with_a_node() {
    let mut stage = three();
    let (driver, job) = stage.driver_at(2);
    for number in [0, 1] {
        assert!(matches!(
            &stage.orders_of(number)[..],
            [ControlSays::JobStarted { .. }]
        ));
    }
    assert!(matches!(
        &stage.orders_of(2)[..],
        [ControlSays::DriverAccepted { .. }]
    ));
    let owned = spec(driver, job);
    let actor = owned.actor;
    let create = CreateActor {
        request: 1,
        spec: owned,
        ..CreateActor::default()
    };
    let message = Box::new(Message::from(create));
    let said = NodeSays::ClientSaid {
        client: driver,
        message,
    };
    stage.on_node_from(node(2), said);
    let watcher = WorkerId::random();
    let owner = Some(driver);
    stage.say(watcher, SubscribeActor { actor, owner });
    stage.said.clear();
    stage
        .control
        .node_lost(node(2), "burned down", NodeEnd::Unexpected);
    stage.take_in();
    let told = stage.told(watcher);
    assert!(
        matches!(&told[..], [Message::ActorUpdate(update)]
        if update.state == ActorState::Dead as i32
            && update.cause.as_ref().is_some_and(|cause| cause.kind() == DeathKind::OwnerDied
                && cause.detail.contains("burned down"))),
        "{told:?}"
    );
    for number in [0, 1] {
        let orders = stage.orders_of(number);
        assert!(
            orders.contains(&ControlSays::JobEnded { job }),
            "{orders:?}"
        );
    }
    assert!(stage.told(driver).is_empty());
}

#[test]
fn a_status_has_what_comes_in_time() {
    let mut stage = three();
    let (driver, _) = stage.driver();
    let ask = |stage: &mut Stage, heard: &[u8]| {
        stage.said.clear();
        stage.say(driver, StatusRequest { request: 4 });
        let orders = stage.addressed_orders();
        assert_eq!(orders.len(), 3);
        for (to, order) in orders {
            if let ControlSays::Report { request } = order
                && heard.contains(&to.to_array()[0])
            {
                let status = NodeStatus {
                    node: to,
                    alive: true,
                    workers: 5,
                    ..NodeStatus::default()
                };
                let reported = NodeSays::Reported {
                    request,
                    node: Box::new(status),
                    demands: vec![Default::default()],
                };
                stage.on_node_from(to, reported);
            }
        }
    };
    let answer = |stage: &mut Stage| {
        let told = stage.told(driver).into_iter();
        let mut replies = told.filter_map(|message| match message {
            Message::StatusReply(reply) => Some(reply),
            _ => None,
        });
        replies.next()
    };
    ask(&mut stage, &[0, 1, 2]);
    let all = answer(&mut stage).unwrap_or_default();
    let workers: Vec<u32> = all.nodes.iter().map(|node| node.workers).collect();
    assert_eq!((workers, all.demands.len()), (vec![5, 5, 5], 3));
    ask(&mut stage, &[0, 1]);
    assert!(answer(&mut stage).is_none());
    stage.pass(2 * SECOND, &[1]);
    let some = answer(&mut stage).unwrap_or_default();
    assert_eq!((some.nodes.len(), some.demands.len()), (3, 2));
    ask(&mut stage, &[0, 1]);
    stage
        .control
        .node_lost(node(2), "burned down", NodeEnd::Unexpected);
    stage.take_in();
    let without = answer(&mut stage).unwrap_or_default();
    let shown: Vec<(bool, i32)> = without
        .nodes
        .iter()
        .map(|node| (node.alive, node.state))
        .collect();
    let expected = [
        (true, NodeState::Alive as i32),
        (true, NodeState::Alive as i32),
        (false, NodeState::Dead as i32),
    ];
    assert_eq!(shown, expected);
    assert!(without.nodes[2].death.contains("burned down"));
}

#[test]
fn what_is_said_to_a_process_goes_to_its_node() {
    let mut stage = three();
    let (driver, job) = stage.driver_at(1);
    stage.said.clear();
    let message = Box::new(Message::from(
        whipray_proto::messages::cluster::JobRequest { request: 1, job },
    ));
    let client = WorkerId::random();
    stage.on_node_from(node(2), NodeSays::ClientSaid { client, message });
    assert!(matches!(&stage.said[..], [(to, ControlSays::Tell { .. })] if *to == node(2)));
    stage.process_gone(driver);
    let ended = stage.addressed_orders();
    assert_eq!(ended.len(), 3, "every node may have workers of the job");
}
