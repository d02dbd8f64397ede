//! Owners: the actors that hold partitions and answer for them, and how other parts reach them.

mod actor;
mod announcing;
mod answers;
mod common;
mod handle;
mod partial_replies;
mod partitions;
mod pending_acks;
mod reply;
mod requests;
mod supervisor;

pub use actor::{Arguments, Owner};
pub use announcing::jittered;
pub use answers::{Answers, Tally};
pub use common::Common;
pub use handle::{Overloaded, OwnerHandle, OwnerIndex, Owners, Status};
pub use partial_replies::PartialReplies;
pub use partitions::Partitions;
pub use reply::{Answer, ReplyWriter, trace_slow};
pub use requests::{
    AnnounceBatch, AnnounceRequest, HttpAnswer, Message, PeerBatch, ReplyTo, UdpClient, Visit, summary,
};
pub use supervisor::{OwnerThread, Start, Supervisor, SupervisorArguments};
