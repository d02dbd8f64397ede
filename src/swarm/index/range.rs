//! Reading an index in a fixed order of hashes, stretch by stretch.
//!
//! Entries lie by the upper half of their hash, whatever the size of the table, so those of a stretch of hashes lie
//! together in each table. A walk that takes one stretch after the other sees everything that is there all the time
//! once, however the tables grow, shrink and split between its steps, and remembers nothing but how far it came.
//!
//! The order is woven of [`STRANDS`] strands, equal parts of all hashes that go on side by side. Without them, who fills
//! an index of its own from such a walk would always insert at one place, behind all that the table has: runs would
//! become as long as the table, and every insertion and lookup with them.

use std::ops::RangeInclusive;

use super::{EMPTY, Index, Table, home, position};

/// Strands of the order: the greatest bits of a hash.
pub const STRANDS: u32 = 16;
/// Tables up to this size are read as a whole.
const SMALL: usize = 4 * STRANDS as usize;

/// Where a hash comes in the order of walks: first by bits 32 to 59, then by strand.
pub fn order(hash: u64) -> u32 {
    ((hash >> 32) as u32).rotate_left(STRANDS.ilog2())
}

/// The strand of a hash.
fn strand(hash: u64) -> u32 {
    (hash >> (64 - STRANDS.ilog2())) as u32
}

impl Index {
    /// Entries held.
    pub fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.len as usize,
            Self::Split(split) => split.len as usize,
        }
    }

    /// Calls `visit`, in no order, with every position, and its hash, whose hash is in this range of [`order`] and in a
    /// strand whose bit is set.
    pub fn range(
        &self,
        range: &RangeInclusive<u32>,
        strands: u16,
        hash_of: &impl Fn(usize) -> u64,
        visit: &mut impl FnMut(usize, u64),
    ) {
        match self {
            Self::Table(table) => table.range(range, strands, hash_of, visit),
            Self::Split(split) => split.parts.iter().for_each(|part| part.range(range, strands, hash_of, visit)),
        }
    }

    /// Appends up to `count` positions, whichever come first.
    pub fn some(&self, count: usize, positions: &mut Vec<usize>) {
        match self {
            Self::Table(table) => {
                let room = count.saturating_sub(positions.len());
                positions.extend(table.held().take(room).map(position));
            }
            Self::Split(split) => {
                for part in &split.parts {
                    if positions.len() >= count {
                        return;
                    }
                    part.some(count, positions);
                }
            }
        }
    }
}

impl Table {
    fn range(
        &self,
        range: &RangeInclusive<u32>,
        strands: u16,
        hash_of: &impl Fn(usize) -> u64,
        visit: &mut impl FnMut(usize, u64),
    ) {
        let mut look = |entry: u32, strands: u16| {
            let hash = hash_of(position(entry));
            if strands >> strand(hash) & 1 == 1 && range.contains(&order(hash)) {
                visit(position(entry), hash);
            }
        };
        if self.entries.len() <= SMALL {
            return self.held().for_each(|entry| look(entry, strands));
        }
        for strand in (0..STRANDS).filter(|strand| strands >> strand & 1 == 1) {
            let [first, last] = [range.start(), range.end()].map(|order| {
                let upper = (order & !(STRANDS - 1) | strand).rotate_right(STRANDS.ilog2());
                home(u64::from(upper) << 32, self.entries.len())
            });
            self.run(first, last, |entry| look(entry, 1 << strand));
        }
    }

    /// Calls `visit` with all entries whose home is between `first` and `last`, and some others.
    fn run(&self, first: usize, last: usize, mut visit: impl FnMut(u32)) {
        let (mut at, mut beyond) = (first, false);
        // Once around at the most.
        for _ in 0..self.entries.len() {
            let entry = self.entries[at];
            if entry != EMPTY {
                visit(entry);
            } else if beyond {
                return;
            }
            // Behind the last home come those that found theirs taken, up to the first free place.
            beyond |= at == last;
            at = if at + 1 == self.entries.len() { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn spread(position: usize) -> u64 {
        (position as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn stretches_find_everything(
            positions in prop::collection::btree_set(0usize..400, 0..300),
            dense in any::<bool>(),
            mut borders in prop::collection::btree_set(any::<u32>(), 0..20),
        ) {
            // Dense hashes share homes at the end of the table, so that runs wrap.
            let hash_of = |position| if dense { spread(position) | 0xFFFF_FF00 << 32 } else { spread(position) };
            let mut index = Index::default();
            positions.iter().for_each(|at| index.insert(hash_of(*at), *at, hash_of));
            borders.insert(u32::MAX);
            let (mut found, mut start) = (Vec::new(), 0);
            for end in borders {
                let stretch = start..=end;
                // Strands may be asked for apart.
                for strands in [0x00FF, 0xFF00] {
                    index.range(&stretch, strands, &hash_of, &mut |at, _| found.push(at));
                }
                start = end.wrapping_add(1);
            }
            prop_assert_eq!(found.len(), positions.len(), "each of them once");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), positions);
        }
    }

    #[test]
    fn who_fills_an_index_in_the_order_of_a_walk_makes_no_long_runs() {
        let mut positions: Vec<usize> = (0..100_000).collect();
        positions.sort_by_key(|at| order(spread(*at)));
        let (mut index, mut longest) = (Index::default(), 0);
        for at in positions {
            let mut looked = 0;
            // One with the same hash is looked for from the same home to the end of the run.
            fn table(index: &Index, hash: u64) -> &Table {
                let (mut node, mut level) = (index, 0);
                loop {
                    match node {
                        Index::Table(table) => return table,
                        Index::Split(split) => node = &split.parts[super::super::part(hash, level)],
                    }
                    level += 1;
                }
            }
            let table = table(&index, spread(at));
            if !table.entries.is_empty() {
                let mut from = home(spread(at), table.entries.len());
                while table.entries[from] != EMPTY {
                    looked += 1;
                    from = (from + 1) % table.entries.len();
                }
            }
            longest = longest.max(looked);
            index.insert(spread(at), at, spread);
        }
        assert!(longest < 600, "{longest}");
    }

    #[test]
    fn a_split_index_is_read_in_stretches_too() {
        let mut index = Index::default();
        (0..50_000).for_each(|at| index.insert(spread(at), at, spread));
        let (mut found, looked) = (BTreeSet::new(), Cell::new(0));
        let hash_of = |at| {
            looked.set(looked.get() + 1);
            spread(at)
        };
        for stretch in (0..64u32).map(|part| part << 26..=part << 26 | 0x3FF_FFFF) {
            index.range(&stretch, u16::MAX, &hash_of, &mut |at, _| _ = found.insert(at));
        }
        assert_eq!((found.len(), index.len()), (50_000, 50_000));
        assert!(looked.get() < 200_000, "a stretch costs about what it finds: {looked:?}");
        let mut some = Vec::new();
        index.some(70, &mut some);
        assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 70);
    }
}
