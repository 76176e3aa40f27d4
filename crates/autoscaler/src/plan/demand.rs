//! Which nodes are missing: first for the least numbers, then for what was requested, for placement
//! groups, and for tasks and actors.

use std::collections::BTreeSet;

use whipray_proto::NodeId;
use whipray_proto::SchedulingStrategy;
use whipray_proto::messages::scaling::{ScalingView, WaitingGroup, Want};
use whipray_proto::resources::GPU;
use whipray_proto::scheduling::{BundleSpec, GroupStrategy, LabelSelector, LabelTerm};
use whipray_sched::groups::{GroupRequest, Plan, plan};
use whipray_sched::helping::packed;
use whipray_sched::policy::NodeView;

use super::fleet::is_usable;
use super::packing::{Additions, Packing};
use super::{Effect, FIRST_LAUNCHES, MOST_LAUNCHES, Micros, Scaler};

impl Scaler {
    /// Starts what is missing. Returns the nodes that are needed as they are, or will be soon.
    pub(super) fn start_missing(&mut self, view: &ScalingView, now: Micros) -> BTreeSet<NodeId> {
        let types = 0..self.config.types.len();
        let room = types.map(|kind| match self.fleet.is_paused(kind, now) {
            true => 0,
            false => self.fleet.room(kind, &self.config),
        });
        let total_room = self.config.max_workers.saturating_sub(self.fleet.total());
        let mut additions = Additions::new(&self.config, room.collect(), total_room);

        let mut packing = Packing::default();
        self.add_missing_least(&mut packing, &mut additions);
        let mut protected = self.hold_requested(view, &mut packing, &mut additions);
        self.push_present(view, &mut packing, |node| {
            match self.fleet.is_fresh(&node.instance, now) {
                true => node.total.clone(),
                false => node.available.clone(),
            }
        });
        for group in &view.groups {
            serve_group(group, &mut packing, &mut additions);
        }
        let wants = ordered(&view.wants);
        for (index, want) in wants.iter().enumerate() {
            packing.serve_adding(want, &wants[index + 1..], &mut additions, false);
        }
        protected.extend(packing.used());
        let added = additions.added;
        self.launch(&added, now);
        protected
    }

    /// Nodes that bring a type to its least number.
    fn add_missing_least(&self, packing: &mut Packing, additions: &mut Additions<'_>) {
        for (kind, node_type) in self.config.types.iter().enumerate() {
            let have = self.fleet.starting(kind) + self.fleet.running(kind);
            for _ in have..node_type.min_workers {
                packing.add(kind, additions, true);
            }
        }
    }

    /// Nodes for what clients want the cluster to have room for, whatever is in use. Returns those
    /// that are there and that are needed for it.
    fn hold_requested(
        &self,
        view: &ScalingView,
        packing: &mut Packing,
        additions: &mut Additions<'_>,
    ) -> BTreeSet<NodeId> {
        if view.requested.is_empty() {
            return BTreeSet::new();
        }
        let mut whole = packing.clone();
        self.push_present(view, &mut whole, |node| node.total.clone());
        let before = additions.added.len();
        let wants: Vec<Want> = view.requested.iter().map(want_of).collect();
        let wants = ordered(&merged(wants));
        for (index, want) in wants.iter().enumerate() {
            whole.serve_adding(want, &wants[index + 1..], additions, true);
        }
        for (kind, _) in &additions.added[before..] {
            packing.push_new(&self.config.types[*kind]);
        }
        whole.used()
    }

    /// The nodes that are there, those with something to do first, and those that are to come.
    fn push_present(
        &self,
        view: &ScalingView,
        packing: &mut Packing,
        free: impl Fn(&whipray_proto::messages::scaling::ScalingNode) -> whipray_proto::Resources,
    ) {
        let is_open = |node: &&whipray_proto::messages::scaling::ScalingNode| {
            is_usable(node.state) && !self.idle.is_draining(node.node)
        };
        let mut nodes: Vec<_> = view.nodes.iter().filter(is_open).collect();
        nodes.sort_by_key(|node| (!node.is_head, node.busy.is_empty(), node.node));
        for node in nodes {
            packing.push(NodeView {
                node: node.node,
                total: node.total.clone(),
                available: free(node),
                labels: node.labels.clone(),
            });
        }
        for (kind, node_type) in self.config.types.iter().enumerate() {
            for _ in 0..self.fleet.starting(kind) {
                packing.push_new(node_type);
            }
        }
    }

