//! A whole node, built in parts: [`Core`] stores and answers, [`Frontends`] serve clients, [`Cluster`] connects it to the
//! other nodes, and [`ops`](crate::ops) shows how it does. Simulations and tests build the same parts without the rest.

mod background;
pub mod cluster;
pub mod core;
mod error;
mod files;
pub mod frontends;
mod huge_pages;
mod owner_restarts;
mod secret;
mod sockets;
mod threads;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::Notify;

pub use self::cluster::{Cluster, ClusterError, ClusterParts, Identity, MemberSource};
pub use self::core::Core;
pub use self::error::{ReloadError, StartError};
pub use self::files::Installed;
pub use self::frontends::Frontends;
pub use self::secret::{Secret, SecretError};
pub use self::sockets::BindError;
pub use crate::ops::Addrs;

use self::background::Background;
use self::core::OWNER_TICK;
use self::files::{Files, Reloaded};
use self::owner_restarts::OwnerRestarts;
use self::sockets::Sockets;
use self::threads::Threads;
use crate::clock::Clock;
use crate::cluster::Conflict;
use crate::config::Settings;
use crate::ops;
use crate::partition::snapshot::{self, DataDir, Snapshots};
use crate::partition::{OwnerThread, Start};
use crate::router::Router;
use crate::telemetry::trace::{TraceExport, Traces};

/// Owners on each thread. A single one would make the rest of its thread wait for every long batch; measured, more than
/// two make the batches smaller and cost throughput.
const OWNERS_PER_THREAD: usize = 2;
/// Bytes of UDP payload that fit through every network unfragmented: the least IPv6 MTU less its headers.
const SAFE_DATAGRAM: usize = 1232;
/// How long the owners may take to finish when the node stops.
const STOP: Duration = Duration::from_secs(5);

/// A running node.
pub struct Node {
    context: Arc<ops::Context>,
    frontends: Frontends,
    supervisor: ActorRef<Start>,
    snapshots: Option<Snapshots>,
    threads: Threads,
    cluster: Option<Cluster>,
    ops: Option<ops::Server>,
    background: Background,
}

