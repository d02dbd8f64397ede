//! Traces as a collector gets them: the binary exports to a receiver that the test runs, by OTLP over gRPC.
//!
//! `tests/must_show traces` measures with the release binary what tracing costs, see `cost.rs`.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running processes wait for is measured by the real clock"
)]

#[path = "../announce/client.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod client;
#[path = "../cluster/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod cluster;
mod collector;
mod control;
mod cost;
#[path = "../cluster/network.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod network;
mod probe;
#[path = "../support/promtool.rs"]
mod promtool;
mod receiver;
mod replica;
mod single;
mod six;
#[path = "../support/skipped.rs"]
mod skipped;
#[path = "../support/tracker.rs"]
mod tracker;
mod tree;

use std::time::{Duration, Instant};

/// Exports soon, so that tests need not wait.
const SOON: [(&str, &str); 1] = [("OTEL_BSP_SCHEDULE_DELAY", "100")];

/// Waits until something is there; says what was not.
fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
