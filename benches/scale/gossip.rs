//! Gossip alone: chitchat itself, with what nodes advertise, over channels instead of sockets. Datagrams arrive at
//! once; each round of gossip takes one way of the network longer than here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chitchat::transport::ChannelTransport;
use tidings::clock::{Clock, Now};
use tidings::cluster::gossip::seal::MAX_PAYLOAD;
use tidings::cluster::{
    Me, Members, Membership, MembershipConfig, PartitionSet, Placement, StableMember, StableMembers,
};
use tidings::swarm::PartitionCount;
use tokio::sync::watch;
use tokio::time::sleep;

const REGIONS: [&str; 3] = ["ap", "eu", "us"];
const REPLICAS: u8 = 2;
const GOSSIP: Duration = Duration::from_millis(500);
/// Between two looks at what all nodes know.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing happens while traffic is counted.
const QUIET: Duration = Duration::from_secs(30);
/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// What the seal adds to a message, and UDP and IPv4 to that.
const ENVELOPE: u64 = (65_507 - MAX_PAYLOAD + 28) as u64;

pub const HEAD: &str = "\
| Nodes | Partitions | Start | Change | Join | Leave | Death | of a region | Traffic of a node | Datagram | Processor |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// tokio's paused clock, which advances only while all tasks wait.
struct Virtual(tokio::time::Instant);

impl Clock for Virtual {
    fn now(&self) -> Now {
        let uptime = self.0.elapsed();
        Now { uptime, wall_millis: 1_700_000_000_000 + uptime.as_millis() as u64 }
    }
}

struct Node {
    membership: Membership,
    members: watch::Receiver<Arc<Members>>,
}

struct Cluster {
    transport: ChannelTransport,
    clock: Arc<dyn Clock>,
    partitions: u16,
    /// What all nodes that ever were are to hold.
    held: Vec<PartitionSet>,
    nodes: Vec<Option<Node>>,
}

fn name(node: usize) -> String {
    format!("{}-{:03}", REGIONS[node % REGIONS.len()], node / REGIONS.len() + 1)
}

fn addr(node: usize) -> SocketAddr {
    ([10, 0, (node >> 8) as u8, node as u8], 7071).into()
}

impl Cluster {
    fn new(nodes: usize, partitions: u16) -> Self {
        let member = |node| StableMember { region: name(node)[..2].into(), id: name(node).as_str().into(), weight: 1 };
        let ring: StableMembers = (0..nodes).map(member).collect();
        let placement = Placement::compute(&ring, PartitionCount::new(partitions), REPLICAS);
        let held = |node| {
            let StableMember { region, id, .. } = member(node);
            PartitionCount::new(partitions)
                .iter()
                .filter(|at| placement.list(&region, *at).any(|other| *other == id))
                .collect()
        };
        Self {
            transport: ChannelTransport::with_mtu(MAX_PAYLOAD),
            clock: Arc::new(Virtual(tokio::time::Instant::now())),
            partitions,
            held: (0..nodes).map(held).collect(),
            nodes: Vec::new(),
        }
    }

    async fn start(&mut self) {
        let node = self.nodes.len();
        let me = Me {
            id: name(node).as_str().into(),
            region: name(node)[..2].into(),
            incarnation: self.clock.now().wall_millis,
            link: addr(node),
            weight: 1,
            partitions: self.partitions,
            replicas: REPLICAS,
            protocol: 1,
        };
        let config = MembershipConfig {
            cluster: "scale".into(),
            me,
            listen: addr(node),
            advertise: addr(node),
            seeds: (0..REGIONS.len()).map(|seed| addr(seed).to_string()).collect(),
            gossip_interval: GOSSIP,
        };
        let transport = Arc::new(self.transport.clone());
        let membership = Membership::start(config, transport, self.clock.clone()).await.expect("gossip starts");
        membership.set_held(&self.held[node]).await;
        let members = membership.members();
        self.nodes.push(Some(Node { membership, members }));
    }

    /// The time until each node sees the same.
    async fn until(&self, seen: impl Fn(&Members) -> bool) -> Duration {
        let began = tokio::time::Instant::now();
        while !self.nodes.iter().flatten().all(|node| seen(&node.members.borrow())) {
            assert!(began.elapsed() < PATIENCE, "this takes more than {PATIENCE:?}");
            sleep(LOOK).await;
        }
        began.elapsed()
    }

    /// How long until all see these and no others alive, with all that they hold.
    async fn until_alive(&self, alive: impl Fn(usize) -> bool) -> Duration {
        let expected: Vec<_> =
            (0..self.nodes.len()).filter(|node| alive(*node)).map(|node| (name(node), node)).collect();
        self.until(|members| {
            let living: Vec<_> = members.0.iter().filter(|member| member.alive).collect();
            let same = |(name, node): &(String, usize)| {
                let found = living.binary_search_by(|member| member.id.as_str().cmp(name));
                found.is_ok_and(|at| living[at].held == self.held[*node])
            };
            living.len() == expected.len() && expected.iter().all(same)
        })
        .await
    }
}

/// Starts so many nodes and measures.
pub fn row(nodes: usize, partitions: u16) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(measure(nodes, partitions))
}

async fn measure(nodes: usize, partitions: u16) -> String {
    // The last one joins later.
    let mut cluster = Cluster::new(nodes + 1, partitions);
    let began = tokio::time::Instant::now();
    for _ in 0..nodes {
        cluster.start().await;
    }
    cluster.until_alive(|_| true).await;
    let start = began.elapsed();

    sleep(Duration::from_secs(5)).await;
    let (before, real) = (cluster.transport.statistics(), Instant::now());
    sleep(QUIET).await;
    let (after, real) = (cluster.transport.statistics(), real.elapsed());
    let datagrams = after.num_messages_total - before.num_messages_total;
    let bytes = after.num_bytes_total - before.num_bytes_total + datagrams * ENVELOPE;
    let rate = bytes as f64 / QUIET.as_secs_f64() / nodes as f64 / 1024.0;
    let processor = real.as_secs_f64() / QUIET.as_secs_f64() / nodes as f64 * 100.0;

    let moved = nodes - 1;
    cluster.held[moved] = PartitionCount::new(partitions).iter().step_by(3).collect();
    let at = cluster.nodes[moved].as_ref().expect("it runs");
    at.membership.set_held(&cluster.held[moved]).await;
    let change = cluster.until_alive(|_| true).await;

    cluster.start().await;
    let join = cluster.until_alive(|_| true).await;

    let leaving = name(nodes);
    cluster.nodes[nodes].as_ref().expect("it runs").membership.set_leaving().await;
    let left = |member: &tidings::cluster::Member| member.id.as_str() == leaving && member.leaving;
    let leave = cluster.until(|members| members.0.iter().any(left)).await;

    // It dies without a word; so do then all of a region, the one with seeds of the others left.
    cluster.nodes[nodes] = None;
    let death = cluster.until_alive(|node| node != nodes).await;
    let lost = |node: usize| node == nodes || node % REGIONS.len() == 2;
    (0..nodes).filter(|node| lost(*node)).for_each(|node| cluster.nodes[node] = None);
    let region = cluster.until_alive(|node| !lost(node)).await;

    let [start, change, join, leave, death, region] =
        [start, change, join, leave, death, region].map(|time| format!("{:.1} s", time.as_secs_f64()));
    format!(
        "| {nodes} | {partitions} | {start} | {change} | {join} | {leave} | {death} | {region} | {rate:.0} KiB/s | {} B | {processor:.2} % |",
        bytes / datagrams.max(1)
    )
}
