//! The part of a node that stores and answers: the owners of its partitions, the router to them, and replication.
//! Nothing in it listens on a socket or reads a file.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef, SpawnErr};

use crate::clock::Clock;
use crate::cluster::{Me, Member, Members, PartitionSet, Placement, RoutingTable, StableMembers};
use crate::config::Settings;
use crate::partition::{
    Answers, Common, OwnerIndex, OwnerThread, Owners, Replication, Routes, SharedRoutes, Start, Supervisor,
    SupervisorArguments,
};
use crate::router::{ClusterRouting, Router, RouterMetrics, StaleCache};
use crate::swarm::{KeyedHash, PartitionCount, Quota};
use crate::telemetry::trace::Traces;

/// The time between two ticks of an owner: short, so that each has little to do.
pub const OWNER_TICK: Duration = Duration::from_millis(20);

/// Called with an owner that was restarted, and so is empty.
pub type OnOwnerRestart = Arc<dyn Fn(OwnerIndex) + Send + Sync>;

pub struct Core {
    /// What all owners share.
    pub common: Arc<Common>,
    pub router: Router,
    /// `None` for a node without a cluster.
    pub routes: Option<SharedRoutes>,
    /// Requests that may be in flight to one owner.
    pub in_flight: usize,
}

impl Core {
    /// A core without owners, see [`start_owners`](Self::start_owners). `me` is `None` for a node without a cluster;
    /// `placement` is the key that assigns info hashes to partitions.
    pub fn new(
        settings: &Settings,
        placement: &[u8; 16],
        me: Option<&Me>,
        clock: Arc<dyn Clock>,
        traces: Traces,
    ) -> Self {
        let hash = KeyedHash::new(placement);
        let partitions = PartitionCount::new(settings.cluster.partitions);
        let routes = me.map(routes_of_one_node);
        let limits = &settings.limits;
        let common = Arc::new(Common {
            hash,
            partitions,
            peer_ttl: settings.announce.peer_ttl,
            interval: settings.announce.interval,
            quota: Arc::new(Quota::new(limits.swarms, limits.peers, limits.peers_per_swarm as usize)),
            clock: clock.clone(),
            tick: OWNER_TICK,
            replication: routes
                .clone()
                .map(|routes| Arc::new(Replication::new(routes, partitions, settings.cluster.ack))),
            traces,
            answers: Arc::new(Answers::new(clock)),
        });

        let owners = Arc::new(Owners::new(hash, partitions));
        let routing = me.zip(routes.clone()).map(|(me, routes)| cluster_routing(settings, me, routes, &common));
        let router = Router::new(owners, routing);
        Self { common, router, routes, in_flight: limits.in_flight }
    }

    /// Starts an owner on each of `threads` (which may repeat), under a supervisor that restarts it when it fails. `seed`
    /// seeds the owners' choice of peers.
    ///
    /// # Errors
    /// When an actor does not start.
    pub async fn start_owners(
        &self,
        threads: Vec<OwnerThread>,
        seed: u64,
        on_restart: OnOwnerRestart,
    ) -> Result<ActorRef<Start>, SpawnErr> {
        let arguments = SupervisorArguments {
            common: self.common.clone(),
            owners: self.router.owners().clone(),
            places: threads,
            in_flight: self.in_flight,
            seed,
            refill: on_restart,
        };
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, arguments).await?;
        Ok(supervisor)
    }
}

fn cluster_routing(settings: &Settings, me: &Me, routes: SharedRoutes, common: &Common) -> Arc<ClusterRouting> {
    let ttl = Duration::from_secs(settings.announce.peer_ttl.into());
    Arc::new(ClusterRouting {
        incarnation: me.incarnation,
        routes,
        deadline: Duration::from_millis(settings.cluster.deadline.into()),
        stale: StaleCache::new(settings.limits.stale_swarms, ttl),
        interval: settings.announce.interval,
        clock: common.clock.clone(),
        traces: common.traces.clone(),
        answers: common.answers.clone(),
        metrics: RouterMetrics::default(),
    })
}

/// The routes of a node that has not discovered any other.
fn routes_of_one_node(me: &Me) -> SharedRoutes {
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
    let partitions = PartitionCount::new(me.partitions);
    let placement = Placement::compute(&StableMembers::default(), partitions, me.replicas);
    let table = RoutingTable::build(&me.id, &Members(vec![member]), &placement, partitions);
    Arc::new(ArcSwap::from_pointee(Routes::new(table, vec![None])))
}
