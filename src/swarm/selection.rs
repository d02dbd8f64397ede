//! Which peers an announce asks for.

use super::record::{AddressFamily, Second};
use super::stamp::Role;

/// The peers to select for an announce.
#[derive(Clone, Copy, Debug)]
pub struct PeerSelection<F: AddressFamily> {
    /// The announcing peer, which is not sent to itself.
    pub asker: F::Key,
    /// The role of the asker in the swarm.
    pub role: Role,
    /// The maximum number of peers.
    pub want: usize,
    pub now: Second,
    /// Lifetime of a peer, in seconds.
    pub ttl: u16,
    /// Decides which of the eligible peers are selected.
    pub random: u64,
}
