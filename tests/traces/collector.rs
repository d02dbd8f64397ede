//! A collector that is absent, slow or gone is no matter to clients, nor to whoever stops the node.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::client::{Client, leecher};
use super::receiver::Receiver;
use super::tracker::Tracker;
use super::{SOON, wait_for};

/// How long an announce may take on a busy machine: far less than any wait for a collector.
const ANNOUNCE: Duration = Duration::from_millis(700);
/// How long a node may take to stop: what it needs by itself, and a second and a half for its last spans.
const STOP: Duration = Duration::from_secs(5);

fn start(endpoint: &str) -> Tracker {
    let settings = ["announce.threads=1".to_owned(), "telemetry.sample_ratio=1".into(), endpoint.to_owned()];
    let variables = [SOON[0], ("OTEL_BSP_MAX_QUEUE_SIZE", "256"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")];
    Tracker::start_in(None, &settings, &variables)
}

/// The longest of some announces.
fn longest(client: &Client, count: u16) -> Duration {
    let one = |port| {
        let began = Instant::now();
        client.announce(&leecher(port));
        began.elapsed()
    };
    (1..=count).map(one).max().unwrap()
}

fn stops_in_time(tracker: Tracker) {
    let began = Instant::now();
    assert!(tracker.terminate().success());
    assert!(began.elapsed() < STOP, "it took {:?}", began.elapsed());
}

fn dropped(tracker: &Tracker) -> f64 {
    let metrics = tracker.metrics();
    ["queue_full", "failed"].map(|why| metrics.sum("tidings_trace_spans_total", &[why])).iter().sum()
}

#[test]
fn an_absent_collector_costs_nothing_and_what_it_misses_is_counted() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tracker = start(&format!("telemetry.otlp_endpoint=\"http://{nobody}\""));
    let client = Client::new(tracker.udp[0]);
    let longest = longest(&client, 300);
    assert!(longest < ANNOUNCE, "an announce took {longest:?}");
    wait_for("drops to be counted", Duration::from_secs(20), || (dropped(&tracker) > 0.0).then_some(()));
    assert_eq!(tracker.metrics().sum("tidings_trace_spans_total", &["exported"]), 0.0);
    stops_in_time(tracker);
}

#[test]
fn a_collector_that_never_answers_costs_nothing_and_does_not_hold_up_the_stop() {
    let receiver = Receiver::silent();
    let tracker = start(&receiver.setting());
    let client = Client::new(tracker.udp[0]);
    let longest = longest(&client, 300);
    assert!(longest < ANNOUNCE, "an announce took {longest:?}");
    // More than the queue holds.
    assert!(tracker.metrics().sum("tidings_trace_spans_total", &["queue_full"]) > 0.0);
    stops_in_time(tracker);
}

#[test]
fn a_collector_that_is_killed_slows_no_announce() {
    let mut receiver = Receiver::start();
    let tracker = start(&receiver.setting());
    let client = Client::new(tracker.udp[0]);
    longest(&client, 20);
    wait_for("spans to arrive", Duration::from_secs(10), || (!receiver.spans().is_empty()).then_some(()));
    receiver.kill();
    let longest = longest(&client, 300);
    assert!(longest < ANNOUNCE, "an announce took {longest:?}");
    wait_for("drops to be counted", Duration::from_secs(20), || (dropped(&tracker) > 0.0).then_some(()));
    assert!(tracker.metrics().sum("tidings_trace_spans_total", &["exported"]) > 0.0);
    stops_in_time(tracker);
}
