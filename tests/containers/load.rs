//! `tidings load` in a container in each region.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidings::clock::{Clock, SystemClock};

use super::cluster::{Cluster, NODES, REGIONS};
use super::engine::{command, docker};
use tidings::testkit::figures::{Figures, choose, is_full};
use tidings::testkit::load_report::Report;
use tidings::testkit::wait::wait_until;

/// Announces per second over all regions: in the quick form, and at full scale.
pub const RATE: [u64; 2] = [900, 10_000];
/// The longest time to an answer: requests to two nodes of 250 ms each, and what the answering node itself needs.
const SLOWEST: Duration = Duration::from_millis(600);

/// The time, in milliseconds since the Unix epoch.
pub fn now_millis() -> u64 {
    SystemClock::start().now().wall_millis
}

/// A running load for each region.
pub struct Loads(Vec<(String, Child)>);

pub struct Plan<'a> {
    /// Announces per second over all regions.
    pub rate: u64,
    pub seconds: u64,
    /// The nodes to announce to; clients take those of their own region.
    pub at: &'a [&'a str],
    /// The nodes that are asked for all acknowledged peers at the end.
    pub verify_at: &'a [&'a str],
    /// Seconds from the end of the load until then.
    pub verify_after: u64,
    /// Whether clients try the other node of their region if one does not answer.
    pub failover: bool,
}

impl Loads {
    /// Starts them, and returns when all of them are running.
    pub fn start(cluster: &Cluster, plan: &Plan<'_>) -> Self {
        let names = REGIONS.map(|region| create(cluster, region, plan));
        let loads = Self(names.into_iter().map(|name| (name.clone(), attach(&name))).collect());
        for (name, _) in &loads.0 {
            wait_until(&format!("{name} runs"), || {
                docker(&["inspect", "--format", "{{.State.Running}}", name]) == "true"
            });
        }
        loads
    }

    /// Whether all of them are running.
    pub fn are_running(&mut self) -> bool {
        self.0.iter_mut().all(|(_, child)| child.try_wait().unwrap().is_none())
    }

    /// Waits for their end. All that a load does has a deadline.
    pub fn finish(self) -> Vec<Report> {
        let finish = |(name, child): (String, Child)| {
            let output = child.wait_with_output().unwrap();
            docker(&["rm", "--force", &name]);
            Report::read(&output.stdout, &output.stderr)
        };
        self.0.into_iter().map(finish).collect()
    }
}

/// Creates the container of a load.
fn create(cluster: &Cluster, region: &str, plan: &Plan<'_>) -> String {
    // Another seed means other swarms, so peers of earlier loads do not count.
    static SEED: AtomicU64 = AtomicU64::new(1);
    let seed = SEED.fetch_add(1, Relaxed);
    let name = format!("{}-load-{seed}", cluster.name);
    let (rate, seconds, after) = (plan.rate / 3, plan.seconds, plan.verify_after);
    // Swarms are so small that every peer is in the lists. All sources of a container have one address, with room for
    // 64,512 peers.
    let (peers, swarms) = choose((2000, 67), (33_000, 660));
    let mut words = format!(
        "load --json --min-known 0 --mode open --rate {rate} --duration {seconds}s --peers {peers} --swarms {swarms} \
         --sources 16 --spread uniform --stops 0.02 --scrapes 0 --seed {seed} --verify-after {after}s"
    );
    let here = plan.at.iter().filter(|node| node.starts_with(region));
    here.for_each(|node| words += &format!(" --target udp://{node}:6969"));
    plan.verify_at.iter().for_each(|node| words += &format!(" --verify-at udp://{node}:6969"));
    if plan.failover {
        words += " --failover";
    }
    if !is_full() {
        // A busy machine is slow, and only a request that is lost is an error.
        words += if plan.failover { " --deadline 3s" } else { " --deadline 30s" };
    }
    let (label, home) = (cluster.label(), cluster.network(region));
    let create = ["create", "--name", &name, "--label", &label, "--network", &home, "--no-healthcheck", "--read-only"];
    let words: Vec<&str> = ["--cap-drop", "ALL", cluster.image.as_str()].into_iter().chain(words.split(' ')).collect();
    docker(&[&create[..], &words[..]].concat());
    // Only to ask nodes of other regions at the end: its clients announce from their address in the own region.
    for other in REGIONS.iter().filter(|other| **other != region) {
        docker(&["network", "connect", &cluster.network(other), &name]);
    }
    name
}

/// Starts a container with its output attached to the child.
fn attach(name: &str) -> Child {
    let mut attached = command(900, "docker");
    attached.args(["start", "--attach", name]).stdout(Stdio::piped()).stderr(Stdio::piped());
    attached.spawn().unwrap()
}

/// The figures of every test: no request failed, all acknowledged peers are known, and no client waited long after `event`,
/// in milliseconds since the Unix epoch.
pub fn judge(figures: &mut Figures, what: &str, reports: &[Report], event: Option<u64>) {
    let recalls: Vec<_> = reports.iter().map(Report::recall).collect();
    for (region, (report, recall)) in REGIONS.iter().zip(reports.iter().zip(&recalls)) {
        println!("{what}: {region}: {} answers, afterwards {recall:?}", report.answers());
    }
    let sum = |count: &dyn Fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let errors = sum(&Report::errors);
    figures.row(&format!("{what}: client errors"), format!("{errors} of {}", sum(&Report::answers)), 0, errors == 0);
    let expected: u64 = recalls.iter().map(|recall| recall.expected).sum();
    let missing: u64 = recalls.iter().map(|recall| recall.missing.max(recall.uncounted)).sum();
    // A replica that takes longer than 125 ms is not waited for, which happens on a busy machine.
    let bound = choose(expected / 50, 0);
    let good = missing <= bound && expected > 0;
    figures.row(
        &format!("{what}: acknowledged peers missing"),
        format!("{missing} of {expected}"),
        format!("≤ {bound}"),
        good,
    );
    let extra: u64 = recalls.iter().map(|recall| recall.extra).sum();
    figures.row(&format!("{what}: peers too many"), extra, format!("≤ {bound}"), extra <= bound);
    let Some(event) = event else { return };
    let slowest = |report: &Report| {
        let second = report.second_of(event).floor();
        let [_, before] = report.latency(1.0, second);
        let [_, after] = report.latency(second, f64::INFINITY);
        (before, after)
    };
    let slowest: Vec<_> = reports.iter().map(slowest).collect();
    println!("{what}: slowest replies before and after, of each region: {slowest:?}");
    let longest = slowest.iter().map(|(_, after)| *after).max().unwrap_or_default();
    figures.within(&format!("{what}: longest wait of a client"), longest, SLOWEST);
}

/// All nodes but one.
pub fn all_but(node: &str) -> Vec<&'static str> {
    NODES.into_iter().filter(|other| *other != node).collect()
}
