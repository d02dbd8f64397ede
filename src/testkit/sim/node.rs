//! A simulated node: the parts of `crate::node::Node`, without threads, files and frontends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::Clock;
use crate::cluster::Me;
use crate::config::Settings;
use crate::link::{Security, VERSIONS};
use crate::net::outbox::Outbox;
use crate::node::core::OWNER_TICK;
use crate::node::{Cluster, ClusterParts, Core, Identity, MemberSource};
use crate::partition::{Message, OwnerThread, Owners};
use crate::router::Router;
use crate::telemetry::trace::Traces;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep};

use super::clients::{self, Answer, Ask, What};
use super::dump::{self, Dump};
use super::invariants::i7_answers;
use super::net::{self, SimNet};
use super::plan::{self, TTL};
use super::tickets::{self, Payload, TicketTransport};
use super::{Running, SimClock, World, gossip};

const OWNERS: usize = 2;
/// Requests that may be in flight to one owner.
pub const IN_FLIGHT: usize = 512;
/// Clients ask here.
pub const PORT: u16 = 6969;

/// What the driver tells a node.
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
    (settings.limits.swarms, settings.limits.peers, settings.limits.peers_per_swarm) = (10_000, 100_000, 10_000);
    settings.limits.stale_swarms = 100;
    settings.announce.peer_ttl = TTL;
    settings
}

fn node_settings(world: &World, seeds: &[IpAddr]) -> Settings {
    let mut settings = settings(world);
    settings.cluster.seeds = seeds.iter().map(|ip| SocketAddr::new(*ip, gossip::PORT).to_string()).collect();
    settings
}

fn identity(settings: &Settings, node: usize, region: usize, ip: IpAddr, clock: &dyn Clock) -> Me {
    Me {
        id: plan::name(node).as_str().into(),
        region: plan::region_name(region).as_str().into(),
        incarnation: clock.now().wall_millis,
        link: SocketAddr::new(ip, net::PORT),
        weight: 1,
        partitions: settings.cluster.partitions,
        replicas: settings.cluster.replicas_per_region,
        protocol: VERSIONS[1],
    }
}

/// One run of a node, from its start until it crashes or has left.
pub async fn run(world: Arc<World>, node: usize) -> turmoil::Result {
    let ip = turmoil::lookup(plan::name(node));
    let seeds: Vec<IpAddr> = (0..world.plan.nodes.len().min(3)).map(|at| turmoil::lookup(plan::name(at))).collect();
    let settings = node_settings(&world, &seeds);
    let partitions = settings.cluster.partitions;
    let (offset, region, restarts) = {
        let mut nodes = world.nodes.lock();
        let state = nodes.get_mut(&node).expect("registered");
        state.restarts += 1;
        (state.offset.clone(), state.region, state.restarts)
    };
    let seed = world.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (node as u64) << 32 ^ restarts;
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(&world, offset));
    let me = identity(&settings, node, region, ip, &*clock);
    let core = Core::new(&settings, &[7; 16], Some(&me), clock, Traces::off());
    let thread =
        OwnerThread { runtime: tokio::runtime::Handle::current(), outbox: Arc::new(Outbox::new(Vec::new().into())) };
    let _supervisor = core.start_owners(vec![thread; OWNERS], seed, Arc::new(|_| {})).await?;
    let (router, routes) = (core.router.clone(), core.routes.clone().expect("a node of a cluster has routes"));
    let owners = router.owners().clone();
    tokio::spawn(tick(owners.clone()));

    let gossip_addr = SocketAddr::new(ip, gossip::PORT);
    let members = if world.plan.chitchat {
        MemberSource::Gossip(Arc::new(TicketTransport(world.clone())))
    } else {
        let (gossip, members) = gossip::start(&world, me.clone(), seeds, seed ^ 1).await?;
        MemberSource::Simulated { members, gossip }
    };
    let incarnation = me.incarnation;
    let parts = ClusterParts {
        identity: Identity { link: me.link, me, gossip: gossip_addr, gossip_advertised: gossip_addr },
        routes: routes.clone(),
        keys: None,
        security: Security::Plain,
        net: Arc::new(SimNet { world: world.clone(), node, incarnation }),
        members,
        sealed: None,
    };
    let cluster = Cluster::start(&settings, &core, parts).await?;
    let (commands, mut received) = mpsc::unbounded_channel();
    {
        let mut nodes = world.nodes.lock();
        let state = nodes.get_mut(&node).expect("registered");
        state.incarnation = incarnation;
        let status = cluster.view().status;
        state.running = Some(Running { commands, routes: routes.clone(), owners: owners.clone(), status });
    }
    cluster.wait_until_joined().await;
    world.trace(format!("{} serves", plan::name(node)));
    world.nodes.lock().get_mut(&node).expect("registered").serving = Some(world.now());
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(world.clone(), node, router, stopped));

    let mut leaving = None;
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
    let _ = stop.send(());
    let _ = serving.await;
    end(&world, node, cluster).await;
    Ok(())
}

/// Stops a node whose partitions others have.
async fn end(world: &World, node: usize, cluster: Cluster) {
    cluster.flush().await;
    cluster.stop().await;
    {
        let mut nodes = world.nodes.lock();
        let state = nodes.get_mut(&node).expect("registered");
        (state.gone, state.running) = (true, None);
    }
    world.trace(format!("{} has left", plan::name(node)));
}

async fn tick(owners: Arc<Owners>) {
    let mut ticks = interval(OWNER_TICK);
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
        // It was sent before this node started to serve.
        if world.now().saturating_sub(ask.sent) > clients::PATIENCE + world.plan.longest_hold() {
            continue;
        }
        let (world, socket, router) = (world.clone(), socket.clone(), router.clone());
        tokio::spawn(async move {
            let answer = answer(&world, node, &router, &ask).await;
            world.tickets.send(&socket, from, Payload::Answer(answer)).await;
        });
    }
    // Those that were taken are answered.
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
