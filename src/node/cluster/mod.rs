//! The part of a node that makes it one of many: membership, links to the other nodes, and the partition manager.

mod error;
mod identity;
mod keys;
mod membership;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Instrument;

use super::core::Core;
use crate::cluster::{Conflict, KeyDir, Members, Membership, NodeIndex, SealedTransport};
use crate::config::Settings;
use crate::link::net::{Net, SystemNet};
use crate::link::{LinkConfig, LinkLimits, Links, Security, Service};
use crate::ops::ClusterView;
use crate::partition::{
    Gossip, MANAGER_TICK, ManagerArguments, ManagerMessage, PartitionManager, SharedRoutes, SharedStatus,
};
use crate::router;
use crate::swarm::PartitionCount;
use crate::telemetry::trace::names;

pub use error::ClusterError;
pub use identity::Identity;
pub use keys::Keys;
pub use membership::MemberSource;
use membership::MembershipHandle;

/// How long a starting node waits to discover other members, and then for links to holders of all partitions, before it
/// serves clients alone.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);

/// What a [`Cluster`] is built from, besides the node's [`Core`].
pub struct ClusterParts {
    pub identity: Identity,
    /// Those of the core; the partition manager publishes new ones.
    pub routes: SharedRoutes,
    /// `None` for a cluster without keys.
    pub keys: Option<Keys>,
    pub security: Security,
    pub net: Arc<dyn Net>,
    pub members: MemberSource,
    /// For the counts in the metrics; `None` when gossip does not go over the network.
    pub sealed: Option<Arc<SealedTransport>>,
}

impl ClusterParts {
    /// The parts of a real node, on the system's sockets.
    pub fn new(
        settings: &Settings,
        identity: Identity,
        keys: Option<(Keys, KeyDir)>,
        routes: SharedRoutes,
        core: &Core,
    ) -> Self {
        let key_ring = keys.as_ref().map(|(keys, _)| keys.gossip.clone());
        let security = keys.as_ref().map_or(Security::Plain, |(_, files)| keys::security(files));
        let transport = Arc::new(SealedTransport::new(&settings.cluster.name, key_ring, core.common.clock.clone()));
        Self {
            identity,
            routes,
            keys: keys.map(|(keys, _)| keys),
            security,
            net: Arc::new(SystemNet),
            members: MemberSource::Gossip(transport.clone()),
            sealed: Some(transport),
        }
    }
}

/// The running parts.
pub struct Cluster {
    membership: Option<Arc<Membership>>,
    conflict: watch::Receiver<Option<Conflict>>,
    links: Arc<Links>,
    manager: ActorRef<ManagerMessage>,
    manager_ended: watch::Receiver<bool>,
    keys: Option<Keys>,
    sealed: Option<Arc<SealedTransport>>,
    status: Arc<SharedStatus>,
    routes: SharedRoutes,
    leave_timeout: Duration,
}

impl Cluster {
    /// Starts the parts on the current runtime.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start(settings: &Settings, core: &Core, parts: ClusterParts) -> Result<Self, ClusterError> {
        let ClusterParts { identity, routes, keys, security, net, members, sealed } = parts;
        let clock = &core.common.clock;

        // Links, and what answers the requests that come in over them.
        let service = Arc::new(router::ClusterService::new(core.router.clone()));
        let hello = identity.hello(&settings.cluster.name);
        let config = LinkConfig { hello, security, limits: LinkLimits::default() };
        let addr = identity.link;
        let links = Links::start(addr, config, net, clock.clone(), service.clone() as Arc<dyn Service>).await;
        let links = links.map_err(|error| ClusterError::Link { addr, error })?;
        tracing::debug!(event = "links_started", %addr, "accepting links from other nodes");

        // Membership.
        let MembershipHandle { members, gossip, conflict, membership } =
            MembershipHandle::start(settings, &identity, members, clock).await?;
        tracing::debug!(event = "membership_started", gossip = %identity.gossip, "membership started");

        // The partition manager, which follows the members and runs the links.
        let status = Arc::<SharedStatus>::default();
        let arguments = manager_arguments(settings, core, &identity, &routes, &links, gossip, &status);
        let (manager, manager_ended) = start_manager(arguments).await?;
        service.set_manager(manager.clone());
        tokio::spawn(forward_members(members, manager.clone()));
        tokio::spawn(tick(manager.clone()));
        tracing::debug!(event = "manager_started", "partition manager started");

