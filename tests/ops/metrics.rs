//! The metrics for Prometheus.

use std::time::Duration;

use tidings::swarm::Event;
use tidings::testkit::promtool;
use tidings::testkit::wait::eventually;
use tokio::time::sleep;

use super::{Hang, announce, get, get_json, metric, node, scrape, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_accepts_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.node.data_dir = Some(dir.path().into());
    let (node, ops) = node(settings).await;
    promtool::check("metrics of one node", &get(ops, "/metrics").await.1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_thread_shows_as_event_loop_lag() {
    let (node, ops) = node(settings()).await;
    let hang = Hang::start(&node).await;
    sleep(Duration::from_millis(700)).await;
    drop(hang);
    eventually("a lag above half a second is counted", async || {
        let metrics = scrape(ops).await;
        let of = |rest: &str| metrics[&format!("tidings_event_loop_lag_seconds_{rest}")];
        of(r#"count{thread="serve-0"}"#) > of(r#"bucket{thread="serve-0",le="0.5"}"#)
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_happens() {
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
    // Owners publish their totals every tick, and threads measure their lag a few times a second.
    let lags =
        ["serve-0", "control"].map(|thread| format!("tidings_event_loop_lag_seconds_count{{thread=\"{thread}\"}}"));
    eventually("totals and lags are published", async || {
        let metrics = scrape(ops).await;
        metrics[r#"tidings_tombstones{family="ipv4"}"#] == 2.0 && lags.iter().all(|lag| metrics[lag] >= 5.0)
    })
    .await;
    let after = scrape(ops).await;
    // Including the swarm of the readiness probe.
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
    let manual = include_str!("../../docs/operations.md");
    for name in after.keys().map(|name| metric(name)) {
        assert!(manual.contains(&format!("`{name}")), "docs/operations.md does not document {name}");
    }
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
        assert!(after[name] > 0.0, "{name}");
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 3600.0..now + 5.0).contains(&after["process_start_time_seconds"]));
    let buckets = after.keys().filter(|name| name.contains("_bucket")).count();
    assert!(before.len() == after.len() && after.len() - buckets < 200, "labels are bounded: {}", after.len());
    assert!(!after.keys().any(|name| name.contains("198.51")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_have_metrics_where_a_data_directory_is_set() {
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
    let records = async || scrape(ops).await["tidings_snapshot_last_records"];
    eventually("a snapshot has all five peers", async || records().await == 5.0).await;
    let metrics = scrape(ops).await;
    let age =
        std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - metrics["tidings_snapshot_last_timestamp_seconds"];
    assert!((0.0..3600.0).contains(&age), "{age}");
    assert!(metrics["tidings_snapshot_last_size_bytes"] > 100.0);
    assert!(metrics["tidings_snapshot_last_duration_seconds"] > 0.0);
    assert_eq!(
        (metrics["tidings_snapshot_errors_total"], metrics["tidings_snapshot_restored_records_total"]),
        (0.0, 0.0)
    );
    first.stop().await;

    let (second, ops) = node(settings.clone()).await;
    let report = get_json(ops, "/api/v1/node").await.1;
    assert_eq!(report["snapshots"]["restored_records"], 5, "{report:#}");
    second.stop().await;
    for entry in std::fs::read_dir(dir.path().join("snapshot")).unwrap() {
        std::fs::write(entry.unwrap().path(), "torn").unwrap();
    }
    let (third, ops) = node(settings).await;
    assert!(scrape(ops).await["tidings_snapshot_corrupt_files_total"] >= 1.0);
    third.stop().await;
}
