//! What all owners of a node share.

use std::sync::Arc;
use std::time::Duration;

use super::answers::Answers;
use crate::clock::Clock;
use crate::partition::replication::Replication;
use crate::swarm::{KeyedHash, PartitionCount, Quota};
use crate::telemetry::trace::Traces;

/// What all owners of a node share.
pub struct Common {
    /// Places info hashes and peers.
    pub hash: KeyedHash,
    /// The number of partitions of the cluster.
    pub partitions: PartitionCount,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// The interval for UDP clients, in seconds, before its jitter.
    pub interval: u32,
    /// Caps of the node.
    pub quota: Arc<Quota>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The time between two ticks.
    pub tick: Duration,
    /// Sends changes to replicas; `None` for a node that is never part of a cluster.
    pub replication: Option<Arc<Replication>>,
    /// Traces of announces.
    pub traces: Traces,
    /// Counts how announces of clients are answered.
    pub answers: Arc<Answers>,
}
