//! A walk over one partition in an [`order`] of keyed hashes, which is how digests are made and copies are sent.
//!
//! Where a swarm comes in that order depends on nothing but its info hash, and within a swarm on nothing but the peer's
//! key. So the walk sees everything that is there all the time exactly once, whatever comes and goes between its steps,
//! and all that it has to remember is how far it is: a cursor that the other node keeps for it.

use std::ops::RangeInclusive;

use crate::partition::Partitions;
use crate::partition::merge::Held;
use crate::swarm::{AddressFamily, Family, InfoHash, Partition, Record, Store, V4, V6, scan_order};
use crate::wire::peer::BUCKETS;

/// Parts of the order, in each of which a bucket is a stripe.
const QUARTERS: u32 = BUCKETS as u32 / 16;
/// Bits of the order below the quarter.
const QUARTER_SHIFT: u32 = 32 - QUARTERS.ilog2();
/// Swarms that are looked up in one go.
const STRETCH: u64 = 256;

/// The bucket of the swarm with this keyed hash.
pub fn bucket(hash: u64) -> usize {
    (hash >> (64 - BUCKETS.ilog2())) as usize
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    family: Family,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// This swarm and all before it are done.
    After(InfoHash),
    /// All swarms before this are done, and of this the peers whose keys' hash is below `from` in the order. Its
    /// completed count is the one it had when it was begun: a later one might count peers that were read before.
    Inside {
        info_hash: InfoHash,
        from: u32,
        completed: u32,
    },
}

/// A swarm, or some peers of a large one.
#[derive(Debug)]
pub struct ScannedSwarm<'a, F: AddressFamily> {
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Its completed count, with the last slice of it.
    pub completed: Option<u32>,
    /// Records, expired ones included.
    pub records: &'a [Record<F>],
}

/// What is done with the swarms.
pub trait Visitor {
    /// Sees the next swarm, or some peers of a large one.
    fn visit<F: AddressFamily>(&mut self, slice: ScannedSwarm<'_, F>);
}

impl ScanCursor {
    /// Before everything.
    pub const START: Self = Self { family: Family::V4, at: At::Start };

    /// Goes on from here in those buckets whose bit is set, and visits at most `budget` records and swarms without any.
    /// Returns where it stopped; none at the end.
    pub fn walk(
        self,
        partitions: &Partitions,
        partition: Partition,
        buckets: u64,
        budget: usize,
        visitor: &mut impl Visitor,
    ) -> Option<Self> {
        let (whole, mut left) = (budget.max(1), budget.max(1));
        let mut at = self.at;
        if self.family == Family::V4 {
            let mut pass = Pass { store: V4::store(partitions), partition, buckets, whole, left };
            if let Some(at) = pass.walk(at, visitor) {
                return Some(Self { family: Family::V4, at });
            }
            (left, at) = (pass.left, At::Start);
        }
        let mut pass = Pass { store: V6::store(partitions), partition, buckets, whole, left };
        pass.walk(at, visitor).map(|at| Self { family: Family::V6, at })
    }

    /// The bytes of a cursor, never none.
    pub fn to_bytes(self) -> Vec<u8> {
        let family = self.family.stride() as u8;
        match self.at {
            At::Start => vec![family],
            At::After(info_hash) => [&[family][..], &info_hash.0].concat(),
            At::Inside { info_hash, from, completed } => {
                [&[family][..], &info_hash.0, &from.to_le_bytes(), &completed.to_le_bytes()].concat()
            }
        }
    }

    /// The inverse of [`ScanCursor::to_bytes`]; no bytes are the start. None for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Some((&family, rest)) = bytes.split_first() else { return Some(Self::START) };
        let family = [Family::V4, Family::V6].into_iter().find(|it| it.stride() == usize::from(family))?;
        let Some((info_hash, rest)) = rest.split_first_chunk() else {
            return rest.is_empty().then_some(Self { family, at: At::Start });
        };
        let info_hash = InfoHash(*info_hash);
        let Some((from, rest)) = rest.split_first_chunk() else {
            return rest.is_empty().then_some(Self { family, at: At::After(info_hash) });
        };
        let (from, completed) = (u32::from_le_bytes(*from), u32::from_le_bytes(rest.try_into().ok()?));
        Some(Self { family, at: At::Inside { info_hash, from, completed } })
    }
}

