//! From a request to a holder of its partition: an owner here, or another node by its link; if that does not answer in time
//! the next one, in this region and then in the others, and in the end what this node knows by itself.

mod dispatch;
mod forward;
mod full_scrape;
mod lateness;
mod scrape;
mod service;
mod stale;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use dispatch::{RoutedBatch, RoutingSnapshot};
pub use full_scrape::Batch;
pub use service::ClusterService;
pub use stale::StaleCache;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::cluster::NodeIndex;
use crate::net::yield_once;
use crate::partition::{
    Answers, Message, Overloaded, OwnerHandle, OwnerIndex, Owners, Partitions, Routes, SharedRoutes,
};
use crate::swarm::InfoHash;
use crate::telemetry::trace::Traces;
use crate::wire::peer::announces::Sent;

/// How long an owner of this node may take. One that takes longer is overloaded or has failed.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// How many deadlines of one other node a request may take in all. After that the client is answered from what this node
/// knows.
const PATIENCE: u32 = 2;

/// How many times longer than usual the interval is after an answer that may be out of date.
pub const STALE_INTERVALS: u32 = 2;

/// No owner of the swarm answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tracker is overloaded, try again later")]
pub struct Unavailable;

/// What a node of a cluster routes by.
pub struct ClusterRouting {
    /// The incarnation of this node.
    pub incarnation: u64,
    /// Where requests go.
    pub routes: SharedRoutes,
    /// How long another node may take.
    pub deadline: Duration,
    /// The last answers of other nodes.
    pub stale: StaleCache,
    /// The interval for UDP clients, in seconds, before its jitter.
    pub interval: u32,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Traces of announces that other nodes answer, or that this one answers for others.
    pub traces: Traces,
    /// Counts how announces of clients are answered.
    pub answers: Arc<Answers>,
    /// Counts of what happened.
    pub metrics: RouterMetrics,
}

/// Requests whose partition other nodes hold, by outcome, since the start.
#[derive(Debug, Default)]
pub struct RouterMetrics {
    /// Announces sent to a node of this region.
    pub forwarded: AtomicU64,
    /// Announces sent to a node of another region.
    pub forwarded_cross_region: AtomicU64,
    /// Announces that had to be sent to another node again.
    pub retried: AtomicU64,
    /// Announces answered by this node because no holder of their partition did.
    pub last_resort: AtomicU64,
    /// Announces of other nodes that were answered here.
    pub served: AtomicU64,
}

/// Routes requests. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    owners: Arc<Owners>,
    cluster: Option<Arc<ClusterRouting>>,
}

impl Router {
    /// A router to these owners, and to the other nodes of a cluster.
    pub fn new(owners: Arc<Owners>, cluster: Option<Arc<ClusterRouting>>) -> Self {
        Self { owners, cluster }
    }

    /// The owners of this node.
    pub fn owners(&self) -> &Arc<Owners> {
        &self.owners
    }

    /// What it routes by; `None` for a node without a cluster.
    pub fn cluster(&self) -> Option<&Arc<ClusterRouting>> {
        self.cluster.as_ref()
    }

    /// Runs a function on the owner that holds an info hash, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner is overloaded or does not answer within 250 ms.
    pub async fn visit<T: Send + 'static>(
        &self,
        info_hash: &InfoHash,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.visit_owner(self.owners.owner_of_swarm(self.owners.hash(info_hash)), visit).await
    }

    /// Runs a function on an owner, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no such owner, it is overloaded or does not answer within 250 ms.
    pub async fn visit_owner<T: Send + 'static>(
        &self,
        owner: OwnerIndex,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let visit = Message::Visit(Box::new(move |partitions, now| {
            // The caller may have gone.
            let _ = reply.send(visit(partitions, now));
        }));
        self.send(self.owners.load().get(owner.0).ok_or(Unavailable)?, visit)?;
        receive(answer, DEADLINE).await
    }

    /// The routes for a batch; `None` for a node without a cluster.
    pub fn routes(&self) -> Option<arc_swap::Guard<Arc<Routes>>> {
        self.cluster.as_ref().map(|cluster| cluster.routes.load())
    }

    fn send(&self, owner: &OwnerHandle, message: Message) -> Result<(), Unavailable> {
        owner.send(message).map_err(|Overloaded| {
            self.owners.shed.fetch_add(1, Relaxed);
            Unavailable
        })
    }
}

impl ClusterRouting {
    /// How long the next node may take for a request that began at this uptime; `None` when its time is up.
    fn time_left(&self, began: Duration) -> Option<Duration> {
        let spent = self.clock.now().uptime.saturating_sub(began);
        let left = (self.deadline * PATIENCE).saturating_sub(spent).min(self.deadline);
        // Less than a millisecond is not enough to answer in.
        (left >= Duration::from_millis(1)).then_some(left)
    }

    /// The time, for a request to another node.
    fn sent(&self) -> Sent {
        let millis = u64::try_from(self.clock.now().uptime.as_millis()).unwrap_or(u64::MAX);
        Sent { incarnation: self.incarnation, millis }
    }

    fn count_forwarded(&self, node: NodeIndex, announces: usize, again: bool) {
        let routes = self.routes.load();
        let near = routes.table.is_in_own_region(node);
        let counter = if near { &self.metrics.forwarded } else { &self.metrics.forwarded_cross_region };
        counter.fetch_add(announces as u64, Relaxed);
        if again {
            self.metrics.retried.fetch_add(announces as u64, Relaxed);
        }
    }
}

/// Waits for an answer. An owner on this thread has answered after one turn, so that most often no timer is needed.
async fn receive<T>(mut answer: oneshot::Receiver<T>, deadline: Duration) -> Result<T, Unavailable> {
    yield_once().await;
    match answer.try_recv() {
        Ok(answer) => return Ok(answer),
        Err(TryRecvError::Closed) => return Err(Unavailable),
        Err(TryRecvError::Empty) => {}
    }
    match timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Unavailable),
    }
}
