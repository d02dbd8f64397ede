//! Planted mistakes, which tests turn on to show that their checks would find them.
//!
//! Without the feature `fault-injection`, which only this package's own tests enable, nothing can turn them on and
//! [`Fault::is_on`] is a constant. They belong to the process.

#[cfg(feature = "fault-injection")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A pull loses one chunk without noticing it, and believes that it has all of them; the loss turns this off.
pub static LOSE_CHUNK: Fault = Fault::new();
/// Tombstones of other nodes are ignored, as if they had been dropped before all copies had them.
pub static DROP_TOMBSTONES_EARLY: Fault = Fault::new();
/// A full queue of changes drops them without marking the copies as different.
pub static OVERFLOW_UNNOTICED: Fault = Fault::new();
/// Requests for another incarnation of a node are answered.
pub static NO_FENCING: Fault = Fault::new();
/// Digests are compared up to the present, including changes that have not arrived everywhere.
pub static DIGEST_UNSTABLE: Fault = Fault::new();

/// A mistake that can be turned on.
pub struct Fault {
    #[cfg(feature = "fault-injection")]
    on: AtomicBool,
}

#[cfg(not(feature = "fault-injection"))]
impl Fault {
    const fn new() -> Self {
        Self {}
    }

    pub(crate) const fn is_on(&self) -> bool {
        false
    }

    pub(crate) const fn take(&self) -> bool {
        false
    }
}

#[cfg(feature = "fault-injection")]
impl Fault {
    const fn new() -> Self {
        Self { on: AtomicBool::new(false) }
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Turns it off; whether it was on.
    pub(crate) fn take(&self) -> bool {
        self.on.swap(false, Relaxed)
    }

    pub fn set(&self, on: bool) {
        self.on.store(on, Relaxed);
    }
}
