//! A whole cluster of real processes, with the configurations of `cluster-configs/` and with keys, under the hands of clients,
//! operators, failures and attackers.
//!
//! One test has the machine for itself at a time: they measure. As they are, they run at a scale that two cores and a binary
//! without optimisation carry; `tests/must_show cluster-…` sets `TIDINGS_CLUSTER_SCALE=full` and takes the release binary.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running processes wait for is measured by the real clock"
)]

mod agreement;
mod attacks;
#[path = "../announce/client.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod client;
mod cluster;
mod cut;
mod death;
mod http;
mod joining;
mod load;
mod network;
mod newcomers;
mod regions;
#[path = "../support/report.rs"]
mod report;
mod scale;
#[path = "../support/skipped.rs"]
mod skipped;

use std::time::{Duration, Instant};

/// Waits until something holds; says what did not.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