        let leave_timeout = Duration::from_secs(settings.cluster.leave_timeout.into());
        Ok(Self { membership, conflict, links, manager, manager_ended, keys, sealed, status, routes, leave_timeout })
    }

    /// Returns once another member has been discovered and each partition has a holder that can be reached, or after three
    /// seconds for either: before that, clients could get empty swarms whose peers have yet to be fetched.
    pub async fn wait_until_joined(&self) {
        // The first node of a cluster finds no other.
        let members = || self.status.now.load().members.len();
        let found = timeout(JOIN_TIMEOUT, poll_until(|| members() > 1)).await.is_ok();
        // When all nodes start at once, some partitions have no holder, which only the timeout can show.
        let reached = found && timeout(JOIN_TIMEOUT, poll_until(|| self.routes.load().reach_all())).await.is_ok();
        tracing::debug!(event = "join_waited", members = members(), reached, "waited to join the cluster");
    }

    pub fn manager(&self) -> &ActorRef<ManagerMessage> {
        &self.manager
    }

    /// Returns when the manager has failed. Nothing follows the membership from then on.
    pub async fn manager_failed(&self) {
        let mut ended = self.manager_ended.clone();
        // An error means that its task is gone, which is as bad.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub fn view(&self) -> ClusterView {
        ClusterView {
            status: self.status.clone(),
            links: self.links.clone(),
            membership: self.membership.as_ref().map(Arc::downgrade).unwrap_or_default(),
            sealed: self.sealed.clone(),
        }
    }

    /// What keeps this node from being part of its cluster, as soon as it is known.
    pub fn conflict(&self) -> watch::Receiver<Option<Conflict>> {
        self.conflict.clone()
    }

    /// The keys to load again on a reload; `None` for a cluster without keys.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Uses these keys for new links and for all gossip from now on.
    pub fn install_keys(&self, files: KeyDir) {
        let Some(keys) = &self.keys else { return };
        self.links.set_security(keys::security(&files));
        keys.gossip.store(Arc::new(files.gossip));
    }

    /// Hands all partitions off to other nodes. Returns once they have them, or after `cluster.leave_timeout`.
    pub async fn leave(&self) {
        tracing::debug!(event = "leave_started", "handing off all partitions");
        let (done, left) = oneshot::channel();
        let span = tracing::info_span!(target: names::TARGET, names::span::LEAVE);
        let left = timeout(self.leave_timeout, left).instrument(span);
        if self.manager.cast(ManagerMessage::Leave(done)).is_ok() && left.await.is_err() {
            tracing::warn!("not all partitions could be handed off in time (cluster.leave_timeout)");
        }
        tracing::debug!(event = "leave_finished", "handoff finished");
    }

    /// Waits, but not for long, until all changes have been delivered to those nodes that can be reached.
    pub async fn flush(&self) {
        const FLUSH: Duration = Duration::from_secs(2);
        // Owners queue changes for their region at each tick, those for other regions at every fifth.
        const GATHERED: Duration = Duration::from_millis(150);
        let flushed = async {
            tokio::time::sleep(GATHERED).await;
            loop {
                let routes = self.routes.load_full();
                let has_changes = |node: NodeIndex| {
                    routes.peer(node).is_some_and(|peer| peer.link.is_routable() && !peer.queue.is_empty())
                };
                if !routes.table.indexes().any(has_changes) {
                    return;
                }
                tokio::time::sleep(MANAGER_TICK / 5).await;
            }
        };
        let flushed = timeout(FLUSH, flushed).await.is_ok();
        tracing::debug!(event = "changes_flushed", flushed, "waited for the delivery of the last changes");
    }

    pub async fn stop(self) {
        const STOP: Duration = Duration::from_secs(1);
        // The manager has the other handle of the membership.
        let _ = self.manager.stop_and_wait(None, Some(STOP)).await;
        self.links.stop().await;
        if let Some(membership) = self.membership.and_then(Arc::into_inner) {
            membership.stop().await;
        }
        tracing::debug!(event = "cluster_stopped", "manager, links and membership stopped");
    }
}

fn manager_arguments(
    settings: &Settings,
    core: &Core,
    identity: &Identity,
    routes: &SharedRoutes,
    links: &Arc<Links>,
    gossip: Arc<dyn Gossip>,
    status: &Arc<SharedStatus>,
) -> ManagerArguments {
    let cluster = &settings.cluster;
    ManagerArguments {
        me: identity.me.id.clone(),
        has_seeds: !cluster.seeds.is_empty(),
        partitions: PartitionCount::new(cluster.partitions),
        replicas: cluster.replicas_per_region,
        peer_ttl: settings.announce.peer_ttl,
        hint_bytes: settings.limits.hint_bytes,
        ack_deadline: router::DEADLINE.min(Duration::from_millis(cluster.deadline.into())) / 2,
        stable_after: Duration::from_secs(cluster.stable_after.into()),
        routes: routes.clone(),
        links: links.clone(),
        owners: core.router.owners().clone(),
        gossip,
        clock: core.common.clock.clone(),
        traces: core.common.traces.clone(),
        status: status.clone(),
    }
}

/// Spawns the manager; the receiver turns true when it has ended.
async fn start_manager(
    arguments: ManagerArguments,
) -> Result<(ActorRef<ManagerMessage>, watch::Receiver<bool>), ClusterError> {
    let (manager, handle) = PartitionManager::spawn(None, PartitionManager, arguments).await?;
    let ended = watch::Sender::new(false);
    let manager_ended = ended.subscribe();
    tokio::spawn(async move {
        // However it ended: a panic has been reported by the panic hook.
        let _ = handle.await;
        ended.send_replace(true);
    });
    Ok((manager, manager_ended))
}

async fn forward_members(mut members: watch::Receiver<Arc<Members>>, manager: ActorRef<ManagerMessage>) {
    loop {
        let now = members.borrow_and_update().clone();
        if manager.cast(ManagerMessage::Members(now)).is_err() || members.changed().await.is_err() {
            return;
        }
    }
}

async fn tick(manager: ActorRef<ManagerMessage>) {
    let mut ticks = interval(MANAGER_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if manager.cast(ManagerMessage::Tick).is_err() {
            return;
        }
    }
}

async fn poll_until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(MANAGER_TICK / 2).await;
    }
}
