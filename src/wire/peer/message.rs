//! What nodes say to each other.
//!
//! Every message is a MessagePack map or array made by `rmp-serde`, so that a newer node can add fields that an older one
//! does not know. Lists of announces, replies and records, of which there are thousands a second, are packed into byte
//! strings: their layouts belong to the protocol version that both sides have agreed on.

use crate::swarm::Partition;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What a node asks another one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Request {
    /// Announces for partitions that the receiver holds, packed (`routed.rs`). Answered by one or more
    /// [`Reply::Announces`], each for some of them.
    Announces(ByteBuf),
    /// The counts of some swarms, info hashes of 20 bytes one after the other. Answered by [`Reply::Counts`].
    Scrape {
        /// IPv6 instead of IPv4.
        v6: bool,
        /// The info hashes.
        info_hashes: ByteBuf,
    },
    /// The sender has dropped deltas for the receiver, which should compare all partitions that both hold. Answered by
    /// [`Reply::Done`].
    Compare,
    /// Records that have changed, packed as pieces of swarms. Answered by [`Reply::Done`] once they are merged.
    Deltas {
        /// They come from another region, so they are passed on within this one.
        forward: bool,
        /// Seconds that they have waited since they were packed, to be added to their ages.
        waited: u32,
        /// The pieces.
        pieces: ByteBuf,
    },
    /// The digest of a partition. Answered by [`Reply::Digest`].
    Digest {
        /// The partition.
        partition: Partition,
        /// Only records with stamps from here on, in milliseconds of the hybrid logical clock…
        from: u64,
        /// …and before here count.
        to: u64,
    },
    /// Some of the records of a partition. Answered by [`Reply::Chunk`].
    Fetch {
        /// The partition.
        partition: Partition,
        /// A bit for each bucket that is wanted.
        buckets: u64,
        /// Where to go on: empty at first, later what the last chunk said.
        cursor: ByteBuf,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Reply {
    /// Replies to some announces, packed (`routed.rs`).
    Announces(ByteBuf),
    /// Counts in the order of the info hashes: seeders, leechers, partial seeds, completed.
    Counts(Vec<[u32; 4]>),
    /// It is done.
    Done,
    /// A sum over the records of each bucket, of which there are [`BUCKETS`].
    Digest(Vec<u64>),
    /// RecordBatch of swarms, and where to go on; an empty cursor at the end.
    Chunk {
        /// The pieces.
        pieces: ByteBuf,
        /// Where to go on.
        next: ByteBuf,
    },
    /// The receiver does not do that.
    Refused(Refusal),
}

/// Buckets of a partition's digest.
pub const BUCKETS: usize = 64;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
pub enum Refusal {
    /// It was meant for an earlier or later start of this node.
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

/// What a node says of itself when a link opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hello {
    /// The name of the cluster.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// The lowest and the highest version of this protocol that it speaks.
    pub versions: [u16; 2],
    /// The number of partitions.
    pub partitions: u16,
    /// Replicas in each region.
    pub replicas: u8,
}
