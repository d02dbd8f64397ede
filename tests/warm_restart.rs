//! Peers outlive the node that they announced themselves to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tempfile::TempDir;
use tidings::clock::SystemClock;
use tidings::config::Settings;
use tidings::node::Node;
use tidings::partition::OwnerIndex;
use tidings::router::Unavailable;
use tidings::swarm::{Announce, Event, Family, InfoHash, PeerAddr};

const SWARMS: u8 = 50;

fn info_hash(swarm: u8) -> InfoHash {
    InfoHash([swarm; 20])
}

/// Settings for a node that writes a snapshot every second.
fn settings(data_dir: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.announce.udp = vec!["127.0.0.1:0".parse().unwrap()];
    settings.announce.http = Vec::new();
    settings.ops.listen = None;
    settings.announce.threads = 2;
    settings.node.data_dir = Some(data_dir.to_owned());
    settings.node.snapshot_interval = 1;
    settings
}

async fn start(settings: Settings) -> Node {
    Node::start(settings, Arc::new(SystemClock::start())).await.unwrap()
}

/// Announces `peers` peers of each family to every swarm: leechers, of which the last has just become a seeder.
async fn announce(node: &Node, peers: u16) {
    for swarm in 0..SWARMS {
        for number in 1..=peers {
            for ip in [Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::from(0x2001_0db8 << 96 | 1).into()] {
                let peer = PeerAddr::new(ip, number);
                let announce =
                    |event, seeder| Announce { info_hash: info_hash(swarm), peer, event, seeder, num_want: 0 };
                node.router().announce(announce(Event::Started, false)).await.unwrap();
                if number == peers {
                    node.router().announce(announce(Event::Completed, true)).await.unwrap();
                }
            }
        }
    }
}

/// Leechers, seeders and completed counts of all swarms together.
async fn totals(node: &Node) -> (u32, u32, u32) {
    let hashes: Vec<_> = (0..SWARMS).map(info_hash).collect();
    let mut sum = (0, 0, 0);
    for family in [Family::V4, Family::V6] {
        for counts in node.router().scrape(family, &hashes).await.unwrap_or_default() {
            sum = (sum.0 + counts.leechers, sum.1 + counts.seeders, sum.2 + counts.completed);
        }
    }
    sum
}

/// Waits until something holds, at most half a minute.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came that {what}");
}

/// Waits for a snapshot that was begun after this call.
async fn snapshot(node: &Node) {
    let last = || node.snapshots().unwrap().last_millis.load(Relaxed);
    for _ in 0..2 {
        let before = last();
        eventually("a snapshot is written", async || last() > before).await;
    }
}

fn files(data_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(data_dir.join("snapshot")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_graceful_stop_keeps_everything_and_the_next_node_may_be_shaped_otherwise() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 20).await;
    let all = totals(&node).await;
    assert_eq!(all, (50 * 2 * 19, 50 * 2, 50 * 2));
    node.stop().await;
    assert_eq!(files(dir.path()), ["owner-0.snap", "owner-1.snap", "owner-2.snap", "owner-3.snap"]);

    // Fewer threads, other partitions, another placement key.
    fs::remove_file(dir.path().join("secret")).unwrap();
    let mut other = settings(dir.path());
    other.announce.threads = 1;
    other.cluster.partitions = 16;
    let node = start(other).await;
    assert_eq!(totals(&node).await, all);
    assert_eq!(node.snapshots().unwrap().restored_records.load(Relaxed), 2_000);
    snapshot(&node).await;
    assert_eq!(totals(&node).await, all);
    assert!(!files(dir.path()).iter().any(|name| name == "owner-2.snap" || name == "owner-3.snap"));
    drop(node);

    // More threads.
    let mut other = settings(dir.path());
    other.announce.threads = 3;
    eventually("the first node is gone", async || {
        let settings = other.clone();
        let Ok(node) = Node::start(settings, Arc::new(SystemClock::start())).await else { return false };
        assert_eq!(totals(&node).await, all);
        node.stop().await;
        true
    })
    .await;
}