    /// Launches what was added, as far as that may be done at once.
    fn launch(&mut self, added: &[(usize, bool)], now: Micros) {
        let types = self.config.types.len();
        let mut starting: u32 = (0..types).map(|kind| self.fleet.starting(kind)).sum();
        for kind in 0..types {
            let of_kind = || added.iter().filter(|(it, _)| *it == kind);
            let urgent = of_kind().filter(|(_, is_urgent)| *is_urgent).count() as u32;
            let others = of_kind().count() as u32 - urgent;
            let by_speed = self.config.upscaling_speed * f64::from(self.fleet.running(kind));
            let at_once = FIRST_LAUNCHES.max(by_speed.ceil() as u32);
            let allowed = at_once.saturating_sub(self.fleet.starting(kind));
            for _ in 0..urgent + others.min(allowed) {
                if starting >= MOST_LAUNCHES {
                    return;
                }
                starting += 1;
                let launch = self.fleet.request(kind, now);
                let node_type = kind;
                self.effects.push(Effect::Launch { node_type, launch });
            }
        }
    }
}

/// Nodes for all bundles of a group, or none at all.
fn serve_group(group: &WaitingGroup, packing: &mut Packing, additions: &mut Additions<'_>) {
    let bundles = &group.spec.bundles;
    let nodes = group.nodes.iter();
    let mut placed: Vec<Option<NodeId>> = nodes
        .map(|node| (!node.is_nil()).then_some(*node))
        .collect();
    placed.resize(bundles.len(), None);
    let strategy = group.spec.strategy();
    let request = GroupRequest {
        strategy,
        bundles,
        placed: &placed,
        soft_target: group.spec.soft_target,
    };
    if let Plan::Placed(places) = plan(&packing.views(), &request) {
        for (index, node) in places {
            if let Some(bundle) = bundles.get(index as usize) {
                packing.take_on(node, &bundle.resources);
            }
        }
        return;
    }
    let (mut trial, mut adds) = (packing.clone(), additions.clone());
    let is_served = match strategy {
        GroupStrategy::StrictPack => serve_on_one(bundles, &mut trial, &mut adds),
        _ => serve_each(strategy, bundles, placed, &mut trial, &mut adds),
    };
    if is_served {
        (*packing, *additions) = (trial, adds);
    }
}

fn serve_on_one(
    bundles: &[BundleSpec],
    packing: &mut Packing,
    additions: &mut Additions<'_>,
) -> bool {
    let (resources, selectors) = packed(bundles);
    let terms = selectors.into_iter().flat_map(|it| it.terms.clone());
    let want = want_of(&BundleSpec {
        resources,
        selector: Some(LabelSelector {
            terms: terms.collect::<Vec<LabelTerm>>(),
        }),
    });
    let anywhere = |_| Some(0);
    packing.serve_one(&want, &[], additions, anywhere).is_some()
}

fn serve_each(
    strategy: GroupStrategy,
    bundles: &[BundleSpec],
    mut placed: Vec<Option<NodeId>>,
    packing: &mut Packing,
    additions: &mut Additions<'_>,
) -> bool {
    let missing = (0..bundles.len()).filter(|index| placed[*index].is_none());
    let mut missing: Vec<usize> = missing.collect();
    missing.sort_by_key(|index| std::cmp::Reverse(size(&want_of(&bundles[*index]))));
    for (position, index) in missing.iter().enumerate() {
        let want = want_of(&bundles[*index]);
        let rest = match strategy {
            // Each new node serves one of them.
            GroupStrategy::StrictSpread => Vec::new(),
            _ => missing[position + 1..]
                .iter()
                .map(|index| want_of(&bundles[*index]))
                .collect(),
        };
        let held = |node: NodeId| placed.iter().filter(|it| **it == Some(node)).count();
        let rank = |node: NodeId| match (strategy, held(node)) {
            (GroupStrategy::StrictSpread, 0) => Some(0),
            (GroupStrategy::StrictSpread, _) => None,
            (GroupStrategy::Spread, held) => Some(held),
            (_, held) => Some(usize::from(held == 0)),
        };
        let Some(node) = packing.serve_one(&want, &merged(rest), additions, rank) else {
            return false;
        };
        placed[*index] = Some(node);
    }
    true
}

fn want_of(bundle: &BundleSpec) -> Want {
    let strategy = bundle.selector.as_ref().map(|selector| {
        Box::new(SchedulingStrategy {
            hard: Some(selector.clone()),
            ..SchedulingStrategy::default()
        })
    });
    Want {
        resources: bundle.resources.clone(),
        strategy,
        count: 1,
    }
}

/// The same in one entry.
fn merged(wants: Vec<Want>) -> Vec<Want> {
    let mut all: Vec<Want> = Vec::new();
    for want in wants {
        let same = |it: &&mut Want| it.resources == want.resources && it.strategy == want.strategy;
        match all.iter_mut().find(same) {
            Some(known) => known.count += want.count,
            None => all.push(want),
        }
    }
    all
}

/// The hard ones first: with GPUs, with many kinds of resources, with much of them.
fn ordered(wants: &[Want]) -> Vec<Want> {
    let mut wants = wants.to_vec();
    wants.sort_by_key(|want| std::cmp::Reverse(size(want)));
    wants
}

fn size(want: &Want) -> (bool, usize, i64) {
    let amounts = &want.resources.amounts;
    let has_gpu = want.resources.units(GPU) > 0;
    (has_gpu, amounts.len(), amounts.values().sum())
}
