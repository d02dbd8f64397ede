//! Sorts an owner's changes by the nodes that need them, and queues them as batches.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::ack::{OnAck, PendingAck};
use super::changes::{Cause, Change, Changes, CrossRegion};
use super::routes::{Peer, Routes, SharedRoutes};
use crate::clock::Now;
use crate::cluster::NodeIndex;
use crate::config::Ack;
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, PartitionCount, Second};

/// Ticks of an owner between two batches to other regions: with ticks of 20 ms, 100 ms.
const CROSS_REGION_TICKS: u32 = 5;
/// Bytes at about which a batch is sent. Far below what a request between nodes may have (1 MiB), as the last record goes
/// beyond it.
const BATCH_BYTES: usize = 128 << 10;

/// Queues changes for the nodes that hold their partitions.
pub struct Replication {
    routes: SharedRoutes,
    partitions: PartitionCount,
    ack: Ack,
    /// Records queued for nodes of this region, since the start.
    pub records: AtomicU64,
    /// Records queued for nodes of other regions, since the start.
    pub cross_region_records: AtomicU64,
}

/// The batches of one flush for the nodes of this region, by node.
struct Outgoing<'a> {
    routes: &'a Routes,
    batches: Vec<Vec<RecordBatch>>,
}

impl Outgoing<'_> {
    fn batch(&mut self, node: NodeIndex) -> &mut RecordBatch {
        let batches = &mut self.batches[node.index()];
        if batches.last().is_none_or(|batch| batch.bytes().len() >= BATCH_BYTES) {
            batches.push(RecordBatch::default());
        }
        let last = batches.len() - 1;
        &mut batches[last]
    }
}

impl Replication {
    /// Replicates by these routes.
    pub fn new(routes: SharedRoutes, partitions: PartitionCount, ack: Ack) -> Self {
        Self { routes, partitions, ack, records: AtomicU64::new(0), cross_region_records: AtomicU64::new(0) }
    }

    /// Whether replies may have to wait for replicas.
    pub fn waits(&self) -> bool {
        self.ack == Ack::Replica && !self.routes.load().table.is_alone()
    }

    /// The replica that has to acknowledge a change before its reply may leave: the first that can be reached.
    pub fn replica_to_wait_for(&self, hash: u64) -> Option<NodeIndex> {
        if self.ack == Ack::Owner {
            return None;
        }
        let routes = self.routes.load();
        let replicas = routes.table.replicas(self.partitions.partition(hash));
        replicas.iter().copied().find(|node| routes.peer(*node).is_some_and(|peer| peer.link.is_routable()))
    }

    /// Queues what has changed for the replicas. `on_ack` returns what is to be called once a replica has all of it. To be
    /// called at every tick, too.
    pub fn flush(
        &self,
        changes: &mut Changes,
        cross_region: &mut CrossRegion,
        now: Now,
        mut on_ack: impl FnMut(NodeIndex) -> Option<OnAck>,
    ) {
        let routes = self.routes.load();
        if routes.table.is_alone() {
            changes.v4.clear();
            changes.v6.clear();
            changes.causes.clear();
            cross_region.batches.clear();
            return;
        }
        let batches = routes.table.indexes().map(|_| Vec::new()).collect();
        let mut out = Outgoing { routes: &routes, batches };
        self.sort(&mut changes.v4, &mut out, cross_region, now);
        self.sort(&mut changes.v6, &mut out, cross_region, now);
        self.sort_causes(&mut changes.causes, &mut out, cross_region);

        for (node, batches) in routes.table.indexes().zip(out.batches).filter(|(_, batches)| !batches.is_empty()) {
            let Some(peer) = routes.peer(node) else { continue };
            let ack = on_ack(node).map(PendingAck::new);
            for batch in batches {
                self.records.fetch_add(batch.records as u64, Relaxed);
                peer.queue.push(batch, false, now.uptime, ack.clone());
            }
        }
    }

    /// Queues what has been gathered for other regions, if it is time. To be called at every tick.
    pub fn flush_cross_region(&self, cross_region: &mut CrossRegion, now: Now) {
        cross_region.ticks += 1;
        if cross_region.ticks < CROSS_REGION_TICKS || cross_region.batches.is_empty() {
            return;
        }
        cross_region.ticks = 0;
        let routes = self.routes.load();
        for (id, batch) in std::mem::take(&mut cross_region.batches) {
            let Some(peer) = routes.table.index_of(&id).and_then(|node| routes.peer(node)) else { continue };
            self.push_cross_region(peer, batch, now.uptime);
        }
    }

