//! The JSON API, and the endpoint itself.

use std::sync::Arc;
use std::time::Duration;

use tidings::clock::SystemClock;
use tidings::node::{Node, StartError};
use tidings::swarm::{Event, InfoHash};
use tidings::testkit::wait::eventually;
use tokio::net::TcpStream;

use super::{HASH, announce, get, get_json, node, request, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_reports_the_node_and_a_swarm() {
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
    assert!(ipv4["oldest_seconds"].is_u64() && ipv4["newest_seconds"].is_u64());
    assert!(swarm["ipv6"]["oldest_seconds"].is_null());
    assert!(swarm["partition"].as_u64().unwrap() < 256 && swarm["owner"].as_u64().unwrap() < 2);
    assert!(!swarm.to_string().contains("198.51"), "no addresses");

    eventually("the owners publish their totals", async || {
        get_json(ops, "/api/v1/node").await.1["peers"]["ipv4"]["seeders"] == 2
    })
    .await;
    let (status, report) = get_json(ops, "/api/v1/node").await;
    assert_eq!(status, 200);
    assert_eq!((&report["id"], &report["region"], &report["threads"]), (&"test-1".into(), &"local".into(), &1.into()));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["addresses"]["udp"][0], node.addrs().udp[0].to_string());
    assert_eq!(report["peers"]["ipv4"]["seeders"], 2, "{report:#}");
    assert_eq!(report["owners"].as_array().unwrap().len(), 2);
    let swarms: u64 =
        report["owners"].as_array().unwrap().iter().map(|owner| owner["swarms"]["ipv4"].as_u64().unwrap()).sum();
    assert_eq!((swarms, &report["swarms"]["ipv4"]), (1, &1.into()));
    assert_eq!(report["limits"]["in_flight_per_owner"], 16384);
    assert!(report["memory"]["resident_bytes"].as_u64().unwrap() > 1 << 20);

    assert_eq!(get_json(ops, &format!("/api/v1/swarms/{}", InfoHash([1; 20]))).await.0, 404);
    for bad in ["", "zz", "0123", &"g".repeat(40), &"0".repeat(41), "%00", "../node"] {
        let (status, error) = get_json(ops, &format!("/api/v1/swarms/{bad}")).await;
        assert_eq!((status, &error["error"]), (400, &"an info hash is 40 hexadecimal digits".into()), "{bad}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_list_the_known_ones() {
    let (node, ops) = node(settings()).await;
    for path in ["/", "/metrics/", "/api", "/announce?info_hash=x"] {
        let (status, body) = get(ops, path).await;
        assert_eq!(status, 404);
        for known in ["/healthz", "/readyz", "/metrics", "/api/v1/node", "/api/v1/swarms/{hex}"] {
            assert!(body.contains(known), "{body}");
        }
    }
    let (status, head, _) = request(ops, "POST /healthz").await;
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    let (status, head, body) = request(ops, "HEAD /healthz").await;
    assert!(status == 200 && body.is_empty() && head.contains("content-length: 3"), "{head}");
    assert_eq!(get(ops, "/healthz?verbose=1").await.0, 200);
    assert_eq!(request(ops, &format!("GET /{}", "x".repeat(20_000))).await.0 / 100, 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_clients_do_not_keep_others_out_for_long() {
    let (node, ops) = node(settings()).await;
    // All places are taken until the silent clients reach their deadline of 5 seconds.
    let start = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(ops).await.unwrap());
    }
    assert_eq!(get(ops, "/healthz").await.0, 200);
    assert!(start.elapsed() > Duration::from_secs(3), "there is a bound");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_and_no_port_is_needed() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.ops.listen = Some(taken.local_addr().unwrap());
    let error = Node::start(settings.clone(), Arc::new(SystemClock::start()), None).await.err().unwrap();
    assert!(matches!(error, StartError::Bind(_)) && error.is_settings());
    let text = error.to_string();
    assert!(text.contains("the port is in use") && text.contains("ops.listen"), "{text}");
    settings.ops.listen = None;
    let node = Node::start(settings, Arc::new(SystemClock::start()), None).await.unwrap();
    assert_eq!(node.addrs().ops, None);
    node.stop().await;
}
