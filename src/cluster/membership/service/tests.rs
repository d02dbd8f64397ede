//! Over real UDP on the loopback, and by the real clock.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, TransportExt};
use tokio::time::{Instant, sleep};

use super::*;
use crate::clock::SystemClock;
use crate::cluster::gossip::SealedTransport;
use crate::cluster::gossip::keyring::KeyRing;
use crate::cluster::membership::advertised::Me;
use crate::cluster::membership::member::NodeId;
use crate::swarm::Partition;

type Keys = Arc<ArcSwap<KeyRing>>;

fn keys(key: u8) -> Keys {
    Arc::new(ArcSwap::from_pointee(KeyRing::single([key; 32])))
}

fn sealed(keys: &Keys) -> SealedTransport {
    SealedTransport::new("test", Some(keys.clone()), Arc::new(SystemClock::start()))
}

fn free_addr() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How a node is set up; the seed is another node's gossip address.
fn config(id: &str, seed: Option<SocketAddr>, interval: u64) -> MembershipConfig {
    static INCARNATION: AtomicU64 = AtomicU64::new(1_700_000_000_000);
    let me = Me {
        id: id.into(),
        region: "eu".into(),
        incarnation: INCARNATION.fetch_add(1, Ordering::Relaxed),
        link: ([127, 0, 0, 1], 7072).into(),
        weight: 1,
        partitions: 256,
        replicas: 2,
        protocol: 1,
    };
    let addr = free_addr();
    MembershipConfig {
        cluster: "test".into(),
        me,
        listen: addr,
        advertise: addr,
        seeds: seed.iter().map(SocketAddr::to_string).collect(),
        gossip_interval: Duration::from_millis(interval),
    }
}

async fn start(config: &MembershipConfig, transport: impl Transport) -> Membership {
    let transport: Arc<dyn Transport> = Arc::new(transport);
    Membership::start(config.clone(), transport, Arc::new(SystemClock::start())).await.unwrap()
}

/// The names of the nodes that a node sees as alive.
fn alive(node: &Membership) -> Vec<String> {
    node.members().borrow().0.iter().filter(|member| member.alive).map(|member| member.id.to_string()).collect()
}

