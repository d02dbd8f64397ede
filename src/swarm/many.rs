//! The layout of large swarms.

use std::hint::black_box;
use std::ops::RangeInclusive;

use super::Counts;
use super::hash::KeyedHash;
use super::index::Index;
use super::record::{AddressFamily, Record, Second};
use super::selection::PeerSelection;
use super::stamp::Role;

/// Records in one dense array, ordered by class: leechers, then uploaders (seeders and partial seeds), then tombstones.
/// So a random choice within a class is a random window, and counting is reading the borders. A peer that changes its
/// class is swapped over one border or two.
#[derive(Debug)]
pub struct Many<F: AddressFamily> {
    records: Vec<Record<F>>,
    /// Records of each class, in the order in which they lie.
    lengths: [u32; 3],
    /// Partial seeds among the uploaders.
    partial_seeds: u32,
    /// Key to position.
    index: Index,
}

fn class(role: Role) -> usize {
    match role {
        Role::Leecher => 0,
        Role::PartialSeed | Role::Seeder => 1,
        Role::Stopped => 2,
    }
}

impl<F: AddressFamily> Many<F> {
    /// Takes over the records of a smaller swarm, which are in no order.
    pub fn new(mut records: Vec<Record<F>>, hash: &KeyedHash) -> Self {
        records.sort_by_key(|record| class(record.role()));
        let (mut lengths, mut partial_seeds, mut index) = ([0; 3], 0, Index::default());
        let hash_of = |at: usize| hash.hash(records[at].key.as_ref());
        for (at, record) in records.iter().enumerate() {
            lengths[class(record.role())] += 1;
            partial_seeds += u32::from(record.role() == Role::PartialSeed);
            index.insert(hash_of(at), at, hash_of);
        }
        Self { records, lengths, partial_seeds, index }
    }

    /// All records, tombstones included.
    pub fn records(&self) -> &[Record<F>] {
        &self.records
    }

    /// See `Peers::get`.
    pub fn get(&self, key: F::Key, hash: &KeyedHash) -> Option<Record<F>> {
        self.find(key, hash).map(|at| self.records[at])
    }

    /// See `Peers::records_between`.
    pub fn records_between(&self, hash: &KeyedHash, range: &RangeInclusive<u32>) -> Vec<Record<F>> {
        let mut records = Vec::new();
        let hash_of = |at: usize| hash.hash(self.records[at].key.as_ref());
        self.index.range(range, u16::MAX, &hash_of, &mut |at, _| records.push(self.records[at]));
        records
    }

    /// See `Peers::touch`.
    pub fn touch(&self, key: F::Key, hash: &KeyedHash, random: u64) {
        let (leechers, uploaders) = self.living();
        let [first, second] = [Window::new(leechers, random as u32), Window::new(uploaders, (random >> 32) as u32)];
        black_box((
            first.records.get(first.next).map(|record| record.seen),
            second.records.get(second.next).map(|record| record.seen),
        ));
        black_box(self.find(key, hash).map(|at| self.records[at].stamp));
    }

    /// See `Peers::put`.
    pub fn put(&mut self, record: Record<F>, hash: &KeyedHash) {
        let to = class(record.role());
        self.partial_seeds += u32::from(record.role() == Role::PartialSeed);
        if let Some(at) = self.find(record.key, hash) {
            let old = std::mem::replace(&mut self.records[at], record).role();
            self.partial_seeds -= u32::from(old == Role::PartialSeed);
            self.reclass(at, class(old), to, hash);
            return;
        }
        let at = self.records.len();
        push(&mut self.records, record);
        self.lengths[2] += 1;
        let records = &self.records;
        self.index.insert(hash.hash(record.key.as_ref()), at, |at| hash.hash(records[at].key.as_ref()));
        self.reclass(at, 2, to, hash);
    }

    /// See `Peers::expire`.
    pub fn expire(
        &mut self,
        from: usize,
        budget: usize,
        now: Second,
        ttl: u16,
        hash: &KeyedHash,
        mut gone: impl FnMut(Role),
    ) -> usize {
        let from = from.min(self.records.len());
        let end = from.saturating_sub(budget);
        // Downwards: what a removal moves comes from above, where it was already looked at, or from the class's end.
        for at in (end..from).rev() {
            // A removal near the end may have shortened the array below `at`.
            while at < self.records.len() && self.records[at].expired(now, ttl) {
                gone(self.records[at].role());
                self.remove(at, hash);
            }
        }
        if end == 0 {
            self.tighten();
        }
        end
    }

    /// See `Peers::counts`.
    pub fn counts(&self) -> Counts {
        let [leechers, uploaders, _] = self.lengths;
        Counts {
            seeders: uploaders - self.partial_seeds,
            leechers: leechers + self.partial_seeds,
            partial_seeds: self.partial_seeds,
            completed: 0,
        }
    }

