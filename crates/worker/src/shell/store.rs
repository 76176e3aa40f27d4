//! Objects in shared memory: room from the node, views of what is there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::FxHashMap;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::{
    CreateObject, FreeObjects, ObjectCreated, PinObjects, PinnedObject, SealObject,
};
use whipray_proto::{Argument, Message, ObjectId, ObjectValue, SharedLocation, WorkerAddress};
use whipray_store::FileMapping;
use whipray_store::core::{Extent, HUGE_PAGE_BYTES};

use crate::core::effect::Effect;
use crate::handle::ObjectHandle;
use crate::shared::{SharedView, SharedWriter};
use crate::shell::questions::node_gone;
use crate::shell::runtime::Runtime;

/// How long the node may take to make room, for which it writes other objects to disk, and to bring
/// objects out of a bucket. It says no as soon as it knows that nothing will come of it.
const STORE_ANSWER_WAIT: Duration = Duration::from_secs(600);

/// Objects in the order in which they were asked for, and why some are not there, where that is
/// known.
type Mapped = (Vec<Option<Arc<SharedView>>>, FxHashMap<ObjectId, String>);

/// An argument in shared memory, and its mapping where it is there.
pub type MappedArgument = (ObjectId, Option<Arc<SharedView>>);

/// An object in shared memory that is to be mapped.
pub(crate) struct Sought {
    object: ObjectId,
    /// Where a copy is.
    location: SharedLocation,
    /// Set where that is on another node.
    owner: Option<WorkerAddress>,
}

impl Runtime {
    /// Room in shared memory. Blocks while the node makes some.
    ///
    /// # Errors
    /// `ObjectStoreFull`, with the sizes; `OutOfDisk` where there is no room on disk either.
    pub fn create_shared(
        &self,
        object: ObjectId,
        size_bytes: usize,
    ) -> Result<SharedWriter, Failure> {
        self.while_full(size_bytes as u64, &mut || false, |_| {
            self.create_shared_now(object, size_bytes)
        })
    }

    fn create_shared_now(
        &self,
        object: ObjectId,
        size_bytes: usize,
    ) -> Result<SharedWriter, Failure> {
        let make = |request| {
            CreateObject {
                request,
                object,
                size_bytes: size_bytes as u64,
            }
            .into()
        };
        let Message::ObjectCreated(created) = self.ask(make, STORE_ANSWER_WAIT)? else {
            return Err(node_gone());
        };
        if !created.full.is_empty() {
            let kind = match created.is_disk_full {
                true => FailureKind::OutOfDisk,
                false => FailureKind::ObjectStoreFull,
            };
            return Err(Failure::new(kind, object.to_hex(), created.full));
        }
        if created.path.is_empty() {
            self.prepare(object, size_bytes, &created)
        } else {
            self.prepare_file(object, size_bytes, &created)
        }
    }

    /// A writer for a file that the node has made.
    fn prepare_file(
        &self,
        object: ObjectId,
        size_bytes: usize,
        created: &ObjectCreated,
    ) -> Result<SharedWriter, Failure> {
        match FileMapping::write(Path::new(&created.path), size_bytes) {
            Ok(mapping) => Ok(SharedWriter::new(
                object,
                mapping.pointer(),
                size_bytes,
                Arc::new(mapping),
                self.this.clone(),
            )),
            Err(error) => {
                self.abort_write(object);
                let text = format!("cannot write an object to {}: {error}", created.path);
                Err(store_full(object, text))
            }
        }
    }

    /// A writer for room that the node has given, once nothing can go wrong there any more.
    fn prepare(
        &self,
        object: ObjectId,
        size_bytes: usize,
        created: &ObjectCreated,
    ) -> Result<SharedWriter, Failure> {
        let length = size_bytes as u64;
        let pointer = self
            .arena
            .pointer(created.offset, length)
            .map_err(|error| store_full(object, error.to_string()))?;
        // Dropped on the way out, it gives the room back.
        let writer = SharedWriter::new(
            object,
            pointer,
            size_bytes,
            self.arena.clone(),
            self.this.clone(),
        );
        if created.cold_bytes > 0 {
            let end = (created.offset + length).next_multiple_of(HUGE_PAGE_BYTES);
            let end = end.min(self.arena.len());
            let cold = Extent {
                offset: end.saturating_sub(created.cold_bytes),
                length: created.cold_bytes,
            };
            // What is missing then is found by the call below.
            let _ = self.arena.provide(cold);
        }
        match self.arena.prepare_write(created.offset, length) {
            Ok(()) => Ok(writer),
            Err(error) => Err(store_full(
                object,
                format!("the system has no memory for an object of {size_bytes} bytes: {error}"),
            )),
        }
    }

