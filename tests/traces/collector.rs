//! A collector that is absent, silent or killed slows neither clients nor the stop of a node.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::SOON;
use super::receiver::Receiver;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{Client, leecher};
use tidings::testkit::wait::wait_for;

/// An export that is not answered takes ten seconds; no announce and no stop may wait for one.
const EXPORT: Duration = Duration::from_secs(10);

fn start(endpoint: &str) -> TrackerProcess {
    let settings = ["announce.threads=1".to_owned(), "telemetry.sample_ratio=1".into(), endpoint.to_owned()];
    let variables = [SOON[0], ("OTEL_BSP_MAX_QUEUE_SIZE", "256"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")];
    TrackerProcess::start_with(None, &settings, &variables)
}

/// Announces this many peers. Had each of them to wait for an export, this would take far longer than the limit.
fn announce_all(client: &Client, count: u16) {
    let began = Instant::now();
    (1..=count).for_each(|port| _ = client.announce(&leecher(port)));
    let took = began.elapsed();
    assert!(took < EXPORT * u32::from(count) / 10, "{count} announces took {took:?}");
}

fn dropped(tracker: &TrackerProcess) -> f64 {
    let metrics = tracker.metrics();
    ["queue_full", "failed"].map(|why| metrics.sum("tidings_trace_spans_total", &[why])).iter().sum()
}

#[test]
fn an_absent_collector_slows_no_announce_and_dropped_spans_are_counted() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tracker = start(&format!("telemetry.otlp_endpoint=\"http://{unused}\""));
    let client = Client::new(tracker.udp[0]);
    announce_all(&client, 300);
    wait_for("drops to be counted", || (dropped(&tracker) > 0.0).then_some(()));
    assert_eq!(tracker.metrics().sum("tidings_trace_spans_total", &["exported"]), 0.0);
    assert!(tracker.terminate().success());
}

#[test]
fn a_silent_collector_slows_no_announce_and_does_not_prevent_the_stop() {
    let receiver = Receiver::silent();
    let tracker = start(&receiver.setting());
    let client = Client::new(tracker.udp[0]);
    announce_all(&client, 300);
    // More spans than the queue has room for.
    wait_for("drops to be counted", || {
        (tracker.metrics().sum("tidings_trace_spans_total", &["queue_full"]) > 0.0).then_some(())
    });
    assert!(tracker.terminate().success());
}

#[test]
fn a_collector_that_is_killed_slows_no_announce() {
    let mut receiver = Receiver::start();
    let tracker = start(&receiver.setting());
    let client = Client::new(tracker.udp[0]);
    announce_all(&client, 20);
    wait_for("spans to arrive", || (!receiver.spans().is_empty()).then_some(()));
    receiver.kill();
    announce_all(&client, 300);
    wait_for("drops to be counted", || (dropped(&tracker) > 0.0).then_some(()));
    assert!(tracker.metrics().sum("tidings_trace_spans_total", &["exported"]) > 0.0);
    assert!(tracker.terminate().success());
}
