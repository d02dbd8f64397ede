//! A node is killed, or stands still, under load.

use std::thread::sleep;
use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::engine::docker;
use super::load::{self, Loads, Plan, RATE, all_but};
use super::scale::{Figures, choose};
use super::stage::Stage;

/// `docker kill`, and `docker start` when the load has ended.
pub fn a_killed_node_is_not_missed(stage: &Stage) {
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

/// `docker pause`, and `docker unpause` while the load goes on.
pub fn a_paused_node_is_not_missed(stage: &Stage) {
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

/// A command of Docker hits a node while clients of all others announce.
fn fail(cluster: &Cluster, figures: &mut Figures, command: &str, node: &str, then: impl FnOnce()) {
    let others = all_but(node);
    // Of each region one, of that of the node the other one.
    let verify_at: Vec<_> =
        others.iter().copied().filter(|other| other.ends_with(&node[2..]) || other[..2] == node[..2]).collect();
    let plan = Plan {
        rate: choose(RATE[0], RATE[1]),
        seconds: choose(12, 20),
        at: &others,
        verify_at: &verify_at,
        verify_after: 2,
        failover: false,
    };
    let loads = Loads::start(cluster, &plan);
    sleep(Duration::from_secs(choose(4, 6)));
    let happened = load::now_millis();
    docker(&[command, &cluster.container(node)]);
    then();
    load::judge(figures, &format!("{command} {node}"), &loads.finish(), Some(happened));
}