    pub(crate) fn abort_write(&self, object: ObjectId) {
        let mut state = self.state.lock();
        let seal = SealObject {
            object,
            owner: self.address.worker,
            unpin: true,
            owner_node: None,
        };
        // First, so that nobody who waits for the seal reads what was not written.
        state.core.effects.push(Effect::ToNode(
            FreeObjects {
                objects: vec![object],
                node: None,
                owner: None,
            }
            .into(),
        ));
        state.core.effects.push(Effect::ToNode(seal.into()));
        self.commit(state);
    }

    /// The object that was written is ours, and there.
    pub fn seal_put(&self, writer: SharedWriter, contained: Vec<ObjectHandle>) -> ObjectHandle {
        let (object, size) = (writer.object(), writer.len());
        let view = Arc::new(writer.into_view());
        let seal = SealObject {
            object,
            owner: self.address.worker,
            unpin: false,
            owner_node: None,
        };
        let location = SharedLocation {
            node: self.welcome.node,
            size_bytes: size as u64,
            attempt: 0,
        };
        let value = ObjectValue {
            shared: Some(location),
            ..ObjectValue::default()
        };
        let handle = self.insert(object, value, &contained, Some(view));
        let mut state = self.state.lock();
        // Nobody waits for the seal: it travels with whatever is sent next.
        state.links.send_to_node(&seal.into(), false, &self.poller);
        self.commit(state);
        handle
    }

