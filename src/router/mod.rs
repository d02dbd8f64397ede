//! From a request to whoever holds its partition: an owner here, or another node by its link; when that one does not answer
//! in time the next one, in this region and then in the others, and at last whatever this node knows by itself.

mod forward;
mod full_scrape;
mod lateness;
mod scrape;
mod service;
mod stale;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use full_scrape::Batch;
pub use service::ClusterService;
pub use stale::StaleCache;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::cluster::NodeIndex;
use crate::link::Class;
use crate::net::outbox::Outbox;
use crate::net::yield_once;
use crate::partition::{
    Answers, Message, Overloaded, OwnerHandle, Owners, Partitions, Route, Routes, SharedRoutes, UdpAnnounce,
};
use crate::swarm::{Announce, AnnounceReply, InfoHash, PeerList, Source};
use crate::telemetry::trace::{FlightRecord, OpenTrace, Traces, names::key, names::span};
use crate::wire::peer::announces::{self as routed, Sent};
use crate::wire::peer::{Reply, Request};

/// How long an owner of this node may take. One that takes longer is overloaded or has failed.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// How often the deadline of one other node a request may take in all. A client waits no longer than that, and then is
/// answered from what is at hand.
const PATIENCE: u32 = 2;

/// How many times longer than usual clients are to wait after an answer that may be out of date.
pub const STALE_INTERVALS: u32 = 2;

/// What went wrong with an announce that no holder of its partition answered.
const NO_HOLDER: &str = "no_holder";

/// Nobody who owns the swarm answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tracker is overloaded, try again later")]
pub struct Unavailable;

/// What a node that is part of a cluster routes by.
pub struct ClusterRouting {
    /// This start of this node.
    pub incarnation: u64,
    /// Where requests go.
    pub routes: SharedRoutes,
    /// How long another node may take.
    pub deadline: Duration,
    /// The last answers of others.
    pub stale: StaleCache,
    /// The interval told to UDP clients, in seconds, before its jitter.
    pub interval: u32,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Traces of announces that other nodes answer, or that this one answers for others.
    pub traces: Traces,
    /// How announces of clients are answered.
    pub answers: Arc<Answers>,
    /// What happened.
    pub metrics: RouterMetrics,
}

/// What became of requests whose partition other nodes hold, since the start.
#[derive(Debug, Default)]
pub struct RouterMetrics {
    /// Announces sent to a node of this region.
    pub forwarded: AtomicU64,
    /// Announces sent to a node of another region.
    pub forwarded_abroad: AtomicU64,
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

    /// What it routes by; `None` for a node that is never part of a cluster.
    pub fn cluster(&self) -> Option<&Arc<ClusterRouting>> {
        self.cluster.as_ref()
    }

    /// Applies an announce and returns what its owner answers.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner has too much to do or does not answer in time, and no other node does.
    pub async fn announce(&self, announce: Announce) -> Result<AnnounceReply, Unavailable> {
        self.announce_traced(announce, None).await
    }

