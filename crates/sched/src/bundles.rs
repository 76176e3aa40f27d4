//! The bundles of placement groups that are reserved on one node.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use whipray_proto::ids::PlacementGroupId;
use whipray_proto::resources::{CPU, GPU};
use whipray_proto::{Assignment, BundleId, Resources};

use crate::gpus::GpuSlots;

/// Where a bundle stands on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reserved in this attempt, and serves nobody yet.
    Prepared {
        attempt: u32,
    },
    Serves,
    /// Its group is gone: what nobody uses went back to the node, the rest follows with its users.
    Withdrawn,
}

/// Resources that a node has set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    total: Resources,
    available: Resources,
    gpus: GpuSlots,
    users: u32,
    stage: Stage,
}

impl Bundle {
    pub(crate) fn prepared(total: Resources, gpus: GpuSlots, attempt: u32) -> Self {
        Self {
            available: total.clone(),
            total,
            gpus,
            users: 0,
            stage: Stage::Prepared { attempt },
        }
    }

    fn acquire(&mut self, request: &Resources) -> Option<Vec<u32>> {
        if self.stage != Stage::Serves || !self.available.covers(request) {
            return None;
        }
        let gpus = self.gpus.acquire(request.units(GPU))?;
        self.available.subtract(request);
        self.users += 1;
        Some(gpus)
    }
}

/// What one bundle has left, for lists.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleUse {
    pub bundle: BundleId,
    pub total: Resources,
    pub available: Resources,
    pub users: u32,
}

/// All bundles of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bundles {
    groups: FxHashMap<PlacementGroupId, BTreeMap<u32, Bundle>>,
}

impl Bundles {
    pub(crate) fn contains(&self, id: BundleId) -> bool {
        let group = self.groups.get(&id.group);
        group.is_some_and(|group| group.contains_key(&id.index))
    }

    pub(crate) fn insert(&mut self, id: BundleId, bundle: Bundle) {
        let group = self.groups.entry(id.group).or_default();
        group.insert(id.index, bundle);
    }

    /// Lets the bundles of an attempt serve.
    pub(crate) fn commit(&mut self, group: PlacementGroupId, attempt: u32) {
        for bundle in self.groups.get_mut(&group).into_iter().flatten() {
            if bundle.1.stage == (Stage::Prepared { attempt }) {
                bundle.1.stage = Stage::Serves;
            }
        }
    }

    /// Whether a bundle of the group serves here.
    pub(crate) fn serves(&self, group: PlacementGroupId) -> bool {
        let mut bundles = self.groups.get(&group).into_iter().flatten();
        bundles.any(|(_, bundle)| bundle.stage == Stage::Serves)
    }

    /// Tasks and actors that have something of the group here.
    pub(crate) fn users(&self, group: PlacementGroupId) -> u32 {
        let bundles = self.groups.get(&group).into_iter().flatten();
        bundles.map(|(_, bundle)| bundle.users).sum()
    }

    /// Takes `request` out of a certain bundle, or the first one that has enough.
    pub(crate) fn acquire(
        &mut self,
        group: PlacementGroupId,
        index: Option<u32>,
        request: &Resources,
    ) -> Option<Assignment> {
        let bundles = self.groups.get_mut(&group)?;
        let (index, gpus) = match index {
            Some(index) => (index, bundles.get_mut(&index)?.acquire(request)?),
            None => bundles
                .iter_mut()
                .find_map(|(index, bundle)| Some((*index, bundle.acquire(request)?)))?,
        };
        Some(Assignment {
            resources: request.clone(),
            gpus,
            bundle: Some(BundleId { group, index }),
            captures: false,
        })
    }

