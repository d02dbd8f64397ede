//! Reads snapshots, and merges them back into owners.

use std::io::Read;

use super::format::{AnySwarm, FrameReader, SavedSwarm, SnapshotError};
use crate::clock::Now;
use crate::partition::Partitions;
use crate::partition::merge::{MergeCounts, Merger, StoredFamily};
use crate::partition::record_codec::AgedRecord;
use crate::swarm::AddressFamily;

/// The most records that one visit merges, as the owner may be serving.
pub const BATCH: usize = 2_048;

/// The outcomes of restoring some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreCounts {
    /// Records that are stored again.
    pub kept: u64,
    /// Records that expired in the meantime.
    pub expired: u64,
    /// Records that a limit of the settings does not allow, or whose owner did not answer.
    pub refused: u64,
}

impl std::ops::AddAssign for RestoreCounts {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.expired += other.expired;
        self.refused += other.refused;
    }
}

/// What was read from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Records that were too old.
    pub expired: u64,
    /// Bytes before the first error, if there is one.
    pub whole_bytes: u64,
}

/// Reads whole frames until the end or the first error. Calls `each` with at most [`BATCH`] records of a swarm, none of
/// them older than `ttl` seconds at `wall`.
///
/// # Errors
/// The first error; `each` was called with everything before it.
pub fn read_snapshot(
    source: impl Read,
    wall: u64,
    ttl: u16,
    report: &mut ReadReport,
    mut each: impl FnMut(AnySwarm),
) -> Result<(), SnapshotError> {
    let mut frames = FrameReader::open(source)?;
    loop {
        report.whole_bytes = frames.offset();
        let Some(frame) = frames.read()? else { return Ok(()) };
        // Rounded up: no number of restarts makes a peer younger. A clock that went back lets no time pass.
        let passed = wall.saturating_sub(frame.wall).div_ceil(1_000);
        let expired = &mut report.expired;
        for swarm in frame.swarms {
            match swarm {
                AnySwarm::V4(swarm) => aged(swarm, passed, ttl, expired).for_each(|swarm| each(AnySwarm::V4(swarm))),
                AnySwarm::V6(swarm) => aged(swarm, passed, ttl, expired).for_each(|swarm| each(AnySwarm::V6(swarm))),
            }
        }
    }
}

/// The records of a swarm `passed` seconds later, in batches.
fn aged<F: AddressFamily>(
    SavedSwarm { info_hash, completed, mut records }: SavedSwarm<F>,
    passed: u64,
    ttl: u16,
    expired: &mut u64,
) -> impl Iterator<Item = SavedSwarm<F>> {
    let before = records.len();
    records.retain_mut(|record| {
        let age = passed.saturating_add(record.age.into());
        record.age = age.min(u64::from(u16::MAX)) as u16;
        age <= ttl.into()
    });
    *expired += (before - records.len()) as u64;
    let mut records = records.into_iter();
    std::iter::from_fn(move || {
        let records: Vec<AgedRecord<F>> = records.by_ref().take(BATCH).collect();
        (!records.is_empty()).then_some(SavedSwarm { info_hash, completed, records })
    })
}

/// Merges swarms into the partitions that they belong to.
pub fn merge_swarms(swarms: &[AnySwarm], partitions: &mut Partitions, now: Now) -> RestoreCounts {
    let mut merger = Merger::new(partitions, now, 0);
    for swarm in swarms {
        match swarm {
            AnySwarm::V4(swarm) => merge_swarm(swarm, &mut merger),
            AnySwarm::V6(swarm) => merge_swarm(swarm, &mut merger),
        }
    }
    let MergeCounts { kept, expired, refused, .. } = merger.counts;
    RestoreCounts { kept, expired, refused }
}

fn merge_swarm<F: StoredFamily>(swarm: &SavedSwarm<F>, merger: &mut Merger<'_>) {
    merger.merge_copy(&swarm.info_hash, swarm.completed, swarm.records.iter().copied());
}
