//! A compact hash index over positions in an array owned by the caller.

mod scan;

pub use scan::scan_order;

/// Maps hashes to positions in 4 bytes an entry: 24 bits of position and 8 of the hash, in open addressing with linear
/// probing. It holds no keys: the caller compares them, and computes an entry's hash when entries have to move.
///
/// Against `hashbrown::HashTable<u32>` it spends one cache miss instead of two on a hit, and its capacity grows by half
/// instead of doubling, which together is a third of the memory of a swarm of two peers. A table that has become large
/// is split into [`FAN_OUT`] that grow by themselves, so that no insertion ever moves more than [`MAX_TABLE`] entries.
#[derive(Clone, Debug)]
pub enum Index {
    /// A single table.
    Table(Table),
    /// More entries than one table should hold.
    Split(Box<Split>),
}

/// One table of open addressing.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Box<[u32]>,
    len: u32,
}

/// Parts of an index, selected by four bits of the hash.
#[derive(Clone, Debug)]
pub struct Split {
    parts: [Index; FAN_OUT],
    len: u32,
}

const EMPTY: u32 = u32::MAX;
const POSITION_BITS: u32 = 24;
/// Positions an index can hold: 0 to this, less one. The last is spent on the mark of an empty entry.
pub const MAX_POSITIONS: usize = (1 << POSITION_BITS) - 1;

/// Entries of a table before it is split: moving them takes a fraction of a millisecond.
const MAX_TABLE: usize = 8192;
/// Parts of a split.
const FAN_OUT: usize = 16;
/// Splits above a table at most; they use the bits 32 to 47 of the hash. Three are enough for 16 million positions.
const MAX_LEVEL: u32 = 4;

/// An entry's place in the table: fast range reduction of the upper half of the hash, of whose bits a table's size
/// leaves the lower ones, which choose the part of a split, without effect.
fn home(hash: u64, capacity: usize) -> usize {
    (((hash >> 32) * capacity as u64) >> 32) as usize
}

/// The byte of the hash that is kept in the entry; none of the bits that choose the home of an entry.
fn tag(hash: u64) -> u32 {
    (hash as u32 >> 24) << POSITION_BITS
}

/// The part of a split to which a hash belongs.
fn part(hash: u64, level: u32) -> usize {
    (hash >> (32 + 4 * level)) as usize % FAN_OUT
}

fn position(entry: u32) -> usize {
    (entry & MAX_POSITIONS as u32) as usize
}

impl Default for Index {
    fn default() -> Self {
        Self::Table(Table::default())
    }
}

impl Index {
    /// Finds the position with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl FnMut(usize) -> bool) -> Option<usize> {
        let (mut node, mut level) = (self, 0);
        loop {
            match node {
                Self::Table(table) => return table.probe(hash, is).map(|at| position(table.entries[at])),
                Self::Split(split) => node = &split.parts[part(hash, level)],
            }
            level += 1;
        }
    }

    /// Adds a position that is not there yet. `hash_of` returns the hash of any position held.
    pub fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        debug_assert!(position < MAX_POSITIONS);
        let (mut node, mut level) = (self, 0);
        loop {
            match node {
                Self::Table(table) if (table.len as usize) < MAX_TABLE || level == MAX_LEVEL => {
                    return table.insert(hash, position, hash_of);
                }
                Self::Table(table) => *node = Self::Split(table.split(level, &hash_of)),
                Self::Split(split) => {
                    split.len += 1;
                    node = &mut split.parts[part(hash, level)];
                    level += 1;
                }
            }
        }
    }

    /// Removes a position that is there.
    pub fn remove(&mut self, hash: u64, position_held: usize, hash_of: impl Fn(usize) -> u64) {
        self.remove_below(0, hash, position_held, &hash_of);
    }

    /// Records that the entry at position `from` has moved to `to`.
    pub fn relocate(&mut self, hash: u64, from: usize, to: usize) {
        let (mut node, mut level) = (self, 0);
        loop {
            match node {
                Self::Table(table) => return table.relocate(hash, from, to),
                Self::Split(split) => node = &mut split.parts[part(hash, level)],
            }
            level += 1;
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Table(table) => size_of_val(&*table.entries),
            Self::Split(split) => size_of::<Split>() + split.parts.iter().map(Self::heap_bytes).sum::<usize>(),
        }
    }

    /// Whether the position was there.
    fn remove_below(&mut self, level: u32, hash: u64, position: usize, hash_of: &impl Fn(usize) -> u64) -> bool {
        let split = match self {
            Self::Table(table) => return table.remove(hash, position, hash_of),
            Self::Split(split) => split,
        };
        if !split.parts[part(hash, level)].remove_below(level + 1, hash, position, hash_of) {
            return false;
        }
        split.len -= 1;
        if (split.len as usize) < MAX_TABLE / 4 {
            let mut table = Table::for_len(split.len as usize);
            self.for_each(&mut |entry| table.add(hash_of(self::position(entry)), entry));
            *self = Self::Table(table);
        }
        true
    }

    fn for_each(&self, visit: &mut impl FnMut(u32)) {
        match self {
            Self::Table(table) => table.held().for_each(visit),
            Self::Split(split) => split.parts.iter().for_each(|part| part.for_each(visit)),
        }
    }
}

