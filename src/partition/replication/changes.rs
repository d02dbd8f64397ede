//! What an owner gathers until it is sent to other nodes.

use std::collections::BTreeMap;

use crate::cluster::NodeId;
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, InfoHash, Record, V4, V6};
use crate::telemetry::trace::TraceContext;

/// One changed record.
#[derive(Clone, Copy, Debug)]
pub struct Change<F: AddressFamily> {
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// The swarm.
    pub info_hash: InfoHash,
    /// The record as it is now.
    pub record: Record<F>,
    /// It came from another region, which notifies all others by itself.
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

/// Changes of an owner that are not queued yet.
#[derive(Debug, Default)]
pub struct Changes {
    /// IPv4.
    pub v4: Vec<Change<V4>>,
    /// IPv6.
    pub v6: Vec<Change<V6>>,
    /// Of those that are traced: most often none.
    pub causes: Vec<Cause>,
}

/// Changes of an owner for other regions, by the node there that gets them.
#[derive(Default)]
pub struct CrossRegion {
    pub(super) batches: BTreeMap<NodeId, RecordBatch>,
    /// Ticks since the last flush.
    pub(super) ticks: u32,
}
