//! An attacker who reaches the addresses of a cluster, without its keys or even with them, changes nothing for members and
//! clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned};
use tidings::clock::SystemClock;
use tidings::cluster::{KeyDir, NodeId, key_dir};
use tidings::link::VERSIONS;
use tidings::swarm::InfoHash;
use tidings::wire::peer::{self, Hello, Opening, Request};

use super::load::Load;
use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::network::Network;
use tidings::testkit::wait::{wait_for, wait_until};

/// The memory that a node may use under attack, far above what it uses at rest.
const MEMORY: u64 = 256 << 20;
/// Only an answer that never comes takes this long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A light load in the background, whose clients must not notice anything.
fn clients(cluster: &Cluster, nodes: &[&str], seconds: u64) -> Load {
    let args = format!(
        "--mode open --rate 300 --duration {seconds}s --peers 2000 --swarms 100 --sources 20 --spread uniform --stops 0"
    );
    Load::start(cluster, "eu", nodes, nodes, &args)
}

/// The number of log lines of a node that contain a text.
fn lines(cluster: &Cluster, node: &str, text: &str) -> usize {
    cluster.log(node).lines().filter(|line| line.contains(text)).count()
}

fn judge(cluster: &Cluster, nodes: &[&str], load: Load) {
    let mut figures = Figures::default();
    load.finish().judge(&mut figures, 0);
    for node in nodes {
        assert!(cluster.is_ready(node), "{node}: {:#}", cluster.status(node));
        let peak = cluster.peak_memory(node);
        figures.row(&format!("peak memory of {node}"), format!("{} MiB", peak >> 20), "≤ 256 MiB", peak <= MEMORY);
    }
    figures.verdict();
}

#[test]
fn random_and_repeated_gossip_changes_nothing() {
    let mut cluster = Cluster::new(Network::loopback(), &[]);
    // A seed that only listens: it gets valid datagrams, sealed with the node's key.
    let net = cluster.network.prefix();
    let listener = UdpSocket::bind(format!("{net}9.9:7071")).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    cluster.start_node_with("eu-1", &[format!("cluster.seeds=[\"{net}9.9:7071\"]")]);
    let mut captured = Vec::new();
    let mut buffer = [0; 65_536];
    while captured.len() < 3 {
        let received = wait_for("eu-1 gossips with its seed", || {
            let length = listener.recv(&mut buffer).ok()?;
            Some(buffer[..length].to_vec())
        });
        captured.push(received);
    }
    cluster.signal("eu-1", Signal::KILL);
    SIX.iter().for_each(|node| cluster.start_node(node));
    cluster.wait_ready();
    let seconds = choose(8, 30);
    let load = clients(&cluster, &SIX, seconds);
    let mut rng = StdRng::seed_from_u64(8);
    let outside = UdpSocket::bind(format!("{net}9.8:0")).unwrap();
    let end = Instant::now() + Duration::from_secs(seconds - 2);
    let mut sent = 0u64;
    while Instant::now() < end {
        for node in SIX {
            let mut datagram = vec![0u8; rng.random_range(0..1500)];
            rng.fill(&mut datagram[..]);
            match sent % 4 {
                // Noise.
                0 => {}
                // Noise of the right version, so that opening it with the key fails.
                1 => _ = datagram.first_mut().map(|first| *first = 1),
                // A valid datagram with one bit changed.
                2 => {
                    datagram.clone_from(&captured[sent as usize % captured.len()]);
                    let at = rng.random_range(1..datagram.len());
                    datagram[at] ^= 1 << rng.random_range(0..8u32);
                }
                // A valid datagram again.
                _ => datagram.clone_from(&captured[sent as usize % captured.len()]),
            }
            // What the kernel has no room for is lost, as in any network.
            let _ = outside.send_to(&datagram, cluster.gossip(node));
        }
        sent += 1;
        if sent.is_multiple_of(choose(5, 50)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    println!("{} datagrams", sent * 6);
    for node in SIX {
        let count = |outcome: &str| cluster.metric(node, "tidings_gossip_datagrams_total", &[outcome]);
        for name in ["malformed", "bad_key_or_cluster", "replayed"] {
            wait_until(&format!("{node} counts datagrams as {name}"), || count(&format!("outcome=\"{name}\"")) > 10.0);
        }
        for reason in ["no sealed datagram of this version", "compare gossip.keys", "it was seen before"] {
            // Once in a while, however many datagrams come.
            wait_until(&format!("{node} logs {reason:?}"), || lines(&cluster, node, reason) > 0);
            assert!(lines(&cluster, node, reason) < 10, "{node}: {}", cluster.log(node));
        }
    }
    judge(&cluster, &SIX, load);
}

/// A connection that a node accepts as one of eu-9, which has keys but is not a member.
struct Insider(StreamOwned<ClientConnection, TcpStream>);

impl Insider {
    fn open(cluster: &Cluster, to: &str) -> Self {
        let dir = cluster.dir.path().join("keys/eu-9");
        let files = KeyDir::load(&dir, &NodeId::from("eu-9"), &SystemClock::start()).unwrap();
        let name = key_dir::server_name(&NodeId::from(to)).unwrap();
        let socket = TcpStream::connect(cluster.link(to)).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.set_write_timeout(Some(TIMEOUT)).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(&files.client), name).unwrap(), socket);
        let status = cluster.status(to);
        let opening = Opening {
            hello: Hello {
                cluster: "example".into(),
                node: "eu-9".into(),
                region: "eu".into(),
                incarnation: 1,
                versions: VERSIONS,
                partitions: 256,
                replicas: 2,
            },
            bulk: false,
            target: to.into(),
            target_incarnation: incarnation(&status, to),
        };
        let mut bytes = Vec::new();
        peer::write_hello(&mut bytes, &opening, 4096).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[4], 2, "welcome");
        Self(stream)
    }

    /// Whether the node ends the connection after these bytes.
    fn closes_after(mut self, bytes: &[u8]) -> bool {
        if self.0.write_all(bytes).and_then(|()| self.0.flush()).is_err() {
            return true;
        }
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            }
        }
    }
}

