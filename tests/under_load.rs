//! A tracker under the load of `tidings load`: how fast it answers while it expires peers and writes snapshots, and what
//! it still knows after it was killed.
//!
//! As they are, these tests only see to it that all of this works. `tests/must_show` sets `TIDINGS_LATENCY_SECONDS` and
//! `TIDINGS_RESTART_PEERS` to measure: with the tracker on core 0, the load on core 1, and the bounds of the real thing.

#![expect(clippy::disallowed_methods, reason = "what a client waits for is measured by the real clock")]

#[path = "../benches/peers/bare_udp.rs"]
mod bare_udp;
#[path = "support/tracker.rs"]
mod tracker;

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tracker::{Metrics, Tracker, command, figure};

/// The scale that an environment variable asks for, and the cores for tracker and load if it does.
fn measured(variable: &str) -> (Option<u64>, [Option<u64>; 2]) {
    let scale = std::env::var(variable).ok().map(|value| value.parse().expect("a whole number"));
    (scale, scale.map_or([None; 2], |_| [Some(0), Some(1)]))
}

fn spawn(core: Option<u64>, target: SocketAddr, args: &str) -> Child {
    let mut command = command(core);
    command.args(["load", "--json", "--target", &format!("udp://{target}")]).args(args.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a load to its end.
fn load(core: Option<u64>, target: SocketAddr, args: &str) -> Value {
    let output = spawn(core, target, args).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert!(output.status.success(), "{errors}");
    json
}

fn settings<const N: usize>(settings: [&str; N], data_dir: &TempDir) -> Vec<String> {
    let data_dir = format!("node.data_dir=\"{}\"", data_dir.path().display());
    settings.map(String::from).into_iter().chain(["announce.threads=1".into(), data_dir]).collect()
}

fn expired(metrics: &Metrics) -> f64 {
    metrics.sum("tidings_records_expired_total", &[])
}

/// Waits until the load is over, and counts the snapshots that were written meanwhile; of two in half a second, one.
fn watch_snapshots(tracker: &Tracker, load: &mut Child) -> u64 {
    let (mut seen, mut last) = (0, 0.0);
    while load.try_wait().unwrap().is_none() {
        let begun = tracker.metrics().sum("tidings_snapshot_last_timestamp_seconds", &[]);
        seen += u64::from(begun > last);
        last = begun;
        sleep(Duration::from_millis(500));
    }
    // The first was there before.
    seen.saturating_sub(1)
}

/// Answers on a port of its own, on this core, until the process ends.
fn bare_responder(core: Option<u64>) -> SocketAddr {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let SocketAddr::V4(listen) = free else { unreachable!("it was bound to IPv4") };
    std::thread::spawn(move || {
        if let Some(core) = core {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(core as usize);
            rustix::thread::sched_setaffinity(None, &cores).unwrap();
        }
        bare_udp::run(listen, 20).unwrap();
    });
    sleep(Duration::from_millis(100));
    free
}

/// The 99th and the 99.9th percentile of each second, in microseconds.
fn percentiles(json: &Value) -> [Vec<f64>; 2] {
    let seconds = json["load"]["timeline"].as_array().unwrap();
    ["p99_us", "p99.9_us"].map(|name| seconds.iter().map(|second| second[name].as_f64().unwrap()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn answers_come_soon_while_peers_expire_and_snapshots_are_written() {
    let (seconds, cores) = measured("TIDINGS_LATENCY_SECONDS");
    let dir = TempDir::new().unwrap();
    // So short that records expire, and a snapshot is written, all the time.
    let lifetimes = match seconds {
        Some(_) => ["announce.interval=8", "announce.min_interval=8", "announce.peer_ttl=10"],
        None => ["announce.interval=1", "announce.min_interval=1", "announce.peer_ttl=3"],
    };
    let [interval, min_interval, peer_ttl] = lifetimes;
    let settings = settings([interval, min_interval, peer_ttl, "node.snapshot_interval=1"], &dir);
    let tracker = Tracker::start(cores[0], &settings);
    let target = tracker.udp[0];
    let population = if seconds.is_some() { "--swarms 100000 --peers 500000" } else { "--swarms 100 --peers 2000" };

    let rate = if seconds.is_some() {
        // Twice, as the first run fills the tracker.
        let mut capacity = 0.0f64;
        for _ in 0..2 {
            let (cpu, start) = (tracker.metrics().sum("process_cpu_seconds_total", &[]), Instant::now());
            let json = load(cores[1], target, &format!("{population} --duration 10s"));
            let cpu = tracker.metrics().sum("process_cpu_seconds_total", &[]) - cpu;
            let busy = cpu / start.elapsed().as_secs_f64() * 100.0;
            capacity = json["load"]["answers_per_second"].as_f64().unwrap();
            println!("capacity: {capacity:.0} answers a second, with the tracker's core {busy:.0} % busy");
        }
        (capacity / 2.0) as u64
    } else {
        200
    };
    let before = expired(&tracker.metrics());
    let deadline = format!("{population} --mode open --rate {rate} --deadline 2s");
    // In turns with a responder that does nothing, which tells what this machine allows at that rate.
    let rounds = if seconds.is_some() { 3 } else { 1 };
    let bare = bare_responder(cores[0]);
    let (mut floors, mut latencies) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let (mut lost, mut sent, mut late, mut snapshots) = (0, 0.0, 0.0, 0);
    for _ in 0..rounds {
        let lasts = |all: u64| format!("{deadline} --duration {}s", seconds.map_or(all, |seconds| seconds / rounds));
        let json = load(cores[1], bare, &lasts(1));
        percentiles(&json).into_iter().zip(&mut floors).for_each(|(micros, all)| all.extend(micros));
        let mut running = spawn(cores[1], target, &lasts(5));
        snapshots += watch_snapshots(&tracker, &mut running);
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (load, requests) = (&json["load"], &json["load"]["requests"]);
        println!(
            "open loop: {rate} requests a second, {} answers, p50 {} µs, p90 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
            load["answers"],
            requests["p50_us"],
            requests["p90_us"],
            requests["p99_us"],
            requests["p99.9_us"],
            requests["max_us"]
        );
        percentiles(&json).into_iter().zip(&mut latencies).for_each(|(micros, all)| all.extend(micros));
        lost += load["lost"].as_u64().unwrap() + load["unsent"].as_u64().unwrap();
        sent += load["sent"].as_f64().unwrap();
        late += load["sent_late"].as_f64().unwrap() * 100.0;
    }
    let metrics = tracker.metrics();
    let expired = expired(&metrics) - before;

    // Of the median second: snapshots and expiry are in each of them, what else the machine does is not.
    let ([floor_p99, floor_p999], [p99, p999]) = (floors.map(median), latencies.map(median));
    // Without cores of their own, on a machine that does something else, only a stall is a failure.
    let (bounds, lost_bound) = if seconds.is_some() { ([1_000.0, 5_000.0], 0) } else { ([500_000.0, 1_500_000.0], 8) };
    let ms = |micros: f64| format!("{:.3} ms", micros / 1e3);
    let latency = |name: &str, micros: f64, bound: f64, floor: f64| {
        // A machine that keeps even the responder from its core for longer than that can show no more than this.
        let bound = bound.max(1.5 * floor);
        figure(name, &ms(micros), &format!("≤ {}", ms(bound)), micros <= bound)
    };
    println!("of a responder that does nothing: p99 {}, p99.9 {}", ms(floor_p99), ms(floor_p999));
    println!("the generator itself sent {:.2} % late", late / sent);
    let verdicts = [
        latency("p99 at half of capacity, median second", p99, bounds[0], floor_p99),
        latency("p99.9, median second", p999, bounds[1], floor_p999),
        figure("replies lost", &lost.to_string(), &format!("≤ {lost_bound}"), lost <= lost_bound),
        figure("records expired meanwhile", &expired.to_string(), "> 0", expired > 0.0),
        figure("snapshots written meanwhile", &snapshots.to_string(), "> 0", snapshots > 0),
    ];
    assert_eq!(metrics.sum("tidings_snapshot_errors_total", &[]), 0.0, "{}", tracker.log());
    assert!(verdicts.iter().all(|good| *good));
}

#[test]
fn kill_9_under_load_keeps_the_peers_of_a_minute_ago() {
    let (peers, cores) = measured("TIDINGS_RESTART_PEERS");
    let dir = TempDir::new().unwrap();
    // The default in earnest; a minute later all peers have been in a snapshot.
    let (interval, wait) = if peers.is_some() { (30, 65) } else { (1, 4) };
    let settings = settings([&format!("node.snapshot_interval={interval}")], &dir);
    let tracker = Tracker::start(cores[0], &settings);
    let population = format!("--peers {} --swarms {}", peers.unwrap_or(2000), peers.unwrap_or(2000) / 10);
    let filled = load(cores[1], tracker.udp[0], &format!("{population} --fill --duration 0s"));
    assert_eq!(filled["fill"]["announce"]["answers"].as_u64(), Some(peers.unwrap_or(2000)));
    // Nobody stops, so that whoever was known then has to be known in the end.
    let mut running = spawn(cores[1], tracker.udp[0], &format!("{population} --stops 0 --duration {}s", wait + 60));
    sleep(Duration::from_secs(wait));
    let announces = tracker.metrics().sum("tidings_requests_total", &["action=\"announce\"", "outcome=\"ok\""]);
    let under_load = running.try_wait().unwrap().is_none();
    tracker.kill();
    running.kill().unwrap();
    running.wait().unwrap();

    let start = Instant::now();
    let tracker = Tracker::start(cores[0], &settings);
    println!("killed after {announces} announces; up again after {:.2} s", start.elapsed().as_secs_f64());
    let args = format!("{population} --verify --min-known 0");
    let json = load(cores[1], tracker.udp[0], &args);
    let recall = &json["verify"]["recall"];
    let (known, returned) = (recall["percent"].as_f64().unwrap(), recall["sample"]["percent"].as_f64().unwrap());
    let verdicts = [
        figure("peers known after kill -9", &format!("{known:.2} %"), "≥ 95 %", known >= 95.0),
        figure("peers returned in sampled swarms", &format!("{returned:.2} %"), "≥ 95 %", returned >= 95.0),
        figure(
            "peers that nobody announced there",
            &recall["sample"]["strangers"].to_string(),
            "0",
            recall["sample"]["strangers"] == 0,
        ),
    ];
    assert!(under_load, "the load ended too early");
    assert!(verdicts.iter().all(|good| *good), "{json:#}");
    let log = tracker.log();
    assert!(!log.contains("corrupt"), "{log}");
}
