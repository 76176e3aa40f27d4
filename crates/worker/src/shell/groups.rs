//! Placement groups, as programs ask for them.

use std::time::Duration;

use bytes::Bytes;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::placement::{GroupStatus, GroupsRequest};
use whipray_proto::scheduling::GroupSpec;
use whipray_proto::{Message, PlacementGroupId, TaskId};

use crate::handle::ObjectHandle;
use crate::shell::blocked::Wanted;
use crate::shell::questions::{ANSWER_WAIT, node_gone};
use crate::shell::runtime::{Runtime, WaitOutcome};

/// Which groups are asked about.
pub enum GroupQuery {
    ById(PlacementGroupId),
    ByName { name: String, namespace: String },
    All,
}

/// What a wait for a group found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupWait {
    Created,
    /// It was removed, or there is none.
    Removed,
    TimedOut,
    /// The caller's `interrupt` said so.
    Interrupted,
    Disconnected,
}

impl Runtime {
    /// Creates a placement group. Blocks only where it has a name, until the name is granted.
    ///
    /// # Errors
    /// The name is taken (kind `Unspecified`, with the sentence), or the node is gone.
    pub fn create_group(&self, spec: GroupSpec) -> Result<(), Failure> {
        let group = spec.group;
        let is_named = !spec.name.is_empty();
        let mut state = self.state.lock();
        if !is_named {
            state.core.create_group(0, spec);
            self.commit(state);
            return Ok(());
        }
        let (number, slot) = state.requests.open();
        state.core.create_group(number, spec);
        self.commit(state);
        let wanted = Wanted::something(self.is_worker.then(TaskId::default));
        self.wait_in_task(&|| slot.is_answered(), None, &wanted, &mut || false);
        let Some(Message::GroupCreated(created)) = slot.take() else {
            return Err(node_gone());
        };
        if created.error.is_empty() {
            return Ok(());
        }
        self.state.lock().core.forget_group(group);
        Err(Failure::new(
            FailureKind::Unspecified,
            group.to_hex(),
            created.error,
        ))
    }

    /// Removes a placement group, and ends all that runs in it. Does not wait for that.
    pub fn remove_group(&self, group: PlacementGroupId) {
        let mut state = self.state.lock();
        state.core.remove_group(group);
        self.commit(state);
    }

    /// Blocks until a group is created or removed.
    pub fn wait_group(
        &self,
        group: PlacementGroupId,
        timeout: Option<Duration>,
        task: Option<TaskId>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> GroupWait {
        let mut state = self.state.lock();
        let cell = state.core.group(group);
        if cell.is_created() {
            return GroupWait::Created;
        }
        self.commit(state);
        let is_done = || cell.is_settled();
        let wanted = Wanted::something(task);
        match self.wait_in_task(&is_done, timeout, &wanted, interrupt) {
            WaitOutcome::Ready if cell.is_removed() => GroupWait::Removed,
            WaitOutcome::Ready => GroupWait::Created,
            WaitOutcome::TimedOut => GroupWait::TimedOut,
            WaitOutcome::Interrupted => GroupWait::Interrupted,
            WaitOutcome::Disconnected => GroupWait::Disconnected,
        }
    }

    /// An object that becomes ready once the group is created; `data` is its value.
    pub fn group_object(
        &self,
        group: PlacementGroupId,
        parent: TaskId,
        data: Bytes,
    ) -> ObjectHandle {
        let object = self.next_put_id(parent);
        let mut state = self.state.lock();
        let cell = state.core.group_object(group, object, data);
        self.commit(state);
        self.adopt(cell)
    }

    /// What is known of groups, in the order of their ids. Blocks.
    ///
    /// # Errors
    /// The node is gone, or does not answer.
    pub fn list_groups(&self, query: GroupQuery) -> Result<Vec<GroupStatus>, Failure> {
        let make = |request| {
            let mut asked = GroupsRequest {
                request,
                ..GroupsRequest::default()
            };
            match query {
                GroupQuery::ById(group) => asked.group = Some(group),
                GroupQuery::ByName { name, namespace } => {
                    asked.name = name;
                    asked.namespace = namespace;
                }
                GroupQuery::All => {}
            }
            asked.into()
        };
        match self.ask(make, ANSWER_WAIT)? {
            Message::Groups(found) => Ok(found.groups),
            _ => Err(node_gone()),
        }
    }
}
