//! All nodes are restarted one after the other, under load.

use std::time::Instant;

use super::cluster::NODES;
use super::engine::docker;
use super::load::{self, Loads, Plan, RATE};
use super::stage::Stage;
use tidings::testkit::figures::{Figures, choose, is_full};

/// `docker stop`, which hands everything over, and `docker start`, container by container.
pub fn a_rolling_restart_loses_nothing(stage: &Stage) {
    stage.with(|cluster| {
        let plan = Plan {
            rate: choose(RATE[0], RATE[1]),
            seconds: choose(75, 150),
            at: &NODES,
            verify_at: &NODES,
            verify_after: choose(5, 2),
            failover: true,
        };
        let mut loads = Loads::start(cluster, &plan);
        let mut figures = Figures::default();
        for node in choose(&NODES[..2], &NODES[..]) {
            let (container, began) = (cluster.container(node), Instant::now());
            docker(&["stop", "--time", "60", &container]);
            let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
            assert_eq!(code, "0", "{node} ends with exit code 0");
            let stopped = began.elapsed();
            docker(&["start", &container]);
            cluster.wait_ready();
            println!("{node} stopped in {stopped:.1?} and is back after {:.1?}", began.elapsed());
        }
        let lasted = loads.are_running();
        assert!(lasted || !is_full(), "the load ended too early");
        if !lasted {
            return println!("NOT JUDGED: the load ended before the nodes were restarted; this machine is too busy");
        }
        load::judge(&mut figures, "rolling restart", &loads.finish(), None);
        figures.verdict();
    });
}
