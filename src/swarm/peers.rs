//! The peers of one swarm, in one family. Most swarms have one or two peers and some have a million, so there are two
//! layouts: [`Peers::Few`] lies inside the swarm's slot, [`Peers::Many`] on the heap.

use super::Counts;
use super::hash::KeyedHash;
use super::many::Many;
use super::record::{AddressFamily, Record, Second};
use super::stamp::Role;

/// Peers that fit into a swarm's slot, which with them is 64 bytes for IPv4: one cache line.
const FEW: usize = 2;

/// The records of a swarm, tombstones included.
#[derive(Debug)]
pub enum Peers<F: AddressFamily> {
    /// Up to two records in place; the first `len` count.
    Few {
        /// The records, in no order.
        records: [Record<F>; FEW],
        /// How many of them are in use: at least one.
        len: u8,
    },
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
            Self::Many(many) => many.records(),
        }
    }

    /// The record of one peer.
    pub fn get(&self, key: F::Key, hash: &KeyedHash) -> Option<Record<F>> {
        match self {
            Self::Few { .. } => self.records().iter().find(|record| record.key == key).copied(),
            Self::Many(many) => many.get(key, hash),
        }
    }

    /// Adds a record, or puts it in place of the one with its key.
    pub fn put(&mut self, record: Record<F>, hash: &KeyedHash) {
        match self {
            Self::Few { records, len } => {
                let used = usize::from(*len);
                if let Some(old) = records[..used].iter_mut().find(|old| old.key == record.key) {
                    *old = record;
                } else if used < FEW {
                    records[used] = record;
                    *len += 1;
                } else {
                    let mut many = Many::from_few(records);
                    many.put(record, hash);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(many) => many.put(record, hash),
        }
    }

    /// Removes expired records, tombstones included, among those below position `from`, and looks at `budget` of them
    /// at the most. Calls `gone` for each. Returns the position to go on from: 0 when done.
    pub fn expire(
        &mut self,
        from: usize,
        budget: usize,
        now: Second,
        ttl: u16,
        hash: &KeyedHash,
        mut gone: impl FnMut(Role),
    ) -> usize {
        match self {
            Self::Few { records, len } => {
                let mut kept = 0;
                for at in 0..usize::from(*len) {
                    if records[at].expired(now, ttl) {
                        gone(records[at].role());
                    } else {
                        records[kept] = records[at];
                        kept += 1;
                    }
                }
                *len = kept as u8;
                0
            }
            Self::Many(many) => {
                let next = many.expire(from, budget, now, ttl, hash, gone);
                if let &[first, ref rest @ ..] = many.records()
                    && rest.len() < FEW
                    && next == 0
                {
                    *self = Self::Few { records: [first, *rest.first().unwrap_or(&first)], len: 1 + rest.len() as u8 };
                }
                next
            }
        }
    }

    /// How many there are of each role. `completed` is not known here.
    pub fn counts(&self) -> Counts {
        match self {
            Self::Few { .. } => {
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
            Self::Many(many) => many.counts(),
        }
    }

    /// Appends up to `want` living peers other than `asker` to `out` in compact form. An asker that only uploads is
    /// given leechers alone.
    pub fn select(
        &self,
        asker: F::Key,
        role: Role,
        want: usize,
        now: Second,
        ttl: u16,
        random: u64,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Few { .. } => {
                let others = self
                    .records()
                    .iter()
                    .filter(|record| record.key != asker && !record.expired(now, ttl) && useful(role, record.role()));
                others.take(want).for_each(|record| out.extend_from_slice(record.key.as_ref()));
            }
            Self::Many(many) => many.select(asker, role, want, now, ttl, random, out),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Many(many) => size_of::<Many<F>>() + many.heap_bytes(),
        }
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
