//! The messages between nodes.
//!
//! Every message is a MessagePack map or array made by `rmp-serde`, so that a newer node can add fields that an older one
//! does not know. Lists of announces, replies and records, of which there are thousands a second, are packed into byte
//! strings: their layouts belong to the protocol version that both sides have agreed on.

use crate::swarm::Partition;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A request to another node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Request {
    /// Announces for partitions that the receiver holds, packed (see [`announces`](super::announces)). Answered by one or more
    /// [`Reply::Announces`], each for some of them.
    Announces(ByteBuf),
    /// The counts of some swarms, info hashes of 20 bytes one after the other. Answered by [`Reply::Counts`].
    Scrape {
        /// IPv6 instead of IPv4.
        v6: bool,
        info_hashes: ByteBuf,
    },
    /// The sender has dropped deltas for the receiver, which should compare all partitions that both hold. Answered by
    /// [`Reply::Done`].
    Compare,
    /// Records that have changed, packed and grouped by swarm. Answered by [`Reply::Done`] once they are merged.
    Deltas {
        /// They come from another region and must be forwarded within this one.
        forward: bool,
        /// Seconds they waited after they were packed; the receiver adds them to their ages.
        waited: u32,
        /// Packed records, grouped by swarm.
        pieces: ByteBuf,
    },
    /// The digest of a partition. Answered by [`Reply::Digest`].
    Digest {
        partition: Partition,
        /// Only records with stamps from here on, in milliseconds of the hybrid logical clock…
        from: u64,
        /// …and before here count.
        to: u64,
    },
    /// Some of the records of a partition. Answered by [`Reply::Chunk`].
    Fetch {
        partition: Partition,
        /// A bit for each bucket that is wanted.
        buckets: u64,
        /// Empty at first, then [`Reply::Chunk::next`] of the last chunk.
        cursor: ByteBuf,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Reply {
    /// Replies to some announces, packed (see [`announces`](super::announces)).
    Announces(ByteBuf),
    /// Counts in the order of the info hashes: seeders, leechers, partial seeds, completed.
    Counts(Vec<[u32; 4]>),
    /// The request was carried out.
    Done,
    /// A sum over the records of each bucket, of which there are [`BUCKETS`].
    Digest(Vec<u64>),
    /// Records of swarms, and the cursor of the next chunk; empty at the end.
    Chunk {
        /// Packed records, grouped by swarm.
        pieces: ByteBuf,
        next: ByteBuf,
    },
    Refused(Refusal),
}

/// Buckets of a partition's digest.
pub const BUCKETS: usize = 64;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
pub enum Refusal {
    /// It was addressed to an earlier or later incarnation of this node.
    #[error("the request was for another incarnation of the node")]
    Incarnation,
    /// The receiver does not hold the partition.
    #[error("the node does not hold the partition")]
    NotHeld,
    /// The receiver has too much to do.
    #[error("the node is overloaded")]
    Overloaded,
    /// The receiver could not read it.
    #[error("the node could not read the request")]
    Malformed,
}

/// How a node introduces itself when a link opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hello {
    pub cluster: String,
    pub node: String,
    pub region: String,
    pub incarnation: u64,
    /// The lowest and highest supported version of this protocol.
    pub versions: [u16; 2],
    pub partitions: u16,
    /// Replicas in each region.
    pub replicas: u8,
}
