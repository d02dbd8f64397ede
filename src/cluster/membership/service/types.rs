//! The settings, errors and state that the parts of the membership service share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::membership::advertised::{Advertised, Me};

/// What membership needs to know.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// The cluster's name.
    pub cluster: String,
    /// Who this node is.
    pub me: Me,
    /// The UDP address for gossip.
    pub listen: SocketAddr,
    /// The address by which other nodes reach it.
    pub advertise: SocketAddr,
    /// Gossip addresses of some other nodes, as "host:port".
    pub seeds: Vec<String>,
    /// How often each node sends; 500 ms is a good value. A dead node is noticed after two to six times as long.
    pub gossip_interval: Duration,
}

/// Why membership does not start.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The socket cannot be had.
    #[error("{0:#}")]
    Gossip(anyhow::Error),
    /// Looking up the seeds took too long.
    #[error("cannot look up the hosts of cluster.seeds in time: check the names and the resolver, or use IP addresses")]
    Seeds,
}

/// How membership does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipStatus {
    /// Members that are alive, this node included.
    pub live: usize,
    /// Members that are known and dead.
    pub dead: usize,
    /// How often gossip had to be started again.
    pub gossip_restarts: u64,
    /// How often this node stood still for more than a second.
    pub stalls: u64,
    /// Starts of nodes that were ignored because what they say of themselves cannot be used.
    pub ignored: u64,
    /// The uptime when the members were last looked at.
    pub last_update: Duration,
}

/// What the task and its handle share.
pub(super) struct Shared {
    /// Held while gossip starts anew, so that no change gets lost in between.
    pub(super) current: tokio::sync::Mutex<Current>,
    pub(super) changed: Notify,
    pub(super) status: Mutex<MembershipStatus>,
}

pub(super) struct Current {
    /// What this node says of itself.
    pub(super) own: Advertised,
    pub(super) chitchat: Arc<tokio::sync::Mutex<chitchat::Chitchat>>,
}
