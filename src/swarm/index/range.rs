//! Reading an index in the order of its hashes, stretch by stretch.
//!
//! Entries lie by the upper half of their hash, whatever the size of the table, so those of a stretch of hashes lie
//! together in each table. A walk that takes one stretch after the other sees everything that is there all the time
//! once, however the tables grow, shrink and split between its steps, and remembers nothing but how far it came.

use std::ops::RangeInclusive;

use super::{EMPTY, Index, Table, home, position};

impl Index {
    /// Entries held.
    pub fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.len as usize,
            Self::Split(split) => split.len as usize,
        }
    }

    /// Calls `visit` for every position whose hash has an upper half in this range, in no order, and for some others
    /// that lie beside them.
    pub fn range(&self, range: &RangeInclusive<u32>, visit: &mut impl FnMut(usize)) {
        match self {
            Self::Table(table) => table.range(range, visit),
            Self::Split(split) => split.parts.iter().for_each(|part| part.range(range, visit)),
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
    fn range(&self, range: &RangeInclusive<u32>, visit: &mut impl FnMut(usize)) {
        let capacity = self.entries.len();
        if capacity == 0 || range.is_empty() {
            return;
        }
        let [first, last] = [range.start(), range.end()].map(|upper| home(u64::from(*upper) << 32, capacity));
        let mut at = first;
        let mut beyond = false;
        // Once around at the most. Beyond the last home there may be entries that found their own taken.
        for _ in 0..capacity {
            let entry = self.entries[at];
            if entry == EMPTY && beyond {
                return;
            }
            if entry != EMPTY {
                visit(position(entry));
            }
            // A home is taken by its own, so the run goes on only from there.
            beyond |= at == last;
            at = if at + 1 == capacity { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
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
                index.range(&stretch, &mut |at| if stretch.contains(&((hash_of(at) >> 32) as u32)) { found.push(at) });
                start = end.wrapping_add(1);
            }
            prop_assert_eq!(found.len(), positions.len(), "each of them once");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), positions);
        }
    }

    #[test]
    fn a_split_index_is_read_in_stretches_too() {
        let mut index = Index::default();
        (0..50_000).for_each(|at| index.insert(spread(at), at, spread));
        let (mut found, mut looked) = (BTreeSet::new(), 0);
        for stretch in (0..1_024u32).map(|part| part << 22..=part << 22 | 0x3F_FFFF) {
            index.range(&stretch, &mut |at| {
                looked += 1;
                if stretch.contains(&((spread(at) >> 32) as u32)) {
                    found.insert(at);
                }
            });
        }
        assert_eq!((found.len(), index.len()), (50_000, 50_000));
        assert!(looked < 250_000, "a stretch costs about what it finds: {looked}");
        let mut some = Vec::new();
        index.some(70, &mut some);
        assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 70);
    }
}
