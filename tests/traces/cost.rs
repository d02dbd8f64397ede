//! What tracing costs: replies per CPU second of the tracker, and how long clients wait while the collector dies.
//!
//! The quick form only checks that all of this works. `tests/must_show traces` measures, with the tracker on core 0 and
//! load and collector on core 1; `TRACES_SECONDS` and `TRACES_ROUNDS` set the scale.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::receiver::Receiver;
use tidings::testkit::binary::{command, number};
use tidings::testkit::figures::{Figures, choose, cores, is_full};
use tidings::testkit::tracker::TrackerProcess;

/// Measurements of each ratio in a round.
const TURNS: usize = 4;
/// Seconds of load before the collector is killed, and after that.
const LIFE: u64 = 10;

/// Keeps this process, which is the collector, off the tracker's core.
fn leave_core(core: Option<u64>) {
    if let Some(core) = core {
        let status = Command::new("taskset")
            .args(["-a", "-cp", &core.to_string(), &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

fn spawn(core: Option<u64>, tracker: &TrackerProcess, args: &str) -> Child {
    let mut command = command(core);
    command.args(["load", "--json", "--target", &format!("udp://{}", tracker.udp[0])]).args(args.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(load: Child) -> Value {
    let output = load.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn start(core: Option<u64>, receiver: &Receiver, ratio: Option<&str>) -> TrackerProcess {
    let mut settings = vec!["announce.threads=1".to_owned()];
    if let Some(ratio) = ratio {
        settings.extend([receiver.setting(), format!("telemetry.sample_ratio={ratio}")]);
    }
    TrackerProcess::start_with(core, &settings, &[])
}

/// One of the trackers that are compared.
struct Compared {
    tracker: TrackerProcess,
    answers: f64,
    cpu: f64,
}

impl Compared {
    /// Puts it under load for a while, and returns its replies per second.
    fn measure(&mut self, core: Option<u64>, population: &str, seconds: u64) -> f64 {
        let cpu = |tracker: &TrackerProcess| tracker.metrics().sum("process_cpu_seconds_total", &[]);
        let before = cpu(&self.tracker);
        let json = finish(spawn(core, &self.tracker, &format!("{population} --duration {seconds}s")));
        self.answers += json["load"]["answers"].as_f64().unwrap();
        self.cpu += cpu(&self.tracker) - before;
        json["load"]["answers_per_second"].as_f64().unwrap()
    }

    /// Replies per CPU second.
    fn rate(&self) -> f64 {
        // The system counts CPU time in ticks of this length.
        self.answers / self.cpu.max(0.01)
    }

    /// Spans that were exported, and those that were lost.
    fn spans(&self) -> [f64; 2] {
        let metrics = self.tracker.metrics();
        let [exported, full, failed] = ["exported", "queue_full", "failed"]
            .map(|outcome| metrics.sum("tidings_trace_spans_total", &[outcome]).max(0.0));
        [exported, full + failed]
    }
}

/// The p99 and the slowest reply of each second of a load, in microseconds.
fn by_second(load: &Value) -> Vec<[f64; 2]> {
    let rows = load["timeline"].as_array().unwrap().iter();
    rows.map(|row| ["p99_us", "max_us"].map(|name| row[name].as_f64().unwrap())).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn tracing_costs_little_and_a_dying_collector_nothing() {
    let (seconds, cores) = (number("TRACES_SECONDS", choose(1, 2)), cores());
    leave_core(cores[1]);
    let mut receiver = Receiver::discarding();
    let population = choose("--swarms 100 --peers 2000", "--swarms 100000 --peers 500000");
    let ratios = [None, Some("0.0001"), Some("0.01")];
    let mut relative = [const { Vec::new() }; 2];
    let (mut capacity, mut dropped) = (0.0f64, 0.0);
    for round in 0..choose(1, number("TRACES_ROUNDS", 9)) {
        // New processes in each round, in another order: where their memory lies makes a difference of its own.
        let mut compared = ratios.map(|_| None);
        for at in 0..3 {
            let at = (round as usize + at) % 3;
            let tracker = start(cores[0], &receiver, ratios[at]);
            let it = compared[at].insert(Compared { tracker, answers: 0.0, cpu: 0.0 });
            // Not measured, so that all peers are known.
            it.measure(cores[1], population, choose(1, seconds * 2));
            (it.answers, it.cpu) = (0.0, 0.0);
        }
        let mut compared = compared.map(Option::unwrap);
        // The speed of a machine varies from second to second, so they take turns.
        for turn in 0..choose(1, TURNS) {
            for at in 0..3 {
                let per_second = compared[(turn + at) % 3].measure(cores[1], population, seconds);
                capacity = capacity.max(per_second);
            }
        }
        for (ratio, it) in ratios.iter().zip(&compared) {
            let [exported, lost] = it.spans();
            dropped += lost;
            // Each sampled announce has five; in a short time there may be none by chance.
            let sampled = ratio.map_or(0.0, |ratio| it.answers * ratio.parse::<f64>().unwrap());
            let enough = !is_full() || exported + lost >= 4.5 * sampled;
            assert!(enough && (ratio.is_some() || exported == 0.0), "{exported} spans of {sampled} announces");
            let (rate, ratio) = (it.rate(), ratio.unwrap_or("off"));
            println!("round {round}: {rate:.0} replies per CPU second at {ratio}, {exported} spans, {lost} lost");
        }
        (0..2).for_each(|at| relative[at].push(compared[at + 1].rate() / compared[0].rate()));
    }
    println!("against tracing off, round by round: {relative:.3?}");
    let [low, high] = relative.map(median);

    let tracker = start(cores[0], &receiver, Some("0.01"));
    let rate = choose(200, (capacity / 2.0) as u64);
    let length = choose(2, LIFE) * 2;
    let load = spawn(
        cores[1],
        &tracker,
        &format!("{population} --mode open --rate {rate} --duration {length}s --deadline {}", choose("30s", "2s")),
    );
    std::thread::sleep(Duration::from_secs(length / 2));
    let killed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    receiver.kill();
    let json = finish(load);
    let load = &json["load"];
    let killed = (killed - load["started_unix_ms"].as_f64().unwrap() / 1e3) as usize;
    let lost = load["lost"].as_u64().unwrap() + load["unsent"].as_u64().unwrap();

    let mut figures = Figures::default();
    let mut share = |name: &str, share: f64, bound: f64| {
        figures.timing(name, format!("{share:.3}"), format!("≥ {bound} of tracing off"), share >= bound);
    };
    share("replies per CPU second with one announce in 10,000 traced", low, 0.98);
    share("replies per CPU second with one announce in 100 traced", high, 0.95);
    figures.timing("spans dropped by then", dropped, 0, dropped == 0.0);
    judge_latency(&mut figures, &by_second(load), killed);
    figures.none("replies lost around the collector's death", lost);
    figures.verdict();
}

/// How long clients wait from the second on in which the collector is killed. It works on the load's core until then, so
/// the seconds before show what is slow here.
fn judge_latency(figures: &mut Figures, rows: &[[f64; 2]], killed: usize) {
    println!("p99 and slowest reply of each second, in microseconds, killed in second {killed}: {rows:?}");
    if killed >= rows.len() {
        return println!("this machine is too busy: the load was over before the collector was killed");
    }
    // The first second has the start of the load in it, so it counts only if there is no other.
    let before = &rows[usize::from(killed > 1).min(killed)..killed];
    let (after, soon) = (&rows[killed..], &rows[killed..rows.len().min(killed + 2)]);

    let mut latency = |name: &str, after: &[[f64; 2]], at: usize, over: fn(Vec<f64>) -> f64, least: f64| {
        let of = |seconds: &[[f64; 2]]| {
            let values: Vec<f64> = seconds.iter().map(|row| row[at]).collect();
            if values.is_empty() { 0.0 } else { over(values) / 1e3 }
        };
        let (before, after, least) = (of(before), of(after), least / 1e3);
        let bound = least.max(1.5 * before);
        let value = format!("{after:.3} ms, before {before:.3} ms");
        figures.timing(name, value, format!("≤ {bound:.3} ms"), after <= bound);
    };
    let worst = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    latency("p99 in the second of the collector's death or the next", soon, 0, worst, 5e3);
    latency("p99 from then on, median second", after, 0, median, 1e3);
    latency("slowest reply from then on, median second", after, 1, median, 5e3);
}
