//! Requests to the object store.

use whipray_proto::messages::object::{
    FreeObjects, LostObject, ObjectCreated, ObjectsPinned, PinObjects, PinnedObject,
    ReleaseMappings, SealObject,
};
use whipray_proto::{NodeId, WorkerId};
use whipray_store::core::{
    CreateError, DiskError, FilePlace, Lost, Pinned, Room, SERVING, TAKING, Work,
};

use super::timers::Timer;
use super::{ClientId, Effect, Micros, Node};

impl Node {
    pub(super) fn seal_object(&mut self, client: ClientId, seal: SealObject, now: Micros) {
        let is_sealed = self
            .objects
            .seal(client, seal.object, seal.owner, seal.unpin);
        let owner_node = seal.owner_node.unwrap_or(self.config.node);
        if is_sealed && !self.will_hear_of_end(seal.owner, owner_node, now) {
            // Nobody will ever free it: its owner was gone before the seal.
            self.objects.free(seal.owner, seal.object);
        } else if is_sealed && self.draining.is_some() {
            self.move_sealed(seal.object, now);
        }
    }

    /// Whether an owner is, as far as is known, alive. What is here of it is freed when it is gone.
    pub(super) fn will_hear_of_end(&mut self, owner: WorkerId, node: NodeId, now: Micros) -> bool {
        if node == self.config.node {
            self.by_worker.contains_key(&owner) || self.pool.get(owner).is_some()
        } else {
            self.watch_owner(owner, node, now)
        }
    }

    /// An owner of this node has no more use for copies of another one.
    pub(super) fn pass_free_on(&mut self, owner: WorkerId, free: FreeObjects) {
        let Some(node) = free.node else { return };
        if self.neighbours.death_of(node).is_some() {
            return;
        }
        let free = FreeObjects {
            objects: free.objects,
            node: None,
            owner: Some(owner),
        };
        let message = free.into();
        self.effects.push(Effect::ToNode { node, message });
    }

    pub(super) fn pin_objects(&mut self, client: ClientId, pin: &PinObjects, now: Micros) {
        if pin.locations.is_empty() {
            self.objects.pin_all(client, pin.request, &pin.objects);
            self.pass_work_on(now);
        } else {
            self.pull_objects(client, pin, now);
        }
    }

    /// The threads that use the disk are done with a file.
    pub fn on_disk(&mut self, file: u64, outcome: Result<FilePlace, DiskError>, now: Micros) {
        self.objects.on_disk(file, outcome, now);
        self.settle_objects(now);
    }

    /// Passes on what the store asks for, and has it look again when it wants to. To be called after
    /// whatever may have changed it.
    pub(super) fn settle_objects(&mut self, now: Micros) {
        self.objects.make_room(now);
        self.pass_work_on(now);
        if let Some(deadline) = self.objects.next_deadline()
            && self.store_timer != Some(deadline)
        {
            self.store_timer = Some(deadline);
            self.timers.set(deadline, Timer::Store);
        }
    }

    pub(super) fn on_store_due(&mut self, now: Micros) {
        self.store_timer = None;
        self.settle_objects(now);
    }

    fn pass_work_on(&mut self, now: Micros) {
        while self.objects.has_work() {
            for work in self.objects.take_work() {
                self.pass_on(work, now);
            }
        }
    }

    fn pass_on(&mut self, work: Work, now: Micros) {
        match work {
            Work::Pull(pull) => self.pull(pull, now),
            Work::CancelPull { pull } => self.effects.push(Effect::CancelPull { pull }),
            Work::Pinned {
                client: SERVING,
                request,
                found,
                lost,
            } => self.serve(request, found, lost),
            Work::Pinned {
                client: TAKING,
                request,
                found,
                lost,
            } => self.take_came(request, found, lost, now),
            Work::Pinned {
                client,
                request,
                found,
                lost,
            } => self.send(client, pinned(request, found, lost)),
            Work::Answer {
                client,
                request,
                outcome,
            } => self.send(client, answer(request, outcome)),
            Work::ProvideMemory(extent) => self.effects.push(Effect::ProvideMemory(extent)),
            Work::Release { client, objects } => self.send(client, ReleaseMappings { objects }),
            Work::Disk(job) => self.effects.push(Effect::Disk(job)),
        }
    }
}

fn pinned(request: u64, found: Vec<Pinned>, lost: Vec<Lost>) -> ObjectsPinned {
    let objects = found.into_iter().map(|pinned| PinnedObject {
        object: pinned.object,
        offset: pinned.offset,
        size_bytes: pinned.size_bytes,
        path: pinned.path.as_deref().unwrap_or_default().to_owned(),
        is_new_copy: pinned.is_new_copy,
    });
    let lost = lost.into_iter().map(|lost| LostObject {
        object: lost.object,
        reason: lost.reason,
        is_full: lost.is_full,
    });
    ObjectsPinned {
        request,
        objects: objects.collect(),
        lost: lost.collect(),
    }
}

fn answer(request: u64, outcome: Result<Room, CreateError>) -> ObjectCreated {
    let mut created = ObjectCreated {
        request,
        ..ObjectCreated::default()
    };
    match outcome {
        Ok(Room::Arena { offset, cold_bytes }) => {
            created.offset = offset;
            created.cold_bytes = cold_bytes;
        }
        Ok(Room::File { path }) => created.path = path.to_string(),
        Err(error) => {
            created.is_disk_full = matches!(error, CreateError::Disk(DiskError::Full(_)));
            created.full = error.to_string();
        }
    }
    created
}
