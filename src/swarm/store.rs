//! The swarms of one address family that one owner holds.

mod partitions;
mod replicated;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::hash::KeyedHash;
use super::index::{Index, MAX_POSITIONS};
use super::peers::Peers;
use super::record::{AddressFamily, Record, Second};
use super::selection::PeerSelection;
use super::slab::Slab;
use super::stamp::{HlcTime, Role, Stamp};
use super::{Announce, Counts, Event, InfoHash, PartitionCount};

pub use replicated::Merged;

/// Caps that all stores of a node share, and how much of them is used. When one is reached, peers that are known go on
/// as before; a new peer is sent others but is not stored, and [`Totals::refused`] counts it.
#[derive(Debug)]
pub struct Quota {
    max_swarms: usize,
    max_records: usize,
    max_per_swarm: usize,
    swarms: AtomicUsize,
    records: AtomicUsize,
}

impl Quota {
    /// Caps on the swarms of the node, on its peers (tombstones included), and on the peers of one swarm.
    pub fn new(max_swarms: usize, max_records: usize, max_per_swarm: usize) -> Self {
        let max_per_swarm = max_per_swarm.min(MAX_POSITIONS - 1);
        Self { max_swarms, max_records, max_per_swarm, swarms: AtomicUsize::new(0), records: AtomicUsize::new(0) }
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Swarms, those with tombstones alone included.
    pub swarms: usize,
    /// Leechers, without partial seeds.
    pub leechers: usize,
    /// Partial seeds.
    pub partial_seeds: usize,
    /// Seeders.
    pub seeders: usize,
    /// Tombstones.
    pub stopped: usize,
    /// New peers that were not kept because a cap was reached, since the start.
    pub refused: u64,
    /// Records that were removed because their lifetime was over, since the start.
    pub expired: u64,
}

impl Totals {
    fn role(&mut self, role: Role) -> &mut usize {
        match role {
            Role::Leecher => &mut self.leechers,
            Role::PartialSeed => &mut self.partial_seeds,
            Role::Seeder => &mut self.seeders,
            Role::Stopped => &mut self.stopped,
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.swarms += other.swarms;
        self.leechers += other.leechers;
        self.partial_seeds += other.partial_seeds;
        self.seeders += other.seeders;
        self.stopped += other.stopped;
        self.refused += other.refused;
        self.expired += other.expired;
    }
}

/// One swarm: 64 bytes for IPv4 as long as it has no more than two peers.
#[derive(Debug)]
struct Swarm<F: AddressFamily> {
    info_hash: InfoHash,
    completed: u32,
    peers: Peers<F>,
}

/// A swarm after an announce; the token for [`Store::select`], valid until the store changes.
#[derive(Debug)]
pub struct Outcome<F: AddressFamily> {
    /// The swarm's counts, this announce included.
    pub counts: Counts,
    /// The record as it is now, if other nodes have to learn of it: always, but for a renewal that changes nothing and
    /// is not due ([`Record::renewal_due`]). None too if nothing is kept of the announce.
    pub change: Option<Record<F>>,
    role: Role,
    at: Option<usize>,
    key: F::Key,
}

/// How far a pass over the store has come. Passes go downwards, because a removal moves the last swarm into the gap:
/// what moves was already visited.
#[derive(Debug, Default)]
struct Cursor {
    swarms_left: usize,
    records_left: usize,
}

/// The swarms of one family in the partitions that one owner holds. Swarms lie densely in one slab; each partition has
/// an index into it, so that a partition can be walked or dropped by itself.
#[derive(Debug)]
pub struct Store<F: AddressFamily> {
    hash: KeyedHash,
    ttl: u16,
    quota: Arc<Quota>,
    swarms: Slab<Swarm<F>>,
    /// One for each partition of the node; those held by other owners stay empty.
    indexes: Box<[Index]>,
    totals: Totals,
    sweep: Cursor,
    keeps_all_stops: bool,
}

impl<F: AddressFamily> Store<F> {
    /// An empty store. `partitions` is a power of two, the same on every node; `ttl` is the lifetime of a peer in
    /// seconds, at most [`Second::MAX_AGE`] less a minute for the sweep.
    pub fn new(hash: KeyedHash, partitions: PartitionCount, ttl: u16, quota: Arc<Quota>) -> Self {
        debug_assert!(ttl <= Second::MAX_AGE - 60);
        let indexes = vec![Index::default(); usize::from(partitions.get())].into_boxed_slice();
        let (swarms, totals, sweep) = (Slab::default(), Totals::default(), Cursor::default());
        Self { hash, ttl, quota, swarms, indexes, totals, sweep, keeps_all_stops: false }
    }

    /// From now on keeps a tombstone of peers too that it does not know: another node may know them, and what that one has
    /// heard before must not come alive here afterwards.
    pub fn keep_all_stops(&mut self) {
        self.keeps_all_stops = true;
    }

    /// Lifetime of a peer, in seconds.
    pub fn ttl(&self) -> u16 {
        self.ttl
    }

