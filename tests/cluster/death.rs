//! An owner dies, or is paused, under load.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::load::{Load, Report, now_millis};
use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::wait::wait_until;

/// The longest time to an answer: requests to two nodes of 250 ms each, and what the answering node itself needs.
const SLOWEST: Duration = Duration::from_millis(600);
/// The p99 from a second after the failure on.
const P99: Duration = Duration::from_millis(10);

/// The load of these tests; swarms are so small that every peer is in the lists.
fn population() -> String {
    let (rate, peers, swarms, seconds) = choose((1500, 6000, 200, 12), (20_000, 100_000, 2000, 30));
    format!(
        "--mode open --rate {rate} --duration {seconds}s --peers {peers} --swarms {swarms} --sources 100 --spread uniform \
         --stops 0.02 --scrapes 0"
    )
}

/// The latency around a failure.
fn judge_latency(figures: &mut Figures, report: &Report, failed: u64) {
    let failure = report.second_of(failed);
    let [p99_before, max_before] = report.latency(1.0, failure.floor());
    let [_, max] = report.latency(failure.floor(), f64::INFINITY);
    let [p99, _] = report.latency(failure + 1.0, f64::INFINITY);
    println!("before the failure: p99 {p99_before:?}, max {max_before:?}; it came after {failure:.1} s");
    println!("p99 of each second, in ms: {}", report.p99s());
    figures.within("slowest reply", max, SLOWEST);
    figures.within("p99 from one second after the failure on", p99, P99);
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
    wait_until("the takeover is logged", || cluster.log("eu-2").contains("its partitions are taken over"));
    figures.verdict();
}

#[test]
fn kill_9_of_an_owner_loses_nothing_that_a_replica_has_acknowledged() {
    // A replica that takes longer than 125 ms is not waited for, which happens on a busy machine.
    kill("replica", choose(60, 0));
}

#[test]
fn kill_9_of_an_owner_loses_at_most_one_flush() {
    // An owner replicates its changes every 20 ms; a third of the load is for this region, and half of that for the node that
    // dies.
    kill("owner", choose(60, 20_000 / 50));
}

#[test]
fn a_paused_owner_is_replaced_without_double_counting() {
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
