//! What programs write: objects that they put, and results of tasks.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use whipray_proto::messages::object::{CreateObject, ObjectCreated, SealObject};
use whipray_proto::{ObjectId, ObjectValue, SharedLocation};
use whipray_worker::cell::ObjectCell;

use super::Process;
use super::execution::Ending;
use super::frame::{Frame, FrameKind, Handle, Stage, Then};
use super::reading::{Flow, pick_of};
use crate::around::Around;
use crate::scenario::Size;
use crate::witness::place;

/// How often a full store is asked.
pub(super) const ROOM_TRIES: u32 = 4;

impl Process {
    pub(super) fn create(
        &mut self,
        frame: &mut Frame,
        object: ObjectId,
        size_bytes: u64,
        then: Then,
        around: &mut Around,
    ) -> Flow {
        let request = self.open_request();
        let message = CreateObject {
            request,
            object,
            size_bytes,
        };
        self.ask(frame, message.into(), request, then, around)
    }

    pub(super) fn seal_put(
        &mut self,
        frame: &mut Frame,
        object: ObjectId,
        size_bytes: u64,
        inside: &[ObjectId],
        around: &mut Around,
    ) {
        let shared = Some(SharedLocation {
            node: self.address.node,
            size_bytes,
            attempt: 0,
        });
        let contained = self.core.references(inside);
        let value = ObjectValue {
            shared,
            contained,
            ..ObjectValue::default()
        };
        let cell = Arc::new(ObjectCell::ready(object, value));
        self.remember_own_view(&cell);
        self.core.objects.insert_ours(cell.clone(), inside);
        around.witness.object_owners.insert(object, self.index);
        frame.objects.push(Handle { cell });
        let seal = SealObject {
            object,
            owner: self.address.worker,
            unpin: false,
            owner_node: None,
        };
        self.send_to_node(&seal.into(), false, around);
        self.commit(around);
    }

    pub(super) fn make_result(
        &mut self,
        frame: &mut Frame,
        index: usize,
        around: &mut Around,
    ) -> Flow {
        let scenario = around.scenario.clone();
        let result = scenario
            .plans
            .get(frame.plan)
            .and_then(|plan| plan.results.get(index));
        let (Some(result), FrameKind::Task { spec, .. }) = (result, &frame.kind) else {
            return Flow::End(Ending::Returned);
        };
        let object = spec.task.return_id(index as u32 + 1);
        if let Size::Shared(size_bytes) = result.size {
            let then = Then::Return {
                index,
                tries: ROOM_TRIES,
            };
            return self.create(frame, object, size_bytes, then, around);
        }
        let value = ObjectValue::inline(content(&object));
        self.add_result(frame, index, value, around);
        frame.stage = Stage::Returns(index + 1);
        Flow::On
    }

    pub(super) fn on_result_created(
        &mut self,
        frame: &mut Frame,
        index: usize,
        tries: u32,
        created: ObjectCreated,
        around: &mut Around,
    ) -> Flow {
        let scenario = around.scenario.clone();
        let result = scenario
            .plans
            .get(frame.plan)
            .and_then(|plan| plan.results.get(index));
        let (Some(Size::Shared(size_bytes)), FrameKind::Task { spec, .. }) =
            (result.map(|result| result.size), &frame.kind)
        else {
            return Flow::End(Ending::Returned);
        };
        let object = spec.task.return_id(index as u32 + 1);
        if !created.full.is_empty() {
            if tries <= 1 {
                return Flow::End(Ending::Raised);
            }
            return self.create(
                frame,
                object,
                size_bytes,
                Then::Return {
                    index,
                    tries: tries - 1,
                },
                around,
            );
        }
        let at = place(&created.path, created.offset);
        around.witness.writes(self.index, object, at, size_bytes);
        frame.written.push(object);
        let shared = Some(SharedLocation {
            node: self.address.node,
            size_bytes,
            attempt: 0,
        });
        self.add_result(
            frame,
            index,
            ObjectValue {
                shared,
                ..ObjectValue::default()
            },
            around,
        );
        frame.stage = Stage::Returns(index + 1);
        Flow::On
    }

    fn add_result(
        &mut self,
        frame: &mut Frame,
        index: usize,
        value: ObjectValue,
        around: &mut Around,
    ) {
        let scenario = around.scenario.clone();
        let Some(result) = scenario
            .plans
            .get(frame.plan)
            .and_then(|plan| plan.results.get(index))
        else {
            return;
        };
        let mut inside = Vec::new();
        for pick in &result.inside {
            if let Some(handle) = pick_of(&frame.objects, *pick) {
                inside.push(handle.clone());
            }
        }
        for pick in &result.actors {
            if let Some(handle) = pick_of(&frame.actors, *pick).and_then(|of| of.handle.as_ref()) {
                inside.push(handle.clone());
            }
        }
        let ids: Vec<ObjectId> = inside.iter().map(Handle::id).collect();
        for (handle, id) in inside.into_iter().zip(&ids) {
            self.core.objects.retain(id);
            frame.returned.push(handle);
        }
        frame.results.push((value, ids));
    }
}

/// What the bytes of an object are.
pub(super) fn content(object: &ObjectId) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(&object.to_array());
    bytes.freeze()
}
