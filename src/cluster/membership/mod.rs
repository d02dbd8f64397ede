//! Membership: what each node gossips about itself, and the view that a node makes of it.

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
