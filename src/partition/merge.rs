//! Records that come from elsewhere, or from an earlier run, into the partitions of an owner.

use crate::clock::Now;
use crate::faults;
use crate::partition::Partitions;
use crate::partition::record_codec::{self, Malformed, Saved, SwarmRecords};
use crate::swarm::{AddressFamily, Family, HlcTime, InfoHash, Record, Role, Second, Stamp, Store, V4, V6};

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Held now, by these or by later ones of the same peers.
    pub kept: u64,
    /// Older than the lifetime of a peer.
    pub expired: u64,
    /// Forbidden by a cap of the settings.
    pub refused: u64,
    /// News: they replaced older ones, or none.
    pub changed: u64,
    /// So far in the future that no clock may follow; they got stamps of our own time.
    pub ahead: u64,
}

impl std::ops::AddAssign for Taken {
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
    /// IPv4.
    V4(Record<V4>),
    /// IPv6.
    V6(Record<V6>),
}

/// A family, and where an owner keeps it.
pub trait Held: AddressFamily {
    /// Its store.
    fn store(partitions: &Partitions) -> &Store<Self>;
    /// Its store.
    fn store_mut(partitions: &mut Partitions) -> &mut Store<Self>;
    /// One of its records.
    fn any(record: Record<Self>) -> AnyRecord;
}

impl Held for V4 {
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

impl Held for V6 {
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

/// Merges what has just changed on another node. `waited` is how many seconds ago the pieces were made, rounded up.
/// Counts completions that are news, and calls `changed` with every record that is: what has to be passed on.
///
/// # Errors
/// When the bytes are no pieces; nothing was merged then.
pub fn merge_deltas(
    pieces: &[u8],
    waited: u32,
    partitions: &mut Partitions,
    now: Now,
    mut changed: impl FnMut(&InfoHash, AnyRecord),
) -> Result<Taken, Malformed> {
    record_codec::check(pieces)?;
    let mut taken = Taken::default();
    for part in record_codec::parts(pieces) {
        let part = part?;
        match part.family {
            Family::V4 => merge_delta::<V4>(&part, waited, partitions, now, &mut taken, &mut changed),
            Family::V6 => merge_delta::<V6>(&part, waited, partitions, now, &mut taken, &mut changed),
        }
    }
    Ok(taken)
}

/// Merges a part of another node's copy of a partition. `waited` is how many seconds ago it was made.
///
/// # Errors
/// When the bytes are no pieces; nothing was merged then.
pub fn merge_chunk(pieces: &[u8], waited: u32, partitions: &mut Partitions, now: Now) -> Result<Taken, Malformed> {
    record_codec::check(pieces)?;
    let mut taken = Taken::default();
    for part in record_codec::parts(pieces) {
        let part @ SwarmRecords { info_hash, completed, .. } = part?;
        match part.family {
            Family::V4 => {
                merge_copy(&info_hash, completed, part.records::<V4>(), waited, partitions, now, &mut taken);
            }
            Family::V6 => {
                merge_copy(&info_hash, completed, part.records::<V6>(), waited, partitions, now, &mut taken);
            }
        }
    }
    Ok(taken)
}

/// Merges some records of a copy, then the completed count that goes with them.
pub fn merge_copy<F: Held>(
    info_hash: &InfoHash,
    completed: u32,
    records: impl Iterator<Item = Saved<F>>,
    waited: u32,
    partitions: &mut Partitions,
    now: Now,
    taken: &mut Taken,
) {
    let second = Second::new(now.uptime.as_secs());
    for saved in records {
        let Some(record) = arrived(saved, waited, partitions, now, taken) else { continue };
        let merged = F::store_mut(partitions).merge(*info_hash, record, second);
        let count = if merged.kept { &mut taken.kept } else { &mut taken.refused };
        *count += 1;
        taken.changed += u64::from(merged.changed);
    }
    F::store_mut(partitions).merge_completed(info_hash, completed);
}

fn merge_delta<F: Held>(
    part: &SwarmRecords<'_>,
    waited: u32,
    partitions: &mut Partitions,
    now: Now,
    taken: &mut Taken,
    changed: &mut impl FnMut(&InfoHash, AnyRecord),
) {
    let second = Second::new(now.uptime.as_secs());
    for saved in part.records::<F>() {
        let Some(record) = arrived(saved, waited, partitions, now, taken) else { continue };
        let merged = F::store_mut(partitions).merge_delta(part.info_hash, record, second);
        let count = if merged.kept { &mut taken.kept } else { &mut taken.refused };
        *count += 1;
        if merged.changed {
            taken.changed += 1;
            changed(&part.info_hash, F::any(record));
        }
    }
}

/// The record as it is here and now; none if its lifetime is over.
fn arrived<F: Held>(
    saved: Saved<F>,
    waited: u32,
    partitions: &mut Partitions,
    now: Now,
    taken: &mut Taken,
) -> Option<Record<F>> {
    let Saved { stamp, age, key } = saved;
    // Before it becomes a second of our clock, which cannot tell a greater age from a small one.
    let age = u32::from(age).saturating_add(waited);
    let Some(age) = u16::try_from(age).ok().filter(|age| *age <= F::store(partitions).ttl()) else {
        taken.expired += 1;
        return None;
    };
    if stamp.role() == Role::Stopped && faults::DROP_TOMBSTONES_EARLY.is_on() {
        return None;
    }
    let believed = believable(stamp, age, partitions, now);
    taken.ahead += u64::from(believed != stamp);
    Some(Record { stamp: believed, seen: Second::new(now.uptime.as_secs()).minus(age), key })
}

/// The stamp, or, if it lies so far in the future that no clock may follow it, one as old as the record by our clock.
///
/// That happens when the clock of another node is wrong or was wrong when the snapshot was made, or ours is now. The
/// record is still the last word of its peer, so it is kept; but with its old stamp it would win over all that the peer
/// says until that future has come.
fn believable(stamp: Stamp, age: u16, partitions: &mut Partitions, now: Now) -> Stamp {
    if partitions.observe(stamp.time(), now).is_ok() {
        return stamp;
    }
    let made = now.wall_millis.saturating_sub(u64::from(age) * 1_000);
    Stamp::new(HlcTime::from_millis(made), stamp.role(), stamp.counted())
}

#[cfg(test)]
mod tests;
