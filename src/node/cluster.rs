//! The parts of a node that make it one of many: membership, links, manager.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use chitchat::transport::Transport;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Instrument;

use super::StartError;
use crate::clock::Clock;
use crate::cluster::{
    Conflict, KeyDir, KeyDirError, Me, Member, Members, Membership, MembershipConfig, NodeId, NodeIndex, PartitionSet,
    Placement, RoutingTable, SealedTransport, StableMembers, gossip::keyring::KeyRing, key_dir,
};
use crate::config::Settings;
use crate::link::net::{Net, SystemNet};
use crate::link::{LinkConfig, LinkLimits, Links, Security, Service, VERSIONS};
use crate::partition::{
    Gossip, MANAGER_TICK, ManagerArguments, ManagerMessage, Owners, PartitionManager, Routes, SharedRoutes,
    SharedStatus,
};
use crate::router;
use crate::swarm::PartitionCount;
use crate::telemetry::trace::names;
use crate::wire::peer::Hello;

/// The time between two rounds of gossip.
const GOSSIP: Duration = Duration::from_millis(500);
/// How long a starting node waits for others to be heard, and then for their links to answer, before it serves its clients
/// by itself.
const MEET: Duration = Duration::from_secs(3);

/// Why a node cannot be part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyDirError),
    /// The name that others reach it by is not known.
    #[error(
        "cannot look up cluster.advertise ({name}): {error}; use a name that this host can resolve, or an IP address"
    )]
    Advertise {
        /// The name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// The address for links cannot be had.
    #[error("cannot listen on TCP {addr}: {error}; stop the other program or change cluster.link")]
    Link {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Gossip cannot be started.
    #[error("cannot start gossip on UDP {addr}: {reason}; stop the other program or change cluster.gossip")]
    Gossip {
        /// The address.
        addr: SocketAddr,
        /// What went wrong.
        reason: String,
    },
}

/// What a node is in its cluster.
pub struct Identity {
    /// Itself.
    pub me: Me,
    /// Where gossip listens.
    pub gossip: SocketAddr,
    /// Where others reach it.
    pub gossip_advertised: SocketAddr,
    /// Where links are taken.
    pub link: SocketAddr,
}

impl Identity {
    /// From the settings; `None` for a node without a cluster.
    ///
    /// # Errors
    /// When `cluster.advertise` cannot be looked up.
    pub fn new(settings: &Settings, clock: &dyn Clock) -> Result<Option<Self>, ClusterError> {
        let cluster = &settings.cluster;
        let (Some(gossip), Some(link)) = (cluster.gossip, cluster.link) else { return Ok(None) };
        let advertised = match &cluster.advertise {
            None => None,
            Some(name) => {
                let failed = |error| ClusterError::Advertise { name: name.clone(), error };
                let found = (name.as_str(), 0).to_socket_addrs().map_err(failed)?;
                // Of the family that is listened on.
                let found = found.map(|addr| addr.ip()).find(|ip| ip.is_ipv4() == gossip.is_ipv4());
                Some(
                    found
                        .ok_or_else(|| failed(io::Error::other("it has no address of the family of cluster.gossip")))?,
                )
            }
        };
        let reached = |addr: SocketAddr| SocketAddr::new(advertised.unwrap_or(addr.ip()), addr.port());
        let me = Me {
            id: settings.node.id.as_str().into(),
            region: settings.node.region.as_str().into(),
            incarnation: clock.now().wall_millis,
            link: reached(link),
            weight: cluster.weight,
            partitions: cluster.partitions,
            replicas: cluster.replicas_per_region,
            protocol: VERSIONS[1],
        };
        Ok(Some(Self { me, gossip, gossip_advertised: reached(gossip), link }))
    }

    /// What it says of itself when a link opens.
    fn hello(&self, cluster: &str) -> Hello {
        Hello {
            cluster: cluster.into(),
            node: self.me.id.to_string(),
            region: self.me.region.to_string(),
            incarnation: self.me.incarnation,
            versions: VERSIONS,
            partitions: self.me.partitions,
            replicas: self.me.replicas,
        }
    }
}

/// The routes of a node that knows nobody else yet.
pub fn lonely_routes(me: &Me) -> SharedRoutes {
    let member = Member {
        id: me.id.clone(),
        region: me.region.clone(),
        incarnation: me.incarnation,
        link: me.link,
        weight: me.weight,
        leaving: false,
        held: PartitionSet::default(),
        alive: true,
    };
    let placement = Placement::compute(&StableMembers::default(), PartitionCount::new(me.partitions), me.replicas);
    let table = RoutingTable::build(&me.id, &Members(vec![member]), &placement, PartitionCount::new(me.partitions));
    Arc::new(ArcSwap::from_pointee(Routes::new(table, vec![None])))
}

/// What operations tell of a cluster.
pub struct ClusterView {
    /// How the manager sees it.
    pub status: Arc<SharedStatus>,
    /// The links to other nodes.
    pub links: Arc<Links>,
    /// The membership, as long as it is there.
    pub membership: Weak<Membership>,
    /// The transport of gossip, if it seals.
    pub sealed: Option<Arc<SealedTransport>>,
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

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(MANAGER_TICK / 2).await;
    }
}

