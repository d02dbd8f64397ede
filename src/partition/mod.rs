//! The partitions of a node: the actors that own them, and what keeps those running.

mod handle;
mod owner;
pub mod snapshot;
mod supervisor;

pub use handle::{Overloaded, OwnerHandle, Owners};
pub use owner::{Common, Message, Partitions, Status, UdpAnnounce, jittered};
pub use supervisor::{Place, Start, Supervisor, SupervisorArguments};
