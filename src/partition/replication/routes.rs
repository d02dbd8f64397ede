//! Where requests and changes for a partition go: the routing table, with a link and a queue for each of its nodes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::queue::DeltaQueue;
use crate::cluster::{NodeIndex, RoutingTable};
use crate::link::Link;
use crate::swarm::{Partition, Source};

/// The current routes. To be loaded once for a batch.
pub type SharedRoutes = Arc<ArcSwap<Routes>>;

/// The routes of one view of the membership.
pub struct Routes {
    /// Who holds what.
    pub table: RoutingTable,
    /// By node; `None` for this one.
    peers: Vec<Option<Peer>>,
}

/// How to reach another node.
#[derive(Clone)]
pub struct Peer {
    /// Its link.
    pub link: Arc<Link>,
    /// Changes that it has not acknowledged.
    pub queue: Arc<DeltaQueue>,
}

/// Where a request goes next.
#[derive(Clone, Copy)]
pub enum Route<'a> {
    /// To an owner of this node, which answers as this source.
    Here(Source),
    /// To another node, which answers as this source.
    Node(NodeIndex, &'a Arc<Link>, Source),
    /// Nowhere: no node that holds the partition can be reached.
    NoHolder,
}

impl Routes {
    /// Routes by this table, with the peers in the order of its nodes.
    pub fn new(table: RoutingTable, peers: Vec<Option<Peer>>) -> Self {
        Self { table, peers }
    }

    /// How to reach a node; `None` for this one.
    pub fn peer(&self, node: NodeIndex) -> Option<&Peer> {
        self.peers.get(node.index())?.as_ref()
    }

    /// Whether a holder of each partition can be reached.
    pub fn reach_all(&self) -> bool {
        self.table.partitions().iter().all(|partition| !matches!(self.next(partition, &[]), Route::NoHolder))
    }

    /// The first reachable holder of a partition, without the nodes that were tried.
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
        Route::NoHolder
    }
}
