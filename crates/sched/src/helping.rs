//! Which kind of node, if one more came, would help those who wait.

use whipray_proto::messages::scaling::NodeType;
use whipray_proto::scheduling::{BundleSpec, GroupStrategy, LabelSelector};
use whipray_proto::{Resources, SchedulingStrategy};

use crate::feasibility::explain_infeasible;
use crate::labels::{self, Labels};
use crate::policy::NodeView;

/// Whether a node with these labels is one that a strategy wants. Nobody can start a node for those
/// who insist on one that is not there, or wait for a placement group.
pub fn is_eligible(labels: &Labels, strategy: Option<&SchedulingStrategy>) -> bool {
    let Some(strategy) = strategy else {
        return true;
    };
    let matches = |selector: &LabelSelector| labels::matches(selector, labels);
    let insists = |it: &whipray_proto::scheduling::NodeAffinity| !it.is_soft;
    strategy.group.is_none()
        && !strategy.affinity.as_ref().is_some_and(insists)
        && strategy.hard.iter().all(matches)
        && (strategy.selectors.is_empty() || strategy.selectors.iter().any(matches))
}

/// Whether a node of this type, with nothing else to do, would serve a request.
pub fn would_serve(
    kind: &NodeType,
    request: &Resources,
    strategy: Option<&SchedulingStrategy>,
) -> bool {
    explain_infeasible(&kind.resources, request).is_none() && is_eligible(&kind.labels, strategy)
}

/// What people read of a request that waits for a node of one of these types; `None` where none of
/// them would serve it.
pub fn explain_awaited(
    kinds: &[NodeType],
    request: &Resources,
    strategy: Option<&SchedulingStrategy>,
) -> Option<String> {
    let helping = kinds
        .iter()
        .filter(|kind| would_serve(kind, request, strategy));
    // Of several the one that comes first.
    let kind = helping.min_by_key(|kind| (kind.starting == 0, !kind.obstacle.is_empty()))?;
    let name = &kind.name;
    Some(match (kind.starting, kind.obstacle.as_str()) {
        (0, "") => format!("waits for a node of type {name}, which the autoscaler is to start"),
        (0, obstacle) => format!("waits for a node of type {name}: {obstacle}"),
        _ => format!("waits for a node of type {name}, which is being started"),
    })
}

/// Whether all bundles of a group would have a place once nodes of these types come.
pub fn would_hold_group(
    kinds: &[NodeType],
    nodes: &[NodeView],
    strategy: GroupStrategy,
    bundles: &[BundleSpec],
) -> bool {
    if strategy == GroupStrategy::StrictPack {
        let (sum, selectors) = packed(bundles);
        return kinds.iter().any(|kind| {
            explain_infeasible(&kind.resources, &sum).is_none()
                && selectors.iter().all(|it| labels::matches(it, &kind.labels))
        });
    }
    bundles.iter().all(|bundle| {
        let is_wanted = |its: &Labels| bundle.selector.iter().all(|it| labels::matches(it, its));
        let fits = |total: &Resources| explain_infeasible(total, &bundle.resources).is_none();
        let mut nodes = nodes.iter();
        let mut kinds = kinds.iter();
        kinds.any(|kind| is_wanted(&kind.labels) && fits(&kind.resources))
            || nodes.any(|view| is_wanted(&view.labels) && fits(&view.total))
    })
}

/// What a node must have, and which labels, for all bundles to lie on it.
pub fn packed(bundles: &[BundleSpec]) -> (Resources, Vec<&LabelSelector>) {
    let mut sum = Resources::none();
    for bundle in bundles {
        sum.add(&bundle.resources);
    }
    let selectors = bundles.iter().filter_map(|bundle| bundle.selector.as_ref());
    (sum, selectors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::NodeId;
    use whipray_proto::resources::{CPU, GPU};
    use whipray_proto::scheduling::{LabelOperator, LabelTerm, NodeAffinity};

    fn kind(name: &str, cpus: f64, gpus: f64) -> NodeType {
        NodeType {
            name: name.to_owned(),
            resources: Resources::none().with(CPU, cpus).with(GPU, gpus),
            labels: Labels::from([("kind".to_owned(), name.to_owned())]),
            ..NodeType::default()
        }
    }

    fn gpus(amount: f64) -> Resources {
        Resources::none().with(GPU, amount)
    }

    fn insisting_on(value: &str) -> SchedulingStrategy {
        SchedulingStrategy {
            hard: Some(LabelSelector {
                terms: vec![LabelTerm {
                    key: "kind".to_owned(),
                    operator: LabelOperator::In as i32,
                    values: vec![value.to_owned()],
                }],
            }),
            ..SchedulingStrategy::default()
        }
    }

    #[test]
    fn the_type_that_serves_is_named_with_what_is_done_about_it() {
        let mut kinds = [kind("small", 2.0, 0.0), kind("gpu", 4.0, 2.0)];
        let explain = |kinds: &[NodeType]| explain_awaited(kinds, &gpus(1.0), None);
        assert_eq!(
            explain(&kinds).as_deref(),
            Some("waits for a node of type gpu, which the autoscaler is to start")
        );
        kinds[1].obstacle = "there are as many as there may be (2)".to_owned();
        assert_eq!(
            explain(&kinds).as_deref(),
            Some("waits for a node of type gpu: there are as many as there may be (2)")
        );
        kinds[1].starting = 1;
        assert_eq!(
            explain(&kinds).as_deref(),
            Some("waits for a node of type gpu, which is being started")
        );
        assert_eq!(explain_awaited(&kinds, &gpus(3.0), None), None);
        assert_eq!(explain_awaited(&kinds, &gpus(1.5), None), None);
    }

    #[test]
    fn labels_count_and_nodes_that_are_insisted_on_cannot_be_started() {
        let kinds = [kind("small", 2.0, 0.0), kind("large", 8.0, 0.0)];
        let one = Resources::none().with(CPU, 1.0);
        assert!(explain_awaited(&kinds, &one, Some(&insisting_on("large"))).is_some());
        assert!(explain_awaited(&kinds, &one, Some(&insisting_on("other"))).is_none());
        let affinity = |is_soft| SchedulingStrategy {
            affinity: Some(NodeAffinity {
                node: NodeId::default(),
                is_soft,
                ..NodeAffinity::default()
            }),
            ..SchedulingStrategy::default()
        };
        assert!(explain_awaited(&kinds, &one, Some(&affinity(true))).is_some());
        assert!(explain_awaited(&kinds, &one, Some(&affinity(false))).is_none());
    }

    #[test]
    fn a_group_on_one_node_needs_one_that_holds_all_of_it() {
        let kinds = [kind("gpu", 4.0, 2.0)];
        let bundle = |amount| BundleSpec {
            resources: gpus(amount),
            selector: None,
        };
        let two = [bundle(1.0), bundle(2.0)];
        assert!(would_hold_group(&kinds, &[], GroupStrategy::Pack, &two));
        assert!(!would_hold_group(
            &kinds,
            &[],
            GroupStrategy::StrictPack,
            &two
        ));
        assert!(!would_hold_group(
            &kinds,
            &[],
            GroupStrategy::Spread,
            &[bundle(3.0)]
        ));
    }
}