async fn until(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn six_nodes_meet_and_a_crash_is_detected_while_a_lossy_node_stays_alive() {
    let keys = keys(1);
    let first = config("n1", None, 500);
    let mut nodes = vec![start(&first, sealed(&keys)).await];
    assert_eq!(alive(&nodes[0]), ["n1"], "the first value is this node");
    for id in ["n2", "n3", "n4", "n5"] {
        nodes.push(start(&config(id, Some(first.advertise), 500), sealed(&keys)).await);
    }
    let bad_line: Arc<dyn Transport> = Arc::from(sealed(&keys).drop_message(0.2));
    let lossy = config("n6", Some(first.advertise), 500);
    nodes.push(Membership::start(lossy, bad_line, Arc::new(SystemClock::start())).await.unwrap());
    until(5, "all alive", || nodes.iter().all(|node| alive(node).len() == 6)).await;

    let held: PartitionSet = [0, 1, 2, 255].into_iter().map(Partition).collect();
    nodes[1].set_held(&held).await;
    nodes[5].set_leaving().await;
    let known = |node: &Membership| {
        let members = node.members().borrow().clone();
        let (n2, n6) = (members.get(&"n2".into()).unwrap(), members.get(&"n6".into()).unwrap());
        n2.held == held && !n2.leaving && n6.leaving
    };
    until(5, "what is held and who leaves is known", || nodes.iter().all(known)).await;

    drop(nodes.remove(2));
    let (crashed, lossy): (NodeId, NodeId) = ("n3".into(), "n6".into());
    until(5, "the crash is noticed", || {
        nodes.iter().all(|node| {
            let members = node.members().borrow().clone();
            assert!(members.get(&lossy).unwrap().alive);
            !members.get(&crashed).expect("dead nodes stay listed").alive
        })
    })
    .await;
    let status = nodes[0].status();
    assert_eq!((status.live, status.dead, status.gossip_restarts, status.ignored), (5, 1, 0, 0));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_with_a_foreign_key_sees_only_itself() {
    let keys_of_all = keys(1);
    let first = config("a", None, 100);
    let second = config("b", Some(first.advertise), 100);
    let foreign = config("x", Some(first.advertise), 100);
    let nodes = [
        start(&first, sealed(&keys_of_all)).await,
        start(&second, sealed(&keys_of_all)).await,
        start(&foreign, sealed(&keys(2))).await,
    ];
    until(5, "two meet", || alive(&nodes[0]).len() == 2 && alive(&nodes[1]).len() == 2).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(nodes.each_ref().map(alive), [vec!["a", "b"], vec!["a", "b"], vec!["x"]]);
}

#[tokio::test]
async fn keys_are_rotated_while_all_nodes_stay_alive() {
    let rings = [keys(1), keys(1)];
    let first = config("a", None, 100);
    let second = config("b", Some(first.advertise), 100);
    let nodes = [start(&first, sealed(&rings[0])).await, start(&second, sealed(&rings[1])).await];
    until(5, "all alive", || nodes.iter().all(|node| alive(node).len() == 2)).await;
    for step in [&[1, 2][..], &[2, 1], &[2]] {
        for ring in &rings {
            let text: Vec<_> = step.iter().map(|key| hex::encode([*key; 32])).collect();
            ring.store(Arc::new(KeyRing::parse(text.join("\n").as_bytes(), "keys".as_ref()).unwrap()));
            // Longer than a death takes to be noticed.
            let end = Instant::now() + Duration::from_millis(1_200);
            while Instant::now() < end {
                assert!(nodes.iter().all(|node| alive(node).len() == 2), "{step:?}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_second_node_of_the_same_name_must_stop_and_the_first_need_not() {
    let keys = keys(1);
    let first = config("a", None, 100);
    let old = start(&first, sealed(&keys)).await;
    let other = start(&config("b", Some(first.advertise), 100), sealed(&keys)).await;
    let young = start(&config("a", Some(first.advertise), 100), sealed(&keys)).await;
    until(10, "the conflict", || young.conflict().borrow().is_some()).await;
    let expected = Conflict::DuplicateId { id: "a".into(), other: first.advertise };
    assert_eq!(*young.conflict().borrow(), Some(expected));
    assert_eq!(*old.conflict().borrow(), None);
    drop(young);
    let back =
        || other.members().borrow().get(&"a".into()).is_some_and(|a| a.alive && a.incarnation == first.me.incarnation);
    until(5, "the first is the one that counts again", back).await;
}

#[tokio::test]
async fn a_restart_at_another_address_is_no_conflict() {
    let keys = keys(1);
    let seed = config("b", None, 100);
    let other = start(&seed, sealed(&keys)).await;
    let before = start(&config("a", Some(seed.advertise), 100), sealed(&keys)).await;
    until(5, "both alive", || alive(&other).len() == 2).await;
    drop(before);
    let again = config("a", Some(seed.advertise), 100);
    let after = start(&again, sealed(&keys)).await;
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert_eq!(*after.conflict().borrow(), None);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(other.members().borrow().get(&"a".into()).unwrap().incarnation, again.me.incarnation);
}

#[tokio::test]
async fn after_a_pause_of_the_process_no_node_is_marked_down() {
    let keys = keys(1);
    let first = config("a", None, 100);
    let mut nodes = vec![start(&first, sealed(&keys)).await];
    for id in ["b", "c", "d"] {
        nodes.push(start(&config(id, Some(first.advertise), 100), sealed(&keys)).await);
    }
    until(5, "all alive", || nodes.iter().all(|node| alive(node).len() == 4)).await;
    // This thread runs all of them.
    std::thread::sleep(Duration::from_secs(2));
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert!(nodes.iter().all(|node| alive(node).len() == 4));
        sleep(Duration::from_millis(5)).await;
    }
    assert!(nodes.iter().all(|node| node.status().pauses >= 1));
}

/// A transport whose sockets break on demand.
struct Fragile<T> {
    transport: T,
    broken: Arc<AtomicBool>,
}

struct FragileSocket {
    socket: Box<dyn Socket>,
    broken: Arc<AtomicBool>,
}

#[async_trait]
impl<T: Transport> Transport for Fragile<T> {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.transport.open(listen).await?;
        Ok(Box::new(FragileSocket { socket, broken: self.broken.clone() }))
    }
}

#[async_trait]
impl Socket for FragileSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        self.socket.send(to, envelope).await
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        let broken = async {
            while !self.broken.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = broken => anyhow::bail!("the socket broke"),
            received = self.socket.recv() => received,
        }
    }
}

#[tokio::test]
async fn failing_gossip_is_restarted_and_finally_given_up() {
    let keys = keys(1);
    let first = config("a", None, 100);
    let broken = Arc::new(AtomicBool::new(false));
    let fragile = start(&first, Fragile { transport: sealed(&keys), broken: broken.clone() }).await;
    let other = start(&config("b", Some(first.advertise), 100), sealed(&keys)).await;
    until(5, "both meet", || alive(&fragile).len() == 2 && alive(&other).len() == 2).await;

    broken.store(true, Ordering::Relaxed);
    until(5, "the failure is noticed", || fragile.status().gossip_restarts == 1).await;
    broken.store(false, Ordering::Relaxed);
    // While there is no gossip.
    let held = (0..7).map(Partition).collect::<PartitionSet>();
    fragile.set_held(&held).await;
    let a = NodeId::from("a");
    until(5, "the other node hears of it", || {
        assert_eq!(alive(&fragile), ["a", "b"], "no node is forgotten in between");
        other.members().borrow().get(&a).is_some_and(|a| a.alive && a.held == held)
    })
    .await;
    assert_eq!(other.members().borrow().get(&a).unwrap().incarnation, first.me.incarnation);
    assert_eq!(*fragile.conflict().borrow(), None);

    broken.store(true, Ordering::Relaxed);
    until(10, "it is given up", || fragile.conflict().borrow().is_some()).await;
    assert_eq!(*fragile.conflict().borrow(), Some(Conflict::Gossip { restarts: 5 }));
    assert!(fragile.conflict().borrow().as_ref().unwrap().must_stop());
    assert_eq!(fragile.status().gossip_restarts, 5);
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = config("a", None, 100);
    config.listen = taken.local_addr().unwrap();
    let started = Membership::start(config, Arc::new(sealed(&keys(1))), Arc::new(SystemClock::start())).await;
    let error = started.err().unwrap().to_string();
    assert!(error.starts_with("cannot listen for gossip on 127.0.0.1:"), "{error}");
}
