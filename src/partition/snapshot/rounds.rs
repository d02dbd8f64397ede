//! Rounds of snapshots: each writes one file for every owner and publishes them together.
//!
//! Invariants:
//! * An owner that was not refilled yet is not written, so that no file is replaced before its records are restored.
//! * Until every owner has a file of its own once, either all files of a round are published or none.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::context::{Context, visit_blocking};
use super::copier::{CopyStep, OwnerCopier};
use super::format;
use super::pace::{OutOfTime, Pace, units};
use super::restore::Restorer;
use crate::clock::Now;
use crate::partition::OwnerHandle;
use crate::telemetry::trace::names;

pub struct Rounds {
    context: Arc<Context>,
    pub restorer: Restorer,
    /// Whether the last round failed and that has been logged.
    failing: bool,
}

/// Why there is no snapshot of an owner in this round.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("cannot write to node.data_dir: {0}")]
    Disk(#[from] io::Error),
    #[error("an owner of partitions failed or did not answer")]
    Owner,
    #[error("there was no time left")]
    OutOfTime,
    #[error("the node stops")]
    Stopped,
}

/// What a round has written.
#[derive(Default)]
struct Written {
    bytes: u64,
    records: u64,
}

impl Rounds {
    pub fn new(context: Arc<Context>) -> Self {
        Self { restorer: Restorer::new(context.clone()), context, failing: false }
    }

    /// Writes a snapshot of all owners within about `length`, or as fast as possible if that is zero.
    pub fn write_round(&mut self, length: Duration) {
        let _span = tracing::info_span!(target: names::TARGET, names::span::SNAPSHOT).entered();
        let began = self.context.clock.now();
        let handles = Vec::clone(&self.context.owners.load());
        tracing::debug!(event = "snapshot_round_started", owners = handles.len(), "writing snapshots");

        let total = handles.iter().map(|handle| handle.status().totals.lock().map(units).iter().sum::<u64>()).sum();
        let result = self.write_and_publish(handles.len(), Pace::new(began.uptime, length, total));
        self.context.dir.discard(0..handles.len());
        match result {
            Ok(written) => self.round_finished(handles.len(), began, written),
            Err(error) => self.round_failed(&error),
        }
    }

    fn write_and_publish(&mut self, owners: usize, mut pace: Pace) -> Result<Written, RoundError> {
        let mut total = Written::default();
        let mut complete = Vec::new();
        let mut result = Ok(());
        for number in 0..owners {
            match self.write_owner(number, &mut pace) {
                Ok(written) => {
                    total.bytes += written.bytes;
                    total.records += written.records;
                    complete.push(number);
                }
                // The other owners can still have their snapshots.
                Err(RoundError::Owner) => result = Err(RoundError::Owner),
                Err(other) => {
                    result = Err(other);
                    break;
                }
            }
        }

        // Until every owner has a file of its own, some of its records may be in the files of others.
        let publish = match &result {
            Ok(()) => true,
            Err(RoundError::Owner) => self.restorer.files_match_owners,
            Err(_) => false,
        };
        if publish {
            self.context.dir.publish(&complete)?;
        }
        result.map(|()| total)
    }

    fn round_finished(&mut self, owners: usize, began: Now, written: Written) {
        self.restorer.files_match_owners = true;
        self.context.dir.remove_from(owners);

        let took = self.context.uptime().saturating_sub(began.uptime);
        let status = &self.context.control.status;
        status.last_duration_millis.store(took.as_millis() as u64, Relaxed);
        status.last_bytes.store(written.bytes, Relaxed);
        status.last_records.store(written.records, Relaxed);
        status.last_millis.store(began.wall_millis, Relaxed);

        let Written { bytes, records } = written;
        tracing::debug!(event = "snapshot_round_finished", bytes, records, ?took, "snapshots are written");
        if std::mem::take(&mut self.failing) {
            tracing::info!("snapshots are written again");
        }
    }

    fn round_failed(&mut self, error: &RoundError) {
        tracing::debug!(event = "snapshot_round_failed", %error, "a round of snapshots was not completed");
        // Stopped half-way: a last round follows, or none is wanted.
        if matches!(error, RoundError::Stopped) {
            return;
        }
        self.context.control.status.errors.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(failure = %error, "cannot write a snapshot of the peers; the node continues and will retry");
        }
    }

    /// Writes the temporary file of an owner.
    fn write_owner(&mut self, number: usize, pace: &mut Pace) -> Result<Written, RoundError> {
        self.restorer.refill(number);
        let handle = self.context.owners.load().get(number).cloned().ok_or(RoundError::Owner)?;
        if !self.restorer.is_restored(number, &handle) {
            return Err(RoundError::Owner);
        }

        let mut file = SnapshotFile::create(&self.context, number)?;
        let mut copier = OwnerCopier::new();
        loop {
            let step = copy_step(&handle, copier, pace.budget(self.context.uptime())?)?;
            copier = step.0;
            let CopyStep { frame, done } = step.1;
            if frame.entries > 0 {
                file.write_frame(frame.bytes(), frame.records as u64)?;
                pace.add((frame.entries + frame.records) as u64);
            }
            if done {
                return Ok(file.finish()?);
            }

            // Before the last round, a stop was requested already.
            let pause = pace.pause(self.context.uptime());
            if !pace.is_last_round() && self.restorer.wait(pause).is_some() {
                return Err(RoundError::Stopped);
            }
        }
    }
}

/// Lets the copier make one step on its owner.
fn copy_step(
    handle: &OwnerHandle,
    mut copier: OwnerCopier,
    budget: usize,
) -> Result<(OwnerCopier, CopyStep), RoundError> {
    let step = visit_blocking(handle, move |partitions, now| {
        let step = copier.step(partitions, now, budget);
        (copier, step)
    });
    step.ok_or(RoundError::Owner)
}

impl From<OutOfTime> for RoundError {
    fn from(OutOfTime: OutOfTime) -> Self {
        Self::OutOfTime
    }
}

/// The temporary file of an owner while it is written.
struct SnapshotFile {
    file: File,
    frames: u64,
    written: Written,
}

impl SnapshotFile {
    fn create(context: &Context, owner: usize) -> io::Result<Self> {
        let mut file = Self { file: context.dir.create(owner)?, frames: 0, written: Written::default() };
        file.put(&format::header(&context.config.node_id, context.clock.now().wall_millis))?;
        Ok(file)
    }

    fn write_frame(&mut self, payload: &[u8], records: u64) -> io::Result<()> {
        self.put(&format::frame_head(payload))?;
        self.put(payload)?;
        self.frames += 1;
        self.written.records += records;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Written> {
        self.put(&format::footer(self.frames, self.written.records))?;
        self.file.sync_all()?;
        Ok(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
