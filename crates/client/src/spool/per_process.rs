//! A value for each process: what was made before a `fork` is not touched after it.
//!
//! The child of a fork has a copy of its parent's memory, locks as they stood among it, and none of its threads. So a
//! value belongs to the process that made it; in another, the first use makes one of its own from what is immutable in
//! the parent's. The parent's is never locked and never dropped there.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A `T` for each process that uses it.
pub(super) struct PerProcess<T> {
    process: u32,
    value: Arc<T>,
    /// What a child made. Untouched in `process` itself, so no fork finds it half-made.
    child: OnceLock<Box<Self>>,
    making: Mutex<()>,
}

impl<T> PerProcess<T> {
    /// This process's.
    pub(super) fn new(value: Arc<T>) -> Self {
        Self {
            process: std::process::id(),
            value,
            child: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// This process's, made from that of the nearest ancestor where there is none yet.
    pub(super) fn get<E>(&self, make: impl Fn(&T) -> Result<Arc<T>, E>) -> Result<&Arc<T>, E> {
        let process = std::process::id();
        let mut node = self;
        loop {
            if node.process == process {
                return Ok(&node.value);
            }
            if let Some(child) = node.child.get() {
                node = child;
                continue;
            }
            // Held in a child alone; a fork in that very moment is a grandchild's bad luck.
            let _one = node.making.lock().unwrap_or_else(PoisonError::into_inner);
            if node.child.get().is_none() {
                let _ = node.child.set(Box::new(Self::new(make(&node.value)?)));
            }
        }
    }

    /// The value that was made first, for what is immutable in it.
    pub(super) fn first(&self) -> &T {
        &self.value
    }

    /// This process's, where it has one.
    pub(super) fn here(&self) -> Option<&Arc<T>> {
        let process = std::process::id();
        let mut node = self;
        loop {
            if node.process == process {
                return Some(&node.value);
            }
            node = node.child.get()?;
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Its locks may be held by threads that are not here: one more owner, who never lets go.
            std::mem::forget(Arc::clone(&self.value));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.here().fmt(f)
    }
}
