//! All nodes are restarted one after the other, under load.

use std::time::Instant;

use super::cluster::NODES;
use super::engine::docker;
use super::load::{self, Loads, Plan, RATE};
use super::scale::{Figures, choose};
use super::stage::Stage;

/// `docker stop`, which hands everything over, and `docker start`, container by container.
pub fn a_rolling_restart_loses_nothing(stage: &Stage) {
    stage.with(|cluster| {
        let plan = Plan {
            rate: choose(RATE[0], RATE[1]),
            seconds: choose(60, 150),
            at: &NODES,
            verify_at: &NODES,
            verify_after: 2,
            failover: true,
        };
        let mut loads = Loads::start(cluster, &plan);
        let mut figures = Figures::default();
        for node in choose(&NODES[..2], &NODES[..]) {
            let (container, began) = (cluster.container(node), Instant::now());
            docker(&["stop", "--time", "60", &container]);
            let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
            assert_eq!(code, "0", "{node} ends in good order");
            let stopped = began.elapsed();
            docker(&["start", &container]);
            cluster.wait_ready();
            println!("{node} stopped in {stopped:.1?} and is back after {:.1?}", began.elapsed());
        }
        assert!(loads.are_running(), "the load ended too early");
        load::judge(&mut figures, "rolling restart", &loads.finish(), None);
        figures.verdict();
    });
}
