//! The snapshots of a node, as seen by the code that starts and stops it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::config::SnapshotConfig;
use super::context::Context;
use super::control::{Control, RefillTrigger, Stop};
use super::dir::DataDir;
use super::pace::LAST_ROUND;
use super::status::SnapshotStatus;
use super::thread;
use crate::clock::Clock;
use crate::partition::Owners;

/// The running snapshots of a node. When dropped, they stop immediately.
pub struct Snapshots {
    control: Arc<Control>,
    restored: Option<oneshot::Receiver<()>>,
    ended: oneshot::Receiver<()>,
}

impl Snapshots {
    /// Starts the thread, which first restores what the directory contains.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        config: SnapshotConfig,
        dir: DataDir,
        owners: Arc<Owners>,
        clock: Arc<dyn Clock>,
        RefillTrigger(control): RefillTrigger,
    ) -> std::io::Result<Self> {
        let context = Context { config, dir, owners, clock, control: control.clone() };
        let (restored, restored_receiver) = oneshot::channel();
        let (ended, ended_receiver) = oneshot::channel();
        std::thread::Builder::new().name("snapshot".into()).spawn(move || {
            thread::run(context, restored);
            // The receiver may be gone.
            let _ = ended.send(());
        })?;
        Ok(Self { control, restored: Some(restored_receiver), ended: ended_receiver })
    }

    /// Waits until everything in the directory is restored. Every visit of an owner has a deadline, and so has this.
    pub async fn restored(&mut self) {
        if let Some(restored) = self.restored.take() {
            // An error means that the thread is gone, which the panic hook has reported.
            let _ = restored.await;
        }
    }

    pub fn status(&self) -> &Arc<SnapshotStatus> {
        &self.control.status
    }

    /// Makes a last snapshot of all owners as they are now, and ends. Gives up after ten seconds.
    pub async fn finish(mut self) {
        let errors = self.control.status.errors.load(Relaxed);
        self.control.stop(Stop::AfterLastRound);
        let ended = timeout(LAST_ROUND, &mut self.ended).await;
        if ended.is_err() || self.control.status.errors.load(Relaxed) != errors {
            tracing::warn!("no final snapshot was written; the next start restores the one before");
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.control.stop(Stop::Immediately);
    }
}
