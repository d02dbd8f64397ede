//! A node is killed, or paused, under load.

use std::thread::sleep;
use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::engine::docker;
use super::load::{self, Loads, Plan, RATE, all_but};
use super::stage::Stage;
use tidings::testkit::figures::{Figures, choose};

/// `docker kill`, and `docker start` after the load.
pub fn clients_do_not_notice_a_killed_node(stage: &Stage) {
    stage.with(|cluster| {
        let mut figures = Figures::default();
        for node in choose(&NODES[..1], &NODES[..]) {
            fail(cluster, &mut figures, "kill", node, || {});
            docker(&["start", &cluster.container(node)]);
            cluster.wait_ready();
        }
        figures.verdict();
    });
}

/// `docker pause`, and `docker unpause` during the load.
pub fn clients_do_not_notice_a_paused_node(stage: &Stage) {
    stage.with(|cluster| {
        let mut figures = Figures::default();
        for node in choose(&NODES[2..3], &NODES[..]) {
            fail(cluster, &mut figures, "pause", node, || {
                sleep(Duration::from_secs(choose(4, 8)));
                docker(&["unpause", &cluster.container(node)]);
            });
            cluster.wait_ready();
        }
        figures.verdict();
    });
}

/// Runs a Docker command on a node while clients announce to all others.
fn fail(cluster: &Cluster, figures: &mut Figures, command: &str, node: &str, then: impl FnOnce()) {
    let others = all_but(node);
    // One node of each region; of the region of the failed node the other one.
    let verify_at: Vec<_> =
        others.iter().copied().filter(|other| other.ends_with(&node[2..]) || other[..2] == node[..2]).collect();
    let plan = Plan {
        rate: choose(RATE[0], RATE[1]),
        seconds: choose(12, 20),
        at: &others,
        verify_at: &verify_at,
        verify_after: choose(5, 2),
        failover: false,
    };
    let loads = Loads::start(cluster, &plan);
    sleep(Duration::from_secs(choose(4, 6)));
    let happened = load::now_millis();
    docker(&[command, &cluster.container(node)]);
    then();
    load::judge(figures, &format!("{command} {node}"), &loads.finish(), Some(happened));
}