    /// The same for an announce that may be traced.
    ///
    /// # Errors
    /// See [`Router::announce`].
    pub async fn announce_traced(
        &self,
        announce: Announce,
        mut trace: Option<&mut OpenTrace>,
    ) -> Result<AnnounceReply, Unavailable> {
        let hash = self.owners.hash(&announce.info_hash);
        let Some(cluster) = &self.cluster else {
            routed(&mut trace);
            return self.announce_here(hash, announce, trace).await;
        };
        let partition = self.owners.partition(hash);
        let began = cluster.clock.now().uptime;
        let mut tried = Vec::new();
        while let Some(deadline) = cluster.time_left(began) {
            let (hop, source) = match cluster.routes.load().next(partition, &tried) {
                Route::Here(source) => (None, source),
                Route::Node(node, link, source) => (Some((node, link.clone())), source),
                Route::Nobody => break,
            };
            routed(&mut trace);
            let Some((node, link)) = hop else {
                let answer = self.announce_here(hash, announce, trace).await?;
                return Ok(AnnounceReply { source, ..answer });
            };
            cluster.count_forwarded(node, 1, !tried.is_empty());
            tried.push(node);
            let mut packed = routed::begin(cluster.sent(), 1);
            routed::push_announce(&mut packed, &announce);
            let call = |trace: &mut &mut OpenTrace| (0, trace.call(span::CALL_ANNOUNCES, link.target().id.to_string()));
            let span = trace.as_mut().map(call);
            let request = Request::Announces(packed.into());
            let answer = link.call_traced(Class::Request, &request, span.as_slice(), deadline).await;
            if let Some(trace) = &mut trace {
                trace.called(match &answer {
                    Ok(Reply::Announces(bytes)) if !bytes.is_empty() => None,
                    Ok(_) => Some("not_answered"),
                    Err(error) => Some(error.kind()),
                });
            }
            if let Ok(Reply::Announces(bytes)) = answer
                && let Some(Ok(reply)) = routed::replies(&bytes).next()
            {
                let family = announce.peer.family();
                cluster.stale.put(hash, family, &reply.counts, reply.peers, cluster.clock.now().uptime);
                let peers = PeerList { family, compact: reply.peers.to_vec() };
                if let Some(trace) = trace {
                    trace.answers(peers.compact.len() / family.stride(), "remote");
                }
                return Ok(AnnounceReply { counts: reply.counts, peers, source, stale: false });
            }
        }
        self.last_resort(cluster, hash, announce, trace).await
    }

    /// Nobody who holds the partition can be reached: the last that they said, or what is known here. The announce is kept
    /// here until they are back, and then told to them.
    async fn last_resort(
        &self,
        cluster: &ClusterRouting,
        hash: u64,
        announce: Announce,
        mut trace: Option<&mut OpenTrace>,
    ) -> Result<AnnounceReply, Unavailable> {
        cluster.metrics.last_resort.fetch_add(1, Relaxed);
        if let Some(trace) = &mut trace {
            trace.fail(NO_HOLDER);
        }
        let mut answer = self.announce_here(hash, announce, trace.as_deref_mut()).await?;
        answer.source = Source::Stale;
        let (family, now) = (announce.peer.family(), cluster.clock.now().uptime);
        if let Some((counts, compact)) = cluster.stale.get(hash, family, announce.num_want, now) {
            answer = AnnounceReply { counts, peers: PeerList { family, compact }, stale: true, ..answer };
            if let Some(trace) = trace {
                trace.root().set(key::STALE, true);
            }
        }
        Ok(answer)
    }

    async fn announce_here(
        &self,
        hash: u64,
        announce: Announce,
        mut trace: Option<&mut OpenTrace>,
    ) -> Result<AnnounceReply, Unavailable> {
        let (reply, answer) = oneshot::channel();
        {
            let owners = self.owners.load();
            let owner = owners.get(self.owners.place(hash, owners.len())).ok_or(Unavailable)?;
            let steps = trace.as_mut().map(|trace| trace.lend());
            self.send(owner, Message::Announce(hash, announce, reply, steps))?;
        }
        let reply = answered(answer).await?;
        if let Some(trace) = trace {
            trace.steps().restart();
            trace.answers(reply.peers.compact.len() / announce.peer.family().stride(), "local");
        }
        Ok(reply)
    }

