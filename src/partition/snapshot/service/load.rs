//! Restoring: all owners at the start, one when it has replaced a failed one.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::format::{AnyPiece, Fault};
use super::super::restore::{self, BATCH, Report, Restored};
use super::{Filled, Service, visit};
use crate::clock::Clock;
use crate::partition::OwnerHandle;

/// An owner that fails so often over its own records goes on without them, as otherwise it would never serve again.
const GIVE_UP: u8 = 3;
/// The time between two progress lines of a long restore.
const PROGRESS: Duration = Duration::from_secs(1);

impl Service {
    /// Restores all files into their owners. Reading goes before listening, so nobody is served by half of the peers.
    pub(super) fn restore_all(&mut self) {
        let begun = self.clock.now().uptime;
        self.filled =
            self.owners.load().iter().map(|handle| Filled { id: Some(handle.actor().get_id()), failures: 0 }).collect();
        let (restored, files, _) = self.load_files(None);
        if files > 0 {
            let took = self.clock.now().uptime.saturating_sub(begun);
            let Restored { kept, expired, refused } = restored;
            tracing::info!(peers = kept, expired, refused, files, ?took, "restored the peers of the last run");
        }
    }

    /// Fills an owner that has replaced a failed one. Its file is the latest that there is of it, as none is published
    /// before this was done.
    pub(super) fn refill(&mut self, number: usize) {
        let Some(id) = self.owners.load().get(number).map(|handle| handle.actor().get_id()) else { return };
        if self.filled.len() <= number {
            self.filled.resize(number + 1, Filled::default());
        }
        let filled = &mut self.filled[number];
        if filled.id == Some(id) {
            return;
        }
        filled.id = Some(id);
        if filled.failures >= GIVE_UP {
            filled.failures = 0;
            tracing::error!(owner = number, "an owner of partitions fails over its snapshot and begins empty");
            // There may be none, or it cannot be renamed; then the next round replaces it.
            let _ = self.dir.set_aside(number, self.clock.now().wall_millis);
            return;
        }
        let (restored, _, failed) = self.load_files(Some(number));
        let filled = &mut self.filled[number];
        filled.failures = if failed { filled.failures + 1 } else { 0 };
        tracing::info!(owner = number, peers = restored.kept, "refilled an owner of partitions from its snapshot");
    }

    /// Loads all files, or those that may have records of one owner. Returns what came of it, how many files there were,
    /// and whether an owner failed meanwhile.
    fn load_files(&mut self, only: Option<usize>) -> (Restored, usize, bool) {
        let files = self.dir.list().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the snapshots in node.data_dir");
            Vec::new()
        });
        let mut loading = Loading {
            handles: Vec::clone(&self.owners.load()),
            batches: Vec::new(),
            restored: Restored::default(),
            only,
            failed: false,
            said: self.clock.now().uptime,
        };
        let mut count = 0;
        for (number, path) in files {
            if only.is_none_or(|only| only == number || !self.settled) {
                self.load_file(number, &path, &mut loading);
                count += 1;
            }
        }
        self.shared.status.restored_records.fetch_add(loading.restored.kept, Relaxed);
        (loading.restored, count, loading.failed)
    }

    fn load_file(&mut self, number: usize, path: &Path, loading: &mut Loading) {
        let wall = self.clock.now().wall_millis;
        let before = loading.restored;
        loading.batches = vec![Batch::default(); loading.handles.len()];
        let mut report = Report::default();
        let mut length = 0;
        let read = File::open(path).map_err(Fault::Io).and_then(|file| {
            length = file.metadata().map_or(0, |metadata| metadata.len());
            restore::read(BufReader::new(file), wall, self.settings.peer_ttl, &mut report, |piece| {
                let owner = self
                    .owners
                    .owner_of(self.owners.partition(self.owners.hash(piece.info_hash())), loading.handles.len())
                    .0;
                loading.push(owner, piece, &*self.clock);
            })
        });
        loading.restored.expired += report.expired;
        (0..loading.handles.len()).for_each(|owner| loading.send(owner));
        let Err(fault) = read else { return };
        self.shared.status.corrupt_files.fetch_add(1, Relaxed);
        let (kept, lost) = (loading.restored.kept - before.kept, length.saturating_sub(report.whole_bytes));
        match self.dir.set_aside(number, wall) {
            Ok(aside) => tracing::warn!(
                file = %path.display(), %fault, restored = kept, bytes_lost = lost, set_aside = %aside.display(),
                "a snapshot is not whole: the peers before the fault are back, those after it are lost",
            ),
            Err(error) => tracing::warn!(
                file = %path.display(), %fault, restored = kept, bytes_lost = lost, %error,
                "a snapshot is not whole and cannot be set aside: the peers before the fault are back",
            ),
        }
    }
}

/// A restore on its way.
struct Loading {
    handles: Vec<OwnerHandle>,
    /// What waits to be sent to each owner.
    batches: Vec<Batch>,
    restored: Restored,
    only: Option<usize>,
    failed: bool,
    said: Duration,
}

#[derive(Clone, Default)]
struct Batch {
    pieces: Vec<AnyPiece>,
    records: usize,
}

impl Loading {
    fn push(&mut self, owner: usize, piece: AnyPiece, clock: &dyn Clock) {
        if self.only.is_some_and(|only| only != owner) {
            return;
        }
        let Some(batch) = self.batches.get(owner) else { return };
        if batch.records + piece.records() > BATCH {
            self.send(owner);
            let now = clock.now().uptime;
            if now.saturating_sub(self.said) > PROGRESS {
                self.said = now;
                tracing::info!(peers = self.restored.kept, "restoring");
            }
        }
        let batch = &mut self.batches[owner];
        batch.records += piece.records();
        batch.pieces.push(piece);
    }

    fn send(&mut self, owner: usize) {
        let Batch { pieces, records } = std::mem::take(&mut self.batches[owner]);
        if records > 0 {
            let merged = visit(&self.handles[owner], move |partitions, now| restore::merge(&pieces, partitions, now));
            self.failed |= merged.is_none();
            self.restored += merged.unwrap_or(Restored { refused: records as u64, ..Restored::default() });
        }
    }
}