/// What the parts work with.
pub struct Parts {
    /// Who this node is.
    pub identity: Identity,
    /// The routes that the manager makes.
    pub routes: SharedRoutes,
    /// The owners.
    pub owners: Arc<Owners>,
    /// The way to all swarms.
    pub router: router::Router,
    /// The keys, to be read again on reload.
    pub keys: Option<Keys>,
    /// How links are secured.
    pub security: Security,
    /// Sockets for links.
    pub net: Arc<dyn Net>,
    /// How the other nodes are heard of.
    pub hearing: Hearing,
    /// The gossip's seal, for what it counts.
    pub sealed: Option<Arc<SealedTransport>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// How a node hears of the others, and tells them of itself.
pub enum Hearing {
    /// By gossip through these sockets.
    Gossip(Arc<dyn Transport>),
    /// By whatever a simulation has in its place.
    Given {
        /// Who is there.
        members: watch::Receiver<Arc<Members>>,
        /// Tells the others.
        gossip: Arc<dyn Gossip>,
    },
}

/// What the keys of a node are used for.
#[derive(Clone)]
pub struct Keys {
    gossip: Arc<ArcSwap<KeyRing>>,
    dir: PathBuf,
    id: NodeId,
}

impl Keys {
    /// Reads the keys that the settings name; `None` without such.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(settings: &Settings, clock: &dyn Clock) -> Result<Option<(Self, KeyDir)>, ClusterError> {
        let Some(dir) = settings.cluster.keys.clone() else { return Ok(None) };
        let id = NodeId::from(settings.node.id.as_str());
        let files = KeyDir::load(&dir, &id, clock)?;
        Ok(Some((Self { gossip: Arc::new(ArcSwap::from_pointee(files.gossip.clone())), dir, id }, files)))
    }
}

fn security(files: &KeyDir) -> Security {
    Security::Tls {
        server: files.server.clone(),
        client: files.client.clone(),
        name: key_dir::node_name,
        verify: key_dir::verify_node,
    }
}

impl Parts {
    /// Those of a real node, with the system's sockets.
    pub fn new(
        settings: &Settings,
        identity: Identity,
        keys: Option<(Keys, KeyDir)>,
        routes: SharedRoutes,
        router: router::Router,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ring = keys.as_ref().map(|(keys, _)| keys.gossip.clone());
        let transport = Arc::new(SealedTransport::new(&settings.cluster.name, ring, clock.clone()));
        let security = keys.as_ref().map_or(Security::Plain, |(_, files)| security(files));
        let (owners, keys) = (router.owners().clone(), keys.map(|(keys, _)| keys));
        let (sealed, net) = (Some(transport.clone()), Arc::new(SystemNet));
        let hearing = Hearing::Gossip(transport);
        Self { identity, routes, owners, router, keys, security, net, hearing, sealed, clock }
    }
}

