//! A compact hash index over positions in somebody else's array.

/// Maps hashes to positions in 4 bytes an entry: 24 bits of position and 8 of the hash, in open addressing with linear
/// probing. It holds no keys: the caller compares them, and tells an entry's hash when the table grows.
///
/// Against `hashbrown::HashTable<u32>` it spends one cache miss instead of two on a hit, and its capacity grows by half
/// instead of doubling, which together is a third of the memory of a swarm of two peers.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: Box<[u32]>,
    len: u32,
}

const EMPTY: u32 = u32::MAX;
const POSITION_BITS: u32 = 24;
/// Positions an index can hold: 0 to this, less one. The last is spent on the mark of an empty entry.
pub const MAX_POSITIONS: usize = (1 << POSITION_BITS) - 1;

/// An entry's place in the table: fast range reduction of the upper half of the hash.
fn home(hash: u64, capacity: usize) -> usize {
    (((hash >> 32) * capacity as u64) >> 32) as usize
}

/// The byte of the hash that is kept in the entry; none of the bits that choose the home of an entry.
fn tag(hash: u64) -> u32 {
    (hash as u32 >> 24) << POSITION_BITS
}

fn position(entry: u32) -> usize {
    (entry & MAX_POSITIONS as u32) as usize
}

impl Index {
    /// Entries held.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Finds the position with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl FnMut(usize) -> bool) -> Option<usize> {
        self.probe(hash, is).map(|at| position(self.entries[at]))
    }

    /// Adds a position that is not there yet. `hash_of` tells the hash of any position held.
    pub fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        debug_assert!(position < MAX_POSITIONS);
        // At most 4/5 full, growing by half: between 53 % and 80 % of the entries are in use.
        if (self.len() + 1) * 5 > self.entries.len() * 4 {
            self.resize((self.entries.len() * 3 / 2).max(8), hash_of);
        }
        place(&mut self.entries, hash, tag(hash) | position as u32);
        self.len += 1;
    }

    /// Removes a position that is there.
    pub fn remove(&mut self, hash: u64, position_held: usize, hash_of: impl Fn(usize) -> u64) {
        let Some(mut hole) = self.probe(hash, |position| position == position_held) else { return };
        let capacity = self.entries.len();
        let mut next = hole;
        // Pull back each entry of the run that may move into the hole, so that no lookup stops short of it.
        loop {
            next = if next + 1 == capacity { 0 } else { next + 1 };
            let entry = self.entries[next];
            if entry == EMPTY {
                break;
            }
            let home = home(hash_of(position(entry)), capacity);
            let distance = |from: usize, to: usize| if to >= from { to - from } else { to + capacity - from };
            if distance(home, next) >= distance(hole, next) {
                self.entries[hole] = entry;
                hole = next;
            }
        }
        self.entries[hole] = EMPTY;
        self.len -= 1;
        if capacity > 64 && self.len() * 4 < capacity {
            self.resize(capacity / 2, hash_of);
        }
    }

    /// Tells that what was at `from` is now at `to`.
    pub fn relocate(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(at) = self.probe(hash, |position| position == from) {
            self.entries[at] = tag(hash) | to as u32;
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.entries)
    }

    fn probe(&self, hash: u64, mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let capacity = self.entries.len();
        if capacity == 0 {
            return None;
        }
        let tag = tag(hash);
        let mut at = home(hash, capacity);
        // Ends: the table is never full.
        loop {
            let entry = self.entries[at];
            if entry == EMPTY {
                return None;
            }
            if entry & !(MAX_POSITIONS as u32) == tag && is(position(entry)) {
                return Some(at);
            }
            at = if at + 1 == capacity { 0 } else { at + 1 };
        }
    }

    fn resize(&mut self, capacity: usize, hash_of: impl Fn(usize) -> u64) {
        let mut entries = vec![EMPTY; capacity].into_boxed_slice();
        for &entry in self.entries.iter().filter(|entry| **entry != EMPTY) {
            place(&mut entries, hash_of(position(entry)), entry);
        }
        self.entries = entries;
    }
}

/// Puts an entry into the first free place from its home on.
fn place(entries: &mut [u32], hash: u64, entry: u32) {
    let mut at = home(hash, entries.len());
    while entries[at] != EMPTY {
        at = if at + 1 == entries.len() { 0 } else { at + 1 };
    }
    entries[at] = entry;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few distinct homes and tags, so that runs collide and wrap.
    fn hash_of(position: usize) -> u64 {
        let position = position as u64;
        ((position * 0x9E37_79B9) & 0xC000_0007) << 32 | (position % 3) << 24
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((any::<bool>(), 0usize..300), 0..600)) {
            let mut index = Index::default();
            let mut model = HashMap::new();
            for (add, position) in steps {
                let hash = hash_of(position);
                if add && !model.contains_key(&position) {
                    index.insert(hash, position, hash_of);
                    model.insert(position, ());
                } else if !add && model.remove(&position).is_some() {
                    index.remove(hash, position, hash_of);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for position in 0..300 {
                let found = index.find(hash_of(position), |at| at == position);
                prop_assert_eq!(found.is_some(), model.contains_key(&position));
            }
        }
    }

    #[test]
    fn a_relocated_entry_is_found_at_its_new_position() {
        let mut index = Index::default();
        for position in 0..100 {
            index.insert(hash_of(position), position, hash_of);
        }
        index.relocate(hash_of(7), 7, 1_000);
        assert_eq!(index.find(hash_of(7), |at| at == 1_000), Some(1_000));
        assert_eq!(index.find(hash_of(7), |at| at == 7), None);
    }

    #[test]
    fn it_shrinks_when_emptied() {
        let spread = |position: usize| (position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut index = Index::default();
        for position in 0..10_000 {
            index.insert(spread(position), position, spread);
        }
        let full = index.heap_bytes();
        assert!(full <= 10_000 * 8);
        for position in 0..10_000 {
            index.remove(spread(position), position, spread);
        }
        assert!(index.heap_bytes() < full / 50);
    }
}
