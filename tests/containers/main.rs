//! The cluster of `docker-compose.yml` as it is, in containers of the image that `docker/build` makes, under the hands of
//! clients, operators and failures.
//!
//! All tests share one cluster and run one after the other, in the order below; it is removed in the end, and what killed
//! runs have left is removed before. They run at a scale that two cores and a binary without optimisation carry;
//! `tests/must_show containers-…` sets `TIDINGS_CLUSTER_SCALE=full` and takes an image of the release profile, built from a
//! fresh clone. `TRACKER_IMAGE` names an image that is there already, which is then not built.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running containers wait for is measured by the real clock"
)]

#[path = "../announce/client.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod client;
mod cluster;
mod cut;
mod engine;
mod exchange;
mod failure;
#[path = "../cluster/http.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod http;
mod image;
mod load;
#[path = "../support/report.rs"]
mod report;
mod rolling;
#[path = "../cluster/scale.rs"]
mod scale;
#[path = "../support/skipped.rs"]
mod skipped;
mod stage;
#[path = "../support/torrent.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod torrent;
#[path = "../support/torrent_clients.rs"]
mod torrent_clients;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use skipped::skipped;
use stage::Stage;

/// A test of the cluster that all share.
type Test = fn(&Stage);

/// All tests, in their order.
const TESTS: [(&str, Test); 9] = [
    ("fresh::the_image_is_small_and_holds_a_static_binary_alone", image::is_small_and_holds_a_static_binary_alone),
    ("fresh::six_nodes_are_healthy_within_a_minute", image::starts_six_healthy_nodes_within_a_minute),
    ("fresh::clients_of_two_regions_exchange_a_file", exchange::clients_of_two_regions_exchange_a_file),
    ("failure::a_killed_node_is_not_missed", failure::a_killed_node_is_not_missed),
    ("failure::a_paused_node_is_not_missed", failure::a_paused_node_is_not_missed),
    ("cut::a_region_without_the_backbone_goes_on_and_becomes_equal", cut::a_region_without_the_backbone),
    ("rolling::a_rolling_restart_loses_nothing", rolling::a_rolling_restart_loses_nothing),
    ("fresh::nothing_is_left_behind", image::leaves_nothing_behind),
    ("fresh::compose_v2_starts_the_same_cluster", image::is_the_same_for_compose_v2),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let stage = Arc::new(Stage::default());
    let trials = TESTS.map(|(name, test)| {
        let stage = stage.clone();
        Trial::test(name, move || {
            match engine::missing() {
                Some(missing) => skipped(name, &missing),
                None => test(&stage),
            }
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    stage.clear();
    conclusion.exit_code()
}

/// Waits until something holds; says what did not.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