fn incarnation(status: &serde_json::Value, node: &str) -> u64 {
    let members = status["members"].as_array().unwrap();
    members.iter().find(|member| member["id"] == node).unwrap()["incarnation"].as_u64().unwrap()
}

fn refused(cluster: &Cluster, reason: &str) -> f64 {
    cluster.metric("eu-1", "tidings_link_inbound_refused_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn strangers_and_broken_frames_end_only_their_own_connections() {
    let nodes = &SIX[..2];
    let cluster = Cluster::start(nodes, &[]);
    let load = clients(&cluster, nodes, 12);
    let link: SocketAddr = cluster.link("eu-1");

    // Without keys: noise, a request for a web page, silence.
    let before = refused(&cluster, "handshake") + refused(&cluster, "too_many");
    let mut rng = StdRng::seed_from_u64(9);
    let mut open = Vec::new();
    for number in 0..choose(40, 400) {
        let Ok(mut stream) = TcpStream::connect(link) else { continue };
        let mut noise = vec![0u8; rng.random_range(1..4000)];
        rng.fill(&mut noise[..]);
        // The node may have closed already.
        let _ = match number % 3 {
            0 => stream.write_all(&noise),
            1 => stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
            _ => Ok(()),
        };
        open.push(stream);
    }
    wait_until("strangers are refused and counted", || {
        refused(&cluster, "handshake") + refused(&cluster, "too_many") >= before + 20.0
    });
    drop(open);

    // With keys: frames that are too long, too short, of an unknown kind, or contain nonsense.
    let header = |length: u32, kind: u8| {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend([kind, 0]);
        bytes.extend(7u64.to_be_bytes());
        bytes
    };
    let before = refused(&cluster, "malformed");
    let request = |body: &[u8]| [&header(18 + body.len() as u32, 4)[..], &1u64.to_be_bytes(), body].concat();
    for (what, bytes) in [
        ("a frame of 4 GiB", header(u32::MAX, 4)),
        ("a frame above the limit", header((1 << 20) + 1, 4)),
        ("a frame without a header", header(0, 4)),
        ("a frame of an unknown kind", header(10, 99)),
    ] {
        let insider = Insider::open(&cluster, "eu-1");
        assert!(insider.closes_after(&bytes), "{what} leaves the connection open");
    }
    wait_until("all four are counted", || refused(&cluster, "malformed") >= before + 4.0);
    // Nonsense within a valid frame, for another incarnation of this node: it is refused or the connection closed.
    let mut insider = Insider::open(&cluster, "eu-1");
    insider.0.write_all(&request(&[0xc1; 64])).unwrap();
    judge(&cluster, nodes, load);
}

#[test]
fn a_peer_that_does_not_read_is_disconnected() {
    let nodes = &SIX[..2];
    let cluster = Cluster::start(nodes, &[]);
    let load = clients(&cluster, nodes, choose(12, 30));
    let mut insider = Insider::open(&cluster, "eu-1");
    let incarnation = incarnation(&cluster.status("eu-1"), "eu-1");
    let info_hashes: Vec<u8> = (0..2000u32).flat_map(|number| InfoHash([number as u8; 20]).0).collect();
    let request = Request::Scrape { v6: false, info_hashes: info_hashes.into() };
    let mut bytes = Vec::new();
    peer::write_request(&mut bytes, 1, incarnation, &request, &[], 1 << 20).unwrap();
    let before = refused(&cluster, "slow");
    let end = Instant::now() + Duration::from_secs(choose(8, 20));
    let mut sent = 0;
    while Instant::now() < end && insider.0.write_all(&bytes).is_ok() {
        sent += 1;
    }
    println!("{sent} requests for 2000 swarms without reading; disconnected {}", refused(&cluster, "slow") - before);
    wait_until("it is disconnected", || {
        let _ = insider.0.write_all(&bytes);
        refused(&cluster, "slow") > before
    });
    wait_until("that is logged", || lines(&cluster, "eu-1", "it does not read the answers") == 1);
    judge(&cluster, nodes, load);
}
