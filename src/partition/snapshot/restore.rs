//! Restores snapshots into owners: all of them at the start, one when it has replaced a failed one.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::ActorId;

use super::context::{Context, visit_blocking};
use super::control::Stop;
use super::format::{AnySwarm, SnapshotError};
use super::reader::{self, BATCH, ReadReport, RestoreCounts};
use crate::partition::OwnerHandle;

/// An owner that fails this often in a row over its own records starts without them, as otherwise it would never serve
/// again.
const MAX_FAILURES: u8 = 3;
/// The time between two progress lines of a long restore.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub struct Restorer {
    context: Arc<Context>,
    /// By the number of the owner.
    owners: Vec<RestoredOwner>,
    /// Whether the files on the disk are of the owners as they are now, each of its own.
    pub files_match_owners: bool,
}

/// What was restored into an owner.
#[derive(Clone, Copy, Default)]
struct RestoredOwner {
    /// The owner whose records are all restored. One with another id is new and has to be refilled before its snapshot may
    /// replace that of its predecessor.
    id: Option<ActorId>,
    /// How often in a row an owner failed while its records were restored.
    failures: u8,
}

impl Restorer {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, owners: Vec::new(), files_match_owners: false }
    }

    pub fn is_restored(&self, number: usize, handle: &OwnerHandle) -> bool {
        self.owners.get(number).and_then(|owner| owner.id) == Some(handle.actor().get_id())
    }

    /// Waits, and refills owners that are new. Returns early after that, or when a stop is requested.
    pub fn wait(&mut self, pause: Duration) -> Option<Stop> {
        let woken = self.context.control.wait(pause);
        if woken.refill && woken.stop != Some(Stop::Immediately) {
            let owners = self.context.owners.load().len();
            (0..owners).for_each(|number| self.refill(number));
        }
        woken.stop
    }

    /// Restores all files into their owners. That happens before the node listens, so that no client is answered from half
    /// of the peers.
    pub fn restore_all(&mut self) {
        let began = self.context.uptime();
        let handles = self.context.owners.load();
        let restored = |handle: &OwnerHandle| RestoredOwner { id: Some(handle.actor().get_id()), failures: 0 };
        self.owners = handles.iter().map(restored).collect();
        drop(handles);

        let loaded = self.load_files(None);
        if loaded.files > 0 {
            let took = self.context.uptime().saturating_sub(began);
            let RestoreCounts { kept, expired, refused } = loaded.counts;
            let files = loaded.files;
            tracing::info!(
                event = "restore_finished",
                peers = kept,
                expired,
                refused,
                files,
                ?took,
                "restored the peers of the last run",
            );
        }
    }

    /// Refills an owner that has replaced a failed one. Its file is the latest that exists, as none is published before
    /// this is done.
    pub fn refill(&mut self, number: usize) {
        let Some(id) = self.context.owners.load().get(number).map(|handle| handle.actor().get_id()) else { return };
        if self.owners.len() <= number {
            self.owners.resize(number + 1, RestoredOwner::default());
        }
        let owner = &mut self.owners[number];
        if owner.id == Some(id) {
            return;
        }
        owner.id = Some(id);

        if owner.failures >= MAX_FAILURES {
            owner.failures = 0;
            tracing::error!(
                event = "refill_abandoned",
                owner = number,
                "partition owner keeps crashing while loading its snapshot; starting empty",
            );
            // If there is no file, or it cannot be renamed, then the next round replaces it.
            let _ = self.context.dir.set_aside(number, self.context.clock.now().wall_millis);
            return;
        }

        let loaded = self.load_files(Some(number));
        let owner = &mut self.owners[number];
        owner.failures = if loaded.owner_failed { owner.failures + 1 } else { 0 };
        let peers = loaded.counts.kept;
        tracing::info!(event = "owner_refilled", owner = number, peers, "refilled a partition owner from its snapshot");
    }

    /// Loads all files, or those that may have records of one owner.
    fn load_files(&mut self, only: Option<usize>) -> Loaded {
        let files = self.context.dir.list().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the snapshots in node.data_dir");
            Vec::new()
        });
        let mut loading = Loading {
            handles: Vec::clone(&self.context.owners.load()),
            batches: Vec::new(),
            only,
            loaded: Loaded::default(),
            last_progress: self.context.uptime(),
        };
        for (number, path) in files {
            if only.is_none_or(|only| only == number || !self.files_match_owners) {
                self.load_file(number, &path, &mut loading);
                loading.loaded.files += 1;
            }
        }
        self.context.control.status.restored_records.fetch_add(loading.loaded.counts.kept, Relaxed);
        loading.loaded
    }

    fn load_file(&mut self, number: usize, path: &Path, loading: &mut Loading) {
        let context = &*self.context;
        let wall = context.clock.now().wall_millis;
        let before = loading.loaded.counts;
        loading.batches = vec![OwnerBatch::default(); loading.handles.len()];

        let mut report = ReadReport::default();
        let mut length = 0;
        let read = File::open(path).map_err(SnapshotError::Io).and_then(|file| {
            length = file.metadata().map_or(0, |metadata| metadata.len());
            reader::read_snapshot(BufReader::new(file), wall, context.config.peer_ttl, &mut report, |swarm| {
                let partition = context.owners.partition(context.owners.hash(swarm.info_hash()));
                let owner = context.owners.owner_of(partition, loading.handles.len()).0;
                loading.push(owner, swarm, context);
            })
        });
        loading.loaded.counts.expired += report.expired;
        (0..loading.handles.len()).for_each(|owner| loading.send(owner));

        let Err(fault) = read else { return };
        context.control.status.corrupt_files.fetch_add(1, Relaxed);
        let restored = loading.loaded.counts.kept - before.kept;
        let bytes_lost = length.saturating_sub(report.whole_bytes);
        match context.dir.set_aside(number, wall) {
            Ok(aside) => tracing::warn!(
                file = %path.display(), %fault, restored, bytes_lost, set_aside = %aside.display(),
                "snapshot is damaged: the peers before the damage are restored, those after it are lost",
            ),
            Err(error) => tracing::warn!(
                file = %path.display(), %fault, restored, bytes_lost, %error,
                "snapshot is damaged and cannot be set aside: the peers before the damage are restored",
            ),
        }
    }
}

