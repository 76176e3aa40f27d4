//! Which node serves a request: the strategies that users name.
//!
//! The node that asks is one of those that are looked at. On the default strategy it serves what it
//! can itself, until most of it is in use; then the least used one does (Ray's hybrid policy).

use whipray_proto::ids::NodeId;
use whipray_proto::resources::GPU;
use whipray_proto::scheduling::{LabelSelector, NodeAffinity};
use whipray_proto::{Resources, SchedulingStrategy};

use crate::feasibility::{explain_infeasible, explain_wait};
use crate::labels::{self, Labels};

/// The share of a node in use, in thousandths, above which others are preferred to it.
const BUSY_PERMILLE: i64 = 500;

/// A node as far as a decision needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    pub node: NodeId,
    pub total: Resources,
    pub available: Resources,
    pub labels: Labels,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This node serves it now.
    Run(NodeId),
    /// This node will; it is busy now. With why, as a sentence.
    Wait(NodeId, String),
    /// No node could ever serve it, as the cluster is now; one may come that can.
    Infeasible(String),
    /// What it insists on can never be.
    Never(String),
}

/// Decides for a request outside of placement groups. What is to be spread goes round the nodes that
/// have room, in the order of their ids: `after` is the one that was chosen last.
pub fn decide(
    nodes: &[NodeView],
    local: NodeId,
    request: &Resources,
    strategy: Option<&SchedulingStrategy>,
    after: NodeId,
) -> Decision {
    let Some(strategy) = strategy else {
        return choose(nodes.iter().collect(), local, request, false, after);
    };
    if let Some(affinity) = &strategy.affinity {
        return with_affinity(nodes, local, request, strategy, affinity, after);
    }
    let spreads = strategy.spreads;
    let tiers = tiers(nodes, strategy);
    let mut first_reason = None;
    let mut waits = None;
    for tier in tiers {
        match choose(tier, local, request, spreads, after) {
            Decision::Run(node) => return Decision::Run(node),
            Decision::Wait(node, reason) => {
                waits.get_or_insert(Decision::Wait(node, reason));
            }
            Decision::Infeasible(reason) | Decision::Never(reason) => {
                first_reason.get_or_insert(reason);
            }
        }
    }
    waits.unwrap_or_else(|| {
        Decision::Infeasible(first_reason.unwrap_or_else(|| missing_labels(strategy)))
    })
}

/// The nodes that match what a strategy asks of labels, the preferred ones first; each further list
/// counts where those before cannot serve.
fn tiers<'a>(nodes: &'a [NodeView], strategy: &SchedulingStrategy) -> Vec<Vec<&'a NodeView>> {
    let matching = |selector: &LabelSelector| -> Vec<&'a NodeView> {
        let of_hard = |node: &&NodeView| {
            let hard = strategy.hard.as_ref();
            hard.is_none_or(|hard| labels::matches(hard, &node.labels))
        };
        nodes
            .iter()
            .filter(of_hard)
            .filter(|node| labels::matches(selector, &node.labels))
            .collect()
    };
    let mut tiers = Vec::new();
    let everywhere = [LabelSelector::default()];
    let selectors = match strategy.selectors.as_slice() {
        [] => &everywhere[..],
        selectors => selectors,
    };
    for selector in selectors {
        let all = matching(selector);
        if let Some(soft) = &strategy.soft {
            let preferred: Vec<&NodeView> = all
                .iter()
                .copied()
                .filter(|node| labels::matches(soft, &node.labels))
                .collect();
            if !preferred.is_empty() {
                tiers.push(preferred);
            }
        }
        if !all.is_empty() {
            tiers.push(all);
        }
    }
    tiers
}

/// How much a strategy prefers a node to others; the least first. A node that it does not want at all
/// comes last.
pub fn rank(strategy: &SchedulingStrategy, view: &NodeView) -> usize {
    if let Some(affinity) = &strategy.affinity {
        return usize::from(affinity.node != view.node);
    }
    let matches = |selector: &LabelSelector| labels::matches(selector, &view.labels);
    if !strategy.hard.iter().all(matches) {
        return usize::MAX;
    }
    let first = match strategy.selectors.as_slice() {
        [] => Some(0),
        selectors => selectors.iter().position(matches),
    };
    let is_preferred = strategy.soft.as_ref().is_some_and(matches);
    first.map_or(usize::MAX, |first| 2 * first + usize::from(!is_preferred))
}