    /// What is held.
    pub fn totals(&self) -> Totals {
        Totals { swarms: self.swarms.len(), ..self.totals }
    }

    /// Brings into the cache where the swarm of an announce lies. Called for a whole batch before anything else, the
    /// cache misses of its requests overlap.
    pub fn touch_swarm(&self, hash: u64, info_hash: &InfoHash) {
        black_box(self.find(hash, info_hash).map(|at| self.swarms[at].peers.is_small()));
    }

    /// Brings into the cache what [`Store::announce`] and [`Store::select`] will read of the swarm's peers. To be called
    /// for a whole batch after [`Store::touch_swarm`], with the random number that the selection will get.
    pub fn touch_peers(&self, hash: u64, info_hash: &InfoHash, key: F::Key, random: u64) {
        if let Some(at) = self.find(hash, info_hash) {
            self.swarms[at].peers.touch(key, &self.hash, random);
        }
    }

    /// Applies an announce of this family. `hash` is the keyed hash of its info hash, `time` a fresh clock reading.
    pub fn announce(&mut self, hash: u64, announce: &Announce, key: F::Key, now: Second, time: HlcTime) -> Outcome<F> {
        let role = match announce.event {
            Event::Stopped => Role::Stopped,
            _ if announce.seeder => Role::Seeder,
            Event::Paused => Role::PartialSeed,
            _ => Role::Leecher,
        };
        let at = self.find(hash, &announce.info_hash);
        if let Some(at) = at {
            self.refresh(at, now);
        }
        let known = at.and_then(|at| self.swarms[at].peers.get(key, &self.hash));
        let alive = known.filter(|record| !record.expired(now, self.ttl) && record.role() != Role::Stopped);
        let vain = role == Role::Stopped && alive.is_none() && !self.keeps_all_stops;
        if vain || known.is_none() && !self.admits(at) {
            let counts = at.map(|at| self.counts_at(at)).unwrap_or_default();
            return Outcome { counts, change: None, role, at, key };
        }
        let before = if role == Role::Stopped { known.filter(|record| !record.expired(now, self.ttl)) } else { alive };
        let counted = before.is_some_and(|old| old.stamp.counted());
        let completes = role == Role::Seeder && !counted && alive.is_some_and(|old| old.role() != Role::Seeder);
        // A partial seed says so with every announce (BEP 21), so that is a renewal too.
        let renews = matches!(announce.event, Event::None | Event::Paused);
        let quiet = alive.filter(|old| renews && old.role() == role && !old.renewal_due(now, time, self.ttl));
        let stamp = quiet.map_or_else(|| Stamp::new(time, role, counted || completes), |old| old.stamp);
        let record = Record { stamp, seen: now, key };
        let at = self.put(hash, announce.info_hash, at, known, record);
        self.swarms[at].completed = self.swarms[at].completed.saturating_add(completes.into());
        Outcome { counts: self.counts_at(at), change: quiet.is_none().then_some(record), role, at: Some(at), key }
    }

    /// Appends up to `want` peers for the one whose announce had this outcome, in compact form. Nothing for one that
    /// has stopped.
    pub fn select(&self, outcome: &Outcome<F>, want: usize, now: Second, random: u64, out: &mut Vec<u8>) {
        if let Some(at) = outcome.at
            && outcome.role != Role::Stopped
        {
            let &Outcome { key: asker, role, .. } = outcome;
            self.swarms[at].peers.select(&PeerSelection { asker, role, want, now, ttl: self.ttl, random }, out);
        }
    }

    /// A swarm's counts; zeros when there is none.
    pub fn counts(&self, hash: u64, info_hash: &InfoHash) -> Counts {
        self.find(hash, info_hash).map(|at| self.counts_at(at)).unwrap_or_default()
    }

    /// All records of a swarm.
    pub fn records(&self, info_hash: &InfoHash) -> &[Record<F>] {
        let at = self.find(self.hash.info_hash(info_hash), info_hash);
        at.map(|at| self.swarms[at].peers.records()).unwrap_or_default()
    }

    /// Swarms held, at the positions from 0 on that [`Store::swarm`] takes.
    pub fn len(&self) -> usize {
        self.swarms.len()
    }

    /// Whether there is no swarm.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The swarm at a position. A walk that goes downwards and lets the store change between its steps sees every swarm
    /// that was there all the time, some of them twice.
    pub fn swarm(&self, at: usize) -> Option<(InfoHash, Counts, &[Record<F>])> {
        (at < self.len()).then(|| (self.swarms[at].info_hash, self.counts_at(at), self.swarms[at].peers.records()))
    }

