//! A whole node: its threads, sockets and actors, put together.

mod cluster;
mod huge_pages;
mod secret;
mod sockets;
mod threads;

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::InvalidHeaderName;
use ractor::{Actor, ActorRef};
use tokio::sync::{Notify, watch};

pub use crate::ops::Addrs;
pub use cluster::{Cluster, ClusterError, Hearing, Identity, Keys, Parts, lonely_routes};
pub use secret::{Secret, SecretError};
pub use sockets::BindError;

use crate::clock::Clock;
use crate::cluster::Conflict;
use crate::config::Settings;
use crate::frontend::access_list::{AccessList, AccessListError};
use crate::frontend::external::External;
use crate::frontend::http::{FullScrape, HttpContext, HttpOptions, Tls, TlsError};
use crate::frontend::udp::{ConnectionIds, UdpContext};
use crate::ops;
use crate::partition::snapshot::{self, DataDir, DataDirError, SnapshotStatus, Snapshots};
use crate::partition::{
    Answers, Common, ManagerMessage, OwnerThread, Owners, Replication, SharedRoutes, Supervisor, SupervisorArguments,
};
use crate::router::{self, Router};
use crate::swarm::{KeyedHash, PartitionCount, Quota};
use crate::telemetry::event_loop::EventLoop;
use crate::telemetry::trace::{TraceExport, Traces};
use crate::wire::answered_by::AnsweredBy;
use sockets::Sockets;
use threads::Threads;

/// Owners on each thread. One alone would make the rest of its thread wait for every long batch; measured, more than two
/// make the batches smaller and cost throughput.
const OWNERS_PER_THREAD: usize = 2;
/// The time between two ticks of an owner: short, so that each has little to do.
const TICK: Duration = Duration::from_millis(20);