fn missing_labels(strategy: &SchedulingStrategy) -> String {
    let selectors = strategy.hard.iter().chain(&strategy.selectors);
    let wanted: Vec<String> = selectors.map(labels::describe).collect();
    format!(
        "asks for a node with {}, and there is none",
        wanted.join(", or ")
    )
}

fn with_affinity(
    nodes: &[NodeView],
    local: NodeId,
    request: &Resources,
    strategy: &SchedulingStrategy,
    affinity: &NodeAffinity,
    after: NodeId,
) -> Decision {
    let others = || {
        let without = SchedulingStrategy {
            affinity: None,
            ..strategy.clone()
        };
        decide(nodes, local, request, Some(&without), after)
    };
    let is_eligible = |view: &&NodeView| {
        let matches = |selector: &LabelSelector| labels::matches(selector, &view.labels);
        view.node == affinity.node
            && strategy.hard.iter().all(matches)
            && (strategy.selectors.is_empty() || strategy.selectors.iter().any(matches))
    };
    let Some(view) = nodes.iter().find(is_eligible) else {
        let there = nodes.iter().any(|view| view.node == affinity.node);
        let what = match there {
            true => "has not the labels that are asked for",
            false => "is not there (any more)",
        };
        return match affinity.is_soft {
            true => others(),
            false => Decision::Never(format!("its node {} {what}", affinity.node)),
        };
    };
    if let Some(reason) = explain_infeasible(&view.total, request) {
        return match affinity.is_soft {
            true => others(),
            false => Decision::Never(format!("{reason}: its node is {}", affinity.node)),
        };
    }
    if serves_now(view, request) {
        return Decision::Run(view.node);
    }
    let reason = explain_wait(&view.total, &view.available, request);
    if affinity.fails_when_busy {
        return Decision::Never(reason);
    }
    if affinity.is_soft && affinity.spills {
        return match others() {
            Decision::Run(node) => Decision::Run(node),
            _ => Decision::Wait(view.node, reason),
        };
    }
    Decision::Wait(view.node, reason)
}

fn choose(
    nodes: Vec<&NodeView>,
    local: NodeId,
    request: &Resources,
    spreads: bool,
    after: NodeId,
) -> Decision {
    let feasible: Vec<&NodeView> = nodes
        .iter()
        .copied()
        .filter(|view| explain_infeasible(&view.total, request).is_none())
        .collect();
    let Some(any) = feasible
        .iter()
        .find(|view| view.node == local)
        .or(feasible.first())
    else {
        return Decision::Infeasible(lack_of(&nodes, request));
    };
    let free: Vec<&NodeView> = feasible
        .iter()
        .copied()
        .filter(|view| serves_now(view, request))
        .collect();
    if free.is_empty() {
        let reason = explain_wait(&any.total, &any.available, request);
        return Decision::Wait(any.node, reason);
    }
    if spreads {
        let next = free
            .iter()
            .min_by_key(|view| (view.node <= after, view.node));
        return Decision::Run(next.map_or(any.node, |view| view.node));
    }
    // Nodes with GPUs are kept for those who ask for some; below the threshold all are equal, and
    // the local one, then the first one, is taken.
    let wants_gpu = request.units(GPU) > 0;
    let score = |view: &&&NodeView| {
        let wastes_gpu = !wants_gpu && view.total.units(GPU) > 0;
        let used = used_permille(view);
        let busy = if used < BUSY_PERMILLE { 0 } else { used };
        (wastes_gpu, busy, view.node != local, view.node)
    };
    let best = free.iter().min_by_key(score);
    Decision::Run(best.map_or(any.node, |view| view.node))
}

/// What none of these nodes has.
fn lack_of(nodes: &[&NodeView], request: &Resources) -> String {
    if nodes.is_empty() {
        return "no node is there".to_owned();
    }
    // Of each resource the most that any node has: that is what the sentence names.
    let mut most = Resources::none();
    for (name, units) in nodes.iter().flat_map(|view| &view.total.amounts) {
        most.set(name, most.units(name).max(*units));
    }
    explain_infeasible(&most, request).unwrap_or_else(|| {
        let wanted = request.describe();
        format!("asks for {wanted} together, and no single node has all of that")
    })
}

fn serves_now(view: &NodeView, request: &Resources) -> bool {
    view.available.covers(request)
}

/// How much of a node's scarcest resource is in use, in thousandths.
fn used_permille(view: &NodeView) -> i64 {
    let shares = view.total.amounts.iter().map(|(name, total)| {
        let used = total - view.available.units(name);
        if *total > 0 { used * 1000 / total } else { 0 }
    });
    shares.max().unwrap_or(0)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
