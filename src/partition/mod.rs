//! The partitions of a node: the actors that own them, what keeps those running, and what keeps their copies on other nodes
//! the same.

mod answers;
pub mod digest;
mod handle;
pub mod incoming;
mod keeper;
pub mod merge;
mod ordered;
mod owner;
mod parked;
pub mod pieces;
pub mod pull;
mod replication;
mod routes;
pub mod snapshot;
mod supervisor;
#[cfg(test)]
mod testing;
pub mod traced;

pub use answers::{Answers, Tally};
pub use handle::{Overloaded, OwnerHandle, Owners};
pub use keeper::{
    Gossip, KEEPER_TICK, Keeper, KeeperArguments, KeeperMessage, KeeperStatus, MemberStatus, SharedStatus, Transfer,
};
pub use owner::{Common, Message, Partitions, Routed, RoutedAnnounce, Status, UdpAnnounce, jittered};
pub use parked::Parts;
pub use replication::{DeltaQueue, QueueStatus, Replication};
pub use routes::{Hop, Peer, Routes, SharedRoutes};
pub use supervisor::{Place, Start, Supervisor, SupervisorArguments};
