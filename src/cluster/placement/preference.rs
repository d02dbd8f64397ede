//! Which nodes are assigned which partition: a pure function of the members that count.
//!
//! Each region has a ring of its own, so that what happens in one never moves data in another. A node stands on it as
//! 128 × weight virtual nodes. The partitions stand at even distances, and each takes the first R distinct nodes from
//! there on that are not full yet ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup, Zadimoghaddam 2016), the
//! partitions in ascending order. A node is full at 1.2 times its share of the copies.
//!
//! The bound costs movement, as what one node has no place for falls to the next. Hence the even distances: with hashed
//! ones chance fills nodes before the bound does. The worst of 400 sets of random names (of 100 sets where there are 100
//! nodes), with R = 2: copies on the fullest node and ownerships of the busiest, both relative to the mean, and copies
//! that a join or a leave moves, relative to 1/N.
//!
//! | nodes | partitions | hashed, bound 1.2 | even, bound 1.15 | even, bound 1.2 | even, bound 1.25 |
//! |---|---|---|---|---|---|
//! | 3 | 256 | 1.20 1.21 1.20 | 1.15 1.21 1.16 | 1.17 1.21 1.18 | 1.17 1.21 1.18 |
//! | 10 | 256 | 1.21 1.29 1.33 | 1.15 1.25 1.31 | 1.21 1.25 1.27 | 1.25 1.25 1.27 |
//! | 10 | 1024 | 1.20 1.22 1.28 | 1.15 1.20 1.23 | 1.20 1.20 1.23 | 1.23 1.20 1.21 |
//! | 100 | 4096 | 1.21 1.27 1.30 | 1.16 1.25 1.22 | 1.21 1.25 1.22 | 1.26 1.25 1.23 |
//! | 100 | 8192 | 1.20 1.23 1.26 | 1.15 1.22 1.17 | 1.20 1.23 1.20 | 1.25 1.23 1.23 |
//!
//! Filling in R rounds, a hashed order of the partitions, or letting each node keep those nearest to it (deferred
//! acceptance) differ from the fifth column by less than 0.03. Twice the virtual nodes take twice the time and gain little
//! but at 10 nodes and 1024 partitions, where a join moves 1.13. None of this depends on the machine. `docs/scale.md` has
//! the figures of this code; to try another bound, change `BOUND` and run `cargo bench --bench placement`.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::{DefaultHashBuilder, HashRing};

use crate::cluster::{NodeId, Region, StableMember, StableMembers};
use crate::swarm::{Partition, PartitionCount};

#[cfg(test)]
mod tests;

/// Virtual nodes of a node with weight 1.
const VIRTUAL_NODES: u32 = 128;

/// The greatest weight that has an effect: a bound for the time that placement takes.
pub const MAX_WEIGHT: u16 = 100;

/// A node is full at this part of its share, numerator and denominator.
const BOUND: (u64, u64) = (6, 5);

/// Names this algorithm in the fingerprint. To be changed with it.
const ALGORITHM: &[u8] = b"tidings placement 1";

/// Which nodes are to hold which partition, in every region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    regions: Vec<RegionPlacement>,
    partitions: PartitionCount,
    fingerprint: u64,
}

/// The placement in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionPlacement {
    pub(super) region: Region,
    /// Sorted by id.
    pub(super) nodes: Vec<NodeId>,
    /// Copies of each partition: R, or fewer if there are fewer nodes.
    copies: usize,
    /// Indexes into `nodes`, `copies` for each partition.
    table: Vec<u16>,
}

impl RegionPlacement {
    /// The nodes of a partition, as indexes; empty if there is no such partition.
    pub(super) fn row(&self, partition: Partition) -> &[u16] {
        let start = partition.index() * self.copies;
        self.table.get(start..start + self.copies).unwrap_or_default()
    }
}

impl Placement {
    /// Places `partitions` partitions, `replicas` copies in each region, or fewer where there are fewer nodes.
    pub fn compute(ring: &StableMembers, partitions: PartitionCount, replicas: u8) -> Self {
        let regions = ring.as_slice().chunk_by(|a, b| a.region == b.region);
        let regions = regions.map(|members| place(members, partitions, replicas)).collect();
        Self { regions, partitions, fingerprint: fingerprint(ring, partitions, replicas) }
    }

    /// The regions that have members, sorted by name.
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &Region> {
        self.regions.iter().map(|placed| &placed.region)
    }

    /// The nodes of a region that are to hold a partition, the owner first: distinct, and fewer than R only if the region
    /// has fewer. Empty if there is no such region or partition.
    pub fn list(&self, region: &Region, partition: Partition) -> impl Iterator<Item = &NodeId> {
        let placed = self.region(region);
        placed
            .into_iter()
            .flat_map(move |placed| placed.row(partition).iter().map(|at| &placed.nodes[usize::from(*at)]))
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// Names this placement: nodes with equal members, partitions, copies and algorithm have equal fingerprints.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn region(&self, region: &Region) -> Option<&RegionPlacement> {
        self.regions.binary_search_by(|placed| placed.region.cmp(region)).ok().map(|at| &self.regions[at])
    }
}

