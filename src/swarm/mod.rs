//! Swarms and their peers. Pure: no I/O, no async, no clock and no randomness of its own.

mod announce;
mod hash;
mod index;
mod info_hash;
mod many;
mod partition;
mod peer_addr;
mod peers;
mod record;
mod selection;
mod slab;
mod stamp;
mod store;
#[cfg(test)]
mod tests;

pub use announce::{Announce, AnnounceReply, Counts, Event, PeerList, Source};
pub use hash::KeyedHash;
pub use index::scan_order;
pub use info_hash::{InfoHash, InfoHashError};
pub use partition::{Partition, PartitionCount, SwarmKey};
pub use peer_addr::{Family, PeerAddr};
pub use record::{AddressFamily, Record, Second, V4, V6};
pub use stamp::{ClockAhead, Hlc, HlcTime, Role, Stamp};
pub use store::{Merged, Outcome, Quota, Store, Totals};
