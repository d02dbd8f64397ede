//! The operations endpoints of a whole node, as supervisors, Prometheus and operators use them.

mod api;
mod metrics;
mod readiness;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use serde_json::Value;
use tidings::clock::SystemClock;
use tidings::config::Settings;
use tidings::node::Node;
use tidings::partition::OwnerIndex;
use tidings::swarm::{Announce, Event, InfoHash, PeerAddr};
use tidings::testkit::http;
use tokio::sync::oneshot;

const HASH: InfoHash = InfoHash([0xab; 20]);

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.announce.udp = vec!["127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()];
    settings.announce.http = vec!["0.0.0.0:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    settings.announce.threads = 1;
    settings.ops.listen = Some("127.0.0.1:0".parse().unwrap());
    settings.node.id = "test-1".into();
    settings
}

async fn node(settings: Settings) -> (Node, SocketAddr) {
    let node = Node::start(settings, Arc::new(SystemClock::start()), None).await.unwrap();
    let ops = node.addrs().ops.unwrap();
    (node, ops)
}

/// The status, head and body of the reply to a request with this method and target.
async fn request(ops: SocketAddr, line: &str) -> (u16, String, String) {
    let reply = tokio::task::block_in_place(|| http::send(ops, line, "")).unwrap();
    (reply.status, reply.head.clone(), reply.text())
}

async fn get(ops: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = request(ops, &format!("GET {path}")).await;
    (status, body)
}

async fn get_json(ops: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(ops, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// The values of `/metrics` by name and labels. Panics at anything that Prometheus would not accept.
async fn scrape(ops: SocketAddr) -> HashMap<String, f64> {
    let (status, head, body) = request(ops, "GET /metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let (mut helped, mut kinds, mut samples) = (HashSet::new(), HashMap::new(), HashMap::new());
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "{line}");
        } else {
            let (name_and_labels, value) = line.rsplit_once(' ').unwrap();
            let name = metric(name_and_labels);
            assert!(helped.contains(name) && kinds.contains_key(name), "{line}");
            assert!(name.starts_with("tidings_") || name.starts_with("process_"), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(name_and_labels.to_owned(), value).is_none(), "{line}");
        }
    }
    assert_eq!(kinds.len(), helped.len());
    samples
}

/// The metric of a sample: histograms have several names.
fn metric(sample: &str) -> &str {
    let name = sample.split('{').next().unwrap();
    ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

/// Announces `count` peers with ports from `port` on.
async fn announce(node: &Node, port: u16, count: u16, event: Event, seeder: bool) {
    for port in port..port + count {
        let peer = PeerAddr::new("198.51.100.7".parse().unwrap(), port);
        let announce = Announce { info_hash: HASH, peer, event, seeder, num_want: 0 };
        node.router().announce(announce).await.unwrap();
    }
}

/// Blocks the thread of an owner, and everything that runs on it, until it is dropped.
struct Hang {
    _release: mpsc::Sender<()>,
}

impl Hang {
    /// Returns once the thread is blocked.
    async fn start(node: &Node) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (block, blocked) = oneshot::channel();
        let router = node.router().clone();
        tokio::spawn(async move {
            let visit = move |_: &mut _, _| {
                let _ = block.send(());
                // Ends with an error as soon as the sender is dropped.
                let _ = released.recv();
            };
            router.visit_owner(OwnerIndex(0), visit).await
        });
        blocked.await.unwrap();
        Self { _release: release }
    }
}
