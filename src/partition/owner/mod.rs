//! Owners: the actors that hold partitions and answer for them, and how other parts reach them.

mod actor;
mod answers;
mod handle;
pub mod pending_acks;
mod supervisor;
pub mod traced;

pub use actor::{Arguments, Common, Message, Owner, Partitions, Routed, RoutedAnnounce, Status, UdpAnnounce, jittered};
pub use answers::{Answers, Tally};
pub use handle::{Overloaded, OwnerHandle, Owners};
pub use pending_acks::PartialReplies;
pub use supervisor::{OwnerThread, Start, Supervisor, SupervisorArguments};