    /// The mappings of the shared values among these objects, which must be there; `None` for a
    /// small value, and for one that is awaited anew because its copy is lost. One round trip to the
    /// node for all that are not mapped yet. Blocks, until `interrupt` says to stop.
    ///
    /// # Errors
    /// The node is gone; `ObjectStoreFull` where its store has no room for copies of what lies on
    /// other nodes.
    pub fn map_shared(
        &self,
        handles: &[&ObjectHandle],
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Option<Arc<SharedView>>>, Failure> {
        let mut views: Vec<Option<Arc<SharedView>>> = Vec::with_capacity(handles.len());
        let mut unmapped = Vec::new();
        for (index, handle) in handles.iter().enumerate() {
            let location = handle.cell().location();
            let view = location.and_then(|_| handle.cell().view());
            if let (Some(location), None) = (location, &view) {
                unmapped.push((index, handle.id(), location));
            }
            views.push(view);
        }
        if unmapped.is_empty() {
            return Ok(views);
        }
        let sought = unmapped.iter().map(|(index, object, location)| Sought {
            object: *object,
            location: *location,
            owner: self.is_far(location).then(|| handles[*index].owner()),
        });
        let (found, reasons) = self.map_with_reasons(sought.collect(), interrupt)?;
        for ((index, object, location), view) in unmapped.iter().zip(found) {
            match view {
                Some(view) => {
                    handles[*index].cell().remember_view(&view);
                    views[*index] = Some(view);
                }
                None => {
                    let reason = reasons.get(object).map_or("", String::as_str);
                    self.report_lost(handles[*index], location, reason);
                }
            }
        }
        Ok(views)
    }

    /// The copy of an object was not found: it is made again, or is an error from here on.
    fn report_lost(&self, handle: &ObjectHandle, location: &SharedLocation, reason: &str) {
        let mut state = self.state.lock();
        let now = state.now();
        state.core.report_lost(&handle.id(), location, reason, now);
        self.commit(state);
    }

    /// The mappings of those of these arguments that lie in shared memory, in order; `None` for those
    /// that are not there. All of them are asked for in one go. Blocks.
    ///
    /// # Errors
    /// As for [`Self::map_shared`].
    pub fn map_arguments(&self, arguments: &[Argument]) -> Result<Vec<MappedArgument>, Failure> {
        let sought: Vec<Sought> = arguments
            .iter()
            .filter_map(|argument| {
                let location = argument.value.as_ref()?.shared?;
                let is_far = self.is_far(&location);
                Some(Sought {
                    object: argument.object?,
                    location,
                    owner: is_far.then(|| argument.owner.clone()).flatten(),
                })
            })
            .collect();
        let objects: Vec<ObjectId> = sought.iter().map(|sought| sought.object).collect();
        let (views, _) = self.map_with_reasons(sought, &mut || false)?;
        Ok(objects.into_iter().zip(views).collect())
    }

    /// Whether any value lies on another node, as far as is known here.
    pub fn has_far_values(&self) -> bool {
        self.has_far_values.load(Ordering::Relaxed)
    }

    /// Has the values of these objects fetched that lie on other nodes, for whoever reads them later.
    /// Does not wait for them.
    pub fn fetch(&self, handles: &[&ObjectHandle]) {
        let sought = handles.iter().filter_map(|handle| {
            let location = handle.cell().location()?;
            let is_wanted = self.is_far(&location) && handle.cell().view().is_none();
            is_wanted.then(|| Sought {
                object: handle.id(),
                location,
                owner: Some(handle.owner()),
            })
        });
        let sought: Vec<Sought> = sought.collect();
        if sought.is_empty() {
            return;
        }
        let mut pin = self.pin(&sought);
        let mut state = self.state.lock();
        // What is pinned for nobody is let go of when the answer comes.
        let (request, _) = state.requests.open();
        state.requests.close(request);
        pin.request = request;
        state.settle(&self.poller);
        self.send(state, pin.into());
    }

    fn pin(&self, distinct: &[Sought]) -> PinObjects {
        let mut pin = PinObjects {
            objects: distinct.iter().map(|sought| sought.object).collect(),
            ..PinObjects::default()
        };
        if distinct.iter().any(|sought| self.is_far(&sought.location)) {
            for sought in distinct {
                let owner = sought.owner.as_ref().unwrap_or(&self.address);
                pin.locations.push(sought.location.node);
                pin.owners.push(owner.worker);
                pin.owner_nodes.push(owner.node);
                pin.sizes.push(sought.location.size_bytes);
            }
        }
        pin
    }

    fn is_far(&self, location: &SharedLocation) -> bool {
        location.node != self.address.node
    }

    pub(crate) fn map_with_reasons(
        &self,
        sought: Vec<Sought>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Mapped, Failure> {
        let objects: Vec<ObjectId> = sought.iter().map(|sought| sought.object).collect();
        let mut distinct = sought;
        distinct.sort_unstable_by_key(|sought| sought.object);
        distinct.dedup_by_key(|sought| sought.object);
        let sizes = distinct.iter().map(|sought| sought.location.size_bytes);
        let largest_bytes = sizes.max().unwrap_or(0);
        self.while_full(largest_bytes, interrupt, |interrupt| {
            self.map_now(&objects, &distinct, interrupt)
        })
    }

    fn map_now(
        &self,
        objects: &[ObjectId],
        distinct: &[Sought],
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Mapped, Failure> {
        let pin = self.pin(distinct);
        let make = |request| PinObjects { request, ..pin }.into();
        let answer = self.ask_until(make, STORE_ANSWER_WAIT, &|| false, interrupt)?;
        let Message::ObjectsPinned(pinned) = answer else {
            return Err(node_gone());
        };
        self.note_fetched(&pinned.objects, distinct);
        if let Some(lost) = pinned.lost.iter().find(|lost| lost.is_full) {
            // The copy is where it was: nothing is to be made again.
            pinned.objects.iter().for_each(|it| self.unpin(it.object));
            return Err(store_full(lost.object, lost.reason.clone()));
        }
        let mut found = FxHashMap::default();
        for object in pinned.objects {
            let id = object.object;
            found.insert(id, Arc::new(self.view_of(object)?));
        }
        let views = objects.iter().map(|object| found.get(object).cloned());
        let lost = pinned
            .lost
            .into_iter()
            .map(|lost| (lost.object, lost.reason));
        Ok((views.collect(), lost.collect()))
    }

    /// Tells the owners of objects that were fetched for us where another copy is.
    fn note_fetched(&self, pinned: &[PinnedObject], distinct: &[Sought]) {
        if !pinned.iter().any(|pinned| pinned.is_new_copy) {
            return;
        }
        let mut state = self.state.lock();
        for pinned in pinned.iter().filter(|pinned| pinned.is_new_copy) {
            let known = distinct.binary_search_by_key(&pinned.object, |sought| sought.object);
            if let Some(sought) = known.ok().and_then(|index| distinct.get(index))
                && let Some(owner) = &sought.owner
            {
                let (object, location) = (sought.object, &sought.location);
                state.core.on_fetched(object, owner, location);
            }
        }
        self.commit(state);
    }

    /// The mapping of an object that is pinned for this process.
    fn view_of(&self, pinned: PinnedObject) -> Result<SharedView, Failure> {
        let object = pinned.object;
        let length = pinned.size_bytes as usize;
        let view =
            |pointer, mapping| SharedView::new(object, pointer, length, mapping, self.this.clone());
        let failure = if pinned.path.is_empty() {
            match self.arena.pointer(pinned.offset, pinned.size_bytes) {
                Ok(pointer) => return Ok(view(pointer, self.arena.clone())),
                Err(error) => error.to_string(),
            }
        } else {
            match FileMapping::read(Path::new(&pinned.path), pinned.offset, length) {
                Ok(mapping) => return Ok(view(mapping.pointer(), Arc::new(mapping))),
                Err(error) => format!("it was spilled to {}: {error}", pinned.path),
            }
        };
        self.unpin(object);
        let text = format!("object {object} cannot be read: {failure}");
        Err(Failure::new(FailureKind::ObjectLost, object.to_hex(), text))
    }
}

fn store_full(object: ObjectId, detail: String) -> Failure {
    Failure::new(FailureKind::ObjectStoreFull, object.to_hex(), detail)
}