impl Cluster {
    /// Reads the keys again; new links and all gossip use the new ones from then on.
    ///
    /// # Errors
    /// When they cannot be used; the old ones stay.
    pub fn reload(&self, clock: &dyn Clock) -> Result<(), ClusterError> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let files = KeyDir::load(&keys.dir, &keys.id, clock)?;
        self.links.set_security(security(&files));
        keys.gossip.store(Arc::new(files.gossip));
        Ok(())
    }

    /// Starts them on the current runtime.
    ///
    /// # Errors
    /// See [`ClusterError`]; and when the manager does not start.
    pub async fn start(settings: &Settings, parts: Parts) -> Result<Self, StartError> {
        let Parts { identity, routes, owners, router, keys, security, net, hearing, sealed, clock } = parts;
        let cluster = &settings.cluster;
        let traces = router.cluster().map(|cluster| cluster.traces.clone()).unwrap_or_default();
        let service = Arc::new(router::ClusterService::new(router));
        let config = LinkConfig { hello: identity.hello(&cluster.name), security, limits: LinkLimits::default() };
        let addr = identity.link;
        let links = Links::start(addr, config, net, clock.clone(), service.clone() as Arc<dyn Service>).await;
        let links = links.map_err(|error| ClusterError::Link { addr, error })?;
        let heard = Heard::start(settings, &identity, hearing, &clock).await?;
        let status = Arc::<SharedStatus>::default();
        let arguments = ManagerArguments {
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
            owners,
            gossip: heard.gossip,
            clock,
            traces,
            status: status.clone(),
        };
        let (manager, handle) = PartitionManager::spawn(None, PartitionManager, arguments).await?;
        let ended = watch::Sender::new(false);
        let manager_ended = ended.subscribe();
        tokio::spawn(async move {
            // However it ended: a panic has been reported by the panic hook.
            let _ = handle.await;
            ended.send_replace(true);
        });
        service.set_manager(manager.clone());
        tokio::spawn(tell_members(heard.members, manager.clone()));
        tokio::spawn(tick(manager.clone()));
        let leave_timeout = Duration::from_secs(cluster.leave_timeout.into());
        let (membership, conflict) = (heard.membership, heard.conflict);
        Ok(Self { membership, conflict, links, manager, manager_ended, keys, sealed, status, routes, leave_timeout })
    }

    /// Returns once another node has been met and somebody can be asked for each partition, or after three seconds for
    /// either: clients must not be told that swarms are empty because their peers have yet to be fetched.
    pub async fn met(&self) {
        // Alone is how the first node of a cluster starts.
        if timeout(MEET, until(|| self.status.now.load().members.len() > 1)).await.is_ok() {
            // What nobody holds, as when all nodes start, is found out by waiting, too.
            let _ = timeout(MEET, until(|| self.routes.load().reach_all())).await;
        }
    }

    /// The manager.
    pub fn manager(&self) -> &ActorRef<ManagerMessage> {
        &self.manager
    }

    /// Returns when the manager has failed. Nothing follows the membership from then on.
    pub async fn manager_failed(&self) {
        let mut ended = self.manager_ended.clone();
        // An error means that its task is gone, which is as bad.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// What operations tell of it.
    pub fn view(&self) -> ClusterView {
        ClusterView {
            status: self.status.clone(),
            links: self.links.clone(),
            membership: self.membership.as_ref().map(Arc::downgrade).unwrap_or_default(),
            sealed: self.sealed.clone(),
        }
    }

    /// What keeps this node from being part of its cluster, as soon as there is such a thing.
    pub fn conflict(&self) -> watch::Receiver<Option<Conflict>> {
        self.conflict.clone()
    }

    /// Hands all partitions over to others. Returns when they have them, or when `cluster.leave_timeout` is over.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        let span = tracing::info_span!(target: names::TARGET, names::span::LEAVE);
        let left = timeout(self.leave_timeout, left).instrument(span);
        if self.manager.cast(ManagerMessage::Leave(done)).is_ok() && left.await.is_err() {
            tracing::warn!("not all partitions could be handed over in time (cluster.leave_timeout)");
        }
    }

    /// Waits until all changes have been delivered to those that can be reached, but not for long.
    pub async fn flush(&self, routes: &SharedRoutes) {
        const FLUSH: Duration = Duration::from_secs(2);
        // Owners hand changes over at their ticks, those for other regions at every fifth.
        const GATHERED: Duration = Duration::from_millis(150);
        let flushed = async {
            tokio::time::sleep(GATHERED).await;
            loop {
                let routes = routes.load_full();
                let waits = |node: NodeIndex| {
                    routes.peer(node).is_some_and(|peer| peer.link.is_routable() && !peer.queue.is_empty())
                };
                if !routes.table.indexes().any(waits) {
                    return;
                }
                tokio::time::sleep(MANAGER_TICK / 5).await;
            }
        };
        let _ = timeout(FLUSH, flushed).await;
    }

    /// Ends the parts.
    pub async fn stop(self) {
        const STOP: Duration = Duration::from_secs(1);
        // The manager has the other handle of the membership.
        let _ = self.manager.stop_and_wait(None, Some(STOP)).await;
        self.links.stop().await;
        if let Some(membership) = self.membership.and_then(Arc::into_inner) {
            membership.stop().await;
        }
    }
}

/// What has come of [`Hearing`].
struct Heard {
    members: watch::Receiver<Arc<Members>>,
    gossip: Arc<dyn Gossip>,
    conflict: watch::Receiver<Option<Conflict>>,
    membership: Option<Arc<Membership>>,
}

impl Heard {
    async fn start(
        settings: &Settings,
        identity: &Identity,
        hearing: Hearing,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ClusterError> {
        let transport = match hearing {
            Hearing::Gossip(transport) => transport,
            Hearing::Given { members, gossip } => {
                return Ok(Self { members, gossip, conflict: watch::channel(None).1, membership: None });
            }
        };
        let addr = identity.gossip;
        let config = MembershipConfig {
            cluster: settings.cluster.name.clone(),
            me: identity.me.clone(),
            listen: addr,
            advertise: identity.gossip_advertised,
            seeds: settings.cluster.seeds.clone(),
            gossip_interval: GOSSIP,
        };
        let membership = Membership::start(config, transport, clock.clone()).await;
        let membership =
            Arc::new(membership.map_err(|error| ClusterError::Gossip { addr, reason: error.to_string() })?);
        let (members, conflict) = (membership.members(), membership.conflict());
        Ok(Self { members, gossip: Arc::new(Told(membership.clone())), conflict, membership: Some(membership) })
    }
}

struct Told(Arc<Membership>);

impl Gossip for Told {
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()> {
        async move { self.0.set_held(&held).await }.boxed()
    }

    fn set_leaving(&self) -> BoxFuture<'_, ()> {
        self.0.set_leaving().boxed()
    }
}

async fn tell_members(mut members: watch::Receiver<Arc<Members>>, manager: ActorRef<ManagerMessage>) {
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
