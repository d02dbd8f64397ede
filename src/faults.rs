//! Mistakes that a simulation can turn on, to show that its checks would find them. They belong to the process, are off
//! unless a test sets them, and nothing on the way of an announce reads them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A pull loses one chunk without noticing it, and believes that all came; the loss turns this off.
pub static LOSE_CHUNK: AtomicBool = AtomicBool::new(false);
/// Tombstones of other nodes are ignored, as if they had been dropped before all copies knew them.
pub static DROP_TOMBSTONES_EARLY: AtomicBool = AtomicBool::new(false);
/// A full queue of changes drops them without a word.
pub static OVERFLOW_UNNOTICED: AtomicBool = AtomicBool::new(false);
/// Requests for another incarnation of a node are answered.
pub static NO_FENCING: AtomicBool = AtomicBool::new(false);
/// Digests are compared up to the present, changes that are still on their way included.
pub static DIGEST_UNSTABLE: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_on(fault: &AtomicBool) -> bool {
    fault.load(Relaxed)
}
