//! Room for placement groups: nodes are asked to set bundles aside, and only when all of them have
//! done so the bundles serve.

use whipray_proto::ids::PlacementGroupId;
use whipray_proto::link::ControlSays;
use whipray_proto::messages::cluster::WarnDriver;
use whipray_proto::{NodeId, Resources};
use whipray_sched::groups::{GroupRequest, Plan, plan};

use super::Control;
use super::groups::Standing;

impl Control {
    /// Looks for nodes for the bundles of a group that have none, and asks these nodes.
    pub(super) fn place_group(&mut self, group: PlacementGroupId) {
        let views = self.views();
        let Some(entry) = self.groups.get_mut(&group) else {
            return;
        };
        entry.attempt += 1;
        entry.attempted_us = self.now_us;
        let request = GroupRequest {
            strategy: entry.spec.strategy(),
            bundles: &entry.spec.bundles,
            placed: &entry.nodes,
            soft_target: entry.spec.soft_target,
        };
        let (reason, is_infeasible) = match plan(&views, &request) {
            Plan::Placed(placed) => return self.prepare_group(group, placed),
            Plan::Wait(reason) => (reason, false),
            Plan::Infeasible(reason) => (reason, true),
        };
        self.let_group_wait(group, reason, is_infeasible);
    }

    fn let_group_wait(&mut self, group: PlacementGroupId, reason: String, is_infeasible: bool) {
        let awaited = self.groups.get(&group).filter(|_| is_infeasible);
        let awaited = awaited.and_then(|entry| self.why_group_is_awaited(entry));
        let is_infeasible = is_infeasible && awaited.is_none();
        let reason = awaited.unwrap_or(reason);
        let Some(entry) = self.groups.get_mut(&group) else {
            return;
        };
        let is_news = is_infeasible
            && !matches!(&entry.standing, Standing::Waits { reason: known, .. } if *known == reason);
        let (job, text) = (
            entry.spec.job,
            format!("placement group {group} cannot be created: {reason}"),
        );
        entry.standing = Standing::Waits {
            reason,
            is_infeasible,
        };
        if !self.waiting_groups.contains(&group) {
            self.waiting_groups.push(group);
        }
        if is_news && let Some(driver) = self.driver_of(job) {
            self.tell(driver, WarnDriver { text, job: None });
        }
        self.watch_nodes();
    }

    fn prepare_group(&mut self, group: PlacementGroupId, placed: Vec<(u32, NodeId)>) {
        let Some(entry) = self.groups.get_mut(&group) else {
            return;
        };
        let attempt = entry.attempt;
        let mut asked: Vec<NodeId> = placed.iter().map(|(_, node)| *node).collect();
        asked.sort_unstable();
        asked.dedup();
        let resources: Vec<(u32, NodeId, Resources)> = placed
            .iter()
            .filter_map(|(index, node)| {
                let bundle = entry.spec.bundles.get(*index as usize)?;
                Some((*index, *node, bundle.resources.clone()))
            })
            .collect();
        entry.standing = Standing::Prepares {
            plan: placed,
            unheard: asked.clone(),
            granted: Vec::new(),
            is_refused: false,
        };
        for node in asked {
            let of_node = resources.iter().filter(|(_, at, _)| *at == node);
            let bundles: Vec<(u32, Resources)> = of_node
                .map(|(index, _, amounts)| (*index, amounts.clone()))
                .collect();
            // Until the node has answered, what it was asked for counts as taken.
            if let Some(member) = self.nodes.get_mut(&node) {
                for (_, amounts) in &bundles {
                    member.status.available.subtract(amounts);
                }
            }
            let prepare = ControlSays::PrepareBundles {
                group,
                attempt,
                bundles,
            };
            self.say(node, prepare);
        }
    }

    /// A node has set bundles aside, or cannot.
    pub(super) fn bundles_prepared(
        &mut self,
        node: NodeId,
        group: PlacementGroupId,
        attempt: u32,
        is_granted: bool,
        available: Resources,
    ) {
        self.note_available(node, available);
        let standing = match self.groups.get_mut(&group) {
            Some(entry) if entry.attempt == attempt => &mut entry.standing,
            _ => {
                return self.say(node, ControlSays::ReturnBundles { group, attempt });
            }
        };
        // A group that was removed meanwhile has taken its bundles back with that.
        let Standing::Prepares {
            unheard,
            granted,
            is_refused,
            ..
        } = standing
        else {
            return;
        };
        unheard.retain(|asked| *asked != node);
        if is_granted {
            granted.push(node);
        } else {
            *is_refused = true;
        }
        if unheard.is_empty() {
            self.conclude_attempt(group);
        }
    }

