//! One request to send, and what it does to the peer that it is for.

use crate::swarm::Event;

/// Where a peer is in its life, as far as the tracker has acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerState {
    /// Not announced, or stopped.
    Absent,
    /// Present, `left` above zero.
    Leecher,
    /// Present, `left` zero.
    Seeder,
}

/// One request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A peer announces; `next` is its life once this is acknowledged.
    Announce {
        /// The peer.
        peer: u32,
        /// What it says.
        event: Event,
        /// What it then is.
        next: PeerState,
    },
    /// A scrape of `count` swarms from `first` on.
    Scrape {
        /// The first swarm.
        first: u32,
        /// How many.
        count: u8,
    },
    /// The observer of `--verify` looks at a swarm, or leaves it again.
    Observe {
        /// The swarm.
        swarm: u32,
        /// `stopped` instead of `started`.
        leave: bool,
    },
}
