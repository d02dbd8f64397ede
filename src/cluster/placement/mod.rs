//! Placement: which members count (`stability.rs`), which of them are to hold a partition (`preference.rs`), and which of
//! those that hold it are asked (`routing_table.rs`).

mod preference;
mod routing_table;
mod stability;

pub use preference::{MAX_WEIGHT, Placement};
pub use routing_table::{NodeIndex, RoutingTable, TableNode};
pub use stability::{StableMember, StableMembers, StableMembership};
