//! The references inside a value, while it is being written or read.
//!
//! A pickle names a reference by its index in a list that travels beside the value. The list under
//! construction belongs to the thread; values inside values (an object whose `__reduce__` submits a
//! task, for example) each have their own.

use std::cell::RefCell;

use whipray_worker::ObjectHandle;

thread_local! {
    static WRITING: RefCell<Vec<Vec<ObjectHandle>>> = const { RefCell::new(Vec::new()) };
    static READING: RefCell<Vec<Vec<ObjectHandle>>> = const { RefCell::new(Vec::new()) };
}

/// Collects the references of the value that this thread writes, until it is dropped.
pub struct Collector {
    depth: usize,
}

impl Collector {
    pub fn start() -> Self {
        WRITING.with_borrow_mut(|stack| {
            stack.push(Vec::new());
            Self { depth: stack.len() }
        })
    }

    /// The references that were noted, in order.
    pub fn finish(self) -> Vec<ObjectHandle> {
        WRITING.with_borrow_mut(|stack| {
            stack
                .get_mut(self.depth - 1)
                .map(std::mem::take)
                .unwrap_or_default()
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // The handles are dropped outside of the borrow: dropping one may run anything.
        let rest = WRITING.with_borrow_mut(|stack| stack.split_off(self.depth - 1));
        drop(rest);
    }
}

/// Lists a reference among those of the value being written; its index, or `None` outside of one.
pub fn note(handle: &ObjectHandle) -> Option<usize> {
    WRITING.with_borrow_mut(|stack| {
        let list = stack.last_mut()?;
        list.push(handle.clone());
        Some(list.len() - 1)
    })
}

/// Offers references to the value that this thread reads, until it is dropped.
pub struct Offer {
    depth: usize,
}

impl Offer {
    pub fn start(references: Vec<ObjectHandle>) -> Self {
        READING.with_borrow_mut(|stack| {
            stack.push(references);
            Self { depth: stack.len() }
        })
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let rest = READING.with_borrow_mut(|stack| stack.split_off(self.depth - 1));
        drop(rest);
    }
}

/// The reference with this index in the value being read.
pub fn at(index: usize) -> Option<ObjectHandle> {
    READING.with_borrow(|stack| stack.last()?.get(index).cloned())
}
