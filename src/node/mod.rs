//! A whole node: its threads, sockets and actors, put together.

mod secret;
mod sockets;
mod threads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};

pub use secret::{Secret, SecretError};
pub use sockets::BindError;

use crate::clock::Clock;
use crate::config::Settings;
use crate::frontend::access_list::{AccessList, AccessListError};
use crate::frontend::external::External;
use crate::frontend::udp::{ConnectionIds, UdpContext};
use crate::partition::{Common, Owners, Place, Supervisor, SupervisorArguments};
use crate::router::Router;
use crate::swarm::{KeyedHash, Quota};
use sockets::Sockets;
use threads::Threads;

/// Owners on each thread. One alone would make the rest of its thread wait for every long batch; measured, more than two
/// make the batches smaller and cost throughput.
const OWNERS_PER_THREAD: usize = 2;
/// The time between two ticks of an owner: short, so that each has little to do.
const TICK: Duration = Duration::from_millis(20);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access list cannot be used.
    #[error(transparent)]
    AccessList(#[from] AccessListError),
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
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
        matches!(self, Self::Bind(_) | Self::AccessList(_) | Self::Secret(_))
    }
}

/// A running node.
pub struct Node {
    settings: Settings,
    addrs: Addrs,
    router: Router,
    udp: Arc<UdpContext>,
    access_list: Arc<ArcSwap<AccessList>>,
    supervisor: ActorRef<crate::partition::Start>,
    threads: Threads,
}

/// The addresses that a node listens on, with the ports that the system chose for port 0.
#[derive(Clone, Debug, Default)]
pub struct Addrs {
    /// UDP announces.
    pub udp: Vec<SocketAddr>,
    /// HTTP announces.
    pub http: Vec<SocketAddr>,
}

impl Node {
    /// Starts a node. To be called within the control runtime, on which the supervisor lives.
    ///
    /// # Errors
    /// See [`StartError`]. Whatever had been started stops again.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let access_list = Arc::new(ArcSwap::from_pointee(AccessList::load(&settings.access_list)?));
        let secret = Secret::load(&settings)?;
        let count = match settings.announce.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let sockets = Sockets::bind(&settings.announce, count)?;
        let addrs = sockets.addrs.clone();

        let hash = KeyedHash::new(&secret.placement);
        let limits = &settings.limits;
        let quota = Arc::new(Quota::new(limits.swarms, limits.peers, limits.peers_per_swarm as usize));
        let common = Arc::new(Common {
            hash,
            partitions: settings.cluster.partitions,
            peer_ttl: settings.announce.peer_ttl as u16,
            interval: settings.announce.interval,
            quota,
            clock: clock.clone(),
            tick: TICK,
        });
        let owners = Arc::new(Owners::new(hash, settings.cluster.partitions));
        let router = Router::new(owners.clone());
        let udp = Arc::new(UdpContext {
            router: router.clone(),
            connection_ids: ConnectionIds::new(&[secret.connection_ids]),
            access_list: access_list.clone(),
            external: External { ipv4: settings.announce.external_ipv4, ipv6: settings.announce.external_ipv6 },
            default_peers: settings.announce.default_peers,
            max_peers: settings.announce.max_peers,
            reply_bytes: limits.udp_reply_bytes,
            clock,
            metrics: Default::default(),
        });

        let threads = Threads::start(sockets)?;
        // Owners of neighbouring partitions live on different threads.
        let places: Vec<Place> = (0..OWNERS_PER_THREAD).flat_map(|_| threads.places()).collect();
        let arguments = SupervisorArguments {
            common,
            owners,
            places,
            in_flight: limits.in_flight,
            seed: rand::random(),
            refill: Arc::new(|_| {}),
        };
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, arguments).await?;
        threads.serve(&udp, TICK)?;
        Ok(Self { settings, addrs, router, udp, access_list, supervisor, threads })
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

    /// Reads the access list again; requests see the new one from then on.
    ///
    /// # Errors
    /// When it cannot be used; the old one stays.
    pub fn reload(&self) -> Result<(), AccessListError> {
        self.access_list.store(Arc::new(AccessList::load(&self.settings.access_list)?));
        Ok(())
    }

    /// Stops listening, lets the owners finish, and ends the threads.
    pub async fn stop(self) {
        self.supervisor.stop(None);
        self.threads.stop();
    }
}
