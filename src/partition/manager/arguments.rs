//! What a partition manager needs from the rest of the node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::status::SharedStatus;
use crate::clock::Clock;
use crate::cluster::{NodeId, PartitionSet};
use crate::link::Links;
use crate::partition::owner::Owners;
use crate::partition::replication::SharedRoutes;
use crate::swarm::PartitionCount;
use crate::telemetry::trace::Traces;

/// How the manager advertises this node's state to the cluster.
pub trait Gossip: Send + Sync + 'static {
    /// Advertises which partitions this node holds.
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()>;
    /// Advertises that this node is leaving.
    fn set_leaving(&self) -> BoxFuture<'_, ()>;
}

pub struct ManagerArguments {
    /// The name of this node.
    pub me: NodeId,
    /// Whether this node was configured with seeds, so that other nodes may hold its partitions already.
    pub has_seeds: bool,
    pub partitions: PartitionCount,
    /// Replicas in each region.
    pub replicas: u8,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// Bytes of changes that may wait for one other node.
    pub hint_bytes: usize,
    /// How long a replica may take to acknowledge while a client waits. Less than the caller's own deadline.
    pub ack_deadline: Duration,
    /// How long a node may be away before its partitions are assigned to others.
    pub stable_after: Duration,
    /// The routes, which the manager alone replaces.
    pub routes: SharedRoutes,
    pub links: Arc<Links>,
    pub owners: Arc<Owners>,
    pub gossip: Arc<dyn Gossip>,
    pub clock: Arc<dyn Clock>,
    /// Traces of batches of changes.
    pub traces: Traces,
    /// Where the manager publishes its status.
    pub status: Arc<SharedStatus>,
}
