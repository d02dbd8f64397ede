//! The partition manager: the actor that makes this node hold the partitions that placement assigns to it. It follows the
//! membership, builds the routes, pulls assigned partitions, compares copies, and releases what other nodes hold by now.

mod actor;
mod arguments;
mod comparisons;
mod holdings;
mod pull_job;
mod status;
mod takeover;
mod topology;

pub use actor::{MANAGER_TICK, ManagerMessage, PartitionManager};
pub use arguments::{Gossip, ManagerArguments};
pub use status::{ManagerStatus, MemberState, MemberStatus, SharedStatus, Transfer};
