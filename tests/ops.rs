//! The operations endpoints of a whole node, as a supervisor, Prometheus or an operator asks them.

#[path = "support/promtool.rs"]
mod promtool;
#[path = "support/skipped.rs"]
mod skipped;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidings::clock::SystemClock;
use tidings::config::{AccessMode, Settings};
use tidings::node::{Node, StartError};
use tidings::partition::OwnerIndex;
use tidings::swarm::{Announce, Event, InfoHash, PeerAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

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
    let node = Node::start(settings, Arc::new(SystemClock::start())).await.unwrap();
    let ops = node.addrs().ops.unwrap();
    (node, ops)
}

/// The status, head and body of the reply to a request line.
async fn ask(ops: SocketAddr, line: &str) -> (u16, String, String) {
    let talk = async {
        let mut stream = TcpStream::connect(ops).await.unwrap();
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: ops\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = timeout(Duration::from_secs(8), talk).await.expect("an answer in time");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn get(ops: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = ask(ops, &format!("GET {path}")).await;
    (status, body)
}

async fn get_json(ops: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(ops, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// The values of `/metrics` by name and labels. Panics at whatever Prometheus would not like.
async fn scrape(ops: SocketAddr) -> HashMap<String, f64> {
    let (status, head, body) = ask(ops, "GET /metrics").await;
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

/// Applies announces of as many peers with ports from `port` on.
async fn announce(node: &Node, port: u16, count: u16, event: Event, seeder: bool) {
    for port in port..port + count {
        let peer = PeerAddr::new("198.51.100.7".parse().unwrap(), port);
        let announce = Announce { info_hash: HASH, peer, event, seeder, num_want: 0 };
        node.router().announce(announce).await.unwrap();
    }
}

/// Keeps the thread of an owner busy, and so all that runs on it.
fn hang(node: &Node, duration: Duration) {
    let router = node.router().clone();
    tokio::spawn(async move { router.visit_owner(OwnerIndex(0), move |_, _| std::thread::sleep(duration)).await });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_alive_and_ready_at_every_address() {
    let (node, ops) = node(settings()).await;
    assert_eq!(get(ops, "/healthz").await, (200, "ok\n".into()));
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!((status, &report["ready"]), (200, &Value::Bool(true)), "{report:#}");
    let targets: Vec<_> = report["checks"].as_array().unwrap().iter().map(|check| check["target"].clone()).collect();
    let (udp, http) = (&node.addrs().udp, &node.addrs().http);
    let expected = [
        format!("udp://127.0.0.1:{}", udp[0].port()),
        format!("udp://[::1]:{}", udp[1].port()),
        format!("http://127.0.0.1:{}", http[0].port()),
        format!("http://[::1]:{}", http[1].port()),
        "owner 0".into(),
        "owner 1".into(),
    ];
    assert_eq!(targets, expected);
    node.stop().await;
    assert!(TcpStream::connect(ops).await.is_err(), "the endpoints ended with the node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_readiness_often_costs_nothing_and_leaves_nothing() {
    let (node, ops) = node(settings()).await;
    for _ in 0..50 {
        assert_eq!(get(ops, "/readyz").await.0, 200);
    }
    sleep(Duration::from_millis(100)).await;
    let metrics = scrape(ops).await;
    let announces = metrics[r#"tidings_requests_total{transport="udp",family="ipv4",action="announce",outcome="ok"}"#];
    // A start and a stop for each second that this took.
    assert!((2.0..=12.0).contains(&announces), "{announces}");
    for role in ["leecher", "seeder", "partial_seed"] {
        assert_eq!(metrics[&format!(r#"tidings_peers{{family="ipv4",role="{role}"}}"#)], 0.0);
    }
    assert_eq!(metrics[r#"tidings_swarms{family="ipv4"}"#], 1.0);
    assert_eq!(metrics[r#"tidings_tombstones{family="ipv4"}"#], 1.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_whatever_its_access_list_and_proxies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    std::fs::write(&path, format!("{HASH}\n")).unwrap();
    let mut settings = settings();
    settings.access_list.mode = AccessMode::Allow;
    settings.access_list.path = Some(path);
    settings.announce.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let (listed, ops) = node(settings.clone()).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!(status, 200, "{report:#}");
    listed.stop().await;
    settings.access_list.mode = AccessMode::Off;
    let (proxied, ops) = node(settings).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!(status, 200, "{report:#}");
    proxied.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_alive_but_not_ready_and_still_tells_its_metrics() {
    let (node, ops) = node(settings()).await;
    hang(&node, Duration::from_millis(2500));
    sleep(Duration::from_millis(100)).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!(status, 503, "{report:#}");
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["ok"], false, "all run on the one thread that hangs: {report:#}");
        assert!(check["millis"].as_f64().unwrap() < 2000.0 && check["error"].is_string(), "{report:#}");
    }
    assert_eq!(get(ops, "/healthz").await.0, 200);
    assert!(scrape(ops).await[r#"tidings_owner_in_flight{owner="0"}"#] >= 1.0);
    assert_eq!(get_json(ops, "/api/v1/node").await.0, 200);
    assert_eq!(get_json(ops, &format!("/api/v1/swarms/{HASH}")).await.0, 503);
    sleep(Duration::from_millis(2500)).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!(status, 200, "{report:#}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_so() {
    let (node, ops) = node(settings()).await;
    // The owners cannot stop while one of them hangs.
    hang(&node, Duration::from_millis(1500));
    sleep(Duration::from_millis(100)).await;
    let stopping = tokio::spawn(node.stop());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(get(ops, "/healthz").await, (503, "stopping\n".into()));
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!((status, &report["checks"][0]["error"]), (503, &Value::from("the node is stopping")));
    timeout(Duration::from_secs(8), stopping).await.unwrap().unwrap();
    assert!(TcpStream::connect(ops).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_has_nothing_to_say_against_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.node.data_dir = Some(dir.path().into());
    let (node, ops) = node(settings).await;
    promtool::check("metrics of one node", &get(ops, "/metrics").await.1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_is_held_up_shows_as_lag() {
    let (node, ops) = node(settings()).await;
    hang(&node, Duration::from_millis(700));
    sleep(Duration::from_millis(1000)).await;
    let metrics = scrape(ops).await;
    let late = |thread: &str| {
        let of = |rest: &str| metrics[&format!(r#"tidings_event_loop_lag_seconds_{rest}"#)];
        of(&format!(r#"count{{thread="{thread}"}}"#)) - of(&format!(r#"bucket{{thread="{thread}",le="0.5"}}"#))
    };
    assert_eq!((late("serve-0"), late("control")), (1.0, 0.0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_follow_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    (settings.node.data_dir, settings.node.snapshot_interval) = (Some(dir.path().into()), 1);
    let (node, ops) = node(settings).await;
    let before = scrape(ops).await;
    announce(&node, 1000, 3, Event::Started, false).await;
    announce(&node, 2000, 2, Event::None, true).await;
    announce(&node, 3000, 1, Event::Paused, false).await;
    announce(&node, 1000, 1, Event::Stopped, false).await;
    assert_eq!(get(ops, "/readyz").await.0, 200);
    // Owners publish their totals every 20 ms.
    sleep(Duration::from_millis(200)).await;
    let after = scrape(ops).await;
    // The readiness probe's swarm is there, too.
    for (name, value) in [
        (r#"tidings_swarms{family="ipv4"}"#, 2.0),
        (r#"tidings_peers{family="ipv4",role="leecher"}"#, 2.0),
        (r#"tidings_peers{family="ipv4",role="partial_seed"}"#, 1.0),
        (r#"tidings_peers{family="ipv4",role="seeder"}"#, 2.0),
        (r#"tidings_tombstones{family="ipv4"}"#, 2.0),
        (r#"tidings_owner_in_flight_limit"#, 16384.0),
        (r#"tidings_owner_restarts_total"#, 0.0),
        (r#"tidings_build_info{version="0.1.0"}"#, 1.0),
        (r#"tidings_udp_receive_dropped_total"#, 0.0),
    ] {
        assert_eq!(after[name], value, "{name}");
    }
    for name in [
        r#"tidings_requests_total{transport="udp",family="ipv4",action="announce",outcome="ok"}"#,
        r#"tidings_requests_total{transport="udp",family="ipv6",action="connect",outcome="ok"}"#,
        r#"tidings_requests_total{transport="http",family="ipv4",action="announce",outcome="ok"}"#,
        r#"tidings_requests_total{transport="http",family="ipv6",action="announce",outcome="ok"}"#,
        "tidings_udp_replies_total",
        "tidings_http_connections_accepted_total",
        r#"tidings_announce_duration_seconds_count{transport="udp",family="ipv4",source="owner"}"#,
        r#"tidings_announce_duration_seconds_bucket{transport="udp",family="ipv6",source="owner",le="0.1"}"#,
        r#"tidings_announce_duration_seconds_bucket{transport="http",family="ipv4",source="owner",le="0.25"}"#,
        r#"tidings_announce_duration_seconds_sum{transport="http",family="ipv6",source="owner"}"#,
    ] {
        assert_eq!(before[name], 0.0, "{name}");
        assert!(after[name] > 0.0, "{name}");
    }
    let manual = include_str!("../docs/operations.md");
    for thread in ["serve-0", "control"] {
        assert!(after[&format!(r#"tidings_event_loop_lag_seconds_count{{thread="{thread}"}}"#)] >= 5.0, "{thread}");
    }
    for name in after.keys().map(|name| metric(name)) {
        assert!(manual.contains(&format!("`{name}")), "docs/operations.md does not tell of {name}");
    }
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
        assert!(after[name] > 0.0, "{name}");
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 600.0..now + 5.0).contains(&after["process_start_time_seconds"]));
    let buckets = after.keys().filter(|name| name.contains("_bucket")).count();
    assert!(before.len() == after.len() && after.len() - buckets < 200, "labels are bounded: {}", after.len());
    assert!(!after.keys().any(|name| name.contains("198.51")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_told_of_where_there_are_any() {
    let (without, ops) = node(settings()).await;
    assert!(!scrape(ops).await.keys().any(|name| name.starts_with("tidings_snapshot")));
    assert!(get_json(ops, "/api/v1/node").await.1["snapshots"].is_null());
    without.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    (settings.node.data_dir, settings.node.snapshot_interval) = (Some(dir.path().into()), 1);
    let (first, ops) = node(settings.clone()).await;
    assert!(get_json(ops, "/api/v1/node").await.1["snapshots"]["last"].is_null());
    announce(&first, 1000, 5, Event::Started, false).await;
    let written = async {
        while scrape(ops).await["tidings_snapshot_last_records"] != 5.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), written).await.expect("a snapshot of all five");
    let metrics = scrape(ops).await;
    let age =
        std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - metrics["tidings_snapshot_last_timestamp_seconds"];
    assert!((0.0..60.0).contains(&age), "{age}");
    assert!(metrics["tidings_snapshot_last_size_bytes"] > 100.0);
    assert!(metrics["tidings_snapshot_last_duration_seconds"] < 60.0);
    assert_eq!(
        (metrics["tidings_snapshot_errors_total"], metrics["tidings_snapshot_restored_records_total"]),
        (0.0, 0.0)
    );
    first.stop().await;

    let (second, ops) = node(settings.clone()).await;
    let told = get_json(ops, "/api/v1/node").await.1;
    assert_eq!(told["snapshots"]["restored_records"], 5, "{told:#}");
    second.stop().await;
    for entry in std::fs::read_dir(dir.path().join("snapshot")).unwrap() {
        std::fs::write(entry.unwrap().path(), "torn").unwrap();
    }
    let (third, ops) = node(settings).await;
    assert!(scrape(ops).await["tidings_snapshot_corrupt_files_total"] >= 1.0);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_tells_of_the_node_and_of_a_swarm() {
    let (node, ops) = node(settings()).await;
    announce(&node, 1000, 3, Event::Started, false).await;
    announce(&node, 2000, 1, Event::None, true).await;
    announce(&node, 1000, 1, Event::Completed, true).await;
    announce(&node, 1001, 1, Event::Stopped, false).await;
    let (status, swarm) = get_json(ops, &format!("/api/v1/swarms/{}", HASH.to_string().to_uppercase())).await;
    assert_eq!(status, 200);
    assert_eq!(swarm["info_hash"], HASH.to_string());
    let ipv4 = &swarm["ipv4"];
    for (key, value) in [("seeders", 2), ("leechers", 1), ("partial_seeds", 0), ("completed", 1), ("stopped", 1)] {
        assert_eq!(ipv4[key], value, "{key}: {swarm:#}");
    }
    assert!(ipv4["oldest_seconds"].as_u64().unwrap() < 60 && ipv4["newest_seconds"].is_u64());
    assert!(swarm["ipv6"]["oldest_seconds"].is_null());
    assert!(swarm["partition"].as_u64().unwrap() < 256 && swarm["owner"].as_u64().unwrap() < 2);
    assert!(!swarm.to_string().contains("198.51"), "no addresses");

    sleep(Duration::from_millis(200)).await;
    let (status, told) = get_json(ops, "/api/v1/node").await;
    assert_eq!(status, 200);
    assert_eq!((&told["id"], &told["region"], &told["threads"]), (&"test-1".into(), &"local".into(), &1.into()));
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["addresses"]["udp"][0], node.addrs().udp[0].to_string());
    assert_eq!(told["peers"]["ipv4"]["seeders"], 2, "{told:#}");
    assert_eq!(told["owners"].as_array().unwrap().len(), 2);
    let swarms: u64 =
        told["owners"].as_array().unwrap().iter().map(|owner| owner["swarms"]["ipv4"].as_u64().unwrap()).sum();
    assert_eq!((swarms, &told["swarms"]["ipv4"]), (1, &1.into()));
    assert_eq!(told["limits"]["in_flight_per_owner"], 16384);
    assert!(told["memory"]["resident_bytes"].as_u64().unwrap() > 1 << 20);

    assert_eq!(get_json(ops, &format!("/api/v1/swarms/{}", InfoHash([1; 20]))).await.0, 404);
    for bad in ["", "zz", "0123", &"g".repeat(40), &"0".repeat(41), "%00", "../node"] {
        let (status, error) = get_json(ops, &format!("/api/v1/swarms/{bad}")).await;
        assert_eq!((status, &error["error"]), (400, &"an info hash is 40 hexadecimal digits".into()), "{bad}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_are_told_what_there_is() {
    let (node, ops) = node(settings()).await;
    for path in ["/", "/metrics/", "/api", "/announce?info_hash=x"] {
        let (status, body) = get(ops, path).await;
        assert_eq!(status, 404);
        for known in ["/healthz", "/readyz", "/metrics", "/api/v1/node", "/api/v1/swarms/{hex}"] {
            assert!(body.contains(known), "{body}");
        }
    }
    let (status, head, _) = ask(ops, "POST /healthz").await;
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    let (status, head, body) = ask(ops, "HEAD /healthz").await;
    assert!(status == 200 && body.is_empty() && head.contains("content-length: 3"), "{head}");
    assert_eq!(get(ops, "/healthz?verbose=1").await.0, 200);
    assert_eq!(ask(ops, &format!("GET /{}", "x".repeat(20_000))).await.0 / 100, 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_clients_keep_nobody_out_for_long() {
    let (node, ops) = node(settings()).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(ops).await.unwrap());
    }
    // All places are taken until the silent ones have had their 5 seconds.
    let start = tokio::time::Instant::now();
    assert_eq!(get(ops, "/healthz").await.0, 200);
    assert!(start.elapsed() > Duration::from_secs(3), "there is a bound");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_and_none_is_needed() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.ops.listen = Some(taken.local_addr().unwrap());
    let error = Node::start(settings.clone(), Arc::new(SystemClock::start())).await.err().unwrap();
    assert!(matches!(error, StartError::Bind(_)) && error.is_settings());
    let text = error.to_string();
    assert!(text.contains("the port is in use") && text.contains("ops.listen"), "{text}");
    settings.ops.listen = None;
    let node = Node::start(settings, Arc::new(SystemClock::start())).await.unwrap();
    assert_eq!(node.addrs().ops, None);
    node.stop().await;
}