impl Node {
    /// Starts a node. Must be called within the control runtime, on which the supervisor lives. Traces go to `export`, if
    /// there is one.
    ///
    /// # Errors
    /// See [`StartError`]. The parts that had been started stop again.
    pub async fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        export: Option<&TraceExport>,
    ) -> Result<Self, StartError> {
        // ---- Files and identity: mistakes in the settings show before anything starts ----
        let files = Files::load(&settings, &*clock)?;
        let identity = Identity::new(&settings, &*clock)?;
        tracing::debug!(event = "files_loaded", "files loaded");

        // ---- Sockets ----
        let (sockets, ops_listener) = bind_sockets(&settings)?;
        let mut addrs = sockets.addrs.clone();
        addrs.ops = ops_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        tracing::debug!(event = "sockets_bound", ?addrs, threads = sockets.of_threads.len(), "sockets bound");

        // ---- Core: owners, router, replication ----
        let key = &files.secret.placement;
        let traces = export.map_or_else(Traces::off, |export| Traces::new(export, clock.clone(), key, rand::random));
        let core = Core::new(&settings, key, identity.as_ref().map(|identity| &identity.me), clock, traces);
        tracing::debug!(event = "core_built", partitions = settings.cluster.partitions, "core built");

        // ---- Frontends ----
        let frontends = Frontends::new(&settings, &core, &files.secret, files.access_list, files.tls.clone())?;
        tracing::debug!(event = "frontends_built", tls = files.tls.is_some(), "frontends built");

        // ---- Threads, background workers and owners ----
        let mut threads = Threads::start(sockets)?;
        let background = Background::start(files.tls.as_ref());
        // Owners of neighbouring partitions live on different threads.
        let owner_threads: Vec<OwnerThread> = (0..OWNERS_PER_THREAD).flat_map(|_| threads.owner_threads()).collect();
        let restarts = OwnerRestarts::default();
        let supervisor = core.start_owners(owner_threads, rand::random(), restarts.callback()).await?;
        tracing::debug!(event = "owners_started", owners = core.router.owners().load().len(), "owners started");

        // ---- Snapshots: restored before clients are served, so that they do not get empty swarms ----
        let snapshots = match files.data_dir {
            Some(dir) => Some(restore_snapshots(&settings, dir, &core, &restarts).await?),
            None => None,
        };

        // ---- Cluster: joined before clients are served, for the same reason ----
        let mut cluster = None;
        if let (Some(identity), Some(routes)) = (identity, core.routes.clone()) {
            let parts = ClusterParts::new(&settings, identity, files.keys, routes, &core);
            let cluster = cluster.insert(Cluster::start(&settings, &core, parts).await?);
            restarts.set_manager(cluster.manager().clone());
            cluster.wait_until_joined().await;
            tracing::debug!(event = "cluster_built", "cluster part started");
        }

        // ---- Serve ----
        threads.serve(&frontends, OWNER_TICK)?;
        tracing::debug!(event = "frontends_serving", "frontends serving");

        // ---- Operations ----
        let context = ops::Context {
            settings,
            addrs,
            threads: threads.len(),
            router: core.router.clone(),
            udp: frontends.udp.clone(),
            http: frontends.http.clone(),
            outboxes: threads.outboxes().cloned().collect(),
            udp_receive_bytes: threads.udp_receive_bytes(),
            event_loops: threads.event_loops().chain([&background.control]).cloned().collect(),
            answers: core.common.answers.clone(),
            snapshots: snapshots.as_ref().map(Snapshots::status).cloned(),
            cluster: cluster.as_ref().map(Cluster::view),
            replication: core.common.replication.clone(),
            leave: Arc::new(Notify::new()),
            clock: core.common.clock.clone(),
        };
        let context = Arc::new(context);
        let ops = ops_listener.map(|listener| ops::Server::start(listener, context.clone())).transpose()?;
        tracing::debug!(event = "ops_started", addr = ?context.addrs.ops, "operations started");

        Ok(Self { context, frontends, supervisor, snapshots, threads, cluster, ops, background })
    }

    pub fn addrs(&self) -> &Addrs {
        &self.context.addrs
    }

    pub fn router(&self) -> &Router {
        &self.context.router
    }

    /// The parts of the node that its operations report on.
    pub fn context(&self) -> &ops::Context {
        &self.context
    }

    /// Loads the access list, the certificate, the keys for connection ids and those of the cluster again, and puts them to
    /// use when all of them are good. Requests see the new ones from then on.
    ///
    /// # Errors
    /// When one of them cannot be used. Nothing changes then.
    pub fn reload(&self) -> Result<Installed, ReloadError> {
        let cluster = self.cluster.as_ref();
        let loaded = Reloaded::load(&self.context.settings, &self.frontends, cluster, &*self.context.clock)
            .inspect_err(|error| tracing::debug!(event = "reload_failed", %error, "a file cannot be used"))?;
        let installed = loaded.install(&self.frontends, cluster);
        tracing::debug!(event = "reload_installed", %installed, "reloaded files are in use");
        Ok(installed)
    }

    /// Returns when an operator has requested that the node leaves its cluster.
    pub async fn leave_requested(&self) {
        self.context.leave.notified().await;
    }

    /// Returns when a part has failed without which the node would keep an outdated view of its cluster.
    pub async fn failed(&self) {
        match &self.cluster {
            Some(cluster) => cluster.manager_failed().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a conflict that keeps the node from being part of its cluster.
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

    /// Hands its partitions off, stops listening, lets the owners finish, writes a last snapshot, and ends the threads.
    pub async fn stop(mut self) {
        if let Some(ops) = &self.ops {
            ops.stopping();
        }
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
        self.background.stop();
        self.threads.stop_frontends().await;
        tracing::debug!(event = "frontends_stopped", "frontends stopped");

        if let Some(cluster) = self.cluster {
            cluster.flush().await;
            cluster.stop().await;
        }
        if let Some(snapshots) = self.snapshots {
            snapshots.finish().await;
            tracing::debug!(event = "snapshots_finished", "last snapshot finished");
        }

        // An actor that does not stop in time ends with its thread.
        let _ = self.supervisor.stop_and_wait(None, Some(STOP)).await;
        self.threads.end();
        if let Some(ops) = self.ops {
            ops.stop().await;
        }
        tracing::debug!(event = "node_stopped", "node stopped");
    }
}

/// The sockets of each serving thread, and the listener for operations.
fn bind_sockets(settings: &Settings) -> Result<(Sockets, Option<TcpListener>), StartError> {
    let threads = match settings.announce.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let fragments = settings.limits.udp_reply_bytes > SAFE_DATAGRAM;
    let sockets = Sockets::bind(&settings.announce, threads, fragments)?;
    let ops_listener = settings.ops.listen.map(sockets::bind_ops).transpose()?;
    Ok((sockets, ops_listener))
}

async fn restore_snapshots(
    settings: &Settings,
    dir: DataDir,
    core: &Core,
    restarts: &OwnerRestarts,
) -> Result<Snapshots, StartError> {
    let config = snapshot::SnapshotConfig {
        node_id: settings.node.id.clone(),
        interval: Duration::from_secs(settings.node.snapshot_interval.into()),
        peer_ttl: settings.announce.peer_ttl,
    };
    let (owners, clock) = (core.router.owners().clone(), core.common.clock.clone());
    let mut snapshots = Snapshots::start(config, dir, owners, clock, restarts.refill.clone())?;
    snapshots.restored().await;
    tracing::debug!(event = "snapshots_restored", "snapshots restored");
    Ok(snapshots)
}
