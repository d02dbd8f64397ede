//! Why a node cannot be part of its cluster.

use std::io;
use std::net::SocketAddr;

use crate::cluster::KeyDirError;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Keys(#[from] KeyDirError),
    #[error(
        "cannot look up cluster.advertise ({name}): {error}; use a name that this host can resolve, or an IP address"
    )]
    Advertise { name: String, error: io::Error },
    #[error("cannot listen on TCP {addr}: {error}; stop the other program or change cluster.link")]
    Link { addr: SocketAddr, error: io::Error },
    #[error("cannot start gossip on UDP {addr}: {reason}; stop the other program or change cluster.gossip")]
    Gossip { addr: SocketAddr, reason: String },
    #[error("cannot start the manager of partitions: {0}")]
    Manager(#[from] ractor::SpawnErr),
}
