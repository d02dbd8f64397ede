//! What keeps a node from being a member of its cluster.

use std::fmt;
use std::net::SocketAddr;

use crate::cluster::membership::member::NodeId;

/// Why this node and others cannot form one cluster. Shown as one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another node that started earlier has this node's name.
    DuplicateId {
        id: NodeId,
        /// The other node's gossip address.
        other: SocketAddr,
    },
    /// A node divides swarms into another number of partitions.
    Partitions(Mismatch<u16>),
    /// A node is set to another number of replicas.
    Replicas(Mismatch<u8>),
    /// A node speaks another version of the link protocol.
    Protocol(Mismatch<u16>),
    /// Gossip keeps failing.
    Gossip {
        /// How often it was restarted within the last minute.
        restarts: usize,
    },
}

/// A setting that must be the same on all nodes and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch<T> {
    /// The other node. It is not admitted.
    pub node: NodeId,
    pub theirs: T,
    pub ours: T,
    /// This node started later than the other one, so this node must stop.
    pub younger: bool,
}

impl Conflict {
    /// Whether this node has to stop: its name is taken, it came later than a node that has other settings, or it can no
    /// longer receive gossip.
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