#[tokio::test]
async fn bad_files_are_set_aside_and_the_node_starts_with_the_rest() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 20).await;
    let all = totals(&node).await;
    node.stop().await;

    let path = |owner: usize| dir.path().join(format!("snapshot/owner-{owner}.snap"));
    let torn = fs::read(path(0)).unwrap();
    fs::write(path(0), &torn[..torn.len() - 1]).unwrap();
    let mut newer = fs::read(path(1)).unwrap();
    newer[8] = 2;
    fs::write(path(1), newer).unwrap();
    fs::write(path(2), "nothing of the kind").unwrap();

    let node = start(settings(dir.path())).await;
    let status = node.snapshots().unwrap();
    assert_eq!(status.corrupt_files.load(Relaxed), 3);
    let names = files(dir.path());
    assert_eq!(names.iter().filter(|name| name.contains(".snap.corrupt-")).count(), 3, "{names:?}");
    let kept = totals(&node).await;
    assert!(kept.0 > 0 && kept.0 < all.0, "{kept:?} of {all:?}");
    assert_eq!(u64::from(kept.0 + kept.1), status.restored_records.load(Relaxed));
    // It serves as ever.
    announce(&node, 20).await;
    assert_eq!(totals(&node).await.0, all.0);
    node.stop().await;
}

#[tokio::test]
async fn an_owner_that_panics_is_refilled_while_the_others_serve() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 20).await;
    let all = totals(&node).await;
    snapshot(&node).await;

    let owners = node.router().owners().clone();
    let others: Vec<_> =
        (0..SWARMS).map(info_hash).filter(|it| owners.owner_of_swarm(owners.hash(it)) != OwnerIndex(1)).collect();
    // A panic without its message and backtrace, which in a debug build stalls the whole thread.
    let panics =
        node.router().visit_owner(OwnerIndex(1), |_, _| std::panic::resume_unwind(Box::new("on purpose"))).await;
    assert!(panics.is_err_and(|Unavailable| true));
    for _ in 0..20 {
        let counts = node.router().scrape(Family::V4, &others).await.unwrap();
        assert!(counts.iter().all(|counts| (counts.leechers, counts.seeders, counts.completed) == (19, 1, 1)));
    }
    eventually("the owner is back with its peers", async || totals(&node).await == all).await;
    assert_eq!(owners.restarts.load(Relaxed), 1);
    // No snapshot of the empty owner came in between.
    snapshot(&node).await;
    assert_eq!(totals(&node).await, all);
    drop(node);
    eventually("the first node is gone", async || {
        let Ok(node) = Node::start(settings(dir.path()), Arc::new(SystemClock::start())).await else { return false };
        assert_eq!(totals(&node).await, all);
        node.stop().await;
        true
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_fails_is_counted_and_the_tracker_goes_on() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 2).await;
    let snapshots = dir.path().join("snapshot");
    fs::remove_dir_all(&snapshots).unwrap();
    fs::write(&snapshots, "").unwrap();
    let status = node.snapshots().unwrap();
    eventually("an error is counted", async || status.errors.load(Relaxed) > 0).await;
    assert_eq!(totals(&node).await.1, 100);
    fs::remove_file(&snapshots).unwrap();
    fs::create_dir(&snapshots).unwrap();
    snapshot(&node).await;
    assert_eq!(status.last_records.load(Relaxed), 200);
    node.stop().await;
}