    /// Goes on with the pass that removes expired records and emptied swarms, and looks at about `budget` records.
    /// Returns true when this step ended a pass.
    pub fn sweep(&mut self, budget: usize, now: Second) -> bool {
        let mut budget = budget;
        if self.sweep.swarms_left == 0 {
            self.sweep = Cursor { swarms_left: self.swarms.len(), records_left: usize::MAX };
        }
        self.sweep.swarms_left = self.sweep.swarms_left.min(self.swarms.len());
        while budget > 0 && self.sweep.swarms_left > 0 {
            let at = self.sweep.swarms_left - 1;
            let from = self.sweep.records_left.min(self.swarms[at].peers.records().len());
            let next = self.expire(at, from, budget, now);
            budget = budget.saturating_sub((from - next).max(1));
            if next > 0 {
                self.sweep.records_left = next;
                continue;
            }
            self.sweep = Cursor { swarms_left: at, records_left: usize::MAX };
            if self.swarms[at].peers.records().is_empty() {
                self.remove(at);
            }
        }
        self.sweep.swarms_left == 0
    }

    /// Bytes on the heap, as far as the store knows them.
    pub fn heap_bytes(&self) -> usize {
        let swarms: usize = self.swarms.iter().map(|swarm| swarm.peers.heap_bytes()).sum();
        let indexes: usize = self.indexes.iter().map(Index::heap_bytes).sum();
        swarms + indexes + size_of_val(&*self.indexes) + self.swarms.len() * size_of::<Swarm<F>>()
    }

    fn partition(&self, hash: u64) -> usize {
        hash as usize & (self.indexes.len() - 1)
    }

    fn find(&self, hash: u64, info_hash: &InfoHash) -> Option<usize> {
        self.indexes[self.partition(hash)].find(hash, |at| self.swarms[at].info_hash == *info_hash)
    }

    fn counts_at(&self, at: usize) -> Counts {
        Counts { completed: self.swarms[at].completed, ..self.swarms[at].peers.counts() }
    }

    /// Small swarms lose their expired peers at once; large ones wait for the sweep.
    fn refresh(&mut self, at: usize, now: Second) {
        if self.swarms[at].peers.is_small() {
            self.expire(at, usize::MAX, usize::MAX, now);
        }
    }

    fn expire(&mut self, at: usize, from: usize, budget: usize, now: Second) -> usize {
        let (totals, quota) = (&mut self.totals, &self.quota);
        self.swarms[at].peers.expire(from, budget, now, self.ttl, &self.hash, |role| {
            *totals.role(role) -= 1;
            totals.expired += 1;
            quota.records.fetch_sub(1, Relaxed);
        })
    }

    /// Whether the caps allow a new peer in the swarm at `at`, or in a new swarm.
    fn admits(&mut self, at: Option<usize>) -> bool {
        let quota = &*self.quota;
        let room = match at {
            Some(at) => self.swarms[at].peers.records().len() < quota.max_per_swarm,
            None => quota.swarms.load(Relaxed) < quota.max_swarms && self.swarms.len() < MAX_POSITIONS - 1,
        };
        let admitted = room && quota.records.load(Relaxed) < quota.max_records;
        self.totals.refused += u64::from(!admitted);
        admitted
    }

    /// Puts a record into the swarm at `at`, or into a new one; `known` is the record that it replaces. Returns where
    /// the swarm is.
    fn put(
        &mut self,
        hash: u64,
        info_hash: InfoHash,
        at: Option<usize>,
        known: Option<Record<F>>,
        record: Record<F>,
    ) -> usize {
        let quota = &*self.quota;
        match known {
            Some(known) => *self.totals.role(known.role()) -= 1,
            None => _ = quota.records.fetch_add(1, Relaxed),
        }
        *self.totals.role(record.role()) += 1;
        if let Some(at) = at {
            self.swarms[at].peers.put(record, &self.hash);
            return at;
        }
        quota.swarms.fetch_add(1, Relaxed);
        let at = self.swarms.len();
        self.swarms.push(Swarm { info_hash, completed: 0, peers: Peers::one(record) });
        let partition = self.partition(hash);
        let (swarms, hash_key) = (&self.swarms, &self.hash);
        self.indexes[partition].insert(hash, at, |at| hash_key.info_hash(&swarms[at].info_hash));
        at
    }

    /// Removes an empty swarm.
    fn remove(&mut self, at: usize) {
        let hash_key = self.hash;
        let hash = hash_key.info_hash(&self.swarms[at].info_hash);
        let partition = self.partition(hash);
        let swarms = &self.swarms;
        self.indexes[partition].remove(hash, at, |at| hash_key.info_hash(&swarms[at].info_hash));
        let last = self.swarms.len() - 1;
        if at != last {
            let moved = hash_key.info_hash(&self.swarms[last].info_hash);
            let partition = self.partition(moved);
            self.indexes[partition].relocate(moved, last, at);
        }
        self.swarms.swap_remove(at);
        self.quota.swarms.fetch_sub(1, Relaxed);
    }
}

impl<F: AddressFamily> Drop for Store<F> {
    /// Gives back its share of the quota, as the store of a failed owner must not count for ever.
    fn drop(&mut self) {
        let Totals { leechers, partial_seeds, seeders, stopped, .. } = self.totals;
        self.quota.records.fetch_sub(leechers + partial_seeds + seeders + stopped, Relaxed);
        self.quota.swarms.fetch_sub(self.swarms.len(), Relaxed);
    }
}
