//! The settings of snapshots.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// Written into the files.
    pub node_id: String,
    /// The time from the start of one round to that of the next.
    pub interval: Duration,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
}
