//! What the parts of the snapshot thread share, and how the thread reaches an owner.

use std::sync::Arc;
use std::time::Duration;

use super::config::SnapshotConfig;
use super::control::Control;
use super::dir::DataDir;
use crate::clock::{Clock, Now};
use crate::partition::{Message, OwnerHandle, Owners, Partitions};

/// How long an owner may take to answer a visit. One that takes longer has failed.
const VISIT_DEADLINE: Duration = Duration::from_secs(5);

pub struct Context {
    pub config: SnapshotConfig,
    pub dir: DataDir,
    pub owners: Arc<Owners>,
    pub clock: Arc<dyn Clock>,
    pub control: Arc<Control>,
}

impl Context {
    pub fn uptime(&self) -> Duration {
        self.clock.now().uptime
    }
}

/// Runs a function on an owner and waits for its result; `None` when the owner fails.
///
/// [`Owners::visit`] does not fit: this thread has no runtime, and it must not continue with another owner when the one
/// that it began with was replaced.
pub fn visit_blocking<T: Send + 'static>(
    handle: &OwnerHandle,
    visit: impl FnOnce(&mut Partitions, Now) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let message = Message::Visit(Box::new(move |partitions, now| {
        // This thread may have given up.
        let _ = reply.send(visit(partitions, now));
    }));
    handle.send_beyond_limit(message).ok()?;
    answer.recv_timeout(VISIT_DEADLINE).ok()
}
