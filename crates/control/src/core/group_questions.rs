//! What clients ask about placement groups.

use whipray_proto::WorkerId;
use whipray_proto::messages::placement::{GroupStatus, Groups, GroupsRequest};

use super::Control;
use super::groups::{Group, Standing};

impl Control {
    pub(super) fn list_groups(&mut self, client: WorkerId, asked: &GroupsRequest) {
        let groups = if let Some(group) = asked.group {
            let found = self.groups.get(&group);
            found.map(Group::status).into_iter().collect()
        } else if !asked.name.is_empty() {
            let name = (asked.namespace.clone(), asked.name.clone());
            let found = self.group_names.get(&name);
            found
                .and_then(|group| self.groups.get(group))
                .map(Group::status)
                .into_iter()
                .collect()
        } else {
            let mut all: Vec<GroupStatus> = self.groups.values().map(Group::status).collect();
            all.sort_unstable_by_key(|status| status.spec.group);
            all
        };
        let request = asked.request;
        self.tell(client, Groups { request, groups });
    }

    /// The groups that are not created, and why, for the state of the cluster.
    pub(super) fn pending_groups(&self) -> Vec<(&Group, &str, bool)> {
        let waiting = self.waiting_groups.iter();
        waiting
            .filter_map(|group| {
                let entry = self.groups.get(group)?;
                match &entry.standing {
                    Standing::Waits {
                        reason,
                        is_infeasible,
                    } => Some((entry, reason.as_str(), *is_infeasible)),
                    _ => None,
                }
            })
            .collect()
    }
}
