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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn the_function_runs_once_when_the_last_batch_is_gone() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let first = PendingAck::new(Box::new(move || _ = counted.fetch_add(1, Relaxed)));
        let second = first.clone();
        drop(first);
        assert_eq!(runs.load(Relaxed), 0);
        drop(second);
        assert_eq!(runs.load(Relaxed), 1);
    }
}
