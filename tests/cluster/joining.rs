//! Nodes that come, go and restart under load.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::Load;
use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::{Figures, choose};

fn population(seconds: u64) -> String {
    let (rate, peers, swarms) = choose((800, 6000, 200), (10_000, 100_000, 2000));
    format!(
        "--mode open --rate {rate} --duration {seconds}s --peers {peers} --swarms {swarms} --sources 120 --spread uniform \
         --stops 0.02 --scrapes 0.01"
    )
}

#[test]
fn a_third_node_joins_each_region_and_an_old_one_leaves() {
    let mut cluster = Cluster::start(&SIX, &["cluster.ack=replica"]);
    let staying = &["eu-2", "us-2", "ap-2"];
    // Several times as long as it takes on a machine of its own.
    let seconds = choose(60, 90);
    let mut load =
        Load::start(&cluster, "eu", staying, &["eu-2", "eu-3", "us-3", "ap-2", "ap-3"], &population(seconds));
    sleep(Duration::from_secs(3));
    for node in ["eu-3", "us-3", "ap-3"] {
        cluster.start_node(node);
    }
    cluster.wait_ready_at(&["eu-3", "us-3", "ap-3"]);
    for node in ["eu-1", "us-1", "ap-1"] {
        cluster.leave(node);
    }
    if !load.lasted() {
        return;
    }
    let report = load.finish();
    let mut figures = Figures::default();
    report.judge(&mut figures, 0);
    let [p99, max] = report.latency(1.0, f64::INFINITY);
    println!("slowest reply {max:?}");
    figures.within("p99 of the worst second", p99, Duration::from_millis(20));
    cluster.wait_ready();
    figures.verdict();
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let mut cluster = Cluster::start(&SIX, &["cluster.ack=replica"]);
    let seconds = choose(75, 150);
    let mut load = Load::start(&cluster, "eu", &SIX, &SIX, &format!("{} --failover", population(seconds)));
    sleep(Duration::from_secs(2));
    for &node in choose(&SIX[..3], &SIX[..]) {
        let began = Instant::now();
        cluster.signal(node, Signal::TERM);
        let status = cluster.wait_end(node);
        assert!(status.success(), "{node} ends with {status}: {}", cluster.log(node));
        let stopped = began.elapsed();
        cluster.start_node(node);
        cluster.wait_ready();
        println!("{node} stopped in {stopped:.1?} and is back after {:.1?}", began.elapsed());
    }
    if !load.lasted() {
        return;
    }
    let report = load.finish();
    let mut figures = Figures::default();
    report.judge(&mut figures, 0);
    figures.verdict();
}