    /// All nodes have answered: the bundles serve, or none does.
    fn conclude_attempt(&mut self, group: PlacementGroupId) {
        let now_us = self.now_us;
        let Some(entry) = self.groups.get_mut(&group) else {
            return;
        };
        let Standing::Prepares {
            plan,
            granted,
            is_refused,
            ..
        } = &mut entry.standing
        else {
            return;
        };
        let (plan, granted, is_refused) =
            (std::mem::take(plan), std::mem::take(granted), *is_refused);
        let attempt = entry.attempt;
        if is_refused {
            let bundles = entry.spec.bundles.clone();
            for node in granted {
                let there = plan.iter().filter(|(_, at)| *at == node);
                for (index, _) in there {
                    if let Some(bundle) = bundles.get(*index as usize) {
                        self.give_back(node, &bundle.resources);
                    }
                }
                self.say(node, ControlSays::ReturnBundles { group, attempt });
            }
            let reason = "waits for room that is in use by now".to_owned();
            return self.let_group_wait(group, reason, false);
        }
        for (index, node) in plan {
            if let Some(place) = entry.nodes.get_mut(index as usize) {
                *place = Some(node);
            }
        }
        let is_whole = entry.nodes.iter().all(Option::is_some);
        entry.standing = Standing::Stands;
        entry.was_created |= is_whole;
        entry.created_us = now_us;
        for node in granted {
            self.say(node, ControlSays::CommitBundles { group, attempt });
        }
        if !is_whole {
            // Meanwhile a node was lost that had bundles from before.
            return self.place_group(group);
        }
        self.waiting_groups.retain(|waiting| *waiting != group);
        self.watch_nodes();
        self.publish_group(group);
        self.keep_group(group);
        self.place_waiting_actors();
    }

    /// What a node had set aside is free again. It says so itself only where that is a change of
    /// what it said last.
    pub(super) fn give_back(&mut self, node: NodeId, resources: &Resources) {
        if self.has_several_nodes()
            && let Some(member) = self.nodes.get_mut(&node).filter(|member| !member.is_dead())
        {
            let available = &mut member.status.available;
            available.add(resources);
            // Never more than there is: a word of the node may have been faster.
            for (name, units) in &mut available.amounts {
                *units = (*units).min(member.status.total.units(name));
            }
        }
    }

    /// Tries the groups that wait, in the order in which they came.
    pub(super) fn place_waiting_groups(&mut self) {
        for group in self.waiting_groups.clone() {
            let entry = self.groups.get(&group);
            if entry.is_some_and(|entry| matches!(entry.standing, Standing::Waits { .. })) {
                self.place_group(group);
            }
        }
    }

    /// A node is lost: bundles that it had are placed again, by the strategy of their group; tasks
    /// and actors of the other bundles go on.
    pub(super) fn groups_lost_node(&mut self, node: NodeId) {
        let mut concerned = Vec::new();
        for (group, entry) in &mut self.groups {
            if entry.standing == Standing::Removed {
                continue;
            }
            entry.askers.retain(|asker| *asker != node);
            let mut has_lost = false;
            for place in &mut entry.nodes {
                if *place == Some(node) {
                    *place = None;
                    has_lost = true;
                }
            }
            if let Standing::Prepares {
                unheard,
                granted,
                is_refused,
                plan,
            } = &mut entry.standing
                && plan.iter().any(|(_, at)| *at == node)
            {
                unheard.retain(|asked| *asked != node);
                granted.retain(|asked| *asked != node);
                *is_refused = true;
                has_lost = true;
            }
            if has_lost {
                concerned.push(*group);
            }
        }
        concerned.sort_unstable();
        for group in concerned {
            match self.groups.get(&group).map(|entry| &entry.standing) {
                // The nodes that have not answered are waited for.
                Some(Standing::Prepares { unheard, .. }) if unheard.is_empty() => {
                    self.conclude_attempt(group);
                    self.place_group(group);
                }
                Some(Standing::Prepares { .. }) => {}
                _ => {
                    self.place_group(group);
                    self.publish_group(group);
                    self.keep_group(group);
                }
            }
        }
    }
}
