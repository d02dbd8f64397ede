//! Where requests and changes for a partition go: the routing table, with a link for each of its nodes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::cluster::{NodeIndex, RoutingTable};
use crate::link::Link;
use crate::partition::replication::DeltaQueue;
use crate::swarm::{Partition, Source};

/// The routes now. To be loaded once for a batch.
pub type SharedRoutes = Arc<ArcSwap<Routes>>;

/// The routes as of one view of the membership.
pub struct Routes {
    /// Who holds what.
    pub table: RoutingTable,
    /// The way to each node of the table; none to this one.
    peers: Vec<Option<Peer>>,
}

/// The way to another node.
#[derive(Clone)]
pub struct Peer {
    /// Its link.
    pub link: Arc<Link>,
    /// What it has yet to be told.
    pub queue: Arc<DeltaQueue>,
}

/// Who is to be asked next.
#[derive(Clone, Copy)]
pub enum Route<'a> {
    /// This node's own owners, as what.
    Here(Source),
    /// The node at this position of the table, by its link, as what.
    Node(NodeIndex, &'a Arc<Link>, Source),
    /// Nobody who holds the partition can be reached.
    Nobody,
}

impl Routes {
    /// Routes by this table, with the ways to its nodes in their order.
    pub fn new(table: RoutingTable, peers: Vec<Option<Peer>>) -> Self {
        Self { table, peers }
    }

    /// The way to a node.
    pub fn peer(&self, node: NodeIndex) -> Option<&Peer> {
        self.peers.get(node.index())?.as_ref()
    }

    /// Whether somebody can be asked for each partition.
    pub fn reach_all(&self) -> bool {
        self.table.partitions().iter().all(|partition| !matches!(self.next(partition, &[]), Route::Nobody))
    }

    /// The first that can be reached of those who hold a partition, but for the nodes that were tried.
    pub fn next(&self, partition: Partition, tried: &[NodeIndex]) -> Route<'_> {
        if self.table.is_alone() {
            return Route::Here(Source::Owner);
        }
        let in_region = self.table.in_region(partition).len();
        let source = |at| match at {
            at if at >= in_region => Source::RemoteRegion,
            0 => Source::Owner,
            _ => Source::Replica,
        };
        let candidates = self.table.candidates(partition).iter().enumerate();
        for (at, &node) in candidates.filter(|(_, node)| !tried.contains(node)) {
            if node == self.table.me() {
                return Route::Here(source(at));
            }
            if let Some(peer) = self.peer(node).filter(|peer| peer.link.is_routable()) {
                return Route::Node(node, &peer.link, source(at));
            }
        }
        Route::Nobody
    }
}