    /// Lets a function see the partitions that hold an info hash, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner has too much to do or does not answer within 250 ms.
    pub async fn visit<T: Send + 'static>(
        &self,
        info_hash: &InfoHash,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let place = self.owners.place(self.owners.hash(info_hash), self.owners.load().len());
        self.visit_owner(place, visit).await
    }

    /// Lets a function see all partitions of the owner with this number, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no such owner, it has too much to do or does not answer within 250 ms.
    pub async fn visit_owner<T: Send + 'static>(
        &self,
        number: usize,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let visit = Message::Visit(Box::new(move |partitions, now| {
            // The asker may have gone.
            let _ = reply.send(visit(partitions, now));
        }));
        self.send(self.owners.load().get(number).ok_or(Unavailable)?, visit)?;
        answered(answer).await
    }

    /// The routes for a batch; `None` for a node without a cluster.
    pub fn routes(&self) -> Option<arc_swap::Guard<Arc<Routes>>> {
        self.cluster.as_ref().map(|cluster| cluster.routes.load())
    }

    /// Where a batch puts an announce with this keyed hash, of the lists that [`Router::hand_over`] takes: one for each of
    /// `owners` owners of this node, then one for each node of the routes, then one for those that nobody can be asked for;
    /// and as what it is answered there.
    pub fn list_of(&self, hash: u64, owners: usize, routes: Option<&Routes>) -> (usize, Source) {
        let Some(routes) = routes else { return (self.owners.place(hash, owners), Source::Owner) };
        match routes.next(self.owners.partition(hash), &[]) {
            Route::Here(source) => (self.owners.place(hash, owners), source),
            Route::Node(node, _, source) => (owners + node.index(), source),
            Route::Nobody => (owners + routes.table.nodes().len(), Source::Stale),
        }
    }

    /// How many lists a batch has.
    pub fn lists(&self, owners: usize, routes: Option<&Routes>) -> usize {
        owners + routes.map_or(0, |routes| routes.table.nodes().len() + 1)
    }

    /// Hands the announces of a batch that came by UDP to whoever answers them. Their replies go through `outbox` or that of
    /// their owner's thread. `record` holds the times of the batch. Returns how many were shed.
    pub fn hand_over(
        &self,
        lists: &mut [Vec<UdpAnnounce>],
        owners: &[OwnerHandle],
        routes: Option<&Routes>,
        outbox: &Arc<Outbox>,
        record: FlightRecord,
    ) -> usize {
        let mut shed = 0;
        for (at, list) in lists.iter_mut().enumerate().filter(|(_, list)| !list.is_empty()) {
            let announces = std::mem::take(list);
            match (owners.get(at), routes) {
                (Some(owner), _) => shed += self.hand_to_owner(owner, announces, record),
                (None, Some(routes)) => self.forward(at - owners.len(), announces, routes, outbox, record),
                (None, None) => shed += announces.len(),
            }
        }
        shed
    }

    fn hand_to_owner(&self, owner: &OwnerHandle, announces: Vec<UdpAnnounce>, record: FlightRecord) -> usize {
        let count = announces.len();
        match owner.send(Message::Udp(announces, record)) {
            Ok(()) => 0,
            Err(Overloaded) => {
                self.owners.shed.fetch_add(count as u64, Relaxed);
                count
            }
        }
    }

    fn send(&self, owner: &OwnerHandle, message: Message) -> Result<(), Unavailable> {
        owner.send(message).map_err(|Overloaded| {
            self.owners.shed.fetch_add(1, Relaxed);
            Unavailable
        })
    }
}

impl ClusterRouting {
    /// How long the next node may take for a request that began at this uptime; `None` when it has waited long enough.
    fn time_left(&self, began: Duration) -> Option<Duration> {
        let spent = self.clock.now().uptime.saturating_sub(began);
        let left = (self.deadline * PATIENCE).saturating_sub(spent).min(self.deadline);
        // What is left of a millisecond is no time to answer in.
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
        let counter = if near { &self.metrics.forwarded } else { &self.metrics.forwarded_abroad };
        counter.fetch_add(announces as u64, Relaxed);
        if again {
            self.metrics.retried.fetch_add(announces as u64, Relaxed);
        }
    }
}

/// It is known who is to answer.
fn routed(trace: &mut Option<&mut OpenTrace>) {
    if let Some(trace) = trace {
        trace.steps().step(span::ROUTE);
    }
}

async fn answered<T>(mut answer: oneshot::Receiver<T>) -> Result<T, Unavailable> {
    // An owner on this thread has its turn now, and most often no timer is needed.
    yield_once().await;
    match answer.try_recv() {
        Ok(answer) => return Ok(answer),
        Err(TryRecvError::Closed) => return Err(Unavailable),
        Err(TryRecvError::Empty) => {}
    }
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Unavailable),
    }
}
