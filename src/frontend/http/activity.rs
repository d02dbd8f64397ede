//! When a connection was last used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// When a connection was last used. Idle, stuck and slow clients all look the same: no complete request in time.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Milliseconds since `opened`.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Notes that a request has come or that a piece of a reply has gone.
    pub(super) fn touch(&self) {
        self.last.store(self.opened.elapsed().as_millis() as u64, Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.opened + Duration::from_millis(self.last.load(Relaxed))
    }
}
