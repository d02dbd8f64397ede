//! `/api/v1/cluster`: the cluster as this node sees it.

use serde::Serialize;

use super::Context;
use crate::partition::ManagerStatus;

/// The cluster as this node sees it.
#[derive(Debug, Serialize)]
pub(super) struct Cluster {
    /// Who tells this.
    node: String,
    region: String,
    /// `None` for a node that is never part of a cluster.
    #[serde(flatten)]
    status: Option<ManagerStatus>,
}

/// Tells of the cluster.
pub(super) fn cluster(context: &Context) -> Cluster {
    Cluster {
        node: context.settings.node.id.clone(),
        region: context.settings.node.region.clone(),
        status: context.cluster.as_ref().map(|cluster| ManagerStatus::clone(&cluster.status.now.load())),
    }
}
