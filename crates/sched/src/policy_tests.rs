use proptest::prelude::*;
use whipray_proto::resources::CPU;
use whipray_proto::scheduling::{LabelOperator, LabelTerm};

use super::*;

fn id(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

fn node(number: u8, cpus: f64, free: f64, zone: &str) -> NodeView {
    NodeView {
        node: id(number),
        total: Resources::none().with(CPU, cpus),
        available: Resources::none().with(CPU, free),
        labels: Labels::from([("zone".to_owned(), zone.to_owned())]),
    }
}

fn cpus(amount: f64) -> Resources {
    Resources::none().with(CPU, amount)
}

fn zone(values: &[&str]) -> LabelSelector {
    LabelSelector {
        terms: vec![LabelTerm {
            key: "zone".to_owned(),
            operator: LabelOperator::In as i32,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }],
    }
}

fn affinity(number: u8, is_soft: bool) -> SchedulingStrategy {
    SchedulingStrategy {
        affinity: Some(NodeAffinity {
            node: id(number),
            is_soft,
            ..NodeAffinity::default()
        }),
        ..SchedulingStrategy::default()
    }
}

fn ask(nodes: &[NodeView], amount: f64, strategy: &SchedulingStrategy) -> Decision {
    decide(nodes, id(1), &cpus(amount), Some(strategy), id(0))
}

#[test]
fn the_local_node_serves_until_it_is_busy() {
    let nodes = [node(1, 4.0, 3.0, "a"), node(2, 4.0, 4.0, "a")];
    assert_eq!(
        decide(&nodes, id(1), &cpus(1.0), None, id(0)),
        Decision::Run(id(1))
    );
    let nodes = [node(1, 4.0, 1.0, "a"), node(2, 4.0, 4.0, "a")];
    assert_eq!(
        decide(&nodes, id(1), &cpus(1.0), None, id(0)),
        Decision::Run(id(2))
    );
}

#[test]
fn nodes_with_gpus_are_kept_for_those_who_ask_for_them() {
    let mut with_gpu = node(1, 4.0, 4.0, "a");
    with_gpu.total = with_gpu.total.with(GPU, 1.0);
    with_gpu.available = with_gpu.total.clone();
    let nodes = [with_gpu, node(2, 4.0, 4.0, "a")];
    assert_eq!(
        decide(&nodes, id(1), &cpus(1.0), None, id(0)),
        Decision::Run(id(2))
    );
    let request = cpus(1.0).with(GPU, 1.0);
    assert_eq!(
        decide(&nodes, id(2), &request, None, id(0)),
        Decision::Run(id(1))
    );
}

#[test]
fn spread_goes_round_the_nodes_that_have_room() {
    let spread = SchedulingStrategy {
        spreads: true,
        ..SchedulingStrategy::default()
    };
    let nodes = [
        node(1, 4.0, 1.0, "a"),
        node(2, 4.0, 4.0, "a"),
        node(3, 4.0, 0.0, "a"),
        node(4, 4.0, 4.0, "a"),
    ];
    let chosen = |after| decide(&nodes, id(1), &cpus(1.0), Some(&spread), id(after));
    assert_eq!(chosen(0), Decision::Run(id(1)));
    assert_eq!(chosen(1), Decision::Run(id(2)));
    assert_eq!(chosen(2), Decision::Run(id(4)));
    assert_eq!(chosen(4), Decision::Run(id(1)));
}

#[test]
fn hard_affinity_waits_for_its_node_and_fails_without_it() {
    let nodes = [node(1, 4.0, 4.0, "a"), node(2, 4.0, 0.0, "a")];
    assert!(
        matches!(ask(&nodes, 1.0, &affinity(2, false)), Decision::Wait(node, _) if node == id(2))
    );
    assert!(matches!(
        ask(&nodes, 9.0, &affinity(2, false)),
        Decision::Never(_)
    ));
    assert!(matches!(
        ask(&nodes, 1.0, &affinity(7, false)),
        Decision::Never(_)
    ));
}

#[test]
fn soft_affinity_goes_elsewhere_only_where_its_node_never_could() {
    let nodes = [node(1, 4.0, 4.0, "a"), node(2, 2.0, 0.0, "a")];
    assert_eq!(ask(&nodes, 1.0, &affinity(7, true)), Decision::Run(id(1)));
    assert_eq!(ask(&nodes, 3.0, &affinity(2, true)), Decision::Run(id(1)));
    assert!(
        matches!(ask(&nodes, 1.0, &affinity(2, true)), Decision::Wait(node, _) if node == id(2))
    );
    let mut spills = affinity(2, true);
    if let Some(affinity) = &mut spills.affinity {
        affinity.spills = true;
    }
    assert_eq!(ask(&nodes, 1.0, &spills), Decision::Run(id(1)));
    let mut fails = affinity(2, false);
    if let Some(affinity) = &mut fails.affinity {
        affinity.fails_when_busy = true;
    }
    assert!(matches!(ask(&nodes, 1.0, &fails), Decision::Never(_)));
}

#[test]
fn labels_decide_and_fallbacks_come_in_order() {
    let nodes = [
        node(1, 4.0, 4.0, "a"),
        node(2, 4.0, 4.0, "b"),
        node(3, 4.0, 0.0, "c"),
    ];
    let by = |selectors: &[LabelSelector]| SchedulingStrategy {
        selectors: selectors.to_vec(),
        ..SchedulingStrategy::default()
    };
    assert_eq!(ask(&nodes, 1.0, &by(&[zone(&["b"])])), Decision::Run(id(2)));
    let fallback = by(&[zone(&["z"]), zone(&["b"])]);
    assert_eq!(ask(&nodes, 1.0, &fallback), Decision::Run(id(2)));
    let busy_first = by(&[zone(&["c"]), zone(&["b"])]);
    assert_eq!(ask(&nodes, 1.0, &busy_first), Decision::Run(id(2)));
    assert_eq!(
        ask(&nodes, 1.0, &by(&[zone(&["z"])])),
        Decision::Infeasible("asks for a node with zone in (z), and there is none".to_owned())
    );
}

#[test]
fn soft_labels_are_preferred_and_hard_ones_demanded() {
    let nodes = [node(1, 4.0, 4.0, "a"), node(2, 4.0, 4.0, "b")];
    let both = SchedulingStrategy {
        hard: Some(zone(&["a", "b"])),
        soft: Some(zone(&["b"])),
        ..SchedulingStrategy::default()
    };
    assert_eq!(ask(&nodes, 1.0, &both), Decision::Run(id(2)));
    let unmet = SchedulingStrategy {
        soft: Some(zone(&["q"])),
        ..SchedulingStrategy::default()
    };
    assert_eq!(ask(&nodes, 1.0, &unmet), Decision::Run(id(1)));
}

prop_compose! {
    fn some_nodes()(sizes in proptest::collection::vec((1u8..8, 0u8..8, 0usize..3), 1..6)) -> Vec<NodeView> {
        let zones = ["a", "b", "c"];
        sizes.iter().zip(1u8..).map(|((total, free, zone), number)| {
            node(number, f64::from(*total), f64::from((*free).min(*total)), zones[*zone])
        }).collect()
    }
}

proptest! {
    /// Whoever is chosen can serve, has the labels, and nobody waits while a node could serve.
    #[test]
    fn a_decision_is_one_that_can_be_kept(
        nodes in some_nodes(),
        amount in 0u8..9,
        hard in proptest::option::of(0usize..3),
        spreads in any::<bool>(),
        after in any::<u8>(),
    ) {
        let zones = ["a", "b", "c"];
        let hard = hard.map(|index| zone(&[zones[index]]));
        let strategy = SchedulingStrategy { hard: hard.clone(), spreads, ..Default::default() };
        let request = cpus(f64::from(amount));
        let is_eligible = |view: &&NodeView| hard.as_ref().is_none_or(|hard| labels::matches(hard, &view.labels));
        let can_now = nodes.iter().filter(is_eligible).any(|view| view.available.covers(&request));
        let can_ever = nodes.iter().filter(is_eligible).any(|view| view.total.covers(&request));
        match decide(&nodes, id(1), &request, Some(&strategy), id(after)) {
            Decision::Run(chosen) => {
                let view = nodes.iter().filter(is_eligible).find(|view| view.node == chosen);
                prop_assert!(view.is_some_and(|view| view.available.covers(&request)));
            }
            Decision::Wait(chosen, _) => {
                let view = nodes.iter().filter(is_eligible).find(|view| view.node == chosen);
                prop_assert!(!can_now && view.is_some_and(|view| view.total.covers(&request)));
            }
            Decision::Infeasible(_) => prop_assert!(!can_ever),
            Decision::Never(reason) => prop_assert!(false, "{}", reason),
        }
    }
}

#[test]
fn what_no_node_has_is_named_with_the_most_that_any_has() {
    let nodes = [node(1, 1.0, 1.0, "a"), node(2, 4.0, 4.0, "a")];
    assert_eq!(
        decide(&nodes, id(1), &cpus(8.0), None, id(0)),
        Decision::Infeasible("asks for 8 CPU and no node has more than 4".to_owned())
    );
    let mut with_gold = node(3, 1.0, 1.0, "a");
    with_gold.total = with_gold.total.with("gold", 1.0);
    let nodes = [node(1, 4.0, 4.0, "a"), with_gold];
    let request = cpus(2.0).with("gold", 1.0);
    assert_eq!(
        decide(&nodes, id(1), &request, None, id(0)),
        Decision::Infeasible(
            "asks for {CPU: 2, gold: 1} together, and no single node has all of that".to_owned()
        )
    );
}
