//! Objects in shared memory, as this process reads and writes them.

use std::sync::{Arc, Weak};

use whipray_proto::ObjectId;

use crate::shell::runtime::Runtime;

/// What keeps the memory of an object mapped: the arena, or the mapping of a file. It may outlive
/// the connection.
pub(crate) type Mapping = Arc<dyn Send + Sync>;

/// A pinned object: its bytes stay where they are until the last view is gone.
pub struct SharedView {
    object: ObjectId,
    pointer: *const u8,
    length: usize,
    _mapping: Mapping,
    runtime: Weak<Runtime>,
}

// SAFETY: the bytes are immutable while a view exists (the object is sealed and pinned), and the
// view keeps the mapping.
unsafe impl Send for SharedView {}
// SAFETY: as above.
unsafe impl Sync for SharedView {}

impl SharedView {
    pub(crate) fn new(
        object: ObjectId,
        pointer: *const u8,
        length: usize,
        mapping: Mapping,
        runtime: Weak<Runtime>,
    ) -> Self {
        Self {
            object,
            pointer,
            length,
            _mapping: mapping,
            runtime,
        }
    }

    /// The bytes of the object.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the range lies inside the mapping, as was checked when it was made; see `Send`.
        unsafe { std::slice::from_raw_parts(self.pointer, self.length) }
    }
}

impl Drop for SharedView {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.unpin(self.object);
        }
    }
}

/// Room for an object that is being written. Dropped unsealed, the room is given back.
pub struct SharedWriter {
    object: ObjectId,
    pointer: *mut u8,
    length: usize,
    mapping: Mapping,
    runtime: Weak<Runtime>,
    is_sealed: bool,
}

// SAFETY: the room belongs to this writer alone until it is sealed.
unsafe impl Send for SharedWriter {}

impl SharedWriter {
    pub(crate) fn new(
        object: ObjectId,
        pointer: *mut u8,
        length: usize,
        mapping: Mapping,
        runtime: Weak<Runtime>,
    ) -> Self {
        Self {
            object,
            pointer,
            length,
            mapping,
            runtime,
            is_sealed: false,
        }
    }

    pub fn object(&self) -> ObjectId {
        self.object
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The room to write into.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the range lies inside the mapping, and nobody else knows of it before the seal.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.length) }
    }

    /// Marks the room as sealed and gives the pin of its creation on to a view.
    pub(crate) fn into_view(mut self) -> SharedView {
        self.is_sealed = true;
        SharedView::new(
            self.object,
            self.pointer,
            self.length,
            self.mapping.clone(),
            self.runtime.clone(),
        )
    }

    /// Marks the room as sealed; its pin goes with the seal.
    pub(crate) fn into_sealed(mut self) -> (ObjectId, usize) {
        self.is_sealed = true;
        (self.object, self.length)
    }
}

impl Drop for SharedWriter {
    fn drop(&mut self) {
        if !self.is_sealed
            && let Some(runtime) = self.runtime.upgrade()
        {
            runtime.abort_write(self.object);
        }
    }
}
