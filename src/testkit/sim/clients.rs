//! Clients of a region: peers that start, renew, complete, and stop or vanish, each at any node of its region.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::swarm::{Announce, AnnounceReply, Counts, Event, Family, InfoHash};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::invariants::{i1_kept, i3_lifetime, i7_answers};
use super::oracle::{Op, Returned};
use super::plan::{self, HUSH, Plan, Profile};
use super::tickets::{self, Payload};
use super::{World, node};

/// How long a client waits for one node.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The content of a request.
#[derive(Clone, Debug)]
pub enum What {
    Announce(Announce),
    Scrape(Family, Vec<InfoHash>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub id: u64,
    pub sent: Duration,
    pub what: What,
}

/// The answer of a node, which has neither reply nor counts if the node cannot serve the request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub id: u64,
    pub reply: Option<AnnounceReply>,
    pub counts: Option<Vec<Counts>>,
    /// The node found no holder of the partition, for this request or a concurrent one.
    pub last_resort: bool,
}

/// The clients of a region, and their socket.
pub struct Clients {
    pub world: Arc<World>,
    pub region: usize,
    socket: turmoil::net::UdpSocket,
    waiting: Mutex<(u64, BTreeMap<u64, oneshot::Sender<Answer>>)>,
}

/// Runs the clients of a region.
pub async fn run(world: Arc<World>, region: usize) -> turmoil::Result {
    let socket = tickets::bind(node::PORT).await?;
    let clients = Arc::new(Clients { world, region, socket, waiting: Mutex::new((0, BTreeMap::new())) });
    let plan = &clients.world.plan;
    for number in 0..plan.clients {
        let random = SmallRng::seed_from_u64(plan.seed ^ u64::from(number) << 40 ^ (region as u64) << 56);
        tokio::spawn(clients.clone().life(number, random));
    }
    tokio::spawn(clients.clone().watch());
    tokio::spawn(clients.clone().last_look());
    loop {
        let (payload, _) = clients.world.tickets.recv(&clients.socket).await?;
        if let Payload::Answer(answer) = payload
            && let Some(waiting) = clients.waiting.lock().1.remove(&answer.id)
        {
            let _ = waiting.send(answer);
        }
    }
}

/// One peer of one swarm.
#[derive(Clone, Copy)]
struct Peer {
    swarm: u32,
    number: u32,
    seeder: bool,
}

impl Clients {
    /// Runs one client: one peer after the other.
    async fn life(self: Arc<Self>, number: u32, mut random: SmallRng) {
        let plan = self.world.plan.clone();
        let busy = plan.end - HUSH;
        // Half of them do not announce again once the faults are over: their last announce must be kept nevertheless.
        let until = if number.is_multiple_of(2) { plan.faults_end } else { busy };
        let (first, pause, renewal) = match plan.profile {
            Profile::Steady => (12_000, 400..1_500, 400..1_500),
            Profile::Trickle => (3_000, 500..3_000, 1_000..4_000),
            _ => (8_000, 300..9_000, 5_000..28_000),
        };
        sleep(Duration::from_millis(6_500 + random.random_range(0..first))).await;
        let mut serial = 0;
        loop {
            serial += 1;
            let number = (self.region as u32) << 20 | number << 12 | serial;
            let mut peer = Peer { swarm: random.random_range(0..plan.swarms), number, seeder: random.random_bool(0.4) };
            let mut event = Event::Started;
            // In a steady run no existing record changes.
            let steady = plan.profile == Profile::Steady;
            for _ in 0..if steady { 1 } else { random.random_range(1..6) } {
                if self.world.now() >= until {
                    return;
                }
                self.announce(peer, event, &mut random).await;
                sleep(Duration::from_millis(random.random_range(renewal.clone()))).await;
                event = Event::None;
                if !peer.seeder && random.random_bool(0.3) {
                    (peer.seeder, event) = (true, Event::Completed);
                }
                if random.random_bool(0.15) {
                    self.scrape(&plan, &mut random).await;
                }
            }
            if self.world.now() >= until {
                return;
            }
            if !steady && random.random_bool(0.6) {
                self.announce(peer, Event::Stopped, &mut random).await;
            }
            sleep(Duration::from_millis(random.random_range(pause.clone()))).await;
        }
    }

