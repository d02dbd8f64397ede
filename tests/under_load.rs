//! A tracker under the load of `tidings load`: how fast it answers while it expires peers and writes snapshots, and which
//! peers it still knows after it was killed.
//!
//! The quick forms only check that all of this works. `tests/must_show` measures, with the tracker on core 0 and the load on
//! core 1; `LATENCY_SECONDS` and `RESTART_PEERS` set the scale.

#![expect(clippy::disallowed_methods, reason = "what a client waits for is measured by the real clock")]

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidings::testkit::binary::{command, number};
use tidings::testkit::figures::{Figures, choose, cores, is_full};
use tidings::testkit::metrics::Metrics;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::wait::wait_until;

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

/// Waits until the load is over, and counts the snapshots that were written in the meantime; of two in half a second, one.
fn count_snapshots(tracker: &TrackerProcess, load: &mut Child) -> u64 {
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

/// Starts a responder on this core that sends replies of constant length and checks nothing, until the process ends.
fn bare_responder(core: Option<u64>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(8_000_000).unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        if let Some(core) = core {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(core as usize);
            rustix::thread::sched_setaffinity(None, &cores).unwrap();
        }
        let (mut request, mut reply) = ([0; 2048], [0x5a; 2048]);
        loop {
            let (received, client) = socket.recv_from(&mut request).unwrap();
            // A connect, an announce with twenty peers, or a scrape, each with the action and transaction id of its request.
            let length = match request[11] {
                0 => 16,
                1 => 20 + 20 * 6,
                _ => 8 + (received - 16) / 20 * 12,
            };
            reply[..8].copy_from_slice(&request[8..16]);
            // What the client has no room for is lost.
            let _ = socket.send_to(&reply[..length], client);
        }
    });
    addr
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
    let (seconds, cores) = (number("LATENCY_SECONDS", 60), cores());
    let dir = TempDir::new().unwrap();
    // So short that records expire and snapshots are written all the time.
    let [interval, min_interval, peer_ttl] = choose(
        ["announce.interval=1", "announce.min_interval=1", "announce.peer_ttl=3"],
        ["announce.interval=8", "announce.min_interval=8", "announce.peer_ttl=10"],
    );
    let settings = settings([interval, min_interval, peer_ttl, "node.snapshot_interval=1"], &dir);
    let tracker = TrackerProcess::start_with(cores[0], &settings, &[]);
    let target = tracker.udp[0];
    let population = choose("--swarms 100 --peers 2000", "--swarms 100000 --peers 500000");

    let rate = if is_full() {
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
    let open_loop = format!("{population} --mode open --rate {rate} --deadline {}", choose("30s", "2s"));
    // In turns with the bare responder, which shows the latency that this machine allows at that rate.
    let rounds = choose(1, 3);
    let bare = bare_responder(cores[0]);
    let [mut floors, mut latencies] = [const { [Vec::new(), Vec::new()] }; 2];
    let (mut lost, mut sent, mut late, mut snapshots) = (0, 0.0, 0.0, 0);
    for _ in 0..rounds {
        let lasts = |all: u64| format!("{open_loop} --duration {}s", choose(all, seconds / rounds));
        let json = load(cores[1], bare, &lasts(1));
        percentiles(&json).into_iter().zip(&mut floors).for_each(|(micros, all)| all.extend(micros));
        let mut running = spawn(cores[1], target, &lasts(5));
        snapshots += count_snapshots(&tracker, &mut running);
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
    if !is_full() {
        wait_until("records expire", || expired(&tracker.metrics()) > before);
        wait_until("a snapshot is written", || {
            tracker.metrics().sum("tidings_snapshot_last_timestamp_seconds", &[]) > 0.0
        });
    }
    let metrics = tracker.metrics();
    let expired = expired(&metrics) - before;

    // Of the median second: snapshots and expiry are in each second, whatever else the machine does is not.
    let ([floor_p99, floor_p999], [p99, p999]) = (floors.map(median), latencies.map(median));
    let ms = |micros: f64| format!("{:.3} ms", micros / 1e3);
    println!("bare responder: p99 {}, p99.9 {}", ms(floor_p99), ms(floor_p999));
    println!("the generator itself sent {:.2} % late", late / sent);
    let mut figures = Figures::default();
    for (name, micros, bound, floor) in [
        ("p99 at half of capacity, median second", p99, 1_000.0, floor_p99),
        ("p99.9, median second", p999, 5_000.0, floor_p999),
    ] {
        // A machine that keeps even the bare responder from its core for that long cannot show more than this.
        let bound = f64::max(bound, 1.5 * floor);
        figures.timing(name, ms(micros), format!("≤ {}", ms(bound)), micros <= bound);
    }
    figures.none("replies lost", lost);
    figures.row("records expired under load", expired, "> 0", expired > 0.0);
    figures.timing("snapshots written under load", snapshots, "> 0", snapshots > 0);
    assert_eq!(metrics.sum("tidings_snapshot_errors_total", &[]), 0.0, "{}", tracker.log());
    figures.verdict();
}

#[test]
fn kill_9_under_load_keeps_the_peers_of_a_minute_ago() {
    let peers = number("RESTART_PEERS", choose(2000, 200_000));
    let cores = cores();
    let dir = TempDir::new().unwrap();
    // At full scale the default interval, and more than two of them later all peers are in a snapshot.
    let interval = choose(1, 30);
    let settings = settings([&format!("node.snapshot_interval={interval}")], &dir);
    let tracker = TrackerProcess::start_with(cores[0], &settings, &[]);
    let population = format!("--peers {peers} --swarms {}", peers / 10);
    let filled = load(cores[1], tracker.udp[0], &format!("{population} --fill --duration 0s"));
    assert_eq!(filled["fill"]["announce"]["answers"].as_u64(), Some(peers));

    // No peer stops, so that all of them have to be known after the restart.
    let mut running = spawn(cores[1], tracker.udp[0], &format!("{population} --stops 0 --duration 1h"));
    if is_full() {
        sleep(Duration::from_secs(65));
    } else {
        let records = || tracker.metrics().sum("tidings_snapshot_last_records", &[]);
        wait_until("a snapshot has all peers", || records() >= peers as f64);
    }
    let announces = tracker.metrics().sum("tidings_requests_total", &["action=\"announce\"", "outcome=\"ok\""]);
    let under_load = running.try_wait().unwrap().is_none();
    tracker.kill();
    running.kill().unwrap();
    running.wait().unwrap();

    let start = Instant::now();
    let tracker = TrackerProcess::start_with(cores[0], &settings, &[]);
    println!("killed after {announces} announces; up again after {:.2} s", start.elapsed().as_secs_f64());
    let json = load(cores[1], tracker.udp[0], &format!("{population} --verify --min-known 0"));
    let recall = &json["verify"]["recall"];
    let (known, returned) = (recall["percent"].as_f64().unwrap(), recall["sample"]["percent"].as_f64().unwrap());
    let strangers = recall["sample"]["strangers"].as_u64().unwrap();
    let mut figures = Figures::default();
    figures.row("peers known after kill -9", format!("{known:.2} %"), "≥ 95 %", known >= 95.0);
    figures.row("peers returned in sampled swarms", format!("{returned:.2} %"), "≥ 95 %", returned >= 95.0);
    figures.none("peers that no client has announced", strangers);
    assert!(under_load, "the load ended too early");
    figures.verdict();
    let log = tracker.log();
    assert!(!log.contains("corrupt"), "{log}");
}
