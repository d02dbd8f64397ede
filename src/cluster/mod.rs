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
mod replay;
pub mod seal;
pub mod stall;
pub mod view;

pub use member::{Member, Members, NodeId, PartitionSet, PartitionSetError, Region};
