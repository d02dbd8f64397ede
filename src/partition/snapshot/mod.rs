//! Warm restart: the peers of every owner are copied to files while it serves, and come back when the node starts or an
//! owner was replaced. `docs/warm-restart.md` tells operators the same from their side.
//!
//! One thread does it all, one owner after the other, so at most one step's copy is in memory. It asks the owner for a
//! step (`walk`), writes it, and pauses, so that a round over all owners takes half of the interval whatever it holds.
//! When all files of the round are on the disk they are renamed together: with another number of threads or another
//! placement key the records of one old file belong to several owners, and must not be lost between two renames.

mod dir;
pub mod format;
mod restore;
mod service;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use dir::{DataDir, DataDirError};

use crate::clock::Clock;
use crate::partition::Owners;
use service::Service;

/// How long the last snapshot of a node that stops may take.
const LAST: Duration = Duration::from_secs(10);

/// What operators may know. All since the start of the node.
#[derive(Debug, Default)]
pub struct SnapshotStatus {
    /// When the round that was published last began, in milliseconds since the Unix epoch; 0 when there was none yet.
    pub last_millis: AtomicU64,
    /// How long it took, in milliseconds.
    pub last_duration_millis: AtomicU64,
    /// Bytes in its files.
    pub last_bytes: AtomicU64,
    /// Records in its files.
    pub last_records: AtomicU64,
    /// Rounds that could not be written, or not for every owner.
    pub errors: AtomicU64,
    /// Records that came back, at the start and into owners that were replaced.
    pub restored_records: AtomicU64,
    /// Files that were corrupt and set aside.
    pub corrupt_files: AtomicU64,
}

/// How snapshots are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Written into the files.
    pub node_id: String,
    /// The time from the begin of one round to that of the next.
    pub interval: Duration,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
}

/// What the thread is told.
#[derive(Default)]
struct Orders {
    stop: Option<Stop>,
    refill: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// After a last round.
    Complete,
    /// At once.
    Now,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    ordered: Condvar,
    status: Arc<SnapshotStatus>,
}

/// Wakes the thread when an owner was replaced. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refill(Arc<Shared>);

impl Refill {
    /// Lets the thread look for owners that are new, and refill them.
    pub fn request(&self) {
        self.0.orders.lock().refill = true;
        self.0.ordered.notify_all();
    }
}

/// The running snapshots of a node. Dropped, they stop at once.
pub struct Snapshots {
    shared: Arc<Shared>,
    restored: Option<oneshot::Receiver<()>>,
    ended: oneshot::Receiver<()>,
}

impl Snapshots {
    /// Starts the thread, which first restores what the directory holds.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        settings: Settings,
        dir: DataDir,
        owners: Arc<Owners>,
        clock: Arc<dyn Clock>,
        Refill(shared): Refill,
    ) -> std::io::Result<Self> {
        let service = Service::new(settings, dir, owners, clock, shared.clone());
        let ((restored, restores), (ends, ended)) = (oneshot::channel(), oneshot::channel());
        std::thread::Builder::new().name("snapshot".into()).spawn(move || {
            service.run(restored);
            // Those who started us may be gone.
            let _ = ends.send(());
        })?;
        Ok(Self { shared, restored: Some(restores), ended })
    }

    /// Returns when all that the directory held is back. Every visit of an owner has a deadline, and so has this.
    pub async fn restored(&mut self) {
        if let Some(restored) = self.restored.take() {
            // An error means that the thread is gone, which the panic hook has reported.
            let _ = restored.await;
        }
    }

    /// What operators may know.
    pub fn status(&self) -> &Arc<SnapshotStatus> {
        &self.shared.status
    }

    /// Makes a last snapshot, of all owners as they are now, and ends. Gives up after ten seconds.
    pub async fn finish(mut self) {
        let before = self.shared.status.errors.load(Relaxed);
        self.shared.stop(Stop::Complete);
        let ended = timeout(LAST, &mut self.ended).await;
        if ended.is_err() || self.shared.status.errors.load(Relaxed) != before {
            tracing::warn!("no last snapshot was written; the next start finds the one before");
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.shared.stop(Stop::Now);
    }
}

impl Shared {
    fn stop(&self, stop: Stop) {
        self.orders.lock().stop = Some(stop);
        self.ordered.notify_all();
    }
}

#[cfg(test)]
mod tests;