impl Table {
    /// An empty table that is two thirds full when it holds `len` entries.
    fn for_len(len: usize) -> Self {
        Self { entries: vec![EMPTY; (len * 3 / 2).max(8)].into_boxed_slice(), len: 0 }
    }

    fn held(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().copied().filter(|entry| *entry != EMPTY)
    }

    fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        // At most 4/5 full, growing by half: between 53 % and 80 % of the entries are in use.
        if (self.len as usize + 1) * 5 > self.entries.len() * 4 {
            self.resize((self.entries.len() * 3 / 2).max(8), &hash_of);
        }
        self.add(hash, tag(hash) | position as u32);
    }

    /// Whether the position was there.
    fn remove(&mut self, hash: u64, position_held: usize, hash_of: impl Fn(usize) -> u64) -> bool {
        let Some(mut hole) = self.probe(hash, |position| position == position_held) else { return false };
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
        // Below 45 %, to 2/3: as far from the next growth as from the next shrinking.
        if capacity > 64 && self.len as usize * 20 < capacity * 9 {
            self.resize(self.len as usize * 3 / 2, &hash_of);
        }
        true
    }

    fn relocate(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(at) = self.probe(hash, |position| position == from) {
            self.entries[at] = tag(hash) | to as u32;
        }
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
        let entries = vec![EMPTY; capacity].into_boxed_slice();
        let old = std::mem::replace(self, Self { entries, len: 0 });
        old.held().for_each(|entry| self.add(hash_of(position(entry)), entry));
    }

    fn split(&self, level: u32, hash_of: impl Fn(usize) -> u64) -> Box<Split> {
        let mut parts: [Self; FAN_OUT] = std::array::from_fn(|_| Self::for_len(self.len as usize / FAN_OUT));
        for entry in self.held() {
            let hash = hash_of(position(entry));
            parts[part(hash, level)].insert(hash, position(entry), &hash_of);
        }
        Box::new(Split { parts: parts.map(Index::Table), len: self.len })
    }

    /// Puts an entry into the first free place from its home on; there is one.
    fn add(&mut self, hash: u64, entry: u32) {
        let mut at = home(hash, self.entries.len());
        while self.entries[at] != EMPTY {
            at = if at + 1 == self.entries.len() { 0 } else { at + 1 };
        }
        self.entries[at] = entry;
        self.len += 1;
    }
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
    fn it_is_compact_at_every_size_and_shrinks_when_emptied() {
        let spread = |position: usize| (position as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut index = Index::default();
        for position in 0..100_000 {
            index.insert(spread(position), position, spread);
            if position > 1_000 && position % 101 == 0 {
                assert!(index.heap_bytes() <= position * 8, "{} bytes for {position}", index.heap_bytes());
            }
        }
        assert!((0..100_000).all(|position| index.find(spread(position), |at| at == position) == Some(position)));
        for position in (0..100_000).rev() {
            index.remove(spread(position), position, spread);
            if position > 1_000 && position % 101 == 0 {
                assert!(index.heap_bytes() <= position * 10, "{} bytes for {position}", index.heap_bytes());
                assert_eq!(index.len(), position);
            }
        }
        assert!(index.heap_bytes() < 1_000);
    }

    #[test]
    fn hashes_that_no_split_can_tell_apart_still_work() {
        let same = |_: usize| 0xDEAD_BEEF_0BAD_CAFE;
        let mut index = Index::default();
        let size = MAX_TABLE + 300;
        for position in 0..size {
            index.insert(same(position), position, same);
        }
        for position in [0, 1, MAX_TABLE - 1, MAX_TABLE, size - 1] {
            assert_eq!(index.find(same(position), |at| at == position), Some(position));
        }
        index.remove(same(5), 5, same);
        assert_eq!(index.find(same(5), |at| at == 5), None);
        assert_eq!(index.len(), size - 1);
    }

    #[test]
    fn the_last_position_is_no_empty_entry() {
        let ones = |_: usize| u64::MAX;
        let mut index = Index::default();
        index.insert(u64::MAX, MAX_POSITIONS - 1, ones);
        assert_eq!(index.find(u64::MAX, |_| true), Some(MAX_POSITIONS - 1));
    }
}
