//! The partitions that one owner holds.

use std::sync::Arc;

use crate::clock::Now;
use crate::partition::replication::Changes;
use crate::swarm::{
    ClockAhead, Counts, Family, Hlc, HlcTime, KeyedHash, PartitionCount, Quota, Store, SwarmKey, V4, V6,
};

/// The data of an owner.
pub struct Partitions {
    /// IPv4 peers.
    pub v4: Store<V4>,
    /// IPv6 peers.
    pub v6: Store<V6>,
    /// Changes to be replicated at the next flush.
    pub changes: Changes,
    /// Stamps records.
    pub(super) hlc: Hlc,
}

impl Partitions {
    /// Empty ones; for the arguments see [`Store::new`].
    pub fn new(hash: KeyedHash, partitions: PartitionCount, peer_ttl: u16, quota: &Arc<Quota>) -> Self {
        Self {
            v4: Store::new(hash, partitions, peer_ttl, quota.clone()),
            v6: Store::new(hash, partitions, peer_ttl, quota.clone()),
            changes: Changes::default(),
            hlc: Hlc::default(),
        }
    }

    /// Advances the clock past the stamp of a record that was made elsewhere or earlier.
    ///
    /// # Errors
    /// See [`Hlc::observe`].
    pub fn observe(&mut self, seen: HlcTime, now: Now) -> Result<(), ClockAhead> {
        self.hlc.observe(seen, now.wall_millis)
    }

    /// The counts of a swarm in one family.
    pub fn counts(&self, family: Family, key: &SwarmKey) -> Counts {
        match family {
            Family::V4 => self.v4.counts(key.hash, &key.info_hash),
            Family::V6 => self.v6.counts(key.hash, &key.info_hash),
        }
    }
}
