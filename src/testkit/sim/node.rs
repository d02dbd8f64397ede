//! A simulated node: composed like `crate::node::Node`, without threads, files and frontends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::Clock;
use crate::cluster::Me;
use crate::config::Settings;
use crate::link::{Security, VERSIONS};
use crate::net::outbox::Outbox;
use crate::node::{Cluster, Hearing, Identity, Parts, lonely_routes};
use crate::partition::{Answers, Common, Message, OwnerThread, Owners, Replication, Supervisor, SupervisorArguments};
use crate::router::{self, Router};
use crate::swarm::{KeyedHash, PartitionCount, Quota};
use crate::telemetry::trace::Traces;
use futures_util::FutureExt;
use parking_lot::Mutex;
use ractor::Actor;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep};

use super::clients::{self, Answer, Ask, What};
use super::dump::{self, Dump};
use super::invariants::i7_answers;
use super::net::{self, SimNet};
use super::plan::{self, TTL};
use super::tickets::{self, Payload, TicketTransport};
use super::{Running, SimClock, World, gossip};

/// The time between two ticks of an owner.
const TICK: Duration = Duration::from_millis(20);
const OWNERS: usize = 2;
/// Requests that may be in flight to one owner.
pub const IN_FLIGHT: usize = 512;
/// The port for clients.
pub const PORT: u16 = 6969;

/// Commands of the driver.
pub enum Command {
    Dump(Arc<Mutex<Option<Dump>>>),
    Leave,
}

/// The settings that all nodes have.
pub fn settings(world: &World) -> Settings {
    let mut settings = Settings::default();
    let (cluster, plan) = (&mut settings.cluster, &world.plan);
    cluster.name = "sim".into();
    cluster.partitions = plan.partitions;
    cluster.replicas_per_region = plan.replicas;
    cluster.ack = plan.ack;
    cluster.stable_after = 8;
    cluster.seeds = vec!["192.0.2.1:7071".into()];
    settings.limits.hint_bytes = plan.hint_bytes;
    settings.limits.in_flight = IN_FLIGHT;
    settings.announce.peer_ttl = TTL;
    settings
}

