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

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until something holds; says what did not.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says loudly that this test did not run; `tests/run` counts these lines. Where `CI` is set nothing may be skipped.
pub fn skipped(missing: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run: {missing}");
    let line = format!("SKIPPED cluster {test}: {missing}\n");
    // Past the test runner, which keeps the output of tests that pass to itself.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}
