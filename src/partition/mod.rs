//! The partitions of a node: the actors that own them, and what keeps those running.

pub mod digest;
#[doc(hidden)]
pub mod faults;
mod handle;
pub mod merge;
mod ordered;
mod owner;
pub mod pieces;
pub mod pull;
pub mod snapshot;
mod supervisor;
#[cfg(test)]
mod testing;

pub use handle::{Overloaded, OwnerHandle, Owners};
pub use owner::{Common, Message, Partitions, Status, UdpAnnounce, jittered};
pub use supervisor::{Place, Start, Supervisor, SupervisorArguments};
