//! Swarms and their peers. Pure: no I/O, no async, no clock and no randomness of its own.

mod announce;
mod info_hash;
mod peer_addr;

pub use announce::{Announce, AnnounceReply, Counts, Event, PeerList};
pub use info_hash::{InfoHash, InfoHashError};
pub use peer_addr::{Family, PeerAddr};
