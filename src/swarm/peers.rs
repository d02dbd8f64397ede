//! The peers of one swarm, in one family. Most swarms have one or two peers and some have a million, so there are three
//! layouts: [`Peers::Few`] lies inside the swarm's slot, [`Peers::Several`] is an array that is scanned, and
//! [`Peers::Many`] is sorted and indexed.

use std::hint::black_box;
use std::ops::RangeInclusive;

use super::hash::KeyedHash;
use super::many::{Many, push};
use super::record::{AddressFamily, Record, Second};
use super::selection::PeerSelection;
use super::stamp::Role;
use super::{Counts, scan_order};

/// Peers that fit into a swarm's slot, which with them is 64 bytes for IPv4: one cache line.
const FEW: usize = 2;
/// From this size on a scan costs more than an index of 5 to 9 bytes a peer.
const SEVERAL: usize = 32;

/// The records of a swarm, tombstones included.
#[derive(Debug)]
pub enum Peers<F: AddressFamily> {
    /// Up to two records in place; the first `len` count.
    Few {
        /// The records, in no order.
        records: [Record<F>; FEW],
        /// How many of them are in use.
        len: u8,
    },
    /// Up to [`SEVERAL`] records, in no order.
    Several(Vec<Record<F>>),
    /// Any number.
    Many(Box<Many<F>>),
}

impl<F: AddressFamily> Peers<F> {
    /// A swarm of one.
    pub fn one(record: Record<F>) -> Self {
        Self::Few { records: [record; FEW], len: 1 }
    }

    /// All records, tombstones included.
    pub fn records(&self) -> &[Record<F>] {
        match self {
            Self::Few { records, len } => &records[..usize::from(*len)],
            Self::Several(records) => records,
            Self::Many(many) => many.records(),
        }
    }

    /// The records whose keys' hash is in this range of [`scan_order`]. In a large swarm that costs what it finds.
    pub fn records_between(&self, hash: &KeyedHash, range: &RangeInclusive<u32>) -> Vec<Record<F>> {
        if let Self::Many(many) = self {
            return many.records_between(hash, range);
        }
        let within = |record: &&Record<F>| range.contains(&scan_order(hash.hash(record.key.as_ref())));
        self.records().iter().filter(within).copied().collect()
    }

    /// Whether all records can be looked at within one announce.
    pub fn is_small(&self) -> bool {
        !matches!(self, Self::Many(_))
    }

    /// The record of one peer.
    pub fn get(&self, key: F::Key, hash: &KeyedHash) -> Option<Record<F>> {
        match self {
            Self::Many(many) => many.get(key, hash),
            _ => self.records().iter().find(|record| record.key == key).copied(),
        }
    }

    /// Adds a record, or puts it in place of the one with its key.
    pub fn put(&mut self, record: Record<F>, hash: &KeyedHash) {
        let small = match self {
            Self::Few { records, len } => &mut records[..usize::from(*len)],
            Self::Several(records) => records,
            Self::Many(many) => return many.put(record, hash),
        };
        match small.iter_mut().find(|old| old.key == record.key) {
            Some(old) => *old = record,
            None => self.add(record, hash),
        }
    }

    /// Adds a record whose key a small swarm does not have.
    fn add(&mut self, record: Record<F>, hash: &KeyedHash) {
        match self {
            Self::Few { records, len } if usize::from(*len) < FEW => {
                records[usize::from(*len)] = record;
                *len += 1;
            }
            Self::Few { records, .. } => {
                let mut several = Vec::with_capacity(2 * FEW);
                several.extend_from_slice(records);
                several.push(record);
                *self = Self::Several(several);
            }
            Self::Several(records) if records.len() < SEVERAL => {
                push(records, record);
            }
            Self::Several(records) => {
                let mut many = Many::new(std::mem::take(records), hash);
                many.put(record, hash);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => many.put(record, hash),
        }
    }

    /// Removes expired records, tombstones included, among those below position `from`, and looks at no
    /// more than `budget` of them; a small swarm is always processed whole. Calls `gone` for each. Returns the position
    /// to continue from: 0 when done.
    pub fn expire(
        &mut self,
        from: usize,
        budget: usize,
        now: Second,
        ttl: u16,
        hash: &KeyedHash,
        mut gone: impl FnMut(Role),
    ) -> usize {
        let mut keep = |record: &Record<F>| {
            let expired = record.expired(now, ttl);
            if expired {
                gone(record.role());
            }
            !expired
        };
        match self {
            Self::Few { records, len } => {
                let mut kept = 0;
                for at in 0..usize::from(*len) {
                    if keep(&records[at]) {
                        records[kept] = records[at];
                        kept += 1;
                    }
                }
                *len = kept as u8;
            }
            Self::Several(records) => {
                records.retain(keep);
                if let Some(few) = few(records) {
                    *self = few;
                }
            }
            Self::Many(many) => {
                let next = many.expire(from, budget, now, ttl, hash, gone);
                // Half the size at which it became large, so that it does not switch back and forth.
                if next == 0 && many.records().len() <= SEVERAL / 2 {
                    *self = few(many.records()).unwrap_or_else(|| Self::Several(many.records().to_vec()));
                }
                return next;
            }
        }
        0
    }

    /// Reads what an announce of the peer `key` and a selection with `random` will read.
    pub fn touch(&self, key: F::Key, hash: &KeyedHash, random: u64) {
        match self {
            Self::Many(many) => many.touch(key, hash, random),
            _ => drop(black_box((self.records().first().copied(), self.records().last().copied()))),
        }
    }

    /// How many there are of each role. `completed` is not known here.
    pub fn counts(&self) -> Counts {
        if let Self::Many(many) = self {
            return many.counts();
        }
        let mut counts = Counts::default();
        for record in self.records() {
            match record.role() {
                Role::Leecher => counts.leechers += 1,
                Role::PartialSeed => {
                    counts.leechers += 1;
                    counts.partial_seeds += 1;
                }
                Role::Seeder => counts.seeders += 1,
                Role::Stopped => {}
            }
        }
        counts
    }

    /// Appends up to `wish.want` living peers other than the asker to `out` in compact form. An asker that only uploads is
    /// given leechers alone.
    pub fn select(&self, selection: &PeerSelection<F>, out: &mut Vec<u8>) {
        if let Self::Many(many) = self {
            return many.select(selection, out);
        }
        let &PeerSelection { asker, role, want, now, ttl, random } = selection;
        let of_use =
            |record: &&Record<F>| record.key != asker && !record.expired(now, ttl) && useful(role, record.role());
        let others = self.records().iter().filter(of_use);
        let count = others.clone().count();
        let start = ((random >> 32) * count as u64) >> 32;
        let chosen = others.cycle().skip(start as usize).take(want.min(count));
        chosen.for_each(|record| out.extend_from_slice(record.key.as_ref()));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Several(records) => records.capacity() * size_of::<Record<F>>(),
            Self::Many(many) => size_of::<Many<F>>() + many.heap_bytes(),
        }
    }
}

/// The smallest layout, for one or two records.
fn few<F: AddressFamily>(records: &[Record<F>]) -> Option<Peers<F>> {
    match *records {
        [one] => Some(Peers::one(one)),
        [one, two] => Some(Peers::Few { records: [one, two], len: 2 }),
        _ => None,
    }
}

/// Whether a peer with the role `other` is of use to one with the role `asker`.
fn useful(asker: Role, other: Role) -> bool {
    match other {
        Role::Leecher => true,
        Role::PartialSeed | Role::Seeder => asker == Role::Leecher,
        Role::Stopped => false,
    }
}
