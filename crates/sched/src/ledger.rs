//! What a node has, and what of it is taken.

use whipray_proto::ids::PlacementGroupId;
use whipray_proto::resources::{CPU, GPU, UNITS};
use whipray_proto::scheduling::InGroup;
use whipray_proto::{Assignment, BundleId, Resources};

use crate::bundles::{Bundle, BundleUse, Bundles};
use crate::feasibility::explain_infeasible;
use crate::gpus::GpuSlots;

/// The resources of one node. Every amount that was acquired is released exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    total: Resources,
    available: Resources,
    gpus: GpuSlots,
    bundles: Bundles,
}

impl Ledger {
    /// A node that has `total`, all of it free.
    pub fn new(total: Resources) -> Self {
        let gpus = GpuSlots::new(u32::try_from(total.units(GPU) / UNITS).unwrap_or(0));
        Self {
            available: total.clone(),
            total,
            gpus,
            bundles: Bundles::default(),
        }
    }

    /// What the node has.
    pub fn total(&self) -> &Resources {
        &self.total
    }

    /// What is free of it. An amount is below zero while more workers run than the node would
    /// allow; see [`Self::take_back_cpus`].
    pub fn available(&self) -> &Resources {
        &self.available
    }

    /// Why the node could never serve `request`; `None` where it could.
    pub fn explain_infeasible(&self, request: &Resources) -> Option<String> {
        explain_infeasible(&self.total, request)
    }

    /// Takes `request`, or nothing at all where some of it is not free.
    pub fn acquire(&mut self, request: &Resources) -> Option<Assignment> {
        if !self.available.covers(request) {
            return None;
        }
        let gpus = self.gpus.acquire(request.units(GPU))?;
        self.available.subtract(request);
        Some(Assignment {
            resources: request.clone(),
            gpus,
            ..Assignment::default()
        })
    }

    /// The same from what is reserved here for a placement group.
    pub fn acquire_in(&mut self, group: &InGroup, request: &Resources) -> Option<Assignment> {
        let mut assignment = self.bundles.acquire(group.group, group.bundle, request)?;
        assignment.captures = group.captures;
        Some(assignment)
    }

    /// Gives back what [`Self::acquire`] or [`Self::acquire_in`] returned.
    pub fn release(&mut self, assignment: &Assignment) {
        let bundle = assignment.bundle;
        if bundle.is_some_and(|bundle| self.bundles.release(bundle, assignment)) {
            return;
        }
        self.available.add(&assignment.resources);
        self.gpus
            .release(assignment.resources.units(GPU), &assignment.gpus);
    }

    /// Makes the CPUs of an assignment free for others while its worker waits.
    pub fn lend_cpus(&mut self, assignment: &Assignment) {
        self.move_cpus(assignment, assignment.resources.units(CPU));
    }

    /// Takes lent CPUs back, even where others have them by now: a worker that goes on cannot be
    /// stopped, so the amount may be below zero until enough is released.
    pub fn take_back_cpus(&mut self, assignment: &Assignment) {
        self.move_cpus(assignment, -assignment.resources.units(CPU));
    }

    fn move_cpus(&mut self, assignment: &Assignment, units: i64) {
        if units == 0 {
            return;
        }
        let bundle = assignment.bundle;
        if bundle.is_some_and(|bundle| self.bundles.move_cpus(bundle, units)) {
            return;
        }
        *self.available.amounts.entry(CPU.to_owned()).or_insert(0) += units;
    }

    /// Sets all of these bundles of a group aside, or none. They serve once they are committed.
    pub fn prepare(
        &mut self,
        group: PlacementGroupId,
        attempt: u32,
        bundles: &[(u32, Resources)],
    ) -> bool {
        for (index, resources) in bundles {
            let id = BundleId {
                group,
                index: *index,
            };
            // One that was withdrawn is there until its last user is gone.
            if self.bundles.contains(id) || !self.set_aside(id, resources, attempt) {
                self.withdraw(group, Some(attempt));
                return false;
            }
        }
        true
    }

    fn set_aside(&mut self, id: BundleId, resources: &Resources, attempt: u32) -> bool {
        if !self.available.covers(resources) {
            return false;
        }
        let Some(shares) = self.gpus.acquire_shares(resources.units(GPU)) else {
            return false;
        };
        self.available.subtract(resources);
        let gpus = GpuSlots::of_shares(shares);
        let bundle = Bundle::prepared(resources.clone(), gpus, attempt);
        self.bundles.insert(id, bundle);
        true
    }

    /// Lets the bundles that an attempt set aside serve.
    pub fn commit(&mut self, group: PlacementGroupId, attempt: u32) {
        self.bundles.commit(group, attempt);
    }

