//! Scanning an index in a fixed order of hashes, range by range.
//!
//! Entries are positioned by the upper half of their hash, whatever the size of the table, so those of a range of hashes
//! are adjacent in each table. A scan that takes one range after the other visits every entry that exists throughout it
//! exactly once, even if tables grow, shrink and split between its steps, and its only state is how far it got.
//!
//! The order interleaves [`STRIPES`] stripes, equal parts of all hashes. Without them, a reader that fills its own index
//! from such a scan would always insert at one place, behind everything in the table: runs would become as long as the
//! table, and so would every insertion and lookup.

use std::ops::RangeInclusive;

use super::{EMPTY, Index, Table, home, position};

/// Stripes of the scan order: the top bits of a hash.
pub const STRIPES: u32 = 16;
/// Tables up to this size are scanned whole.
const SMALL: usize = 4 * STRIPES as usize;

/// The position of a hash in the scan order: first by bits 32 to 59, then by stripe.
pub fn scan_order(hash: u64) -> u32 {
    ((hash >> 32) as u32).rotate_left(STRIPES.ilog2())
}

fn stripe(hash: u64) -> u32 {
    (hash >> (64 - STRIPES.ilog2())) as u32
}

impl Index {
    /// Entries held.
    pub fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.len as usize,
            Self::Split(split) => split.len as usize,
        }
    }

    /// Calls `visit`, in no order, with every position, and its hash, whose hash is in this range of
    /// [`scan_order`] and in a stripe whose bit is set.
    pub fn range(
        &self,
        range: &RangeInclusive<u32>,
        stripes: u16,
        hash_of: &impl Fn(usize) -> u64,
        visit: &mut impl FnMut(usize, u64),
    ) {
        match self {
            Self::Table(table) => table.range(range, stripes, hash_of, visit),
            Self::Split(split) => split.parts.iter().for_each(|part| part.range(range, stripes, hash_of, visit)),
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
        stripes: u16,
        hash_of: &impl Fn(usize) -> u64,
        visit: &mut impl FnMut(usize, u64),
    ) {
        let mut look = |entry: u32, stripes: u16| {
            let hash = hash_of(position(entry));
            if stripes >> stripe(hash) & 1 == 1 && range.contains(&scan_order(hash)) {
                visit(position(entry), hash);
            }
        };
        if self.entries.len() <= SMALL {
            return self.held().for_each(|entry| look(entry, stripes));
        }
        for stripe in (0..STRIPES).filter(|stripe| stripes >> stripe & 1 == 1) {
            let [first, last] = [range.start(), range.end()].map(|order| {
                let upper = (order & !(STRIPES - 1) | stripe).rotate_right(STRIPES.ilog2());
                home(u64::from(upper) << 32, self.entries.len())
            });
            self.run(first, last, |entry| look(entry, 1 << stripe));
        }
    }

    /// Calls `visit` with all entries whose home is between `first` and `last`, and some others.
    fn run(&self, first: usize, last: usize, mut visit: impl FnMut(u32)) {
        let (mut at, mut beyond) = (first, false);
        // No more than once around.
        for _ in 0..self.entries.len() {
            let entry = self.entries[at];
            if entry != EMPTY {
                visit(entry);
            } else if beyond {
                return;
            }
            // Entries displaced from the last home follow it, up to the first free slot.
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
        fn consecutive_ranges_find_everything_once(
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
                let range = start..=end;
                // Stripes may be scanned separately.
                for stripes in [0x00FF, 0xFF00] {
                    index.range(&range, stripes, &hash_of, &mut |at, _| found.push(at));
                }
                start = end.wrapping_add(1);
            }
            prop_assert_eq!(found.len(), positions.len(), "each of them once");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), positions);
        }
    }

    #[test]
    fn filling_an_index_in_scan_order_makes_no_long_runs() {
        let mut positions: Vec<usize> = (0..100_000).collect();
        positions.sort_by_key(|at| scan_order(spread(*at)));
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
    fn a_split_index_is_scanned_by_ranges() {
        let mut index = Index::default();
        (0..50_000).for_each(|at| index.insert(spread(at), at, spread));
        let (mut found, looked) = (BTreeSet::new(), Cell::new(0));
        let hash_of = |at| {
            looked.set(looked.get() + 1);
            spread(at)
        };
        for range in (0..64u32).map(|part| part << 26..=part << 26 | 0x3FF_FFFF) {
            index.range(&range, u16::MAX, &hash_of, &mut |at, _| _ = found.insert(at));
        }
        assert_eq!((found.len(), index.len()), (50_000, 50_000));
        assert!(looked.get() < 200_000, "a range costs about what it finds: {looked:?}");
        let mut some = Vec::new();
        index.some(70, &mut some);
        assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 70);
    }
}