/// One run of a node, from its start until it crashes or has left.
pub async fn run(world: Arc<World>, node: usize) -> turmoil::Result {
    let mut settings = settings(&world);
    let partitions = settings.cluster.partitions;
    let ip = turmoil::lookup(plan::name(node));
    let seeds: Vec<IpAddr> = (0..world.plan.nodes.len().min(3)).map(|at| turmoil::lookup(plan::name(at))).collect();
    settings.cluster.seeds = seeds.iter().map(|ip| SocketAddr::new(*ip, gossip::PORT).to_string()).collect();
    let (offset, region, restarts) = {
        let mut nodes = world.nodes.lock();
        let state = nodes.get_mut(&node).expect("registered");
        state.restarts += 1;
        (state.offset.clone(), state.region, state.restarts)
    };
    let seed = world.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (node as u64) << 32 ^ restarts;
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(&world, offset));
    let me = Me {
        id: plan::name(node).as_str().into(),
        region: plan::region_name(region).as_str().into(),
        incarnation: clock.now().wall_millis,
        link: SocketAddr::new(ip, net::PORT),
        weight: 1,
        partitions,
        replicas: settings.cluster.replicas_per_region,
        protocol: VERSIONS[1],
    };
    let routes = lonely_routes(&me);
    let hash = KeyedHash::new(&[7; 16]);
    let owners = Arc::new(Owners::new(hash, PartitionCount::new(partitions)));
    let answers = Arc::new(Answers::new(clock.clone()));
    let common = Arc::new(Common {
        hash,
        partitions: PartitionCount::new(partitions),
        peer_ttl: TTL,
        interval: settings.announce.interval,
        quota: Arc::new(Quota::new(10_000, 100_000, 10_000)),
        clock: clock.clone(),
        tick: TICK,
        replication: Some(Arc::new(Replication::new(
            routes.clone(),
            PartitionCount::new(partitions),
            settings.cluster.ack,
        ))),
        traces: Traces::off(),
        answers: answers.clone(),
    });
    let router = Router::new(
        owners.clone(),
        Some(Arc::new(router::ClusterRouting {
            incarnation: me.incarnation,
            routes: routes.clone(),
            deadline: Duration::from_millis(settings.cluster.deadline.into()),
            stale: router::StaleCache::new(100, Duration::from_secs(TTL.into())),
            interval: settings.announce.interval,
            clock: clock.clone(),
            traces: Traces::off(),
            answers,
            metrics: Default::default(),
        })),
    );
    let place =
        OwnerThread { runtime: tokio::runtime::Handle::current(), outbox: Arc::new(Outbox::new(Vec::new().into())) };
    let arguments = SupervisorArguments {
        common,
        owners: owners.clone(),
        places: vec![place; OWNERS],
        in_flight: IN_FLIGHT,
        seed,
        refill: Arc::new(|_| {}),
    };
    let (_supervisor, _) = Supervisor::spawn(None, Supervisor, arguments).await?;
    tokio::spawn(tick(owners.clone()));

    let gossip_addr = SocketAddr::new(ip, gossip::PORT);
    let hearing = if world.plan.chitchat {
        Hearing::Gossip(Arc::new(TicketTransport(world.clone())))
    } else {
        let (gossip, members) = gossip::start(&world, me.clone(), seeds, seed ^ 1).await?;
        Hearing::Given { members, gossip }
    };
    let incarnation = me.incarnation;
    let parts = Parts {
        identity: Identity { link: me.link, me, gossip: gossip_addr, gossip_advertised: gossip_addr },
        routes: routes.clone(),
        owners: owners.clone(),
        router: router.clone(),
        keys: None,
        security: Security::Plain,
        net: Arc::new(SimNet { world: world.clone(), node, incarnation }),
        hearing,
        sealed: None,
        clock,
    };
    let cluster = Cluster::start(&settings, parts).await?;
    let (commands, mut received) = mpsc::unbounded_channel();
    {
        let mut nodes = world.nodes.lock();
        let state = nodes.get_mut(&node).expect("registered");
        state.incarnation = incarnation;
        let status = cluster.view().status;
        state.running = Some(Running { commands, routes: routes.clone(), owners: owners.clone(), status });
    }
    cluster.met().await;
    world.trace(format!("{} serves", plan::name(node)));
    world.nodes.lock().get_mut(&node).expect("registered").serving = Some(world.now());
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(world.clone(), node, router, stopped));

    let (mut leaving, mut stop) = (None, Some(stop));
    loop {
        let left = async {
            match &mut leaving {
                None => std::future::pending().await,
                Some(leave) => std::pin::Pin::new(leave).await,
            }
        };
        tokio::select! {
            biased;
            command = received.recv() => match command {
                Some(Command::Dump(to)) => *to.lock() = Some(dump::take(&owners, &routes, &cluster, partitions).await),
                Some(Command::Leave) => leaving = Some(cluster.leave().boxed()),
                None => return Ok(()),
            },
            () = left => break,
        }
    }
    drop(leaving);
    world.nodes.lock().get_mut(&node).expect("registered").serving = None;
    if let Some(stop) = stop.take() {
        let _ = stop.send(());
    }
    let _ = serving.await;
    cluster.flush(&routes).await;
    cluster.stop().await;
    let mut nodes = world.nodes.lock();
    let state = nodes.get_mut(&node).expect("registered");
    (state.gone, state.running) = (true, None);
    drop(nodes);
    world.trace(format!("{} has left", plan::name(node)));
    Ok(())
}

async fn tick(owners: Arc<Owners>) {
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
        for owner in owners.load().iter() {
            let _ = owner.send(Message::Tick);
        }
    }
}

/// The frontend: one task for each request.
async fn serve(world: Arc<World>, node: usize, router: Router, mut stopped: oneshot::Receiver<()>) {
    let Ok(socket) = tickets::bind(PORT).await else { return };
    let socket = Arc::new(socket);
    loop {
        let got = tokio::select! {
            biased;
            _ = &mut stopped => break,
            got = world.tickets.recv(&socket) => got,
        };
        let Ok((Payload::Ask(ask), from)) = got else { continue };
        // It came while the node was down.
        if world.now().saturating_sub(ask.sent) > clients::PATIENCE + world.plan.longest_hold() {
            continue;
        }
        let (world, socket, router) = (world.clone(), socket.clone(), router.clone());
        tokio::spawn(async move {
            let answer = answer(&world, node, &router, &ask).await;
            world.tickets.send(&socket, from, Payload::Answer(answer)).await;
        });
    }
    // Requests that were accepted are still answered.
    sleep(Duration::from_millis(700)).await;
}

async fn answer(world: &World, node: usize, router: &Router, ask: &Ask) -> Answer {
    let began = world.now();
    let last_resort = || router.cluster().map_or(0, |cluster| cluster.metrics.last_resort.load(Relaxed));
    let before = last_resort();
    let (mut reply, mut counts) = (None, None);
    match &ask.what {
        What::Announce(announce) => {
            world.nodes.lock().get_mut(&node).expect("registered").nonces.insert(announce.num_want);
            reply = router.announce(*announce).await.ok();
        }
        What::Scrape(family, info_hashes) => counts = router.scrape(*family, info_hashes).await.ok(),
    }
    i7_answers::answered(world, node, began, reply.is_some() || counts.is_some());
    Answer { id: ask.id, reply, counts, last_resort: last_resort() > before }
}
