use proptest::prelude::*;
use whipray_proto::resources::CPU;
use whipray_proto::scheduling::{LabelOperator, LabelSelector, LabelTerm};

use super::*;
use crate::labels::Labels;

fn id(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

fn node(number: u8, cpus: f64, free: f64) -> NodeView {
    NodeView {
        node: id(number),
        total: Resources::none().with(CPU, cpus),
        available: Resources::none().with(CPU, free),
        labels: Labels::from([("number".to_owned(), number.to_string())]),
    }
}

fn bundle(cpus: f64) -> BundleSpec {
    BundleSpec {
        resources: Resources::none().with(CPU, cpus),
        selector: None,
    }
}

fn ask(nodes: &[NodeView], strategy: GroupStrategy, bundles: &[BundleSpec]) -> Plan {
    plan(
        nodes,
        &GroupRequest {
            strategy,
            bundles,
            placed: &vec![None; bundles.len()],
            soft_target: None,
        },
    )
}

fn nodes_of(plan: &Plan) -> Vec<NodeId> {
    match plan {
        Plan::Placed(placed) => placed.iter().map(|(_, node)| *node).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn pack_takes_few_nodes_and_spread_many() {
    let nodes = [node(1, 2.0, 2.0), node(2, 4.0, 4.0), node(3, 4.0, 4.0)];
    let bundles = [bundle(1.0), bundle(1.0), bundle(1.0)];
    let packed = ask(&nodes, GroupStrategy::Pack, &bundles);
    assert_eq!(nodes_of(&packed), [id(2), id(2), id(2)]);
    let mut spread = nodes_of(&ask(&nodes, GroupStrategy::Spread, &bundles));
    spread.sort_unstable();
    assert_eq!(spread, [id(1), id(2), id(3)]);
}

#[test]
fn what_is_not_strict_goes_on_where_it_does_not_fit_as_wished() {
    let nodes = [node(1, 2.0, 2.0), node(2, 1.0, 1.0)];
    let bundles = [bundle(1.0), bundle(1.0), bundle(1.0)];
    let packed = nodes_of(&ask(&nodes, GroupStrategy::Pack, &bundles));
    assert_eq!(packed.len(), 3);
    let spread = nodes_of(&ask(&nodes, GroupStrategy::Spread, &bundles));
    assert_eq!(spread.len(), 3);
}

#[test]
fn strict_strategies_do_not_give_way() {
    let nodes = [node(1, 2.0, 2.0), node(2, 2.0, 2.0)];
    let three = [bundle(1.0), bundle(1.0), bundle(1.0)];
    assert!(matches!(
        ask(&nodes, GroupStrategy::StrictPack, &three),
        Plan::Infeasible(_)
    ));
    assert!(matches!(
        ask(&nodes, GroupStrategy::StrictSpread, &three),
        Plan::Infeasible(_)
    ));
    let two = [bundle(1.0), bundle(1.0)];
    let packed = nodes_of(&ask(&nodes, GroupStrategy::StrictPack, &two));
    assert!(packed.len() == 2 && packed[0] == packed[1]);
    let spread = nodes_of(&ask(&nodes, GroupStrategy::StrictSpread, &two));
    assert!(spread.len() == 2 && spread[0] != spread[1]);
}

#[test]
fn a_search_goes_back_from_a_dead_end() {
    // The bundle that only the large node can hold comes second by size of the whole.
    let mut gpu = node(1, 4.0, 4.0);
    gpu.total = gpu.total.with("GPU", 1.0);
    gpu.available = gpu.total.clone();
    let nodes = [gpu, node(2, 2.0, 2.0)];
    let with_gpu = BundleSpec {
        resources: Resources::none().with("GPU", 1.0),
        selector: None,
    };
    let plan = ask(
        &nodes,
        GroupStrategy::StrictSpread,
        &[bundle(2.0), with_gpu],
    );
    assert_eq!(nodes_of(&plan), [id(2), id(1)]);
}

#[test]
fn a_group_that_could_fit_waits_and_one_that_never_could_says_why() {
    let nodes = [node(1, 4.0, 1.0), node(2, 4.0, 1.0)];
    let plan = ask(
        &nodes,
        GroupStrategy::StrictPack,
        &[bundle(2.0), bundle(2.0)],
    );
    assert_eq!(
        plan,
        Plan::Wait("waits for room for 2 bundles on one node".to_owned())
    );
    assert_eq!(
        ask(&nodes, GroupStrategy::Pack, &[bundle(9.0)]),
        Plan::Infeasible("bundle 0 asks for 9 CPU and no node has more than 4".to_owned())
    );
}

#[test]
fn bundles_that_were_lost_go_where_the_strategy_allows() {
    let nodes = [node(1, 2.0, 1.0), node(2, 2.0, 2.0), node(3, 2.0, 2.0)];
    let bundles = [bundle(1.0), bundle(1.0)];
    let lost = |strategy| {
        let request = GroupRequest {
            strategy,
            bundles: &bundles,
            placed: &[Some(id(1)), None],
            soft_target: None,
        };
        plan(&nodes, &request)
    };
    assert_eq!(
        lost(GroupStrategy::Pack),
        Plan::Placed(vec![(1, id(1))]),
        "beside what is left"
    );
    assert_eq!(
        lost(GroupStrategy::StrictSpread),
        Plan::Placed(vec![(1, id(2))])
    );
}

#[test]
fn selectors_and_the_soft_target_choose_the_node() {
    let nodes = [node(1, 4.0, 4.0), node(2, 4.0, 4.0)];
    let mut labelled = bundle(1.0);
    labelled.selector = Some(LabelSelector {
        terms: vec![LabelTerm {
            key: "number".to_owned(),
            operator: LabelOperator::In as i32,
            values: vec!["2".to_owned()],
        }],
    });
    let plan_of_labels = ask(&nodes, GroupStrategy::Pack, &[labelled.clone()]);
    assert_eq!(nodes_of(&plan_of_labels), [id(2)]);
    let targeted = GroupRequest {
        strategy: GroupStrategy::StrictPack,
        bundles: &[bundle(1.0)],
        placed: &[None],
        soft_target: Some(id(2)),
    };
    assert_eq!(nodes_of(&plan(&nodes, &targeted)), [id(2)]);
    let none = ask(&nodes[..1], GroupStrategy::Pack, &[labelled]);
    assert_eq!(
        none,
        Plan::Infeasible(
            "bundle 0 asks for a node with number in (2), and there is none".to_owned()
        )
    );
}

proptest! {
    /// A plan never takes more than is free, and keeps what its strategy promises.
    #[test]
    fn a_plan_fits_and_keeps_its_promise(
        sizes in proptest::collection::vec((1u8..6, 0u8..6), 1..5),
        wanted in proptest::collection::vec(1u8..4, 1..6),
        which in 0i32..4,
    ) {
        let nodes: Vec<NodeView> = sizes
            .iter()
            .zip(1u8..)
            .map(|((total, free), number)| node(number, f64::from(*total), f64::from((*free).min(*total))))
            .collect();
        let bundles: Vec<BundleSpec> = wanted.iter().map(|cpus| bundle(f64::from(*cpus))).collect();
        let strategy = GroupStrategy::try_from(which).unwrap_or(GroupStrategy::Pack);
        match ask(&nodes, strategy, &bundles) {
            Plan::Placed(placed) => {
                prop_assert_eq!(placed.len(), bundles.len());
                for view in &nodes {
                    let mut taken = Resources::none();
                    for (index, _) in placed.iter().filter(|(_, node)| *node == view.node) {
                        taken.add(&bundles[*index as usize].resources);
                    }
                    prop_assert!(view.available.covers(&taken));
                }
                let mut used: Vec<NodeId> = placed.iter().map(|(_, node)| *node).collect();
                used.sort_unstable();
                used.dedup();
                match strategy {
                    GroupStrategy::StrictPack => prop_assert_eq!(used.len(), 1),
                    GroupStrategy::StrictSpread => prop_assert_eq!(used.len(), bundles.len()),
                    GroupStrategy::Pack | GroupStrategy::Spread => {}
                }
            }
            Plan::Wait(_) => {
                let free: Vec<NodeView> = nodes
                    .iter()
                    .map(|view| NodeView { available: view.total.clone(), ..view.clone() })
                    .collect();
                prop_assert!(matches!(ask(&free, strategy, &bundles), Plan::Placed(_)));
            }
            Plan::Infeasible(_) => {
                let one_fits_all = nodes.iter().any(|view| {
                    let mut sum = Resources::none();
                    bundles.iter().for_each(|bundle| sum.add(&bundle.resources));
                    view.total.covers(&sum)
                });
                prop_assert!(strategy == GroupStrategy::StrictSpread || !one_fits_all);
            }
        }
    }
}
