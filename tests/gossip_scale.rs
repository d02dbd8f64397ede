//! What gossip costs with many nodes: prints a table for `docs/scale.md`. All nodes are in this process and talk over the
//! loopback, with the real chitchat, sealed as in a real cluster, and in real time: on a busy machine the figures are worth
//! nothing.
//!
//! ```console
//! $ cargo test --test gossip_scale -- --ignored --nocapture
//! ```

#![expect(clippy::disallowed_methods, reason = "measures in real time")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use tidings::clock::SystemClock;
use tidings::cluster::{
    Me, Membership, MembershipConfig, NodeId, PartitionSet, Placement, RingMember, RingMembers, SealedTransport,
};

/// How long bytes are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Longer than anything may take.
const LONG: Duration = Duration::from_secs(60);

/// Counts what the sealed transport sends.
struct Counting {
    inner: SealedTransport,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    datagrams: AtomicU64,
    largest: AtomicUsize,
}

struct CountingSocket {
    inner: Box<dyn Socket>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Transport for Counting {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(CountingSocket { inner: self.inner.open(listen).await?, counts: self.counts.clone() }))
    }
}

#[async_trait]
impl Socket for CountingSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.inner.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let sent = self.inner.send(to, envelope).await?;
        self.counts.bytes.fetch_add(sent.num_bytes_sent as u64, Relaxed);
        self.counts.datagrams.fetch_add(1, Relaxed);
        self.counts.largest.fetch_max(sent.num_bytes_sent, Relaxed);
        Ok(sent)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.inner.recv().await
    }
}

fn addr(node: usize) -> SocketAddr {
    // Its own loopback address for each, so that no port is taken.
    SocketAddr::from(([127, 7, (node / 200) as u8, (node % 200 + 1) as u8], 17_071))
}

async fn start(node: usize, nodes: usize, partitions: u16, counts: &Arc<Counts>) -> Membership {
    let id = |node: usize| NodeId::from(format!("node-{node}").as_str());
    let me = Me {
        id: id(node),
        region: "eu".into(),
        incarnation: 1_700_000_000_000,
        link: addr(node),
        weight: 1,
        partitions,
        replicas: 2,
        protocol: 1,
    };
    let clock = Arc::new(SystemClock::start());
    let config = MembershipConfig {
        cluster: "scale".into(),
        me,
        listen: addr(node),
        advertise: addr(node),
        seeds: (0..3).map(|seed| addr(seed).to_string()).collect(),
        gossip_interval: Duration::from_millis(500),
    };
    let transport = Counting { inner: SealedTransport::new("scale", None, clock.clone()), counts: counts.clone() };
    let membership = Membership::start(config, Arc::new(transport), clock).await.unwrap();
    let ring: RingMembers =
        (0..nodes).map(|node| RingMember { region: "eu".into(), id: id(node), weight: 1 }).collect();
    let placement = Placement::compute(&ring, partitions, 2);
    let held: PartitionSet = (0..partitions)
        .filter(|partition| placement.list(&"eu".into(), *partition).any(|holder| *holder == id(node)))
        .collect();
    membership.set_held(&held).await;
    membership
}

/// How long it takes until all see so many alive who have said what they hold.
async fn seen(members: &[Membership], alive: usize) -> Duration {
    let began = Instant::now();
    let all = |membership: &Membership| {
        let members = membership.members().borrow().clone();
        members.0.iter().filter(|member| member.alive && !member.held.is_empty()).count() == alive
    };
    while !members.iter().all(all) {
        assert!(began.elapsed() < LONG, "gossip does not converge");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[test]
#[ignore = "prints a table, takes two minutes"]
fn gossip_with_many_nodes() {
    println!(
        "| Nodes | Partitions | All meet | One joins | One dies | Sent by a node | Largest datagram | Processor |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (nodes, partitions) in [(10, 256), (30, 1_024), (100, 8_192)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let counts = Arc::<Counts>::default();
            let mut members = Vec::new();
            for node in 0..nodes - 1 {
                members.push(start(node, nodes, partitions, &counts).await);
            }
            let met = seen(&members, nodes - 1).await;
            members.push(start(nodes - 1, nodes, partitions, &counts).await);
            let joined = seen(&members, nodes).await;
            let (bytes, used) = (counts.bytes.load(Relaxed), processor());
            tokio::time::sleep(WINDOW).await;
            let per_node = (counts.bytes.load(Relaxed) - bytes) as f64 / nodes as f64 / WINDOW.as_secs_f64();
            let used = (processor() - used).as_secs_f64() / nodes as f64 / WINDOW.as_secs_f64();
            drop(members.pop());
            let dead = seen(&members, nodes - 1).await;
            println!(
                "| {nodes} | {partitions} | {:.1} s | {:.1} s | {:.1} s | {:.1} KiB/s | {} B | {:.2} % |",
                met.as_secs_f64(),
                joined.as_secs_f64(),
                dead.as_secs_f64(),
                per_node / 1024.0,
                counts.largest.load(Relaxed),
                used * 100.0,
            );
        });
    }
}

/// Processor time that this process has used.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Clock ticks are hundredths of a second on every Linux that runs today.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
