//! The cluster of `docker-compose.yml` as it is, in containers of the image that `docker/build` makes: what clients see while
//! operators and failures act on it.
//!
//! All tests share one cluster and run one after the other, in the order below. It is removed at the end, and leftovers of
//! killed runs are removed before. The quick form runs at a scale that two cores and a binary without optimisation can
//! carry; `tests/must_show containers-…` measures, with an image of the release profile that is built from a fresh clone.
//! `TRACKER_IMAGE` names an existing image to use instead.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running containers wait for is measured by the real clock"
)]

mod cluster;
mod cut;
mod engine;
mod exchange;
mod failure;
mod image;
mod load;
mod rolling;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use stage::Stage;
use tidings::testkit::skipped::skipped;

/// A test of the shared cluster.
type Test = fn(&Stage);

/// All tests, in their order.
const TESTS: [(&str, Test); 9] = [
    ("fresh::the_image_is_small_and_holds_a_static_binary_alone", image::is_small_and_holds_a_static_binary_alone),
    ("fresh::six_nodes_become_healthy", image::starts_six_healthy_nodes),
    ("fresh::clients_of_two_regions_exchange_a_file", exchange::clients_of_two_regions_exchange_a_file),
    ("failure::clients_do_not_notice_a_killed_node", failure::clients_do_not_notice_a_killed_node),
    ("failure::clients_do_not_notice_a_paused_node", failure::clients_do_not_notice_a_paused_node),
    ("cut::a_region_without_the_backbone_serves_and_catches_up", cut::a_region_without_the_backbone),
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
