//! What only the process that got it may let go of.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use crate::connection;

/// Something counted by the engine. A forked child inherits the memory, but not the count: what it
/// drops of its parent's is forgotten instead.
pub struct ProcessBound<T> {
    value: ManuallyDrop<T>,
    epoch: u64,
}

impl<T> ProcessBound<T> {
    /// Binds `value`, which belongs to the current connection.
    #[inline]
    pub fn new(value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            epoch: connection::current_epoch(),
        }
    }

    /// Whether it belongs to the current connection.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.epoch == connection::current_epoch()
    }
}

impl<T> Deref for ProcessBound<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if !connection::is_inherited(self.epoch) {
            // SAFETY: dropped here only, and never used again.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}