    /// Takes back the bundles of a group (or only those that an attempt set aside and that do not
    /// serve): what nobody uses is free at once, the rest with its users.
    pub fn withdraw(&mut self, group: PlacementGroupId, attempt: Option<u32>) {
        for (resources, gpus) in self.bundles.withdraw(group, attempt) {
            self.available.add(&resources);
            for (index, units) in gpus.free_units() {
                self.gpus.give(*index, *units);
            }
        }
    }

    /// Whether bundles of the group serve here.
    pub fn serves(&self, group: PlacementGroupId) -> bool {
        self.bundles.serves(group)
    }

    /// Tasks and actors that have something of the group here.
    pub fn users_of(&self, group: PlacementGroupId) -> u32 {
        self.bundles.users(group)
    }

    /// Why no free moment of the bundles that serve here could ever serve `request`.
    pub fn explain_infeasible_in(&self, group: &InGroup, request: &Resources) -> Option<String> {
        let totals = self.bundles.totals(group.group, group.bundle);
        if totals.is_empty() || totals.iter().any(|total| total.covers(request)) {
            return None;
        }
        let bundles: Vec<String> = totals.iter().map(|total| total.describe()).collect();
        Some(format!(
            "asks for {}, which fits into none of the bundles {} of its placement group",
            request.describe(),
            bundles.join(", ")
        ))
    }

    /// What the bundles that serve have left, in the order of their ids.
    pub fn bundle_uses(&self) -> Vec<BundleUse> {
        let mut uses: Vec<BundleUse> = self.bundles.uses().collect();
        uses.sort_unstable_by_key(|used| used.bundle);
        uses
    }

    /// What bundles keep from everybody else.
    pub fn reserved(&self) -> Resources {
        self.bundles.set_aside()
    }

    /// Whether an assignment is the node's to give back, and not that of a bundle.
    pub fn is_of_node(&self, assignment: &Assignment) -> bool {
        assignment
            .bundle
            .is_none_or(|bundle| self.bundles.is_withdrawn(bundle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> Ledger {
        Ledger::new(
            Resources::none()
                .with(CPU, 4.0)
                .with(GPU, 2.0)
                .with("gold", 1.0),
        )
    }

    #[test]
    fn a_request_is_served_whole_or_not_at_all() {
        let mut ledger = node();
        let greedy = Resources::none().with(CPU, 1.0).with(GPU, 3.0);
        assert_eq!(ledger.acquire(&greedy), None);
        assert_eq!(ledger, node());
    }

    #[test]
    fn fractions_that_fit_in_sum_but_in_no_gpu_are_not_served() {
        let mut ledger = node();
        let share = Resources::none().with(GPU, 0.6);
        assert_eq!(
            ledger.acquire(&share).map(|given| given.gpus),
            Some(vec![0])
        );
        assert_eq!(
            ledger.acquire(&share).map(|given| given.gpus),
            Some(vec![1])
        );
        assert!(ledger.available().covers(&share));
        assert_eq!(ledger.acquire(&share), None);
    }

    #[test]
    fn lent_cpus_may_be_overdrawn_for_a_while() {
        let mut ledger = node();
        let all = ledger
            .acquire(&Resources::none().with(CPU, 4.0))
            .unwrap_or_default();
        ledger.lend_cpus(&all);
        let other = ledger
            .acquire(&Resources::none().with(CPU, 3.0))
            .unwrap_or_default();
        ledger.take_back_cpus(&all);
        assert_eq!(ledger.available().amount(CPU), -3.0);
        assert_eq!(ledger.acquire(&Resources::none().with(CPU, 1.0)), None);
        ledger.release(&other);
        ledger.release(&all);
        assert_eq!(ledger.available(), node().available());
    }

    proptest! {
        /// Nothing is granted twice, and all of it comes back.
        #[test]
        fn never_over_granted_and_all_returned(
            steps in proptest::collection::vec((0u8..40, 0u8..30, any::<bool>(), any::<proptest::sample::Index>()), 1..80)
        ) {
            let mut ledger = node();
            let mut held = Vec::new();
            for (cpu_tenths, gpu_tenths, releases, which) in steps {
                if releases && !held.is_empty() {
                    let given = held.swap_remove(which.index(held.len()));
                    ledger.release(&given);
                } else {
                    let request = Resources::none()
                        .with(CPU, f64::from(cpu_tenths) / 10.0)
                        .with(GPU, f64::from(gpu_tenths) / 10.0);
                    held.extend(ledger.acquire(&request));
                }
                prop_assert!(ledger.available().amounts.values().all(|units| *units >= 0));
                for gpu in 0..2u32 {
                    let used: i64 = held
                        .iter()
                        .filter(|given: &&Assignment| given.gpus.contains(&gpu))
                        .map(|given| given.resources.units(GPU).min(UNITS))
                        .sum();
                    prop_assert!(used <= UNITS, "GPU {gpu} is granted beyond its whole");
                }
            }
            for given in held.drain(..) {
                ledger.release(&given);
            }
            prop_assert_eq!(ledger, node());
        }
    }
}
