//! What must hold after every event; for tests and the simulation.

use rustc_hash::FxHashMap;

use super::creating::Demand;
use super::fetching::Fetched;
use super::table::{Entry, ObjectTable, State};
use super::work::FilePlace;

impl ObjectTable {
    /// Checks the table.
    ///
    /// # Errors
    /// What does not hold: OS-1, a range in use belongs to one object; OS-2, pins add up; OS-3, a
    /// freed object lives by its pins; OS-4, a sealed object is its owner's; OS-5, an object lies
    /// somewhere; OS-6, whoever can leave the arena is listed for it; OS-7, a file lives by the
    /// objects in it; OS-8, what is read is on this machine, or on its way; OS-9, what comes from
    /// other nodes is waited for, and not here.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_room()?;
        self.validate_entries()?;
        self.validate_files()?;
        for (object, entry) in &self.entries {
            self.validate_fetched(entry)
                .map_err(|why| format!("OS-8: {object} {why}"))?;
        }
        self.validate_waits()?;
        match self
            .owned
            .values()
            .flatten()
            .find(|it| !self.entries.contains_key(*it))
        {
            Some(object) => Err(format!("OS-4: {object} is owned, and not there")),
            None => Ok(()),
        }
    }

    fn validate_waits(&self) -> Result<(), String> {
        let mut waits = self.fetching.waits();
        for request in self.pulls.awaited() {
            match waits.get_mut(&request) {
                Some((_, known)) => *known += 1,
                None => return Err(format!("OS-9: request {request} is over, and waited for")),
            }
        }
        for (request, (coming, known)) in waits {
            if coming != known || coming == 0 {
                return Err(format!(
                    "OS-8: request {request} waits for {coming} objects, of which {known} come"
                ));
            }
        }
        for object in self.fetching.sealing() {
            let entry = self.entries.get(object);
            if !entry.is_some_and(|entry| matches!(entry.state, State::Writing { .. })) {
                return Err(format!("OS-8: nobody will seal {object}"));
            }
        }
        if let Some(object) = self
            .pulls
            .objects()
            .find(|it| self.entries.contains_key(*it))
        {
            return Err(format!("OS-9: {object} comes, and is here"));
        }
        let claims = self.waiting.iter().filter(|waiting| match waiting.demand {
            Demand::Pull(claim) => self.pulls.has_claim(claim),
            Demand::Create(_) => false,
        });
        if claims.count() != self.pulls.claims() {
            return Err("OS-9: a request for room is in no line".to_owned());
        }
        self.pulls.validate().map_err(|why| format!("OS-9: {why}"))
    }

    fn validate_room(&self) -> Result<(), String> {
        let entries = self.entries.values();
        let inside = entries.filter_map(|entry| Some((entry.room?, entry.size_bytes)));
        let mut ranges: Vec<(u64, u64)> = inside.chain(self.pulls.rooms()).collect();
        let room: u64 = ranges
            .iter()
            .map(|(_, size_bytes)| size_bytes.max(&1).next_multiple_of(64))
            .sum();
        let used = self.allocator.used();
        if room != used {
            return Err(format!(
                "OS-1: {used} bytes are in use, by objects of {room} bytes"
            ));
        }
        ranges.sort_unstable();
        match ranges.windows(2).find(|two| two[0].0 + two[0].1 > two[1].0) {
            Some(two) => Err(format!("OS-1: {:?} and {:?} overlap", two[0], two[1])),
            None => Ok(()),
        }
    }

    fn validate_entries(&self) -> Result<(), String> {
        let mut listed = 0;
        for (object, entry) in &self.entries {
            let pins: u32 = self.pins.values().filter_map(|held| held.get(object)).sum();
            if pins != entry.pins {
                return Err(format!("OS-2: {object} has {} pins, of {pins}", entry.pins));
            }
            if entry.state == State::Freed && entry.pins == 0 && !entry.is_spilling {
                return Err(format!("OS-3: {object} is free, and not gone"));
            }
            if entry.room.is_none() && entry.copy.is_none() {
                return Err(format!("OS-5: {object} lies nowhere"));
            }
            let owned = |owner| {
                self.owned
                    .get(&owner)
                    .is_some_and(|its| its.contains(object))
            };
            if let State::Sealed { owner, seal } = entry.state {
                if !owned(owner) {
                    return Err(format!("OS-4: {object} is not among those of {owner}"));
                }
                let is_listed = entry
                    .class
                    .is_some_and(|class| self.candidates.has(class, seal, object));
                if entry.class != entry.class_now() || entry.class.is_some() != is_listed {
                    return Err(format!("OS-6: {object} is listed as {:?}", entry.class));
                }
                listed += usize::from(is_listed);
            }
        }
        if listed == self.candidates.len() {
            return Ok(());
        }
        Err(format!(
            "OS-6: {} objects are listed, {listed} of them are there",
            self.candidates.len()
        ))
    }

    fn validate_files(&self) -> Result<(), String> {
        let mut copies: FxHashMap<u64, u32> = FxHashMap::default();
        let (mut spilled_objects, mut spilled_bytes) = (0, 0);
        for entry in self.entries.values() {
            if let Some(copy) = entry.copy {
                *copies.entry(copy.file).or_default() += 1;
            }
            if let Fetched::There(file) = entry.fetched {
                *copies.entry(file).or_default() += 1;
            }
            if entry.room.is_none() {
                spilled_objects += 1;
                spilled_bytes += entry.size_bytes;
            }
        }
        for file in self.pulls.files() {
            *copies.entry(file).or_default() += 1;
        }
        let live: FxHashMap<u64, u32> = self.disk.live().collect();
        if live != copies {
            return Err(format!(
                "OS-7: files have {live:?} objects, of which {copies:?} are there"
            ));
        }
        if (spilled_objects, spilled_bytes) != (self.disk.spilled_objects, self.disk.spilled_bytes)
        {
            return Err("OS-7: the count of spilled objects is wrong".to_owned());
        }
        let writing = self.disk.spilling();
        let spilling = self.entries.values().filter(|entry| entry.is_spilling);
        if writing == spilling.count() {
            return Ok(());
        }
        Err("OS-7: an object is written to disk, and by no job".to_owned())
    }

    fn validate_fetched(&self, entry: &Entry) -> Result<(), &'static str> {
        let place = entry.copy.and_then(|copy| self.disk.place(copy.file));
        let is_far = entry.room.is_none() && matches!(place, Some(FilePlace::Bucket(_)));
        match entry.fetched {
            Fetched::Not if is_far && entry.pins > 0 => Err("is read, and far away"),
            Fetched::Coming(_) | Fetched::There(_) if !is_far => Err("is fetched from nowhere"),
            Fetched::There(_) if entry.pins == 0 => Err("was fetched, and nobody reads it"),
            Fetched::Coming(file) if self.fetching.object_of(file).is_none() => {
                Err("is fetched by no job")
            }
            _ => Ok(()),
        }
    }
}
