//! The partitions of a node: the actors that own them, what replicates their changes, what keeps their copies on other
//! nodes equal, and what writes them to disk.

pub mod anti_entropy;
pub mod manager;
pub mod merge;
pub mod owner;
pub mod record_codec;
pub mod replication;
pub mod serving;
pub mod snapshot;
#[cfg(test)]
mod testing;

pub use manager::{
    Gossip, MANAGER_TICK, ManagerArguments, ManagerMessage, ManagerStatus, MemberState, MemberStatus, PartitionManager,
    SharedStatus, Transfer,
};
pub use owner::{
    AnnounceBatch, AnnounceRequest, Answer, Answers, Common, HttpAnswer, Message, Overloaded, OwnerHandle, OwnerIndex,
    OwnerThread, Owners, PartialReplies, Partitions, PeerBatch, ReplyTo, ReplyWriter, Start, Status, Supervisor,
    SupervisorArguments, Tally, UdpClient, jittered, summary, trace_slow,
};
pub use replication::{DeltaQueue, Peer, QueueStatus, Replication, Route, Routes, SharedRoutes};
