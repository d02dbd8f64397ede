//! Peers and completed counts survive a restart of the node.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tempfile::TempDir;
use tidings::clock::SystemClock;
use tidings::config::Settings;
use tidings::node::Node;
use tidings::partition::OwnerIndex;
use tidings::router::Unavailable;
use tidings::swarm::{Announce, Event, Family, InfoHash, PeerAddr};
use tidings::testkit::binary::command;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{self, Client, leecher};
use tidings::testkit::wait::{eventually, wait_until};

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
    Node::start(settings, Arc::new(SystemClock::start()), None).await.unwrap()
}

/// Announces `peers` peers of each family to every swarm: leechers, the last of which completes its download.
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

/// The sums of leechers, seeders and completed over all swarms.
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

/// Waits for a snapshot that began after this call.
async fn snapshot(node: &Node) {
    let last = || node.context().snapshots.as_ref().unwrap().last_millis.load(Relaxed);
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
async fn a_graceful_stop_keeps_all_peers_for_a_node_of_any_shape() {
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
    assert_eq!(node.context().snapshots.as_ref().unwrap().restored_records.load(Relaxed), 2_000);
    snapshot(&node).await;
    assert_eq!(totals(&node).await, all);
    assert!(!files(dir.path()).iter().any(|name| name == "owner-2.snap" || name == "owner-3.snap"));
    drop(node);

    // More threads.
    let mut other = settings(dir.path());
    other.announce.threads = 3;
    eventually("the first node is gone", async || {
        let settings = other.clone();
        let Ok(node) = Node::start(settings, Arc::new(SystemClock::start()), None).await else { return false };
        assert_eq!(totals(&node).await, all);
        node.stop().await;
        true
    })
    .await;
}

#[tokio::test]
async fn corrupt_files_are_set_aside_and_the_node_starts_with_the_rest() {
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
    fs::write(path(2), "not a snapshot").unwrap();

    let node = start(settings(dir.path())).await;
    let status = node.context().snapshots.as_ref().unwrap();
    assert_eq!(status.corrupt_files.load(Relaxed), 3);
    let names = files(dir.path());
    assert_eq!(names.iter().filter(|name| name.contains(".snap.corrupt-")).count(), 3, "{names:?}");
    let restored = totals(&node).await;
    assert!(restored.0 > 0 && restored.0 < all.0, "{restored:?} of {all:?}");
    assert_eq!(u64::from(restored.0 + restored.1), status.restored_records.load(Relaxed));
    // It serves as before.
    announce(&node, 20).await;
    assert_eq!(totals(&node).await.0, all.0);
    node.stop().await;
}

#[tokio::test]
async fn an_owner_that_panics_is_restored_while_the_others_serve() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 20).await;
    let all = totals(&node).await;
    snapshot(&node).await;

    let owners = node.router().owners().clone();
    let others: Vec<_> =
        (0..SWARMS).map(info_hash).filter(|it| owners.owner_of_swarm(owners.hash(it)) != OwnerIndex(1)).collect();
    // A panic without message and backtrace, which would take long in a debug build.
    let panics =
        node.router().visit_owner(OwnerIndex(1), |_, _| std::panic::resume_unwind(Box::new("on purpose"))).await;
    assert!(panics.is_err_and(|Unavailable| true));
    for _ in 0..20 {
        let counts = node.router().scrape(Family::V4, &others).await.unwrap();
        assert!(counts.iter().all(|counts| (counts.leechers, counts.seeders, counts.completed) == (19, 1, 1)));
    }
    eventually("the owner is back with its peers", async || totals(&node).await == all).await;
    assert_eq!(owners.restarts.load(Relaxed), 1);
    // No snapshot of the empty owner was written in between.
    snapshot(&node).await;
    assert_eq!(totals(&node).await, all);
    drop(node);
    eventually("the first node is gone", async || {
        let Ok(node) = Node::start(settings(dir.path()), Arc::new(SystemClock::start()), None).await else {
            return false;
        };
        assert_eq!(totals(&node).await, all);
        node.stop().await;
        true
    })
    .await;
}

#[tokio::test]
async fn disk_errors_are_counted_and_the_tracker_goes_on() {
    let dir = TempDir::new().unwrap();
    let node = start(settings(dir.path())).await;
    announce(&node, 2).await;
    let snapshots = dir.path().join("snapshot");
    fs::remove_dir_all(&snapshots).unwrap();
    fs::write(&snapshots, "").unwrap();
    let status = node.context().snapshots.as_ref().unwrap();
    eventually("an error is counted", async || status.errors.load(Relaxed) > 0).await;
    assert_eq!(totals(&node).await.1, 100);
    fs::remove_file(&snapshots).unwrap();
    fs::create_dir(&snapshots).unwrap();
    snapshot(&node).await;
    assert_eq!(status.last_records.load(Relaxed), 200);
    node.stop().await;
}

/// A tracker process that writes a snapshot every second.
fn tracker(data_dir: &Path) -> TrackerProcess {
    let data_dir = format!("node.data_dir=\"{}\"", data_dir.display());
    TrackerProcess::start(&["announce.threads=2".into(), "node.snapshot_interval=1".into(), data_dir])
}

/// An announce of a leecher in one of the swarms.
fn peer(swarm: u8, port: u16) -> udp_client::Announce {
    udp_client::Announce { info_hash: info_hash(swarm).0, ..leecher(port) }
}

/// The number of peers in all swarms.
fn count(client: &Client) -> u32 {
    let hashes: Vec<_> = (0..SWARMS).map(|swarm| info_hash(swarm).0).collect();
    client.scrape(&hashes).iter().map(|[seeders, _, leechers]| seeders + leechers).sum()
}

#[test]
fn kill_9_under_announces_loses_only_the_last_moments() {
    let dir = TempDir::new().unwrap();
    let first = tracker(dir.path());
    let client = Client::new(first.udp[0]);
    for swarm in 0..SWARMS {
        (1..=100).for_each(|port| _ = client.announce(&peer(swarm, port)));
    }
    assert_eq!(count(&client), 5_000);

    // Announces go on until a snapshot has all of these peers, and until the kill.
    let mut port = 1_000;
    wait_until("a snapshot has all peers", || {
        (0..10).for_each(|at| _ = client.announce(&peer(at, port)));
        port += 1;
        first.metrics().sum("tidings_snapshot_last_records", &[]) >= 5_000.0
    });
    for at in 0..50 {
        client.socket.send(&peer(0, 20_000 + at).bytes(client.id, 1)).unwrap();
    }
    first.kill();

    let second = tracker(dir.path());
    let restored = count(&Client::new(second.udp[0]));
    let announced = 5_000 + u32::from(port - 1_000) * 10 + 50;
    assert!((5_000..=announced).contains(&restored), "{restored} peers of {announced}");
}

#[test]
fn an_unusable_data_directory_is_one_sentence_and_exit_code_2() {
    let dir = TempDir::new().unwrap();
    let _tracker = tracker(dir.path());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, problem) in [(dir.path(), "is in use by another node"), (&file, "cannot write to the data directory")] {
        let mut command = command(None);
        command.args(["serve", "--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[]"]);
        command.args(["--set", "ops.listen=off", "--set", &format!("node.data_dir=\"{}\"", path.display())]);
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(problem) && errors.contains("node.data_dir"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}
