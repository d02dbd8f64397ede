//! Placement: which members count (`stability.rs`), which of them are assigned a partition (`preference.rs`), and which
//! holders receive its requests (`routing_table.rs`).

mod preference;
mod routing_table;
mod stability;

pub use preference::{MAX_WEIGHT, Placement};
pub use routing_table::{NodeIndex, RoutingTable, TableNode};
pub use stability::{StableMember, StableMembers, StableMembership};
