//! Counted references, as the face of a language holds them.

use std::sync::{Arc, Weak};

use whipray_proto::{ActorId, ObjectId, ObjectValue, WorkerAddress};

use crate::cell::ObjectCell;
use crate::shell::runtime::Runtime;

struct Counted {
    cell: Arc<ObjectCell>,
    runtime: Weak<Runtime>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.release(&self.cell.id());
        }
    }
}

/// A reference to an object. Clones share one count; the last one to go lets go of the object.
#[derive(Clone)]
pub struct ObjectHandle(Arc<Counted>);

impl ObjectHandle {
    /// A handle for a local reference that the object table has counted already.
    pub(crate) fn adopt(cell: Arc<ObjectCell>, runtime: Weak<Runtime>) -> Self {
        Self(Arc::new(Counted { cell, runtime }))
    }

    pub(crate) fn cell(&self) -> &Arc<ObjectCell> {
        &self.0.cell
    }

    pub fn id(&self) -> ObjectId {
        self.0.cell.id()
    }

    /// The address of the owner; a default one once the connection is gone.
    pub fn owner(&self) -> WorkerAddress {
        self.0
            .runtime
            .upgrade()
            .and_then(|runtime| runtime.owner_of(&self.id()))
            .unwrap_or_default()
    }

    /// Whether the value, or an error in its place, is there. One atomic load.
    pub fn is_ready(&self) -> bool {
        self.0.cell.is_ready()
    }

    /// Leaves a mark; whether it was not there before. See [`ObjectCell::mark`].
    pub fn mark(&self, mark: u64) -> bool {
        self.0.cell.mark(mark)
    }

    /// Whether an error is there.
    pub fn is_error(&self) -> bool {
        self.is_ready() && self.0.cell.is_error()
    }

    /// The value, where it is there.
    pub fn value(&self) -> Option<ObjectValue> {
        self.0.cell.value()
    }

    /// Whether both belong to the same connection of this process.
    pub fn is_of(&self, runtime: &Arc<Runtime>) -> bool {
        std::ptr::eq(self.0.runtime.as_ptr(), Arc::as_ptr(runtime))
    }
}

/// A reference to an actor. A weak one, obtained by name, keeps nothing alive.
#[derive(Clone)]
pub struct ActorHandle {
    actor: ActorId,
    object: Option<ObjectHandle>,
}

impl ActorHandle {
    pub(crate) fn new(actor: ActorId, object: Option<ObjectHandle>) -> Self {
        Self { actor, object }
    }

    pub fn actor(&self) -> ActorId {
        self.actor
    }

    /// What counts as the reference, to be listed where a handle is inside a value.
    pub fn object(&self) -> Option<&ObjectHandle> {
        self.object.as_ref()
    }
}
