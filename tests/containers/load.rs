//! `tidings load` in containers among the clients of each region, and what it says.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidings::clock::{Clock, SystemClock};

use super::cluster::{Cluster, NODES, REGIONS};
use super::engine::{command, docker};
use super::report::Report;
use super::scale::{Figures, choose, is_full};
use super::wait_until;

/// Announces a second over all regions: what is promised, and what a binary without optimisation carries.
pub const RATE: [u64; 2] = [900, 10_000];
/// What no answer may exceed: two nodes may be asked for 250 ms each, and the rest is this node's own.
const SLOWEST: Duration = Duration::from_millis(600);

/// The time, in milliseconds since the Unix epoch.
pub fn now_millis() -> u64 {
    SystemClock::start().now().wall_millis
}

/// A running load for each region.
pub struct Loads(Vec<(String, Child)>);

/// What clients of a load do.
pub struct Plan<'a> {
    /// Announces a second, over all regions.
    pub rate: u64,
    /// How long, in seconds.
    pub seconds: u64,
    /// The nodes that they announce to: those of their own region.
    pub at: &'a [&'a str],
    /// The nodes that are asked in the end for all that was acknowledged.
    pub verify_at: &'a [&'a str],
    /// How long after the end, in seconds.
    pub verify_after: u64,
    /// Whether they go on to the other node of their region when one does not answer.
    pub failover: bool,
}

impl Loads {
    /// Starts them, and returns when all of them announce.
    pub fn start(cluster: &Cluster, plan: &Plan<'_>) -> Self {
        let names = REGIONS.map(|region| create(cluster, region, plan));
        let it = Self(names.into_iter().map(|name| (name.clone(), attach(&name))).collect());
        for (name, _) in &it.0 {
            // The engine takes its time on a busy machine.
            wait_until(&format!("{name} runs"), Duration::from_secs(30), || {
                docker(&["inspect", "--format", "{{.State.Running}}", name]) == "true"
            });
        }
        it
    }

    /// Whether all of them still announce, or ask.
    pub fn are_running(&mut self) -> bool {
        self.0.iter_mut().all(|(_, child)| child.try_wait().unwrap().is_none())
    }

    /// Waits for their end; a load has a deadline for all that it does.
    pub fn finish(self) -> Vec<Report> {
        let finish = |(name, child): (String, Child)| {
            let output = child.wait_with_output().unwrap();
            docker(&["rm", "--force", &name]);
            Report::read(&output.stdout, &output.stderr)
        };
        self.0.into_iter().map(finish).collect()
    }
}

/// Makes the container of one of them.
fn create(cluster: &Cluster, region: &str, plan: &Plan<'_>) -> String {
    // Another seed means other swarms: what earlier loads have left does not count.
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
    let (label, home) = (cluster.label(), cluster.network(region));
    let create = ["create", "--name", &name, "--label", &label, "--network", &home, "--no-healthcheck", "--read-only"];
    let words: Vec<&str> = ["--cap-drop", "ALL", cluster.image.as_str()].into_iter().chain(words.split(' ')).collect();
    docker(&[&create[..], &words[..]].concat());
    // Only to ask nodes of other regions in the end: its clients announce from the address in their own.
    for other in REGIONS.iter().filter(|other| **other != region) {
        docker(&["network", "connect", &cluster.network(other), &name]);
    }
    name
}

/// Starts a container; what it prints goes to the child.
fn attach(name: &str) -> Child {
    let mut attached = command(900, "docker");
    attached.args(["start", "--attach", name]).stdout(Stdio::piped()).stderr(Stdio::piped());
    attached.spawn().unwrap()
}

/// The rows that every test has: nobody was refused, nothing that was acknowledged is gone, and nobody waited long after
/// something happened at a time in milliseconds since the Unix epoch.
pub fn judge(figures: &mut Figures, what: &str, reports: &[Report], happened: Option<u64>) {
    let recalls: Vec<_> = reports.iter().map(Report::recall).collect();
    for (region, (report, recall)) in REGIONS.iter().zip(reports.iter().zip(&recalls)) {
        println!("{what}: {region}: {} answers, afterwards {recall:?}", report.answers());
    }
    let sum = |count: &dyn Fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let errors = sum(&Report::errors);
    figures.row(&format!("{what}: client errors"), format!("{errors} of {}", sum(&Report::answers)), 0, errors == 0);
    let expected: u64 = recalls.iter().map(|recall| recall.expected).sum();
    let missing: u64 = recalls.iter().map(|recall| recall.missing.max(recall.uncounted)).sum();
    // A replica that takes longer than 125 ms is not waited for, as on a busy machine happens without optimisation.
    let bound = choose(expected / 200, 0);
    let good = missing <= bound && expected > 0;
    figures.row(
        &format!("{what}: acknowledged peers missing"),
        format!("{missing} of {expected}"),
        format!("≤ {bound}"),
        good,
    );
    let extra: u64 = recalls.iter().map(|recall| recall.extra).sum();
    figures.row(&format!("{what}: peers too many"), extra, format!("≤ {bound}"), extra <= bound);
    let Some(happened) = happened else { return };
    let slowest = |report: &Report| {
        let second = report.second_of(happened).floor();
        let [_, before] = report.latency(1.0, second);
        let [_, after] = report.latency(second, f64::INFINITY);
        (before, after)
    };
    let slowest: Vec<_> = reports.iter().map(slowest).collect();
    println!("{what}: slowest replies before and after, of each region: {slowest:?}");
    let most = |of: fn(&(Duration, Duration)) -> Duration| slowest.iter().map(of).max().unwrap_or_default();
    // Without optimisation and a machine of their own, nodes are late by themselves.
    let slack = if is_full() { Duration::ZERO } else { 3 * most(|it| it.0) };
    figures.within(&format!("{what}: longest wait of a client"), most(|it| it.1), SLOWEST + slack);
}

/// All nodes but one.
pub fn all_but(node: &str) -> Vec<&'static str> {
    NODES.into_iter().filter(|other| *other != node).collect()
}
