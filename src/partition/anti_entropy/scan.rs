//! A scan of one partition in an [`order`] of keyed hashes, which is how digests are made and copies are sent.
//!
//! The position of a swarm in that order depends only on its info hash, and that of a peer within it only on the peer's
//! key. So a scan sees everything that stays there exactly once, whatever comes and goes between its steps, and its only
//! state is its position: a cursor that the other node keeps for it.

use std::ops::RangeInclusive;

use crate::partition::Partitions;
use crate::partition::merge::StoredFamily;
use crate::swarm::{AddressFamily, Family, InfoHash, Partition, Record, Store, V4, V6, scan_order};
use crate::wire::peer::BUCKETS;

/// Quarters of the scan order, in each of which a bucket is one stripe.
const QUARTERS: u32 = BUCKETS as u32 / 16;
/// Bits of the order below the quarter.
const QUARTER_SHIFT: u32 = 32 - QUARTERS.ilog2();
/// Swarms that are looked up in one go.
const STRETCH: u64 = 256;

/// The bucket of the swarm with this keyed hash.
pub fn bucket(hash: u64) -> usize {
    (hash >> (64 - BUCKETS.ilog2())) as usize
}

/// The position of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    family: Family,
    at: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Start,
    /// This swarm and all before it are done.
    After(InfoHash),
    /// All swarms before this one are done, and of it the peers whose keys' hash is below `from` in the order. Its
    /// completed count is that of when it was begun: a later one might count peers that were read before.
    Inside {
        info_hash: InfoHash,
        from: u32,
        completed: u32,
    },
}

/// What a step of a scan covers.
#[derive(Clone, Copy, Debug)]
pub struct ScanScope {
    pub partition: Partition,
    /// A bit for each bucket that is scanned.
    pub buckets: u64,
    /// The most records and swarms without any of this step.
    pub budget: usize,
}

/// A swarm, or some peers of a large one.
#[derive(Debug)]
pub struct ScannedSwarm<'a, F: AddressFamily> {
    /// The keyed hash of the info hash.
    pub hash: u64,
    pub info_hash: InfoHash,
    /// Its completed count; `None` if more of its peers follow.
    pub completed: Option<u32>,
    /// Includes expired ones.
    pub records: &'a [Record<F>],
}

/// Receives the swarms of a scan.
pub trait Visitor {
    fn visit<F: AddressFamily>(&mut self, slice: ScannedSwarm<'_, F>);
}

impl ScanCursor {
    pub const START: Self = Self { family: Family::V4, at: Position::Start };

    /// Scans from here on, as much as the scope allows. Returns where it stopped; `None` at the end.
    pub fn scan(self, partitions: &Partitions, scope: ScanScope, visitor: &mut impl Visitor) -> Option<Self> {
        let ScanScope { partition, buckets, budget } = scope;
        let (whole, mut left) = (budget.max(1), budget.max(1));
        let mut at = self.at;
        if self.family == Family::V4 {
            let mut pass = Pass { store: V4::store(partitions), partition, buckets, whole, left };
            if let Some(at) = pass.scan(at, visitor) {
                return Some(Self { family: Family::V4, at });
            }
            (left, at) = (pass.left, Position::Start);
        }
        let mut pass = Pass { store: V6::store(partitions), partition, buckets, whole, left };
        pass.scan(at, visitor).map(|at| Self { family: Family::V6, at })
    }

    /// The cursor as bytes, of which there is always at least one.
    pub fn to_bytes(self) -> Vec<u8> {
        let family = self.family.stride() as u8;
        match self.at {
            Position::Start => vec![family],
            Position::After(info_hash) => [&[family][..], &info_hash.0].concat(),
            Position::Inside { info_hash, from, completed } => {
                [&[family][..], &info_hash.0, &from.to_le_bytes(), &completed.to_le_bytes()].concat()
            }
        }
    }

    /// The inverse of [`ScanCursor::to_bytes`]. No bytes at all are the start; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Some((&family, rest)) = bytes.split_first() else { return Some(Self::START) };
        let family = [Family::V4, Family::V6].into_iter().find(|it| it.stride() == usize::from(family))?;
        let Some((info_hash, rest)) = rest.split_first_chunk() else {
            return rest.is_empty().then_some(Self { family, at: Position::Start });
        };
        let info_hash = InfoHash(*info_hash);
        let Some((from, rest)) = rest.split_first_chunk() else {
            return rest.is_empty().then_some(Self { family, at: Position::After(info_hash) });
        };
        let (from, completed) = (u32::from_le_bytes(*from), u32::from_le_bytes(rest.try_into().ok()?));
        Some(Self { family, at: Position::Inside { info_hash, from, completed } })
    }
}

/// The scan of one family.
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
    fn scan(&mut self, at: Position, visitor: &mut impl Visitor) -> Option<Position> {
        let mut after = match at {
            Position::Start => None,
            Position::After(info_hash) => Some(info_hash),
            Position::Inside { info_hash, from, completed } => {
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
                // One that does not fit any more begins the next step, and is visited whole there if possible.
                if records.len().max(1) > self.left && self.left < self.whole {
                    return Some(after.map_or(Position::Start, |(_, info_hash)| Position::After(info_hash)));
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

    /// Visits the peers of a large swarm from `from` on, as many as fit, and returns where to go on.
    fn slice(
        &mut self,
        info_hash: InfoHash,
        from: u32,
        completed: u32,
        visitor: &mut impl Visitor,
    ) -> Option<Position> {
        let hash = self.store.hash(&info_hash);
        let (now_completed, records) = self.store.swarm_of(hash, &info_hash)?;
        // It may have vanished and come back.
        let completed = completed.min(now_completed);
        // Three quarters of the room, as a slice may by chance have more than its share.
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
                return next.map(|from| Position::Inside { info_hash, from, completed });
            }
            width = (width / 2).max(1);
        }
    }
}

/// The next stretch of the order from `from` on, and a bit for each of its stripes whose bucket is wanted. The fewer
/// stripes, the wider: it has as many swarms as a stretch of `width` with all stripes.
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
