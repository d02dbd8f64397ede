//! `/api/v1/cluster`: the cluster as this node sees it.

use serde::{Deserialize, Serialize};

use super::Context;
use crate::partition::ManagerStatus;

/// The cluster as this node sees it.
#[derive(Debug, Deserialize, Serialize)]
pub struct ClusterStatus {
    /// The node that sees it so.
    pub node: String,
    pub region: String,
    /// `None` for a node that is never part of a cluster.
    #[serde(flatten)]
    pub cluster: Option<ManagerStatus>,
}

/// Tells of the cluster.
pub(super) fn cluster(context: &Context) -> ClusterStatus {
    ClusterStatus {
        node: context.settings.node.id.clone(),
        region: context.settings.node.region.clone(),
        cluster: context.cluster.as_ref().map(|cluster| ManagerStatus::clone(&cluster.status.now.load())),
    }
}
