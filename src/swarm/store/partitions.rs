//! Operations on one partition of a store: scan it, count its swarms, drop it.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use super::super::index::scan_order;
use super::super::record::{AddressFamily, Record};
use super::super::stamp::Role;
use super::{InfoHash, Store};
use crate::swarm::Partition;

impl<F: AddressFamily> Store<F> {
    /// Swarms in a partition.
    pub fn partition_len(&self, partition: Partition) -> usize {
        self.indexes.get(partition.index()).map_or(0, |index| index.len())
    }

    /// The swarms of a partition whose keyed hash is in this range of [`scan_order`], and in a stripe (the top four bits
    /// of the hash) whose bit is set: in scan order, then by info hash.
    pub fn swarms_between(
        &self,
        partition: Partition,
        range: &RangeInclusive<u32>,
        stripes: u16,
    ) -> Vec<(u64, InfoHash)> {
        let mut swarms = Vec::new();
        if let Some(index) = self.indexes.get(partition.index()) {
            let hash_of = |at: usize| self.hash.info_hash(&self.swarms[at].info_hash);
            index.range(range, stripes, &hash_of, &mut |at, hash| swarms.push((hash, self.swarms[at].info_hash)));
        }
        swarms.sort_unstable_by_key(|(hash, info_hash)| (scan_order(*hash), *info_hash));
        swarms
    }

    /// The records of a swarm whose keys' keyed hash is in this range of [`scan_order`], in no order.
    pub fn records_between(&self, hash: u64, info_hash: &InfoHash, range: &RangeInclusive<u32>) -> Vec<Record<F>> {
        let Some(at) = self.find(hash, info_hash) else { return Vec::new() };
        self.swarms[at].peers.records_between(&self.hash, range)
    }

    /// A swarm's records and completed count.
    pub fn swarm_of(&self, hash: u64, info_hash: &InfoHash) -> Option<(u32, &[Record<F>])> {
        let at = self.find(hash, info_hash)?;
        Some((self.swarms[at].completed, self.swarms[at].peers.records()))
    }

    /// The keyed hash of an info hash, by which swarms are placed.
    pub fn hash(&self, info_hash: &InfoHash) -> u64 {
        self.hash.info_hash(info_hash)
    }

    /// Removes up to `budget` swarms of a partition, and releases their share of the quota. Returns true when none is left.
    pub fn drop_partition_step(&mut self, partition: Partition, budget: usize) -> bool {
        let Some(index) = self.indexes.get(partition.index()) else { return true };
        let mut positions = Vec::new();
        index.some(budget.max(1), &mut positions);
        // By name, as every removal moves another swarm.
        let swarms: Vec<InfoHash> = positions.into_iter().map(|at| self.swarms[at].info_hash).collect();
        for info_hash in swarms {
            if let Some(at) = self.find(self.hash.info_hash(&info_hash), &info_hash) {
                self.forget_records(at);
                self.remove(at);
            }
        }
        self.partition_len(partition) == 0
    }

    /// Takes the records of a swarm that is about to go out of the totals and the quota.
    fn forget_records(&mut self, at: usize) {
        let (peers, totals) = (&self.swarms[at].peers, &mut self.totals);
        let (counts, records) = (peers.counts(), peers.records().len());
        let leechers = (counts.leechers - counts.partial_seeds) as usize;
        let (partial_seeds, seeders) = (counts.partial_seeds as usize, counts.seeders as usize);
        *totals.role(Role::Leecher) -= leechers;
        *totals.role(Role::PartialSeed) -= partial_seeds;
        *totals.role(Role::Seeder) -= seeders;
        *totals.role(Role::Stopped) -= records - leechers - partial_seeds - seeders;
        self.quota.records.fetch_sub(records, Relaxed);
    }
}
