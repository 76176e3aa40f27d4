//! What all calls of one remote function (with one set of options) have in common.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use whipray_proto::FunctionId;
use whipray_proto::generator::GeneratorSpec;
use whipray_proto::messages::lease::SchedulingClass;

/// Made once per function and set of options; a call refers to it.
pub struct TaskTemplate {
    pub function: FunctionId,
    /// What logs and errors call it.
    pub name: String,
    /// The method, for calls of an actor; else empty.
    pub method: String,
    pub class: SchedulingClass,
    pub num_returns: u32,
    /// Retries after a crash of the worker (and, where asked for, after exceptions); below zero:
    /// without end.
    pub max_retries: i32,
    pub retry_any_exception: bool,
    /// A pickled tuple of exception types; empty for none.
    pub retry_exceptions: Bytes,
    pub concurrency_group: String,
    /// Calls after which a worker is replaced; zero for never.
    pub max_calls: u32,
    /// Calls of an actor that a caller may have pending; zero for no limit.
    pub max_pending_calls: u32,
    /// Calls whose objects are there may overtake those that wait for theirs.
    pub out_of_order: bool,
    /// Set where the results come one by one.
    pub generator: Option<Box<GeneratorSpec>>,
    /// Where the scheduling class is found again without hashing it.
    pub class_slot: ClassSlot,
}

/// Remembers the number of a scheduling class within one connection.
#[derive(Default)]
pub struct ClassSlot(AtomicU64);

impl ClassSlot {
    /// The number, if it was remembered under this epoch.
    pub(crate) fn get(&self, epoch: u32) -> Option<u32> {
        let packed = self.0.load(Ordering::Relaxed);
        ((packed >> 32) as u32 == epoch && epoch != 0).then_some(packed as u32)
    }

    pub(crate) fn set(&self, epoch: u32, class: u32) {
        self.0
            .store(u64::from(epoch) << 32 | u64::from(class), Ordering::Relaxed);
    }
}