/// The binary, and where it listens.
struct Tracker {
    child: Child,
    addr: SocketAddr,
}

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(["serve", "--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[]"]);
    command.args(["--set", "ops.listen=off", "--set", "announce.threads=2", "--set", "node.snapshot_interval=1"]);
    command.args(["--set", &format!("node.data_dir=\"{}\"", data_dir.display())]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Tracker {
    fn start(data_dir: &Path) -> Self {
        let mut child = command(data_dir).stderr(Stdio::null()).spawn().unwrap();
        let greeting = BufReader::new(child.stdout.take().unwrap());
        let addr = greeting.lines().find_map(|line| {
            let line = line.unwrap();
            let (_, url) = line.split_once("udp://")?;
            Some(url.split('/').next().unwrap().parse().unwrap())
        });
        Self { child, addr: addr.expect("the greeting names the address") }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of BEP 15.
struct Client {
    socket: UdpSocket,
    connection_id: [u8; 8],
}

impl Client {
    fn connect(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let request = [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 4], &[1, 2, 3, 4]].concat();
        let mut client = Self { socket, connection_id: [0; 8] };
        client.socket.send(&request).unwrap();
        let reply = client.receive();
        client.connection_id.copy_from_slice(&reply[8..16]);
        client
    }

    fn receive(&self) -> Vec<u8> {
        let mut reply = vec![0; 2_048];
        let length = self.socket.recv(&mut reply).unwrap();
        reply.truncate(length);
        reply
    }

    fn send_announce(&self, swarm: u8, port: u16, left: u64) {
        let id = &self.connection_id[..];
        let request = [
            &[id, &[0, 0, 0, 1], &[0; 4], &info_hash(swarm).0, &[9; 20], &[0; 8], &left.to_be_bytes()].concat()[..],
            &[&[0; 8][..], &[0, 0, 0, 2], &[0; 4], &[0; 4], &[0; 4], &port.to_be_bytes()].concat(),
        ]
        .concat();
        assert_eq!(request.len(), 98);
        self.socket.send(&request).unwrap();
    }

    /// Announces these ports, a few at a time, as a slow machine drops what does not fit into a socket's buffer.
    fn announce_all(&self, swarm: u8, ports: impl Iterator<Item = u16>) {
        let ports: Vec<_> = ports.collect();
        for some in ports.chunks(50) {
            some.iter().for_each(|port| self.send_announce(swarm, *port, 7));
            some.iter().for_each(|_| assert_eq!(self.receive()[..4], [0, 0, 0, 1]));
        }
    }

    /// The peers of all swarms.
    fn count(&self) -> u32 {
        (0..SWARMS)
            .map(|swarm| {
                let id = &self.connection_id[..];
                self.socket.send(&[id, &[0, 0, 0, 2], &[0; 4], &info_hash(swarm).0].concat()).unwrap();
                let reply = self.receive();
                let number = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
                number(8) + number(16)
            })
            .sum()
    }
}

#[test]
fn kill_9_under_announces_loses_only_the_last_moments() {
    let dir = TempDir::new().unwrap();
    let tracker = Tracker::start(dir.path());
    let client = Client::connect(tracker.addr);
    // 20,000 peers.
    for swarm in 0..SWARMS {
        client.announce_all(swarm, 1..=400);
    }
    assert_eq!(client.count(), 20_000);
    // More than an interval and a half, with announces going on until the end.
    let ports = 1_000..;
    for (round, port) in (0..60).zip(ports) {
        client.announce_all(round % SWARMS, port..port + 10);
        std::thread::sleep(Duration::from_millis(100));
    }
    (0..50).for_each(|port| client.send_announce(0, 20_000 + port, 7));
    tracker.kill();

    let tracker = Tracker::start(dir.path());
    let restored = Client::connect(tracker.addr).count();
    assert!((20_000..=21_000).contains(&restored), "{restored} peers");
}

#[test]
fn a_data_directory_that_cannot_be_had_is_one_sentence_and_exit_code_2() {
    let dir = TempDir::new().unwrap();
    let tracker = Tracker::start(dir.path());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, problem) in [(dir.path(), "is in use by another node"), (&file, "cannot write to the data directory")] {
        let output = command(path).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(problem) && errors.contains("node.data_dir"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    tracker.kill();
}
