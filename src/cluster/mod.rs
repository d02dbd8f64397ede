//! What a node knows of the others: who is there (membership), which of them holds which partition (placement), and where
//! a request for a partition goes (routing table).

pub mod member;

pub use member::{Member, Members, NodeId, PartitionSet, PartitionSetError, Region};
