//! `/api/v1`: the node, its cluster and its swarms as JSON.

mod cluster;
mod node;
mod swarm;

pub use cluster::ClusterStatus;
pub(super) use node::NodeReport;
pub(super) use swarm::SwarmReport;
