//! Membership: what each node gossips about itself, and each node's view of the others.

pub mod advertised;
pub mod conflict;
pub mod events;
pub mod member;
pub mod pause_guard;
mod service;
pub mod view;

pub use advertised::Me;
pub use conflict::{Conflict, Mismatch};
pub use events::{MemberEvent, diff};
pub use member::{Member, Members, NodeId, PartitionSet, PartitionSetError, Region};
pub use service::{Membership, MembershipConfig, MembershipError, MembershipStatus};
