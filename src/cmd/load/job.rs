//! A request to send, and how it changes its peer.

use crate::swarm::Event;

/// The state of a peer, as far as the tracker has acknowledged it.
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
    /// A peer announces; `next` is its state once this is acknowledged.
    Announce { peer: u32, event: Event, next: PeerState },
    /// A scrape of `count` swarms from `first` on.
    Scrape { first: u32, count: u8 },
    /// The observer of `--verify` joins a swarm to see its peers, or leaves it.
    Observe {
        swarm: u32,
        /// Whether it leaves.
        leave: bool,
    },
}
