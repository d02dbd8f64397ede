//! What a node knows of the others: who is there (membership), which of them holds which partition (placement), and where
//! a request for a partition goes (routing table).

pub mod member;
pub mod placement;
pub mod ring;
pub mod table;

pub use member::{Member, Members, NodeId, PartitionSet, PartitionSetError, Region};
pub use placement::Placement;
pub use ring::{Ring, RingMember, RingMembers};
pub use table::{RoutingTable, TableNode};
