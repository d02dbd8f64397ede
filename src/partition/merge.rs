//! Merges records of other nodes, or of an earlier run, into the partitions of an owner.

use crate::clock::Now;
use crate::faults;
use crate::partition::Partitions;
use crate::partition::record_codec::{AgedRecord, CheckedBatch, Malformed, SwarmRecords};
use crate::swarm::{AddressFamily, Family, HlcTime, InfoHash, Record, Role, Second, Stamp, Store, V4, V6};

/// The outcomes of merging some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Stored now, these or later ones of the same peers.
    pub kept: u64,
    /// Older than the lifetime of a peer.
    pub expired: u64,
    /// Not allowed by a limit of the settings.
    pub refused: u64,
    /// News: they replaced older ones, or none.
    pub changed: u64,
    /// So far in the future that no clock may follow; they were given stamps of our own time.
    pub ahead: u64,
}

impl MergeCounts {
    fn add(&mut self, kept: bool, changed: bool) {
        self.kept += u64::from(kept);
        self.refused += u64::from(!kept);
        self.changed += u64::from(changed);
    }
}

impl std::ops::AddAssign for MergeCounts {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.expired += other.expired;
        self.refused += other.refused;
        self.changed += other.changed;
        self.ahead += other.ahead;
    }
}

/// A record of either family.
#[derive(Clone, Copy, Debug)]
pub enum AnyRecord {
    V4(Record<V4>),
    V6(Record<V6>),
}

/// A family, and the store of an owner that has it.
pub trait StoredFamily: AddressFamily {
    fn store(partitions: &Partitions) -> &Store<Self>;
    fn store_mut(partitions: &mut Partitions) -> &mut Store<Self>;
    fn any(record: Record<Self>) -> AnyRecord;
}

impl StoredFamily for V4 {
    fn store(partitions: &Partitions) -> &Store<Self> {
        &partitions.v4
    }

    fn store_mut(partitions: &mut Partitions) -> &mut Store<Self> {
        &mut partitions.v4
    }

    fn any(record: Record<Self>) -> AnyRecord {
        AnyRecord::V4(record)
    }
}

impl StoredFamily for V6 {
    fn store(partitions: &Partitions) -> &Store<Self> {
        &partitions.v6
    }

    fn store_mut(partitions: &mut Partitions) -> &mut Store<Self> {
        &mut partitions.v6
    }

    fn any(record: Record<Self>) -> AnyRecord {
        AnyRecord::V6(record)
    }
}

/// Merges what has just changed on another node. `waited` is the age of the batch in seconds, rounded up. Counts
/// completions that are news, and calls `changed` with every record that is news and has to be passed on.
pub fn merge_deltas(
    batch: CheckedBatch<'_>,
    waited: u32,
    partitions: &mut Partitions,
    now: Now,
    mut changed: impl FnMut(&InfoHash, AnyRecord),
) -> MergeCounts {
    let mut merger = Merger::new(partitions, now, waited);
    for swarm in batch.swarms() {
        match swarm.family {
            Family::V4 => merger.merge_delta::<V4>(&swarm, &mut changed),
            Family::V6 => merger.merge_delta::<V6>(&swarm, &mut changed),
        }
    }
    merger.counts
}

/// Merges a chunk of another node's copy of a partition. `waited` is its age in seconds.
///
/// # Errors
/// When the bytes are not a batch; nothing was merged then.
pub fn merge_chunk(bytes: &[u8], waited: u32, partitions: &mut Partitions, now: Now) -> Result<MergeCounts, Malformed> {
    let batch = CheckedBatch::new(bytes)?;
    let mut merger = Merger::new(partitions, now, waited);
    for swarm in batch.swarms() {
        let SwarmRecords { info_hash, completed, .. } = &swarm;
        match swarm.family {
            Family::V4 => merger.merge_copy::<V4>(info_hash, *completed, swarm.records()),
            Family::V6 => merger.merge_copy::<V6>(info_hash, *completed, swarm.records()),
        }
    }
    Ok(merger.counts)
}

/// Merges records into the partitions of an owner, and counts their outcomes.
pub struct Merger<'a> {
    partitions: &'a mut Partitions,
    now: Now,
    /// Seconds that have passed since the ages of the records were true.
    waited: u32,
    pub counts: MergeCounts,
}

impl<'a> Merger<'a> {
    pub fn new(partitions: &'a mut Partitions, now: Now, waited: u32) -> Self {
        Self { partitions, now, waited, counts: MergeCounts::default() }
    }

    /// Merges some records of a copy, then the completed count of their swarm.
    pub fn merge_copy<F: StoredFamily>(
        &mut self,
        info_hash: &InfoHash,
        completed: u32,
        records: impl Iterator<Item = AgedRecord<F>>,
    ) {
        let second = self.second();
        for record in records {
            let Some(record) = self.localize(record) else { continue };
            let merged = F::store_mut(self.partitions).merge(*info_hash, record, second);
            self.counts.add(merged.kept, merged.changed);
        }
        F::store_mut(self.partitions).merge_completed(info_hash, completed);
    }

    fn merge_delta<F: StoredFamily>(
        &mut self,
        swarm: &SwarmRecords<'_>,
        changed: &mut impl FnMut(&InfoHash, AnyRecord),
    ) {
        let second = self.second();
        for record in swarm.records::<F>() {
            let Some(record) = self.localize(record) else { continue };
            let merged = F::store_mut(self.partitions).merge_delta(swarm.info_hash, record, second);
            self.counts.add(merged.kept, merged.changed);
            if merged.changed {
                changed(&swarm.info_hash, F::any(record));
            }
        }
    }

    fn second(&self) -> Second {
        Second::new(self.now.uptime.as_secs())
    }

    /// The record in terms of this node's clocks; none if its lifetime is over.
    fn localize<F: StoredFamily>(&mut self, record: AgedRecord<F>) -> Option<Record<F>> {
        let AgedRecord { stamp, age, key } = record;
        // Checked before it becomes a second of our clock, which cannot distinguish a huge age from a small one.
        let age = u32::from(age).saturating_add(self.waited);
        let Some(age) = u16::try_from(age).ok().filter(|age| *age <= F::store(self.partitions).ttl()) else {
            self.counts.expired += 1;
            return None;
        };
        if stamp.role() == Role::Stopped && faults::DROP_TOMBSTONES_EARLY.is_on() {
            return None;
        }
        let believable = self.believable(stamp, age);
        self.counts.ahead += u64::from(believable != stamp);
        Some(Record { stamp: believable, seen: self.second().minus(age), key })
    }

    /// The stamp, or, if it is so far in the future that no clock may follow it, one as old as the record by our clock.
    ///
    /// That happens when the clock of another node is wrong, or was wrong when the snapshot was made, or ours is now. The
    /// record is still the last one of its peer, so it is stored; but with its old stamp it would win over everything
    /// that the peer announces until that future has come.
    fn believable(&mut self, stamp: Stamp, age: u16) -> Stamp {
        if self.partitions.observe(stamp.time(), self.now).is_ok() {
            return stamp;
        }
        let made = self.now.wall_millis.saturating_sub(u64::from(age) * 1_000);
        Stamp::new(HlcTime::from_millis(made), stamp.role(), stamp.counted())
    }
}

#[cfg(test)]
mod tests;