/// The walk over one family.
struct Pass<'a, F: AddressFamily> {
    store: &'a Store<F>,
    partition: Partition,
    buckets: u64,
    /// The whole budget of the step…
    whole: usize,
    /// …and what is left of it.
    left: usize,
}

impl<F: AddressFamily> Pass<'_, F> {
    fn walk(&mut self, at: At, visitor: &mut impl Visitor) -> Option<At> {
        let mut after = match at {
            At::Start => None,
            At::After(info_hash) => Some(info_hash),
            At::Inside { info_hash, from, completed } => {
                if let Some(at) = self.slice(info_hash, from, completed, visitor) {
                    return Some(at);
                }
                Some(info_hash)
            }
        }
        .map(|info_hash| (scan_order(self.store.hash(&info_hash)), info_hash));
        let width = (STRETCH << 32) / (self.store.partition_len(self.partition) as u64).max(1);
        let mut next = Some(after.map_or(0, |(order, _)| order));
        while let Some(from) = next
            && let Some((stretch, stripes)) = stretch(self.buckets, from, width)
        {
            for (hash, info_hash) in self.store.swarms_between(self.partition, &stretch, stripes) {
                if after.is_some_and(|after| (scan_order(hash), info_hash) <= after) {
                    continue;
                }
                let Some((completed, records)) = self.store.swarm_of(hash, &info_hash) else { continue };
                // One that does not fit any more begins the next step, and is whole there if it can be.
                if records.len().max(1) > self.left && self.left < self.whole {
                    return Some(after.map_or(At::Start, |(_, info_hash)| At::After(info_hash)));
                }
                if records.len() > self.left {
                    if let Some(at) = self.slice(info_hash, 0, completed, visitor) {
                        return Some(at);
                    }
                } else {
                    self.left -= records.len().max(1);
                    visitor.visit(ScannedSwarm { hash, info_hash, completed: Some(completed), records });
                }
                after = Some((scan_order(hash), info_hash));
            }
            next = stretch.end().checked_add(1);
        }
        None
    }

    /// Visits the peers of a large swarm from `from` on, as many as there is room for, and tells where to go on.
    fn slice(&mut self, info_hash: InfoHash, from: u32, completed: u32, visitor: &mut impl Visitor) -> Option<At> {
        let hash = self.store.hash(&info_hash);
        let (now_completed, records) = self.store.swarm_of(hash, &info_hash)?;
        // It may have gone and come again.
        let completed = completed.min(now_completed);
        // Three quarters of the room, as chance may put more into a slice than its share.
        let share = ((self.left.min(1 << 28) as u64) << 32) / 4 * 3;
        let mut width = (share / (records.len() as u64).max(1)).clamp(1, 1 << 32);
        loop {
            let end = u32::try_from(u64::from(from) + (width - 1)).unwrap_or(u32::MAX);
            let found = self.store.records_between(hash, &info_hash, &(from..=end));
            if found.len() <= self.left || end == from {
                let next = end.checked_add(1);
                let last = next.is_none().then_some(completed);
                self.left = self.left.saturating_sub(found.len().max(1));
                visitor.visit(ScannedSwarm { hash, info_hash, completed: last, records: &found });
                return next.map(|from| At::Inside { info_hash, from, completed });
            }
            width = (width / 2).max(1);
        }
    }
}

/// The next stretch of the order from `from` on, and a bit for each of its stripes that is a wanted bucket. As wide as
/// holds the swarms of `width` in all stripes.
fn stretch(buckets: u64, from: u32, width: u64) -> Option<(RangeInclusive<u32>, u16)> {
    let stripes = |quarter: u32| {
        let bucket = |stripe: u32| buckets >> (stripe * QUARTERS + quarter) & 1 == 1;
        (0..16).filter(|stripe| bucket(*stripe)).fold(0u16, |bits, stripe| bits | 1 << stripe)
    };
    let first = from >> QUARTER_SHIFT;
    let quarter = (first..QUARTERS).find(|quarter| stripes(*quarter) != 0)?;
    let stripes = stripes(quarter);
    let start = if quarter == first { from } else { quarter << QUARTER_SHIFT };
    let width = (width * 16 / u64::from(stripes.count_ones())).max(1);
    let end = (u64::from(start) + width).min(u64::from(quarter + 1) << QUARTER_SHIFT) - 1;
    Some((start..=u32::try_from(end).unwrap_or(u32::MAX), stripes))
}

#[cfg(test)]
mod tests;
