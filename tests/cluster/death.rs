//! An owner dies, or stands still, under load.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::cluster::{Cluster, SIX};
use super::load::{Load, Report, now_millis};
use super::scale::{Figures, choose, is_full};

/// What no answer may exceed: two nodes may be asked for 250 ms each, and the rest is this node's own.
const SLOWEST: Duration = Duration::from_millis(600);
/// What 99 of 100 answers keep to again a second after the failure.
const USUAL: Duration = Duration::from_millis(10);

/// The load of these tests; swarms are so small that every peer is in the lists.
fn population() -> String {
    let (rate, peers, swarms, seconds) = choose((1500, 6000, 200, 12), (20_000, 100_000, 2000, 30));
    format!(
        "--mode open --rate {rate} --duration {seconds}s --peers {peers} --swarms {swarms} --sources 100 --spread uniform \
         --stops 0.02 --scrapes 0"
    )
}

/// The rows about latency around a failure.
fn judge_latency(figures: &mut Figures, report: &Report, failed: u64) {
    let failure = report.second_of(failed);
    let [p99_before, max_before] = report.latency(1.0, failure.floor());
    let [_, max] = report.latency(failure.floor(), f64::INFINITY);
    let [p99, _] = report.latency(failure + 1.0, f64::INFINITY);
    println!("before the failure: p99 {p99_before:?}, max {max_before:?}; it came after {failure:.1} s");
    println!("p99 of each second, in ms: {}", report.p99s());
    // Without a machine of their own, the nodes are late by themselves: as late as before the failure is good enough.
    let slack = |bound: Duration, before: Duration| if is_full() { bound } else { bound + 3 * before };
    figures.within("slowest reply", max, slack(SLOWEST, max_before));
    figures.within("p99 from one second after the failure on", p99, slack(USUAL, p99_before));
}

/// Kills the owner of a third of all partitions in its region while its clients go to all other nodes.
fn kill(ack: &str, may_miss: u64) {
    let mut cluster = Cluster::start(&SIX, &[&format!("cluster.ack={ack}")]);
    let survivors = &["eu-2", "us-1", "us-2", "ap-1", "ap-2"];
    let load = Load::start(&cluster, "eu", survivors, &["eu-2", "us-1", "ap-2"], &population());
    sleep(Duration::from_secs(choose(4, 10)));
    cluster.signal("eu-1", Signal::KILL);
    let failed = now_millis();
    let report = load.finish();
    let mut figures = Figures::default();
    report.judge(&mut figures, may_miss);
    judge_latency(&mut figures, &report, failed);
    let log = cluster.log("eu-2");
    assert!(log.contains("a node is down, its partitions are taken over"), "{log}");
    figures.verdict();
}

#[test]
fn kill_9_of_an_owner_loses_nothing_that_a_replica_has_acknowledged() {
    kill("replica", 0);
}

#[test]
fn kill_9_of_an_owner_loses_at_most_one_flush() {
    // An owner tells its replicas every 20 ms of what it was told; a third of the load is for this region's nodes, and half of
    // that for the one that dies.
    kill("owner", choose(1500, 20_000) / 50);
}

#[test]
fn an_owner_that_stands_still_is_stood_in_for_and_counts_nobody_twice() {
    let mut cluster = Cluster::start(&SIX, &["cluster.ack=replica"]);
    let others = &["eu-2", "us-1", "us-2", "ap-1", "ap-2"];
    let load = Load::start(&cluster, "eu", others, &["eu-1", "eu-2", "us-1", "ap-2"], &population());
    sleep(Duration::from_secs(choose(4, 10)));
    cluster.signal("eu-1", Signal::STOP);
    let failed = now_millis();
    sleep(Duration::from_secs(choose(4, 10)));
    cluster.signal("eu-1", Signal::CONT);
    let report = load.finish();
    let mut figures = Figures::default();
    report.judge(&mut figures, 0);
    judge_latency(&mut figures, &report, failed);
    assert!(cluster.answered_by("eu-2", "owner") > 0.0 && cluster.answered_by("eu-2", "replica") > 0.0);
    cluster.wait_ready();
    figures.verdict();
}
