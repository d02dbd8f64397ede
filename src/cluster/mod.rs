//! What a node knows of the others: who is there (membership), which of them holds which partition (placement), and where
//! a request for a partition goes (routing table).

pub mod advertised;
pub mod conflict;
pub mod events;
pub mod gossip;
pub mod keyring;
pub mod keys;
pub mod member;
pub mod membership;
pub mod placement;
mod replay;
pub mod ring;
pub mod seal;
pub mod stall;
pub mod table;
pub mod view;

pub use advertised::Me;
pub use conflict::Conflict;
pub use gossip::SealedTransport;
pub use keys::{KeyDir, KeyDirError};
pub use member::{Member, Members, NodeId, PartitionSet, PartitionSetError, Region};
pub use membership::{Membership, MembershipConfig};
pub use placement::Placement;
pub use ring::{Ring, RingMember, RingMembers};
pub use table::{RoutingTable, TableNode};