    fn push_cross_region(&self, peer: &Peer, batch: RecordBatch, now: std::time::Duration) {
        self.cross_region_records.fetch_add(batch.records as u64, Relaxed);
        peer.queue.push(batch, true, now, None);
    }

    fn sort<F: AddressFamily>(
        &self,
        changes: &mut Vec<Change<F>>,
        out: &mut Outgoing<'_>,
        cross_region: &mut CrossRegion,
        now: Now,
    ) {
        let (routes, second) = (out.routes, Second::new(now.uptime.as_secs()));
        for Change { hash, info_hash, record, forwarded } in changes.drain(..) {
            let partition = self.partitions.partition(hash);
            for &node in routes.table.replicas(partition) {
                out.batch(node).push_one(&info_hash, &record, second);
            }
            if forwarded {
                continue;
            }
            for &node in routes.table.first_in_other_regions(partition) {
                let id = &routes.table.node(node).id;
                let Some(batch) = cross_region.batches.get_mut(id) else {
                    cross_region.batches.entry(id.clone()).or_default().push_one(&info_hash, &record, second);
                    continue;
                };
                batch.push_one(&info_hash, &record, second);
                if batch.bytes().len() >= BATCH_BYTES
                    && let Some(peer) = routes.peer(node)
                {
                    self.push_cross_region(peer, std::mem::take(batch), now.uptime);
                }
            }
        }
    }

    /// Notes the spans of traced changes on one of the batches that carry them.
    fn sort_causes(&self, causes: &mut Vec<Cause>, out: &mut Outgoing<'_>, cross_region: &mut CrossRegion) {
        let routes = out.routes;
        for Cause { hash, context, forwarded } in causes.drain(..) {
            let partition = self.partitions.partition(hash);
            for &node in routes.table.replicas(partition) {
                if let Some(batch) = out.batches[node.index()].last_mut() {
                    batch.caused_by(context);
                }
            }
            for &node in routes.table.first_in_other_regions(partition).iter().filter(|_| !forwarded) {
                if let Some(batch) = cross_region.batches.get_mut(&routes.table.node(node).id) {
                    batch.caused_by(context);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::cluster::{Member, Members, PartitionSet, Placement, RoutingTable, StableMembership};
    use crate::swarm::{HlcTime, InfoHash, PeerAddr, Record, Role, Stamp, V4};

    const PARTITIONS: PartitionCount = PartitionCount::new(4);

    fn routes() -> Routes {
        let member = |id: &str| Member {
            id: id.into(),
            region: id[..2].into(),
            incarnation: 1,
            link: "127.0.0.1:1".parse().unwrap(),
            weight: 1,
            leaving: false,
            held: PartitionSet::all(PARTITIONS),
            alive: true,
        };
        let members = Members(["ap-1", "eu-1", "eu-2"].map(member).into());
        let placed = StableMembership::new(std::time::Duration::from_secs(60)).update(Default::default(), &members);
        let placement = Placement::compute(&placed, PARTITIONS, 2);
        let table = RoutingTable::build(&"eu-1".into(), &members, &placement, PARTITIONS);
        Routes::new(table, vec![None, None, None])
    }

    #[test]
    fn a_large_flush_is_split_into_batches_that_a_request_can_carry() {
        let routes = routes();
        let replication = Replication::new(Arc::new(ArcSwap::from_pointee(self::routes())), PARTITIONS, Ack::Owner);
        let change = |number: u32| {
            let key = V4::key(PeerAddr::new(number.to_be_bytes().into(), 1)).unwrap();
            let mut info_hash = InfoHash([0; 20]);
            info_hash.0[..4].copy_from_slice(&number.to_be_bytes());
            let stamp = Stamp::new(HlcTime::from_millis(1), Role::Seeder, false);
            let record = Record { stamp, seen: Second::new(0), key };
            Change { hash: number.into(), info_hash, record, forwarded: true }
        };
        let mut changes: Vec<Change<V4>> = (1 << 24..(1 << 24) + 100_000).map(change).collect();
        let mut out = Outgoing { routes: &routes, batches: routes.table.indexes().map(|_| Vec::new()).collect() };
        replication.sort(&mut changes, &mut out, &mut CrossRegion::default(), Now::default());

        let replica = &out.batches[routes.table.index_of(&"eu-2".into()).unwrap().index()];
        assert_eq!(replica.iter().map(|batch| batch.records).sum::<usize>(), 100_000);
        // One record with its head more than where the next batch begins.
        assert!(replica.iter().all(|batch| batch.bytes().len() < BATCH_BYTES + 64));
    }
}
