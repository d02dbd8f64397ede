//! Derives all events of a run from a seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::config::Ack;
use crate::swarm::{Hlc, InfoHash, PeerAddr};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Lifetime of a peer, in seconds.
pub const TTL: u16 = 120;
/// There are no faults before this.
pub const CALM: Duration = Duration::from_secs(14);
/// Clients are quiet for this long before copies are compared.
pub const HUSH: Duration = Duration::from_secs(8);

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Crashes, restarts, joins and leaves, one after the other, with a working network. Promises hold at every moment.
    Nodes,
    /// Cuts, splits, stalls and slow links, one after the other, and a crash now and then.
    Network,
    /// All of these at the same time.
    Storm,
    /// Clocks that jump by up to five minutes.
    Clocks,
    /// No faults except stalls of less than a second, with tiny queues; repair must be done long before the next regular
    /// comparison of copies.
    Trickle,
    /// No faults, and one swarm that new peers join all the time: nothing needs repair.
    Steady,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct NodeSpec {
    pub region: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A node dies and comes back. `silent`: its host dies, too, so that no connection is closed.
    Crash { node: usize, down: Duration, silent: bool },
    /// All messages to and from a node are delayed until the stall ends.
    Stall { node: usize, time: Duration },
    /// All messages from one node to another are lost.
    Cut { from: usize, to: usize, time: Duration },
    /// A region is cut off from all others.
    Split { region: usize, time: Duration },
    /// One node is cut off from all others, but not from its clients.
    Isolate { node: usize, time: Duration },
    /// All links between nodes have this latency.
    Slow { latency: Duration, time: Duration },
    /// The wall clock of a node is wrong.
    Clock { node: usize, millis: i64, time: Duration },
    /// A node joins.
    Join { region: usize },
    /// A node leaves.
    Leave { node: usize },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    pub chitchat: bool,
    pub regions: usize,
    pub nodes: Vec<NodeSpec>,
    /// Partitions of the cluster.
    pub partitions: u16,
    pub replicas: u8,
    pub ack: Ack,
    pub hint_bytes: usize,
    pub gossip_loss: f64,
    pub near: Duration,
    pub far: Duration,
    pub swarms: u32,
    pub clients: u32,
    pub events: Vec<(Duration, Event)>,
    /// There are no faults after this.
    pub faults_end: Duration,
    /// Copies have to be equal after this.
    pub end: Duration,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Plan {
    /// The plan of a seed with the scripted gossip.
    pub fn new(seed: u64) -> Self {
        let profile = match seed % 10 {
            0..4 => Profile::Nodes,
            4..6 => Profile::Network,
            6..8 => Profile::Storm,
            8 => Profile::Clocks,
            _ if seed % 20 == 9 => Profile::Trickle,
            _ => Profile::Steady,
        };
        Self::of(seed, profile)
    }

    /// The plan of a seed for one profile.
    pub fn of(seed: u64, profile: Profile) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let dull = matches!(profile, Profile::Trickle | Profile::Steady);
        let regions = if dull { 1 } else { [1, 1, 1, 2, 2, 3][random.random_range(0..6)] };
        let per_region = match (dull, regions) {
            (true, _) => 3..4,
            (_, 1) => 3..6,
            (_, 2) => 2..4,
            _ => 1..4,
        };
        let mut nodes = Vec::new();
        for region in 0..regions {
            let count = random.random_range(per_region.clone());
            nodes.extend((0..count).map(|_| NodeSpec { region }));
        }
        while nodes.len() < 3 {
            nodes.push(NodeSpec { region: 0 });
        }
        let mut plan = Self {
            seed,
            profile,
            chitchat: false,
            regions,
            nodes,
            partitions: 16,
            replicas: if random.random_bool(0.2) { 3 } else { 2 },
            ack: if random.random_bool(0.4) { Ack::Replica } else { Ack::Owner },
            hint_bytes: if random.random_bool(0.2) { 600 } else { 64 << 10 },
            gossip_loss: if random.random_bool(0.5) { 0.0 } else { 0.1 },
            near: Duration::from_millis(random.random_range(2..40)),
            far: Duration::from_millis(random.random_range(40..90)),
            swarms: random.random_range(4..10),
            clients: random.random_range(8..16),
            events: Vec::new(),
            faults_end: secs(60),
            end: secs(60 + 78),
        };
        match profile {
            Profile::Nodes => plan.one_by_one(&mut random, false),
            Profile::Network => plan.one_by_one(&mut random, true),
            Profile::Storm => plan.storm(&mut random),
            Profile::Clocks => plan.clocks(&mut random),
            Profile::Trickle => {
                plan.hint_bytes = 100;
                plan.ack = Ack::Owner;
                plan.clients = 25;
                let mut at = CALM;
                while at < secs(29) {
                    let time = Duration::from_millis(random.random_range(600..800));
                    plan.events.push((at, Event::Stall { node: random.random_range(0..plan.nodes.len()), time }));
                    at += time + Duration::from_millis(900);
                }
                (plan.faults_end, plan.end) = (secs(30), secs(30 + 14));
            }
            Profile::Steady => {
                plan.swarms = 1;
                plan.clients = 120;
                plan.near = Duration::from_millis(60);
                (plan.faults_end, plan.end) = (secs(60), secs(60 + 20));
            }
        }
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }

    fn one_by_one(&mut self, random: &mut SmallRng, network: bool) {
        let mut at = CALM;
        let (mut total, mut left) = (self.nodes.len(), Vec::new());
        while at < self.faults_end - secs(8) {
            let time = Duration::from_millis(random.random_range(500..9_000));
            let node = random.random_range(0..self.nodes.len());
            if left.contains(&node) {
                continue;
            }
            let event = if network && random.random_bool(0.8) {
                self.network_event(random, node, time)
            } else {
                match random.random_range(0..8) {
                    0 if total < 9 => {
                        total += 1;
                        Event::Join { region: random.random_range(0..self.regions) }
                    }
                    1 if self.can_leave(node, &left) => {
                        left.push(node);
                        Event::Leave { node }
                    }
                    2 => self.skew(random, node, 50_000, time),
                    _ => Event::Crash { node, down: time, silent: random.random_bool(0.4) },
                }
            };
            self.events.push((at, event));
            at += time + secs(random.random_range(3..16));
        }
    }

    fn storm(&mut self, random: &mut SmallRng) {
        for _ in 0..random.random_range(5..14) {
            let at = CALM + Duration::from_millis(random.random_range(0..34_000));
            let time = Duration::from_millis(random.random_range(200..11_000));
            let node = random.random_range(0..self.nodes.len());
            let event = match random.random_range(0..10) {
                0..3 => Event::Crash { node, down: time, silent: random.random_bool(0.5) },
                3 => self.skew(random, node, 50_000, time),
                4 => Event::Join { region: random.random_range(0..self.regions) },
                _ => self.network_event(random, node, time),
            };
            let joins = self.events.iter().filter(|(_, event)| matches!(event, Event::Join { .. })).count();
            if !matches!(event, Event::Join { .. }) || joins + self.nodes.len() < 9 {
                self.events.push((at, event));
            }
        }
    }

    fn clocks(&mut self, random: &mut SmallRng) {
        for _ in 0..random.random_range(2..6) {
            let at = CALM + Duration::from_millis(random.random_range(0..34_000));
            let node = random.random_range(0..self.nodes.len());
            let time = Duration::from_millis(random.random_range(200..11_000));
            let event = match random.random_range(0..4) {
                0 => Event::Crash { node, down: time, silent: false },
                _ => self.skew(random, node, 300_000, time),
            };
            self.events.push((at, event));
        }
        // A logical clock never goes back: others reject its stamps until they are less than a minute ahead.
        let future = self.events.iter().filter_map(|(at, event)| match event {
            Event::Clock { millis: millis @ 1.., time, .. } => {
                Some(*at + *time + Duration::from_millis(millis.unsigned_abs()))
            }
            _ => None,
        });
        let believed = future.max().unwrap_or_default().saturating_sub(Hlc::MAX_AHEAD);
        // A cut triggers no comparison; an owner compares every 45 s, in turns with up to two copies of its region and one of
        // each of two other regions, and once more to replicate the result within its region.
        self.end = self.faults_end.max(believed) + secs(5 * 45);
    }

    fn skew(&self, random: &mut SmallRng, node: usize, most: i64, time: Duration) -> Event {
        Event::Clock { node, millis: random.random_range(-most..most), time }
    }

    fn network_event(&self, random: &mut SmallRng, node: usize, time: Duration) -> Event {
        let other = (node + random.random_range(1..self.nodes.len())) % self.nodes.len();
        match random.random_range(0..6) {
            0 => Event::Stall { node, time },
            1 | 2 => Event::Cut { from: node, to: other, time },
            3 if self.regions > 1 => Event::Split { region: random.random_range(0..self.regions), time },
            4 => Event::Slow { latency: Duration::from_millis(random.random_range(50..500)), time },
            _ => Event::Isolate { node, time },
        }
    }

    fn can_leave(&self, node: usize, left: &[usize]) -> bool {
        let region = self.nodes[node].region;
        let stay = (0..self.nodes.len()).filter(|at| self.nodes[*at].region == region && !left.contains(at)).count();
        stay > 2
    }

    /// The longest delay of a message.
    pub fn longest_hold(&self) -> Duration {
        let holds = self.events.iter().filter_map(|(_, event)| match event {
            Event::Stall { time, .. } => Some(*time),
            _ => None,
        });
        // Stalls may follow each other.
        holds.sum()
    }

    /// Whether a clock was wrong by more than records may be ahead.
    pub fn wild_clocks(&self) -> bool {
        self.profile == Profile::Clocks
    }
}

/// The name of a node.
pub fn name(node: usize) -> String {
    format!("n{node}")
}

/// The name of a region.
pub fn region_name(region: usize) -> String {
    ["eu", "us", "ap"][region].to_owned()
}

/// A swarm; every other one is of IPv6.
pub fn info_hash(swarm: u32) -> InfoHash {
    let mut bytes = [0x5a; 20];
    bytes[..4].copy_from_slice(&swarm.wrapping_mul(0x9e37_79b9).to_be_bytes());
    bytes[4..8].copy_from_slice(&swarm.to_be_bytes());
    InfoHash(bytes)
}

/// The peer with a number in a swarm.
pub fn peer(swarm: u32, number: u32) -> PeerAddr {
    let [_, b, c, d] = number.to_be_bytes();
    let ip: IpAddr = match swarm % 2 {
        0 => Ipv4Addr::new(10, b, c, d).into(),
        _ => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number)).into(),
    };
    PeerAddr::new(ip, 6881)
}