    /// See `Peers::select`. A leecher's list is half uploaders where there are as many; what one class
    /// lacks the other fills.
    pub fn select(&self, selection: &PeerSelection<F>, out: &mut Vec<u8>) {
        let &PeerSelection { asker, role, want, now, ttl, random } = selection;
        let (leechers, uploaders) = self.living();
        let alive = |record: &Record<F>| record.key != asker && !record.expired(now, ttl);
        let mut left = want;
        let mut take = |window: &mut Window<'_, F>, limit: usize| {
            let mut taken = 0;
            while taken < limit.min(left) {
                let Some(record) = window.next() else { break };
                if alive(record) {
                    out.extend_from_slice(record.key.as_ref());
                    taken += 1;
                }
            }
            left -= taken;
        };
        let mut from_leechers = Window::new(leechers, random as u32);
        if role == Role::Leecher {
            let mut from_uploaders = Window::new(uploaders, (random >> 32) as u32);
            take(&mut from_uploaders, want.div_ceil(2).max(want.saturating_sub(leechers.len())));
            take(&mut from_leechers, want);
            take(&mut from_uploaders, want);
        } else {
            take(&mut from_leechers, want);
        }
    }

    /// Leechers and uploaders.
    fn living(&self) -> (&[Record<F>], &[Record<F>]) {
        let [leechers, uploaders, _] = self.lengths.map(|length| length as usize);
        self.records[..leechers + uploaders].split_at(leechers)
    }

    /// Bytes on the heap, beside this struct.
    pub fn heap_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record<F>>() + self.index.heap_bytes()
    }

    fn find(&self, key: F::Key, hash: &KeyedHash) -> Option<usize> {
        self.index.find(hash.hash(key.as_ref()), |at| self.records[at].key == key)
    }

    /// Moves the record at `at` from one class to another, one border at a time.
    fn reclass(&mut self, mut at: usize, from: usize, to: usize, hash: &KeyedHash) {
        for class in (to..from).rev() {
            // Down over the border between `class` and the one above it.
            let border: u32 = self.lengths[..=class].iter().sum();
            self.swap(at, border as usize, hash);
            at = border as usize;
            self.lengths[class] += 1;
            self.lengths[class + 1] -= 1;
        }
        for class in from..to {
            let border: u32 = self.lengths[..=class].iter().sum();
            self.swap(at, border as usize - 1, hash);
            at = border as usize - 1;
            self.lengths[class] -= 1;
            self.lengths[class + 1] += 1;
        }
    }

    fn swap(&mut self, a: usize, b: usize, hash: &KeyedHash) {
        if a == b {
            return;
        }
        let [a_hash, b_hash] = [a, b].map(|at| hash.hash(self.records[at].key.as_ref()));
        // By way of a position that no record has, as the two hashes may be the same.
        let aside = self.records.len();
        self.index.relocate(a_hash, a, aside);
        self.index.relocate(b_hash, b, a);
        self.index.relocate(a_hash, aside, b);
        self.records.swap(a, b);
    }

    fn remove(&mut self, at: usize, hash: &KeyedHash) {
        let role = self.records[at].role();
        self.partial_seeds -= u32::from(role == Role::PartialSeed);
        self.reclass(at, class(role), 2, hash);
        let at = if class(role) == 2 { at } else { (self.lengths[0] + self.lengths[1]) as usize };
        self.swap(at, self.records.len() - 1, hash);
        let records = &self.records;
        let last = records.len() - 1;
        self.index.remove(hash.hash(records[last].key.as_ref()), last, |at| hash.hash(records[at].key.as_ref()));
        self.records.pop();
        self.lengths[2] -= 1;
    }

    /// Gives memory back after an expiry pass.
    fn tighten(&mut self) {
        let len = self.records.len();
        if self.records.capacity() > len + len / 8 + 2 {
            self.records.shrink_to(len + len / 16);
        }
    }
}

/// A slice walked once around from a random start.
struct Window<'a, F: AddressFamily> {
    records: &'a [Record<F>],
    next: usize,
    left: usize,
}

impl<'a, F: AddressFamily> Window<'a, F> {
    fn new(records: &'a [Record<F>], random: u32) -> Self {
        let start = (u64::from(random) * records.len() as u64) >> 32;
        Self { records, next: start as usize, left: records.len() }
    }
}

impl<'a, F: AddressFamily> Iterator for Window<'a, F> {
    type Item = &'a Record<F>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = &self.records[self.next];
        self.next = if self.next + 1 == self.records.len() { 0 } else { self.next + 1 };
        Some(record)
    }
}

/// Appends to an array that grows by an eighth: in a swarm of a million a doubling would waste as much as it holds.
pub fn push<F: AddressFamily>(records: &mut Vec<Record<F>>, record: Record<F>) {
    if records.len() == records.capacity() {
        records.reserve_exact((records.len() / 8).max(2));
    }
    records.push(record);
}