/// Bytes of UDP payload that fit through every network unfragmented: the least IPv6 MTU less its headers.
const SAFE_DATAGRAM: usize = 1232;
/// How long the owners may take to finish when the node stops.
const STOP: Duration = Duration::from_secs(5);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access list cannot be used.
    #[error(transparent)]
    AccessList(#[from] AccessListError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The name of the proxies' header is none.
    #[error("announce.proxy_header is not the name of a header: {0}")]
    ProxyHeader(#[from] InvalidHeaderName),
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The node cannot be part of its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The system refuses a thread, a socket option or the like.
    #[error("the system refuses what a node needs: {0}")]
    System(#[from] std::io::Error),
    /// An actor did not start.
    #[error("cannot start the owners of partitions: {0}")]
    Owners(#[from] ractor::SpawnErr),
}

impl StartError {
    /// Whether changed settings can help.
    pub fn is_settings(&self) -> bool {
        !matches!(self, Self::System(_) | Self::Owners(_))
    }
}

/// A running node.
pub struct Node {
    settings: Settings,
    addrs: Addrs,
    router: Router,
    udp: Arc<UdpContext>,
    http: Arc<HttpContext>,
    supervisor: ActorRef<crate::partition::Start>,
    snapshots: Option<Snapshots>,
    threads: Threads,
    ops: Option<ops::Server>,
    cluster: Option<Cluster>,
    leave: Arc<Notify>,
    /// Ends the background workers.
    stop: watch::Sender<bool>,
}

impl Node {
    /// Starts a node. To be called within the control runtime, on which the supervisor lives.
    ///
    /// # Errors
    /// See [`StartError`]. Whatever had been started stops again.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Self::start_traced(settings, clock, None).await
    }

    /// The same for a node whose traces go to an export.
    ///
    /// # Errors
    /// See [`StartError`]. Whatever had been started stops again.
    pub async fn start_traced(
        settings: Settings,
        clock: Arc<dyn Clock>,
        export: Option<&TraceExport>,
    ) -> Result<Self, StartError> {
        let access_list = Arc::new(ArcSwap::from_pointee(AccessList::load(&settings.access_list)?));
        let data_dir = settings.node.data_dir.as_deref().map(DataDir::open).transpose()?;
        let keys = Keys::load(&settings, &*clock)?;
        let secret = Secret::load(&settings)?;
        let identity = Identity::new(&settings, &*clock)?;
        let count = match settings.announce.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let sockets = Sockets::bind(&settings.announce, count, settings.limits.udp_reply_bytes > SAFE_DATAGRAM)?;
        let ops_listener = settings.ops.listen.map(sockets::bind_ops).transpose()?;
        let mut addrs = sockets.addrs.clone();
        addrs.ops = ops_listener.as_ref().map(TcpListener::local_addr).transpose()?;

        let traces = export
            .map_or_else(Traces::off, |export| Traces::new(export, clock.clone(), &secret.placement, rand::random));
        let hash = KeyedHash::new(&secret.placement);
        let limits = &settings.limits;
        let quota = Arc::new(Quota::new(limits.swarms, limits.peers, limits.peers_per_swarm as usize));
        let routes = identity.as_ref().map(|identity| lonely_routes(&identity.me));
        let replication = routes.clone().map(|routes| {
            Arc::new(Replication::new(routes, PartitionCount::new(settings.cluster.partitions), settings.cluster.ack))
        });
        let answers = Arc::new(Answers::new(clock.clone()));
        let common = Arc::new(Common {
            hash,
            partitions: PartitionCount::new(settings.cluster.partitions),
            peer_ttl: settings.announce.peer_ttl,
            interval: settings.announce.interval,
            quota,
            clock: clock.clone(),
            tick: TICK,
            replication: replication.clone(),
            traces: traces.clone(),
            answers: answers.clone(),
        });
        let owners = Arc::new(Owners::new(hash, PartitionCount::new(settings.cluster.partitions)));
        let incarnation = identity.as_ref().map_or(0, |identity| identity.me.incarnation);
        let by = routes.as_ref().map(|routes| route_by(&settings, incarnation, routes, &traces, &answers, &clock));
        let router = Router::new(owners.clone(), by);
        let udp = Arc::new(UdpContext {
            router: router.clone(),
            connection_ids: ArcSwap::from_pointee(ConnectionIds::new(&secret.connection_ids)),
            access_list: access_list.clone(),
            external: External { ipv4: settings.announce.external_ipv4, ipv6: settings.announce.external_ipv6 },
            default_peers: settings.announce.default_peers,
            max_peers: settings.announce.max_peers,
            reply_bytes: limits.udp_reply_bytes,
            answered_by: AnsweredBy { node: settings.node.id.clone(), region: settings.node.region.clone() },
            clock: clock.clone(),
            traces: traces.clone(),
            metrics: Default::default(),
        });

        let tls = match (&settings.tls.cert, &settings.tls.key) {
            (Some(cert), Some(key)) => Some(Arc::new(Tls::load(cert, key)?)),
            _ => None,
        };
        let http = Arc::new(HttpContext {
            options: HttpOptions::new(&settings)?,
            router: router.clone(),
            access_list: access_list.clone(),
            tls: tls.clone(),
            full_scrape: settings.announce.full_scrape.then(|| {
                let router = router.clone();
                Box::new(move |family| router.scrape_all(family)) as Box<FullScrape>
            }),
            random: rand::random,
            traces: traces.clone(),
            answers: answers.clone(),
            metrics: Arc::default(),
        });

        let mut threads = Threads::start(sockets)?;
        // Owners of neighbouring partitions live on different threads.
        let places: Vec<OwnerThread> = (0..OWNERS_PER_THREAD).flat_map(|_| threads.places()).collect();
        let refill = snapshot::Refill::default();
        let manager = Arc::new(OnceLock::<ActorRef<ManagerMessage>>::new());
        let arguments = SupervisorArguments {
            common,
            owners: owners.clone(),
            places,
            in_flight: limits.in_flight,
            seed: rand::random(),
            refill: Arc::new({
                let (refill, manager) = (refill.clone(), manager.clone());
                move |number| {
                    refill.request();
                    if let Some(manager) = manager.get() {
                        // It ends only with the node.
                        let _ = manager.cast(ManagerMessage::Replaced(number));
                    }
                }
            }),
        };
        let stop = watch::Sender::new(false);
        tokio::spawn(huge_pages::advise(stop.subscribe()));
        let control = Arc::new(EventLoop::new("control".into()));
        tokio::spawn({
            let (control, mut stopped) = (control.clone(), stop.subscribe());
            async move {
                tokio::select! {
                    () = control.watch(TICK) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            }
        });
        if let Some(tls) = &tls {
            tokio::spawn(tls.clone().watch(stop.subscribe()));
        }
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, arguments).await?;
        let mut snapshots = None;
        if let Some(dir) = data_dir {
            let how = snapshot::Settings {
                node_id: settings.node.id.clone(),
                interval: Duration::from_secs(settings.node.snapshot_interval.into()),
                peer_ttl: settings.announce.peer_ttl,
            };
            // Before anybody is served, lest clients be told that swarms are empty.
            snapshots.insert(Snapshots::start(how, dir, owners.clone(), clock.clone(), refill)?).restored().await;
        }
        let mut cluster = None;
        if let (Some(identity), Some(routes)) = (identity, routes) {
            let parts = Parts::new(&settings, identity, keys, routes, router.clone(), clock.clone());
            let cluster = cluster.insert(Cluster::start(&settings, parts).await?);
            // Nobody else sets it.
            let _ = manager.set(cluster.manager().clone());
            cluster.met().await;
        }
        threads.serve(&udp, &http, TICK)?;
        let leave = Arc::new(Notify::new());
        let context = ops::Context {
            settings: settings.clone(),
            addrs: addrs.clone(),
            threads: count,
            router: router.clone(),
            udp: udp.clone(),
            http: http.clone(),
            outboxes: threads.outboxes().cloned().collect(),
            udp_receive_bytes: threads.udp_receive_bytes(),
            event_loops: threads.event_loops().cloned().chain([control]).collect(),
            answers,
            snapshots: snapshots.as_ref().map(Snapshots::status).cloned(),
            cluster: cluster.as_ref().map(Cluster::view),
            replication: replication.clone(),
            leave: leave.clone(),
            clock,
        };
        let ops = ops_listener.map(|listener| ops::Server::start(listener, context)).transpose()?;
        Ok(Self { settings, addrs, router, udp, http, supervisor, snapshots, threads, ops, cluster, leave, stop })
    }

    /// Where it listens.
    pub fn addrs(&self) -> &Addrs {
        &self.addrs
    }

    /// The way to its swarms.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The UDP frontends' context, for what it counts.
    pub fn udp(&self) -> &UdpContext {
        &self.udp
    }

    /// How snapshots go; `None` without a data directory.
    pub fn snapshots(&self) -> Option<&Arc<SnapshotStatus>> {
        self.snapshots.as_ref().map(Snapshots::status)
    }

    /// Reads the access list, the certificate, the keys for connection ids and those of the cluster again; requests see the new ones from then on.
    ///
    /// # Errors
    /// When one of them cannot be used; the old ones stay.
    pub fn reload(&self) -> Result<(), StartError> {
        let access_list = AccessList::load(&self.settings.access_list)?;
        if let Some(tls) = &self.http.tls {
            tls.reload()?;
        }
        // Without a file the secret is this process' own, and a new one would void all connection ids.
        if self.settings.cluster.secret_file.is_some() || self.settings.cluster.keys.is_some() {
            let secret = Secret::load(&self.settings)?;
            self.udp.connection_ids.store(Arc::new(ConnectionIds::new(&secret.connection_ids)));
        }
        if let Some(cluster) = &self.cluster {
            cluster.reload(&*self.udp.clock)?;
        }
        self.http.access_list.store(Arc::new(access_list));
        Ok(())
    }

    /// The HTTP frontends' context, for what it counts.
    pub fn http(&self) -> &HttpContext {
        &self.http
    }

    /// Returns when somebody has told the node to leave.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Returns when a part has failed without which the node would go on with an old view of its cluster.
    pub async fn failed(&self) {
        match &self.cluster {
            Some(cluster) => cluster.manager_failed().await,
            None => std::future::pending().await,
        }
    }

    /// What keeps the node from being part of its cluster; waits until there is such a thing.
    pub async fn conflict(&self) -> Conflict {
        let Some(cluster) = &self.cluster else { return std::future::pending().await };
        let mut conflict = cluster.conflict();
        let found = conflict.wait_for(|conflict| conflict.as_ref().is_some_and(Conflict::must_stop)).await;
        let found = found.ok().and_then(|conflict| conflict.clone());
        match found {
            Some(conflict) => conflict,
            None => std::future::pending().await,
        }
    }

    /// Hands its partitions over, stops listening, lets the owners finish, writes a last snapshot, and ends the threads.
    pub async fn stop(mut self) {
        if let Some(ops) = &self.ops {
            ops.stopping();
        }
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
        self.stop.send_replace(true);
        self.threads.stop_frontends().await;
        if let (Some(cluster), Some(routes)) = (self.cluster, self.router.cluster()) {
            cluster.flush(&routes.routes).await;
            cluster.stop().await;
        }
        if let Some(snapshots) = self.snapshots {
            snapshots.finish().await;
        }
        // An actor that does not stop in time ends with its thread.
        let _ = self.supervisor.stop_and_wait(None, Some(STOP)).await;
        self.threads.end();
        if let Some(ops) = self.ops {
            ops.stop().await;
        }
    }
}

fn route_by(
    settings: &Settings,
    incarnation: u64,
    routes: &SharedRoutes,
    traces: &Traces,
    answers: &Arc<Answers>,
    clock: &Arc<dyn Clock>,
) -> Arc<router::ClusterRouting> {
    let ttl = Duration::from_secs(settings.announce.peer_ttl.into());
    Arc::new(router::ClusterRouting {
        incarnation,
        routes: routes.clone(),
        deadline: Duration::from_millis(settings.cluster.deadline.into()),
        stale: router::StaleCache::new(settings.limits.stale_swarms, ttl),
        interval: settings.announce.interval,
        clock: clock.clone(),
        traces: traces.clone(),
        answers: answers.clone(),
        metrics: Default::default(),
    })
}
