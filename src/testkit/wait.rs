//! Waiting for a condition. Tests wait for what they need to see and never for a time in which it should have happened,
//! so a busy machine makes them slower but does not fail them.

#![expect(clippy::disallowed_methods, reason = "waits for processes and threads in real time")]

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Only what will never happen takes this long.
pub const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Waits until `holds` returns true.
///
/// # Panics
///
/// If it does not within [`DEADLINE`].
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Waits until `look` finds something, and returns it.
///
/// # Panics
///
/// If it does not within [`DEADLINE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting after {DEADLINE:?}: {what}");
        sleep(POLL);
    }
}

/// [`wait_until`] for conditions that have to be awaited.
///
/// # Panics
///
/// If it does not hold within [`DEADLINE`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "still waiting after {DEADLINE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