    /// Takes back what was acquired; `false` where the bundle is withdrawn, and the node gets it.
    pub(crate) fn release(&mut self, id: BundleId, assignment: &Assignment) -> bool {
        let Some(group) = self.groups.get_mut(&id.group) else {
            return false;
        };
        let Some(bundle) = group.get_mut(&id.index) else {
            return false;
        };
        bundle.users = bundle.users.saturating_sub(1);
        if bundle.stage != Stage::Withdrawn {
            bundle.available.add(&assignment.resources);
            let units = assignment.resources.units(GPU);
            bundle.gpus.release(units, &assignment.gpus);
            return true;
        }
        if bundle.users == 0 {
            group.remove(&id.index);
            if group.is_empty() {
                self.groups.remove(&id.group);
            }
        }
        false
    }

    /// Moves CPUs of a blocked user; `false` where the bundle is withdrawn.
    pub(crate) fn move_cpus(&mut self, id: BundleId, units: i64) -> bool {
        let bundle = self
            .groups
            .get_mut(&id.group)
            .and_then(|group| group.get_mut(&id.index))
            .filter(|bundle| bundle.stage != Stage::Withdrawn);
        let Some(bundle) = bundle else { return false };
        let cpus = bundle.available.amounts.entry(CPU.to_owned());
        *cpus.or_insert(0) += units;
        true
    }

    /// Withdraws the bundles of a group, or only those that an attempt reserved. Returns what of
    /// each is free, for the node.
    pub(crate) fn withdraw(
        &mut self,
        group: PlacementGroupId,
        attempt: Option<u32>,
    ) -> Vec<(Resources, GpuSlots)> {
        let Some(bundles) = self.groups.get_mut(&group) else {
            return Vec::new();
        };
        let mut free = Vec::new();
        bundles.retain(|_, bundle| {
            let is_meant = match attempt {
                Some(attempt) => bundle.stage == Stage::Prepared { attempt },
                None => bundle.stage != Stage::Withdrawn,
            };
            if is_meant {
                bundle.stage = Stage::Withdrawn;
                let gpus = std::mem::take(&mut bundle.gpus);
                free.push((std::mem::take(&mut bundle.available), gpus));
            }
            !is_meant || bundle.users > 0
        });
        if bundles.is_empty() {
            self.groups.remove(&group);
        }
        free
    }

    /// What a bundle (or each one of the group) has in total; empty where none serves here.
    pub(crate) fn totals(&self, group: PlacementGroupId, index: Option<u32>) -> Vec<&Resources> {
        let bundles = self.groups.get(&group).into_iter().flatten();
        let is_meant = |at: u32| index.is_none_or(|index| index == at);
        bundles
            .filter(|(at, bundle)| is_meant(**at) && bundle.stage == Stage::Serves)
            .map(|(_, bundle)| &bundle.total)
            .collect()
    }

    /// What the bundles that serve have left.
    pub(crate) fn uses(&self) -> impl Iterator<Item = BundleUse> + '_ {
        let bundles = self.groups.iter().flat_map(|(group, bundles)| {
            bundles.iter().map(|(index, bundle)| {
                let id = BundleId {
                    group: *group,
                    index: *index,
                };
                (id, bundle)
            })
        });
        bundles
            .filter(|(_, bundle)| bundle.stage == Stage::Serves)
            .map(|(bundle, entry)| BundleUse {
                bundle,
                total: entry.total.clone(),
                available: entry.available.clone(),
                users: entry.users,
            })
    }

    /// What all bundles together keep from the node, without what users of withdrawn ones hold.
    pub(crate) fn set_aside(&self) -> Resources {
        let mut sum = Resources::none();
        for bundle in self.groups.values().flat_map(BTreeMap::values) {
            if bundle.stage != Stage::Withdrawn {
                sum.add(&bundle.total);
            }
        }
        sum
    }

    pub(crate) fn is_withdrawn(&self, id: BundleId) -> bool {
        let bundle = self
            .groups
            .get(&id.group)
            .and_then(|group| group.get(&id.index));
        bundle.is_none_or(|bundle| bundle.stage == Stage::Withdrawn)
    }
}