    /// A leecher that is in every swarm and always asks for all peers.
    async fn watch(self: Arc<Self>) {
        let plan = &self.world.plan;
        let mut random = SmallRng::seed_from_u64(plan.seed ^ 0x3a7c);
        sleep(Duration::from_secs(6)).await;
        while self.world.now() < plan.end - HUSH && plan.profile != Profile::Steady {
            let swarm = random.random_range(0..plan.swarms);
            let peer = Peer { swarm, number: (self.region as u32) << 20 | 0xfe000, seeder: false };
            self.announce(peer, Event::None, &mut random).await;
            sleep(Duration::from_millis(700)).await;
        }
    }

    /// At the end, a new client asks every node for every swarm.
    async fn last_look(self: Arc<Self>) {
        let plan = &self.world.plan;
        if plan.profile == Profile::Steady {
            return;
        }
        sleep(plan.end + Duration::from_secs(1) - self.world.now()).await;
        let nodes = self.world.nodes_of(self.region);
        for swarm in 0..plan.swarms {
            for node in &nodes {
                let number = (self.region as u32) << 20 | 0xff000 | *node as u32;
                let peer = Peer { swarm, number, seeder: false };
                self.announce_at(peer, Event::Started, &[*node]).await;
            }
        }
        self.world.trace(format!("clients of {} have looked", plan::region_name(self.region)));
        self.world.oracle.lock().looked += 1;
    }

    async fn announce(&self, peer: Peer, event: Event, random: &mut SmallRng) {
        let mut nodes = self.world.nodes_of(self.region);
        nodes.shuffle(random);
        self.announce_at(peer, event, &nodes).await;
    }

    /// Announces at the first of these nodes that answers.
    async fn announce_at(&self, peer: Peer, event: Event, nodes: &[usize]) {
        let Peer { swarm, number, seeder } = peer;
        let (world, began) = (&self.world, self.world.now());
        for node in nodes {
            let announce = Announce {
                info_hash: plan::info_hash(swarm),
                peer: plan::peer(swarm, number),
                event,
                seeder,
                num_want: world.nonce(),
            };
            let sent = world.now();
            let op = Op { sent, acked: None, stopped: event == Event::Stopped, region: self.region };
            let at = world.oracle.lock().sent((swarm, announce.peer), op);
            let answer = self.ask(*node, What::Announce(announce)).await;
            let name = plan::name(*node);
            let Some((answer, reply)) = answer.and_then(|answer| answer.reply.clone().map(|reply| (answer, reply)))
            else {
                world.trace(format!("{:?} {event:?} in {swarm} at {name}: no answer", announce.peer));
                continue;
            };
            let returned = Returned::new(&reply.peers);
            world.trace(format!(
                "{:?} {event:?}{} in {swarm} at {name}: {} peers, {:?}{}{}",
                announce.peer,
                if seeder { " seeder" } else { "" },
                returned.0.len(),
                reply.counts,
                if reply.stale { " stale" } else { "" },
                if answer.last_resort { " last resort" } else { "" },
            ));
            world.oracle.lock().acked((swarm, announce.peer), at, world.now());
            let whole = event != Event::Stopped && !seeder;
            if world.plan.profile == Profile::Steady {
                return;
            }
            i1_kept::returned(world, self.region, (swarm, announce.peer), sent, whole && !reply.stale, &returned);
            i3_lifetime::returned(world, swarm, &returned, reply.stale);
            return;
        }
        i7_answers::unanswered(world, self.region, nodes, began);
    }

    async fn scrape(&self, plan: &Plan, random: &mut SmallRng) {
        let mut nodes = self.world.nodes_of(self.region);
        nodes.shuffle(random);
        let family = if random.random_bool(0.5) { Family::V4 } else { Family::V6 };
        let info_hashes = (0..plan.swarms).map(plan::info_hash).collect();
        let answer = self.ask(nodes[0], What::Scrape(family, info_hashes)).await;
        let counts = answer.and_then(|answer| answer.counts);
        self.world.trace(format!("scrape of {family:?} at {}: {counts:?}", plan::name(nodes[0])));
    }

    async fn ask(&self, node: usize, what: What) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock();
            waiting.0 += 1;
            let id = waiting.0;
            waiting.1.insert(id, sender);
            id
        };
        let to = SocketAddr::new(turmoil::lookup(plan::name(node)), node::PORT);
        let ask = Ask { id, sent: self.world.now(), what };
        self.world.tickets.send(&self.socket, to, Payload::Ask(ask)).await;
        let answer = timeout(PATIENCE, answer).await;
        self.waiting.lock().1.remove(&id);
        answer.ok()?.ok()
    }
}
