//! From an owner's changes to the other nodes that hold them: batches to every replica in the region at each tick, and to
//! one node of each other region a little later.

mod queue;
mod routes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use queue::{DeltaQueue, QueueStatus};
pub use routes::{Peer, Route, Routes, SharedRoutes};

use crate::clock::Now;
use crate::cluster::{NodeId, NodeIndex};
use crate::config::Ack;
use crate::partition::owner::pending_acks::PendingAcks;
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, InfoHash, PartitionCount, Record, Second, V4, V6};
use crate::telemetry::trace::TraceContext;

/// Ticks of an owner between two batches to other regions: with ticks of 20 ms, 100 ms.
const ABROAD_TICKS: u32 = 5;
/// Bytes of a batch, at about which it is sent.
const BATCH_BYTES: usize = 128 << 10;

/// One changed record.
#[derive(Clone, Copy, Debug)]
pub struct Change<F: AddressFamily> {
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// The swarm.
    pub info_hash: InfoHash,
    /// The record as it is now.
    pub record: Record<F>,
    /// It came from another region, which has told all others by itself.
    pub forwarded: bool,
}

/// A span that has made a record change.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// The keyed hash of the record's info hash.
    pub hash: u64,
    /// The span.
    pub context: TraceContext,
    /// The record came from another region.
    pub forwarded: bool,
}

/// What an owner has yet to hand over.
#[derive(Debug, Default)]
pub struct Changes {
    /// IPv4.
    pub v4: Vec<Change<V4>>,
    /// IPv6.
    pub v6: Vec<Change<V6>>,
    /// Of those that are traced: most often none.
    pub causes: Vec<Cause>,
}

/// What an owner gathers for other regions.
#[derive(Default)]
pub struct CrossRegion {
    pieces: BTreeMap<NodeId, RecordBatch>,
    ticks: u32,
}

/// Hands changes over to the queues of the nodes that have to know.
pub struct Replication {
    routes: SharedRoutes,
    partitions: PartitionCount,
    ack: Ack,
    /// Records handed to queues of this region, since the start.
    pub records: AtomicU64,
    /// Records handed to queues of other regions, since the start.
    pub records_abroad: AtomicU64,
}

impl Replication {
    /// By these routes.
    pub fn new(routes: SharedRoutes, partitions: PartitionCount, ack: Ack) -> Self {
        let (records, records_abroad) = Default::default();
        Self { routes, partitions, ack, records, records_abroad }
    }

    /// Whether replies wait for replicas, as far as there are any.
    pub fn waits(&self) -> bool {
        self.ack == Ack::Replica && !self.routes.load().table.is_alone()
    }

    /// The replica whose word the reply to a change has to wait for: the first that can be reached.
    pub fn waits_for(&self, hash: u64) -> Option<NodeIndex> {
        if self.ack == Ack::Owner {
            return None;
        }
        let routes = self.routes.load();
        let replicas = routes.table.replicas(self.partitions.partition(hash));
        replicas.iter().copied().find(|node| routes.peer(*node).is_some_and(|peer| peer.link.is_routable()))
    }

    /// Hands over to replicas what has changed. `waiting` are the replies that wait for it. To be called at every tick, too.
    pub fn flush(&self, changes: &mut Changes, abroad: &mut CrossRegion, now: Now, mut waiting: PendingAcks) {
        let routes = self.routes.load();
        if routes.table.is_alone() {
            changes.v4.clear();
            changes.v6.clear();
            changes.causes.clear();
            abroad.pieces.clear();
            return waiting.release();
        }
        let mut out: Vec<Option<RecordBatch>> = routes.table.indexes().map(|_| None).collect();
        let second = Second::new(now.uptime.as_secs());
        self.sort(&routes, &mut changes.v4, &mut out, abroad, second);
        self.sort(&routes, &mut changes.v6, &mut out, abroad, second);
        self.sort_causes(&routes, &mut changes.causes, &mut out, abroad);
        for (node, pieces) in routes.table.indexes().zip(out) {
            let (Some(pieces), Some(peer)) = (pieces, routes.peer(node)) else { continue };
            self.records.fetch_add(pieces.records as u64, Relaxed);
            peer.queue.push(pieces, false, now.uptime, waiting.take(node));
        }
        // Their replica has gone meanwhile.
        waiting.release();
    }

    /// Hands over what has been gathered for other regions, if it is time. To be called at every tick.
    pub fn flush_abroad(&self, abroad: &mut CrossRegion, now: Now) {
        abroad.ticks += 1;
        let full = abroad.pieces.values().any(|pieces| pieces.bytes().len() >= BATCH_BYTES);
        if abroad.pieces.is_empty() || (abroad.ticks < ABROAD_TICKS && !full) {
            return;
        }
        abroad.ticks = 0;
        let routes = self.routes.load();
        for (node, pieces) in std::mem::take(&mut abroad.pieces) {
            let at = routes.table.index_of(&node);
            let Some(peer) = at.and_then(|at| routes.peer(at)) else { continue };
            self.records_abroad.fetch_add(pieces.records as u64, Relaxed);
            peer.queue.push(pieces, true, now.uptime, None);
        }
    }

    fn sort_causes(
        &self,
        routes: &routes::Routes,
        causes: &mut Vec<Cause>,
        out: &mut [Option<RecordBatch>],
        abroad: &mut CrossRegion,
    ) {
        for Cause { hash, context, forwarded } in causes.drain(..) {
            let partition = self.partitions.partition(hash);
            for &node in routes.table.replicas(partition) {
                out[node.index()].iter_mut().for_each(|pieces| pieces.caused_by(context));
            }
            for &node in routes.table.abroad(partition).iter().filter(|_| !forwarded) {
                let id = &routes.table.node(node).id;
                abroad.pieces.get_mut(id).into_iter().for_each(|pieces| pieces.caused_by(context));
            }
        }
    }

    fn sort<F: AddressFamily>(
        &self,
        routes: &routes::Routes,
        changes: &mut Vec<Change<F>>,
        out: &mut [Option<RecordBatch>],
        abroad: &mut CrossRegion,
        now: Second,
    ) {
        for Change { hash, info_hash, record, forwarded } in changes.drain(..) {
            let partition = self.partitions.partition(hash);
            for &node in routes.table.replicas(partition) {
                out[node.index()].get_or_insert_default().push_one(&info_hash, &record, now);
            }
            if forwarded {
                continue;
            }
            for &node in routes.table.abroad(partition) {
                let id = &routes.table.node(node).id;
                match abroad.pieces.get_mut(id) {
                    Some(pieces) => pieces.push_one(&info_hash, &record, now),
                    None => abroad.pieces.entry(id.clone()).or_default().push_one(&info_hash, &record, now),
                }
            }
        }
    }
}