/// The result of loading some files.
#[derive(Default)]
struct Loaded {
    counts: RestoreCounts,
    files: usize,
    /// Whether an owner failed during it.
    owner_failed: bool,
}

/// A restore in progress.
struct Loading {
    handles: Vec<OwnerHandle>,
    /// What waits to be sent to each owner.
    batches: Vec<OwnerBatch>,
    only: Option<usize>,
    loaded: Loaded,
    last_progress: Duration,
}

#[derive(Clone, Default)]
struct OwnerBatch {
    swarms: Vec<AnySwarm>,
    records: usize,
}

impl Loading {
    fn push(&mut self, owner: usize, swarm: AnySwarm, context: &Context) {
        if self.only.is_some_and(|only| only != owner) {
            return;
        }
        let Some(batch) = self.batches.get(owner) else { return };
        if batch.records + swarm.records() > BATCH {
            self.send(owner);
            self.log_progress(context.uptime());
        }
        let batch = &mut self.batches[owner];
        batch.records += swarm.records();
        batch.swarms.push(swarm);
    }

    fn log_progress(&mut self, now: Duration) {
        if now.saturating_sub(self.last_progress) > PROGRESS_INTERVAL {
            self.last_progress = now;
            tracing::info!(peers = self.loaded.counts.kept, "restoring");
        }
    }

    fn send(&mut self, owner: usize) {
        let OwnerBatch { swarms, records } = std::mem::take(&mut self.batches[owner]);
        if records > 0 {
            let merge = move |partitions: &mut _, now| reader::merge_swarms(&swarms, partitions, now);
            let merged = visit_blocking(&self.handles[owner], merge);
            self.loaded.owner_failed |= merged.is_none();
            let refused = RestoreCounts { refused: records as u64, ..RestoreCounts::default() };
            self.loaded.counts += merged.unwrap_or(refused);
        }
    }
}
