//! `/api/v1`: the node, its cluster and its swarms as JSON.

mod cluster;
mod node;
mod swarm;

pub(super) use cluster::ClusterReport;
pub(super) use node::NodeReport;
pub(super) use swarm::SwarmReport;
