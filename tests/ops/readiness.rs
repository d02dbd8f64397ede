//! Health and readiness.

use serde_json::Value;
use tidings::config::AccessMode;
use tidings::testkit::wait::eventually;
use tokio::net::TcpStream;

use super::{HASH, Hang, get, get_json, node, scrape, settings};

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
async fn frequent_readiness_checks_cost_nothing_and_leave_no_peers() {
    let (node, ops) = node(settings()).await;
    let began = tokio::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(get(ops, "/readyz").await.0, 200);
    }
    // Owners publish their totals every tick.
    eventually("both probes have stopped", async || {
        let metrics = scrape(ops).await;
        let peers = ["leecher", "seeder", "partial_seed"]
            .map(|role| format!("tidings_peers{{family=\"ipv4\",role=\"{role}\"}}"));
        peers.iter().all(|peers| metrics[peers] == 0.0) && metrics[r#"tidings_tombstones{family="ipv4"}"#] == 1.0
    })
    .await;
    let metrics = scrape(ops).await;
    let announces = metrics[r#"tidings_requests_total{transport="udp",family="ipv4",action="announce",outcome="ok"}"#];
    // At most a start and a stop for each second.
    let most = 2.0 * (began.elapsed().as_secs_f64() + 2.0);
    assert!((2.0..=most).contains(&announces), "{announces}");
    assert_eq!(metrics[r#"tidings_swarms{family="ipv4"}"#], 1.0);
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
async fn a_node_that_hangs_is_alive_but_not_ready_and_returns_its_metrics() {
    let (node, ops) = node(settings()).await;
    let hang = Hang::start(&node).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!(status, 503, "{report:#}");
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["ok"], false, "all of them need the thread that hangs: {report:#}");
        assert!(check["error"].is_string(), "{report:#}");
    }
    assert_eq!(get(ops, "/healthz").await.0, 200);
    assert!(scrape(ops).await[r#"tidings_owner_in_flight{owner="0"}"#] >= 1.0);
    assert_eq!(get_json(ops, "/api/v1/node").await.0, 200);
    assert_eq!(get_json(ops, &format!("/api/v1/swarms/{HASH}")).await.0, 503);
    drop(hang);
    eventually("the node is ready again", async || get(ops, "/readyz").await.0 == 200).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_is_neither_healthy_nor_ready() {
    let (node, ops) = node(settings()).await;
    // The owners cannot stop while one of them hangs.
    let hang = Hang::start(&node).await;
    let stopping = tokio::spawn(node.stop());
    eventually("the stop has begun", async || get(ops, "/healthz").await == (503, "stopping\n".into())).await;
    let (status, report) = get_json(ops, "/readyz").await;
    assert_eq!((status, &report["checks"][0]["error"]), (503, &Value::from("the node is stopping")));
    drop(hang);
    stopping.await.unwrap();
    assert!(TcpStream::connect(ops).await.is_err());
}
