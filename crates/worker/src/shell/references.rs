//! References of this process: to what it puts, and to what arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use smallvec::SmallVec;
use whipray_proto::failure::Failure;
use whipray_proto::{ObjectId, ObjectValue, TaskId, WorkerAddress};

use crate::cell::{ObjectCell, Waiter};
use crate::core::cancelling::Cancellation;
use crate::handle::ObjectHandle;
use crate::shared::SharedView;
use crate::shell::runtime::{CancelError, Runtime};

impl Runtime {
    pub(crate) fn adopt(&self, cell: Arc<ObjectCell>) -> ObjectHandle {
        ObjectHandle::adopt(cell, self.this.clone())
    }

    pub(crate) fn release(&self, object: &ObjectId) {
        let mut state = self.state.lock();
        state.core.release(object);
        if state.core.effects.is_empty() && !state.core.objects.has_word_for_stores() {
            return;
        }
        self.commit(state);
    }

    /// A view is gone. Takes no lock of the state, which may be held by whoever drops the view.
    pub(crate) fn unpin(&self, object: ObjectId) {
        self.unpins.lock().push(object);
        self.nudge();
    }

    pub(crate) fn owner_of(&self, object: &ObjectId) -> Option<WorkerAddress> {
        self.state.lock().core.objects.owner(object).cloned()
    }

    /// The id of the next object that this process puts.
    pub fn next_put_id(&self, parent: TaskId) -> ObjectId {
        let index = self.next_put.fetch_add(1, Ordering::Relaxed) | ObjectId::FIRST_PUT;
        self.next_task_id(parent.actor()).return_id(index)
    }

    /// An object of ours with a small value.
    pub fn put_inline(
        &self,
        parent: TaskId,
        data: Bytes,
        contained: Vec<ObjectHandle>,
    ) -> ObjectHandle {
        self.insert(
            self.next_put_id(parent),
            ObjectValue::inline(data),
            &contained,
            None,
        )
    }

    pub(crate) fn insert(
        &self,
        object: ObjectId,
        mut value: ObjectValue,
        contained: &[ObjectHandle],
        view: Option<Arc<SharedView>>,
    ) -> ObjectHandle {
        let ids: SmallVec<[ObjectId; 8]> = contained.iter().map(ObjectHandle::id).collect();
        let mut state = self.state.lock();
        value.contained = state.core.references(&ids);
        let cell = Arc::new(ObjectCell::ready(object, value));
        if let Some(view) = view {
            cell.keep_view(view);
        }
        state.core.objects.insert_ours(cell.clone(), &ids);
        drop(state);
        self.adopt(cell)
    }

    /// A reference that arrived in a value.
    pub fn handle(&self, object: ObjectId, owner: &WorkerAddress) -> ObjectHandle {
        let cell = self.state.lock().core.objects.refer(object, owner).clone();
        self.adopt(cell)
    }

    /// Calls back once the object is there: at once where it is, else from whichever thread learns
    /// it, without any lock held.
    pub fn when_ready(&self, handle: &ObjectHandle, callback: Box<dyn FnOnce() + Send>) {
        self.subscribe(&[handle]);
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        if let Some(Waiter::Callback(callback)) = handle.cell().wait(Waiter::Callback(callback)) {
            self.callbacks.fetch_sub(1, Ordering::Relaxed);
            callback();
            return;
        }
        if self.is_over() {
            return;
        }
        self.flush();
        self.bench.wake();
    }

    /// The reference left through a door that is not watched: its object stays until the end.
    pub fn pin_for_ever(&self, handle: &ObjectHandle) {
        self.state.lock().core.objects.retain(&handle.id());
    }

    /// Ends the task that makes this object, as far as it can be ended; its owner is asked where it
    /// is another process.
    ///
    /// # Errors
    /// No task makes the object.
    pub fn cancel(
        &self,
        handle: &ObjectHandle,
        force: bool,
        recursive: bool,
    ) -> Result<(), CancelError> {
        let object = handle.id();
        if object.index() == 0 || object.index() >= ObjectId::FIRST_PUT {
            return Err(CancelError::NotATask);
        }
        let mut state = self.state.lock();
        if state.core.objects.owner(&object).map(|owner| owner.worker) != Some(self.address.worker)
        {
            state.core.cancel_borrowed(&object, force, recursive);
            self.commit(state);
            return Ok(());
        }
        let now = state.now();
        state.core.cancel(object.task(), force, recursive, now);
        self.commit(state);
        Ok(())
    }

    /// What came of the cancel of the task that makes this object; `None` where nobody here asked
    /// for one, or too long ago.
    pub fn cancellation(&self, handle: &ObjectHandle) -> Option<Cancellation> {
        let state = self.state.lock();
        state.core.cancellations.outcome(&handle.id().task())
    }

    /// Has this node's copies of those of these objects go that are ours, as if they were lost.
    /// Blocks until the node knows.
    ///
    /// # Errors
    /// The node is gone.
    pub fn drop_copies(&self, handles: &[&ObjectHandle]) -> Result<(), Failure> {
        let ids: Vec<ObjectId> = handles.iter().map(|handle| handle.id()).collect();
        let mut state = self.state.lock();
        let views = state.core.objects.drop_copies(&ids);
        self.commit(state);
        drop(views);
        self.settle_with_node()
    }

    /// Frees the values of these objects now, whoever refers to them. Blocks until the node knows.
    ///
    /// # Errors
    /// The node is gone.
    pub fn free(&self, handles: &[&ObjectHandle]) -> Result<(), Failure> {
        let ids: Vec<ObjectId> = handles.iter().map(|handle| handle.id()).collect();
        let mut state = self.state.lock();
        state.core.objects.free(&ids);
        self.commit(state);
        self.settle_with_node()
    }

    /// Waits until the node has acted on all that was sent to it. Without that, somebody whom this
    /// process calls next may ask the node over a connection of its own and be there first, and still
    /// find what this process has let go of.
    fn settle_with_node(&self) -> Result<(), Failure> {
        self.map_with_reasons(Vec::new(), &mut || false).map(drop)
    }
}
