//! `/api/v1/cluster`: the cluster as this node sees it.

use serde::Serialize;

use crate::ops::context::Context;
use crate::partition::ManagerStatus;

#[derive(Debug, Serialize)]
pub(in crate::ops) struct ClusterReport {
    /// The node that reports.
    node: String,
    region: String,
    /// `None` for a node without a cluster.
    #[serde(flatten)]
    status: Option<ManagerStatus>,
}

impl ClusterReport {
    pub fn new(context: &Context) -> Self {
        Self {
            node: context.settings.node.id.clone(),
            region: context.settings.node.region.clone(),
            status: context.cluster.as_ref().map(|cluster| ManagerStatus::clone(&cluster.status.now.load())),
        }
    }
}
