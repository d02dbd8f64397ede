//! Partitions: fixed slices of the space of info hashes, by which swarms are owned, replicated and handed off.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::InfoHash;

/// A partition's number, from 0 to the cluster's [`PartitionCount`] less one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Partition(pub u16);

impl Partition {
    /// Its position in a list of all partitions.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions the cluster has: a power of two, the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// `count` has to be a power of two, which the rules of the settings see to.
    pub const fn new(count: u16) -> Self {
        debug_assert!(count.is_power_of_two());
        Self(count)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The partition of a swarm with this keyed hash: its lowest bits.
    #[inline]
    pub fn partition(self, hash: u64) -> Partition {
        Partition(hash as u16 & (self.0 - 1))
    }

    /// All partitions in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Partition> + ExactSizeIterator + Clone {
        (0..self.0).map(Partition)
    }

    /// Whether there is such a partition: another node may name any.
    pub fn contains(self, partition: Partition) -> bool {
        partition.0 < self.0
    }
}

/// What finds a swarm: the keyed hash of its info hash, which is computed once for each request, and the info hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SwarmKey {
    /// The keyed hash ([`super::KeyedHash::swarm_key`]).
    pub hash: u64,
    /// The info hash.
    pub info_hash: InfoHash,
}
