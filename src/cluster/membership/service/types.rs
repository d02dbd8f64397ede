//! The settings, errors and state that the parts of the membership service share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::membership::advertised::{Advertised, Me};

#[derive(Clone, Debug)]
pub struct MembershipConfig {
    pub cluster: String,
    pub me: Me,
    /// The UDP address for gossip.
    pub listen: SocketAddr,
    /// The gossip address by which other nodes reach this one.
    pub advertise: SocketAddr,
    /// Gossip addresses of some other nodes, as "host:port".
    pub seeds: Vec<String>,
    /// How often each node sends; 500 ms is a good value. A dead node is detected after two to six intervals.
    pub gossip_interval: Duration,
}

/// Why membership could not start.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The gossip socket could not be opened.
    #[error("{0:#}")]
    Gossip(anyhow::Error),
    /// Looking up the seeds took too long.
    #[error("cannot look up the hosts of cluster.seeds in time: check the names and the resolver, or use IP addresses")]
    Seeds,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipStatus {
    /// Members that are alive, this node included.
    pub live: usize,
    /// Members that are known and dead.
    pub dead: usize,
    /// How often gossip was restarted.
    pub gossip_restarts: u64,
    /// How often this node was paused for more than a second.
    pub pauses: u64,
    /// Node starts ignored because what they advertise is unusable.
    pub ignored: u64,
    /// The uptime at the last update of the members.
    pub last_update: Duration,
}

/// State shared by the membership task and its handle.
pub(super) struct Shared {
    /// Locked while gossip restarts, so that no change is lost in between.
    pub(super) current: tokio::sync::Mutex<Current>,
    pub(super) changed: Notify,
    pub(super) status: Mutex<MembershipStatus>,
}

pub(super) struct Current {
    /// What this node advertises.
    pub(super) own: Advertised,
    pub(super) chitchat: Arc<tokio::sync::Mutex<chitchat::Chitchat>>,
}
