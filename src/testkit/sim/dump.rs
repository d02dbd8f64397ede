//! Everything that a node holds at one moment.

use std::collections::BTreeMap;

use crate::cluster::PartitionSet;
use crate::node::Cluster;
use crate::partition::anti_entropy::digest::{DigestWalk, Window};
use crate::partition::{ManagerStatus, Owners, Partitions, SharedRoutes};
use crate::swarm::{AddressFamily, Counts, InfoHash, Partition, PeerAddr, Record, Role, Second, Stamp, Store};

use super::plan::TTL;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    pub stamp: Stamp,
    pub role: Role,
    pub age: u16,
}

/// The copy of a partition.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    pub records: BTreeMap<(InfoHash, PeerAddr), Held>,
    pub counts: BTreeMap<(InfoHash, bool), Counts>,
    /// Over all records stamped in the last half of a lifetime.
    pub digest: Vec<u64>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Dump {
    pub held: PartitionSet,
    pub placed: PartitionSet,
    pub copies: BTreeMap<u16, Copy>,
    pub status: ManagerStatus,
    pub in_flight: usize,
}

/// Collects everything from a node's owners.
pub async fn take(owners: &Owners, routes: &SharedRoutes, cluster: &Cluster, partitions: u16) -> Dump {
    let routes = routes.load_full();
    let mut copies = BTreeMap::new();
    for partition in 0..partitions {
        let hash = owners.hasher();
        let copy = owners.visit(Partition(partition), move |held: &mut Partitions, now| {
            let second = Second::new(now.uptime.as_secs());
            let mut copy = Copy::default();
            let mine = |info_hash: &InfoHash| hash.info_hash(info_hash) as u16 & (partitions - 1) == partition;
            collect(&held.v4, &mut copy, second, mine);
            collect(&held.v6, &mut copy, second, mine);
            let from = now.wall_millis.saturating_sub(u64::from(TTL) * 500);
            let mut walk = DigestWalk::new(Partition(partition), Window { from, to: u64::MAX });
            while !walk.step(held, now, DigestWalk::STEP) {}
            copy.digest = walk.digest().to_vec();
            copy
        });
        if let Some(copy) = copy.await {
            copies.insert(partition, copy);
        }
    }
    let table = &routes.table;
    let set =
        |test: &dyn Fn(u16) -> bool| (0..partitions).filter(|at| test(*at)).map(Partition).collect::<PartitionSet>();
    Dump {
        held: set(&|at| table.is_held_here(Partition(at))),
        placed: set(&|at| table.is_placed_here(Partition(at))),
        copies,
        status: ManagerStatus::clone(&cluster.view().status.now.load()),
        in_flight: in_flight(owners),
    }
}

fn collect<F: AddressFamily>(store: &Store<F>, copy: &mut Copy, now: Second, mine: impl Fn(&InfoHash) -> bool) {
    for (info_hash, counts, records) in (0..store.len()).filter_map(|at| store.swarm(at)) {
        if !mine(&info_hash) {
            continue;
        }
        for record in records.iter().filter(|record: &&Record<F>| !record.expired(now, TTL)) {
            let held = Held { stamp: record.stamp, role: record.role(), age: record.seen.age(now) };
            copy.records.insert((info_hash, F::peer(record.key)), held);
        }
        copy.counts.insert((info_hash, F::FAMILY.stride() == 18), counts);
    }
}

/// Requests that the owners of a node have received but not answered.
pub fn in_flight(owners: &Owners) -> usize {
    let handles = owners.load();
    handles.iter().map(|owner| owner.status().in_flight.load(std::sync::atomic::Ordering::Relaxed)).max().unwrap_or(0)
}
