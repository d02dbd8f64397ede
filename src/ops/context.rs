//! What the endpoints report on: handles to the parts of a running node.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::cluster::{Membership, SealedTransport};
use crate::config::Settings;
use crate::frontend::http::HttpContext;
use crate::frontend::udp::UdpContext;
use crate::link::Links;
use crate::net::outbox::Outbox;
use crate::partition::snapshot::SnapshotStatus;
use crate::partition::{Answers, Replication, SharedStatus};
use crate::router::Router;
use crate::telemetry::event_loop::EventLoop;

/// The node that the endpoints report on.
pub struct Context {
    pub settings: Settings,
    pub addrs: Addrs,
    /// How many threads serve announces.
    pub threads: usize,
    pub router: Router,
    pub udp: Arc<UdpContext>,
    pub http: Arc<HttpContext>,
    /// Those of all serving threads.
    pub outboxes: Vec<Arc<Outbox>>,
    /// The capacity of the receive queues of all UDP sockets, in bytes of memory.
    pub udp_receive_bytes: usize,
    /// Those of the serving threads and of the control runtime.
    pub event_loops: Vec<Arc<EventLoop>>,
    pub answers: Arc<Answers>,
    /// `None` without a data directory.
    pub snapshots: Option<Arc<SnapshotStatus>>,
    /// `None` for a node without a cluster.
    pub cluster: Option<ClusterView>,
    /// `None` for a node without a cluster.
    pub replication: Option<Arc<Replication>>,
    /// Notified by a request to leave the cluster.
    pub leave: Arc<Notify>,
    pub clock: Arc<dyn Clock>,
}

/// The addresses that a node listens on, with the ports that the system chose for port 0.
#[derive(Clone, Debug, Default)]
pub struct Addrs {
    pub udp: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    /// `None` when operations are switched off.
    pub ops: Option<SocketAddr>,
}

/// The parts of a node that connect it to its cluster.
pub struct ClusterView {
    /// The cluster as the partition manager sees it.
    pub status: Arc<SharedStatus>,
    pub links: Arc<Links>,
    /// Weak, so that a node can stop its membership while operations are still up.
    pub membership: Weak<Membership>,
    /// `None` when gossip does not go over the network.
    pub sealed: Option<Arc<SealedTransport>>,
}
