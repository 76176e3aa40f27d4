//! On which nodes the bundles of a placement group lie.
//!
//! The search tries nodes in the order that the strategy prefers, the large bundles first, and goes
//! back where it meets a dead end. Its steps are bounded: with very many bundles of odd sizes it may
//! miss a solution, and then the group waits.

use whipray_proto::Resources;
use whipray_proto::ids::NodeId;
use whipray_proto::scheduling::{BundleSpec, GroupStrategy};

use crate::feasibility::explain_infeasible;
use crate::labels;
use crate::policy::NodeView;

/// Nodes that one search may try.
const STEPS: usize = 10_000;

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct GroupRequest<'a> {
    pub strategy: GroupStrategy,
    pub bundles: &'a [BundleSpec],
    /// Where each bundle lies already; `None` for those that are to be placed.
    pub placed: &'a [Option<NodeId>],
    /// For bundles that are all on one node: the one that is tried first.
    pub soft_target: Option<NodeId>,
}

/// What becomes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The nodes of the bundles that were to be placed, by index.
    Placed(Vec<(u32, NodeId)>),
    /// It fits once others give something back.
    Wait(String),
    /// It would not fit if all nodes were free.
    Infeasible(String),
}

/// Finds nodes for the bundles of a group that have none.
pub fn plan(nodes: &[NodeView], request: &GroupRequest<'_>) -> Plan {
    let free = nodes.iter().map(|view| view.available.clone()).collect();
    if let Some(placed) = Search::new(nodes, free, request).run() {
        return Plan::Placed(placed);
    }
    let mut totals: Vec<Resources> = nodes.iter().map(|view| view.total.clone()).collect();
    for (bundle, place) in request.bundles.iter().zip(request.placed) {
        let held = nodes.iter().position(|view| Some(view.node) == *place);
        if let Some(total) = held.and_then(|index| totals.get_mut(index)) {
            total.subtract(&bundle.resources);
        }
    }
    if Search::new(nodes, totals, request).run().is_some() {
        Plan::Wait(format!("waits for room for {}", describe(request)))
    } else {
        Plan::Infeasible(explain(nodes, request))
    }
}

fn describe(request: &GroupRequest<'_>) -> String {
    let how = match request.strategy {
        GroupStrategy::Pack | GroupStrategy::Spread => "",
        GroupStrategy::StrictPack => " on one node",
        GroupStrategy::StrictSpread => " on nodes of their own",
    };
    match request.bundles {
        [one] => one.resources.describe(),
        several => format!("{} bundles{how}", several.len()),
    }
}

fn explain(nodes: &[NodeView], request: &GroupRequest<'_>) -> String {
    for (index, bundle) in request.bundles.iter().enumerate() {
        let has_labels = |view: &&NodeView| {
            let selector = bundle.selector.as_ref();
            selector.is_none_or(|selector| labels::matches(selector, &view.labels))
        };
        let eligible: Vec<&NodeView> = nodes.iter().filter(has_labels).collect();
        if let (true, Some(selector)) = (eligible.is_empty(), &bundle.selector) {
            let wanted = labels::describe(selector);
            return format!("bundle {index} asks for a node with {wanted}, and there is none");
        }
        let reasons: Vec<Option<String>> = eligible
            .iter()
            .map(|view| {
                let missing = view.total.shortfall(&bundle.resources);
                (!missing.is_empty()).then(|| explain_infeasible(&view.total, &bundle.resources))?
            })
            .collect();
        if let Some(reason) = reasons.iter().min().cloned().flatten()
            && reasons.iter().all(Option::is_some)
        {
            return format!("bundle {index} {reason}");
        }
    }
    let what = describe(request);
    format!(
        "asks for {what}, which the {} nodes cannot hold",
        nodes.len()
    )
}

/// One search, over what is free of each node.
struct Search<'a> {
    nodes: &'a [NodeView],
    free: Vec<Resources>,
    /// Bundles of this group on each node.
    held: Vec<u32>,
    request: &'a GroupRequest<'a>,
    /// Those that are to be placed, the large ones first.
    missing: Vec<u32>,
    chosen: Vec<usize>,
    steps: usize,
}