/// Hashed by hand, as what `derive` makes differs by platform and by version of Rust.
struct VirtualNode<'a> {
    node: u16,
    number: u32,
    id: &'a str,
}

impl Hash for VirtualNode<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = Vec::with_capacity(4 + self.id.len());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        state.write(&bytes);
    }
}

/// The ring's hash: SipHash-2-4 with a fixed key. Names of nodes are chosen by the operator and need no secret one.
fn hash(item: impl Hash) -> u64 {
    DefaultHashBuilder.hash_one(item)
}

/// Places the members of one region.
fn place(members: &[StableMember], partitions: PartitionCount, replicas: u8) -> RegionPlacement {
    let members = &members[..members.len().min(usize::from(u16::MAX))];
    let weights: Vec<u64> = members.iter().map(|member| u64::from(member.weight.min(MAX_WEIGHT))).collect();
    let copies = usize::from(replicas).min(weights.iter().filter(|weight| **weight > 0).count());
    let nodes = members.iter().map(|member| member.id.clone()).collect();
    let region = members[0].region.clone();
    if copies == 0 {
        return RegionPlacement { region, nodes, copies, table: Vec::new() };
    }

    let ring = ring(members);
    let mut table = Vec::with_capacity(usize::from(partitions.get()) * copies);
    let most = bounds(&weights, u64::from(partitions.get()), copies as u64);
    let most_owned = bounds(&weights, u64::from(partitions.get()), 1);
    let (mut held, mut owned) = (vec![0u64; members.len()], vec![0u64; members.len()]);
    let mut start = 0;
    for partition in partitions.iter() {
        let place = ((u128::from(partition.0) << 64) / u128::from(partitions.get())) as u64;
        start += ring[start..].iter().take_while(|(at, _)| *at < place).count();
        let at = table.len();
        let walk = || ring[start..].iter().chain(&ring[..start]).map(|(_, node)| *node);
        for node in walk() {
            if table.len() == at + copies {
                break;
            }
            if held[usize::from(node)] < most[usize::from(node)] && !table[at..].contains(&node) {
                table.push(node);
            }
        }
        // At the end those with room left may all be in the list already.
        for node in walk() {
            if table.len() == at + copies {
                break;
            }
            if !table[at..].contains(&node) {
                table.push(node);
            }
        }
        let list = &mut table[at..];
        list.iter().for_each(|node| held[usize::from(*node)] += 1);
        // The order within the list moves no data, so that ownerships can be bounded on top.
        // The first that has room, or the one that is least above its bound.
        let excess = |node: &u16| (owned[usize::from(*node)] + 1).saturating_sub(most_owned[usize::from(*node)]);
        let first = (0..copies).min_by_key(|at| excess(&list[*at])).unwrap_or_default();
        list[..=first].rotate_right(1);
        owned[usize::from(list[0])] += 1;
    }
    RegionPlacement { region, nodes, copies, table }
}

/// The virtual nodes of a region's members in the order of their positions.
fn ring(members: &[StableMember]) -> Vec<(u64, u16)> {
    let virtual_nodes = (0..).zip(members).flat_map(|(node, member)| {
        let count = u32::from(member.weight.min(MAX_WEIGHT)) * VIRTUAL_NODES;
        (0..count).map(move |number| VirtualNode { node, number, id: member.id.as_str() })
    });
    let mut ring = HashRing::new();
    // The ring keeps those with equal hashes in this order: that of the ids.
    ring.batch_add(virtual_nodes.collect());
    // Its own lookups clone it or find but one node, so it is taken apart and walked here.
    ring.into_iter().map(|node| (hash(&node), node.node)).collect()
}

/// How many of `copies` × `partitions` each node takes at most: [`BOUND`] times its share by weight. A node whose share
/// would be more than everything takes everything, and the others divide the rest.
fn bounds(weights: &[u64], partitions: u64, copies: u64) -> Vec<u64> {
    let mut bounds = vec![partitions; weights.len()];
    let mut by_weight: Vec<usize> = (0..weights.len()).collect();
    by_weight.sort_by_key(|node| std::cmp::Reverse(weights[*node]));
    let (mut copies, mut total) = (copies, weights.iter().sum::<u64>());
    for node in by_weight {
        let weight = weights[node];
        if weight * copies >= total {
            copies = copies.saturating_sub(1);
            total -= weight;
        } else {
            bounds[node] = (BOUND.0 * partitions * copies * weight).div_ceil(BOUND.1 * total).min(partitions);
        }
    }
    bounds
}

fn fingerprint(ring: &StableMembers, partitions: PartitionCount, replicas: u8) -> u64 {
    struct Bytes(Vec<u8>);
    impl Hash for Bytes {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write(&self.0);
        }
    }
    let mut bytes = ALGORITHM.to_vec();
    bytes.extend_from_slice(&partitions.get().to_le_bytes());
    bytes.push(replicas);
    for member in ring.as_slice() {
        for name in [member.region.as_str(), member.id.as_str()] {
            bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&member.weight.to_le_bytes());
    }
    hash(Bytes(bytes))
}
