//! How the rest of the node controls the snapshot thread.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::status::SnapshotStatus;

/// How the thread is to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    AfterLastRound,
    Immediately,
}

#[derive(Default)]
struct Requests {
    stop: Option<Stop>,
    refill: bool,
}

/// Shared by the thread and those who control it.
#[derive(Default)]
pub struct Control {
    requests: Mutex<Requests>,
    requested: Condvar,
    pub status: Arc<SnapshotStatus>,
}

/// What has ended a wait, if not the time.
pub struct Woken {
    pub stop: Option<Stop>,
    /// An owner was replaced.
    pub refill: bool,
}

impl Control {
    pub fn stop(&self, stop: Stop) {
        self.requests.lock().stop = Some(stop);
        self.requested.notify_all();
    }

    /// Waits for a request, or until the pause is over. A request to stop stays.
    pub fn wait(&self, pause: Duration) -> Woken {
        let mut requests = self.requests.lock();
        if requests.stop.is_none() && !requests.refill {
            self.requested.wait_for(&mut requests, pause);
        }
        Woken { stop: requests.stop, refill: std::mem::take(&mut requests.refill) }
    }
}

/// Wakes the thread when an owner was replaced. Cheap to clone.
#[derive(Clone, Default)]
pub struct RefillTrigger(pub(super) Arc<Control>);

impl RefillTrigger {
    /// Requests that owners which are new are refilled.
    pub fn request(&self) {
        self.0.requests.lock().refill = true;
        self.0.requested.notify_all();
    }
}
