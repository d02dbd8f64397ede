//! What happens once a replica has acknowledged changes.

use std::sync::Arc;

/// Called once the changes of a flush have arrived at a replica, or cannot arrive soon.
pub type OnAck = Box<dyn FnOnce() + Send + Sync>;

/// Shared by the batches that a flush is split into: runs its function when the last of them is dropped.
#[derive(Clone)]
pub struct PendingAck(#[expect(dead_code, reason = "held for its drop")] Arc<RunOnDrop>);

struct RunOnDrop(Option<OnAck>);

impl PendingAck {
    /// Runs `on_ack` when this and all its clones are dropped.
    pub fn new(on_ack: OnAck) -> Self {
        Self(Arc::new(RunOnDrop(Some(on_ack))))
    }
}

impl Drop for RunOnDrop {
    fn drop(&mut self) {
        if let Some(on_ack) = self.0.take() {
            on_ack();
        }
    }
}