impl<'a> Search<'a> {
    fn new(nodes: &'a [NodeView], free: Vec<Resources>, request: &'a GroupRequest<'a>) -> Self {
        let held = |view: &NodeView| {
            let places = request.placed.iter();
            places.filter(|place| **place == Some(view.node)).count() as u32
        };
        let mut missing: Vec<u32> = (0u32..)
            .zip(request.placed)
            .filter(|(_, place)| place.is_none())
            .map(|(index, _)| index)
            .collect();
        missing.sort_by_key(|index| std::cmp::Reverse(size(request, *index)));
        Self {
            held: nodes.iter().map(held).collect(),
            nodes,
            free,
            request,
            missing,
            chosen: Vec::new(),
            steps: 0,
        }
    }

    fn run(mut self) -> Option<Vec<(u32, NodeId)>> {
        if !self.place_from(0) {
            return None;
        }
        let mut placed: Vec<(u32, NodeId)> = self
            .missing
            .iter()
            .zip(&self.chosen)
            .filter_map(|(index, node)| Some((*index, self.nodes.get(*node)?.node)))
            .collect();
        placed.sort_unstable();
        Some(placed)
    }

    /// Places the bundles from this one on; whether all have a node.
    fn place_from(&mut self, position: usize) -> bool {
        let Some(index) = self.missing.get(position).copied() else {
            return true;
        };
        let Some(bundle) = self.request.bundles.get(index as usize) else {
            return false;
        };
        for node in self.candidates(position, bundle) {
            self.steps += 1;
            if self.steps > STEPS {
                return false;
            }
            self.free[node].subtract(&bundle.resources);
            self.held[node] += 1;
            self.chosen.push(node);
            if self.place_from(position + 1) {
                return true;
            }
            self.chosen.pop();
            self.held[node] -= 1;
            self.free[node].add(&bundle.resources);
        }
        false
    }

    /// The nodes that have room for a bundle, the preferred ones first.
    fn candidates(&self, position: usize, bundle: &BundleSpec) -> Vec<usize> {
        let strategy = self.request.strategy;
        let is_begun = self.held.iter().any(|held| *held > 0);
        let may_take = |node: &usize| {
            let fits_strategy = match strategy {
                GroupStrategy::StrictPack => !is_begun || self.held[*node] > 0,
                GroupStrategy::StrictSpread => self.held[*node] == 0,
                GroupStrategy::Pack | GroupStrategy::Spread => true,
            };
            let selector = bundle.selector.as_ref();
            fits_strategy
                && self.free[*node].covers(&bundle.resources)
                && selector
                    .is_none_or(|selector| labels::matches(selector, &self.nodes[*node].labels))
        };
        let mut nodes: Vec<usize> = (0..self.nodes.len()).filter(may_take).collect();
        if nodes.len() > 1 {
            nodes.sort_by_cached_key(|node| {
                let view = &self.nodes[*node];
                let preference = match strategy {
                    GroupStrategy::Spread => i64::from(self.held[*node]),
                    _ if self.held[*node] > 0 => i64::MIN,
                    GroupStrategy::StrictPack if self.request.soft_target == Some(view.node) => {
                        i64::MIN
                    }
                    _ => -self.would_take(*node, position),
                };
                (preference, view.node)
            });
        }
        nodes
    }

    /// How many of the bundles from this one on a node could take, one after the other.
    fn would_take(&self, node: usize, position: usize) -> i64 {
        let mut free = self.free[node].clone();
        let mut count = 0;
        for index in &self.missing[position..] {
            if let Some(bundle) = self.request.bundles.get(*index as usize)
                && free.covers(&bundle.resources)
            {
                free.subtract(&bundle.resources);
                count += 1;
            }
        }
        count
    }
}

/// How large a bundle is, for the order of the search: by its kinds of resources, then amounts.
fn size(request: &GroupRequest<'_>, index: u32) -> (usize, i64) {
    let bundle = request.bundles.get(index as usize);
    bundle.map_or((0, 0), |bundle| {
        let amounts = &bundle.resources.amounts;
        (amounts.len(), amounts.values().sum())
    })
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
