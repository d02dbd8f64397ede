//! What keeps a node from being a member of its cluster.

use std::fmt;
use std::net::SocketAddr;

use crate::cluster::membership::member::NodeId;

/// Why this node and others do not go together. Shown as one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another node that started earlier has this node's name.
    DuplicateId {
        /// The name.
        id: NodeId,
        /// The other node's gossip address.
        other: SocketAddr,
    },
    /// A node divides swarms into another number of partitions.
    Partitions(Mismatch<u16>),
    /// A node keeps another number of replicas.
    Replicas(Mismatch<u8>),
    /// A node says other things over links.
    Protocol(Mismatch<u16>),
    /// Gossip ends again and again.
    Gossip {
        /// How often it was started again within the last minute.
        restarts: usize,
    },
}

/// A number that has to be the same on all nodes and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch<T> {
    /// The other node. It is not admitted.
    pub node: NodeId,
    /// Its number.
    pub theirs: T,
    /// Ours.
    pub ours: T,
    /// This node started later than the other one, so it is this one that should go.
    pub younger: bool,
}

impl Conflict {
    /// Whether this node has to stop: its name is taken, it came later than a node that has other settings, or it can no
    /// longer hear of others.
    pub fn must_stop(&self) -> bool {
        match self {
            Self::DuplicateId { .. } | Self::Gossip { .. } => true,
            Self::Partitions(Mismatch { younger, .. })
            | Self::Replicas(Mismatch { younger, .. })
            | Self::Protocol(Mismatch { younger, .. }) => *younger,
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId { id, other } => {
                write!(f, "another node at {other} is called {id} too: give every node its own node.id")
            }
            Self::Partitions(Mismatch { node, theirs, ours, .. }) => write!(
                f,
                "node {node} has {theirs} partitions and this node has {ours}: set cluster.partitions to the same number on \
                 all nodes"
            ),
            Self::Replicas(Mismatch { node, theirs, ours, .. }) => write!(
                f,
                "node {node} keeps {theirs} replicas per region and this node {ours}: set cluster.replicas_per_region to \
                 the same number on all nodes"
            ),
            Self::Protocol(Mismatch { node, theirs, ours, .. }) => write!(
                f,
                "node {node} speaks version {theirs} of the protocol between nodes and this node version {ours}: run \
                 releases of tidings that go together"
            ),
            Self::Gossip { restarts } => write!(
                f,
                "gossip has failed {restarts} times within a minute: see the lines above, and check the network of \
                 cluster.gossip"
            ),
        }
    }
}
