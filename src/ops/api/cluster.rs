//! `/api/v1/cluster`: the cluster as this node sees it.

use serde::{Deserialize, Serialize};

use crate::ops::context::Context;
use crate::partition::ManagerStatus;

/// The cluster as one node sees it.
#[derive(Debug, Deserialize, Serialize)]
pub struct ClusterStatus {
    /// The node that reports.
    pub node: String,
    pub region: String,
    /// `None` for a node without a cluster.
    #[serde(flatten)]
    pub cluster: Option<ManagerStatus>,
}

impl ClusterStatus {
    pub(in crate::ops) fn new(context: &Context) -> Self {
        Self {
            node: context.settings.node.id.clone(),
            region: context.settings.node.region.clone(),
            cluster: context.cluster.as_ref().map(|cluster| ManagerStatus::clone(&cluster.status.now.load())),
        }
    }
}
