//! What tracing costs: replies per CPU second of the tracker, and how long clients wait while the collector dies.
//!
//! As it is, this test only sees to it that all of it works. `tests/must_show traces` sets `TIDINGS_TRACES_SECONDS` to
//! measure: with the tracker on core 0, load and collector on core 1, and the bounds of the real thing.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::receiver::Receiver;
use super::tracker::{Tracker, command, figure, scale};

/// Rounds, each with new processes.
const ROUNDS: u64 = 9;
/// How often each ratio has its turn in a round, each time for the seconds of one measurement.
const TURNS: usize = 4;
/// Seconds under load before the collector is killed, and again after that.
const LIFE: u64 = 10;

/// The seconds of one measurement, and the cores of tracker and load, if it is to be one.
fn measured() -> (Option<u64>, [Option<u64>; 2]) {
    let seconds = std::env::var("TIDINGS_TRACES_SECONDS").ok().map(|value| value.parse().expect("a whole number"));
    (seconds, seconds.map_or([None; 2], |_| [Some(0), Some(1)]))
}

/// Keeps this process, which is the collector, off the tracker's core.
fn step_aside(core: Option<u64>) {
    if let Some(core) = core {
        let status = Command::new("taskset")
            .args(["-a", "-cp", &core.to_string(), &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

fn spawn(core: Option<u64>, tracker: &Tracker, args: &str) -> Child {
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

fn start(core: Option<u64>, receiver: &Receiver, ratio: Option<&str>) -> Tracker {
    let mut settings = vec!["announce.threads=1".to_owned()];
    if let Some(ratio) = ratio {
        settings.extend([receiver.setting(), format!("telemetry.sample_ratio={ratio}")]);
    }
    Tracker::start(core, &settings)
}

/// One of the trackers that are compared.
struct Compared {
    tracker: Tracker,
    answers: f64,
    cpu: f64,
}

impl Compared {
    /// Lets it answer what it can for a while. Returns its replies per second.
    fn answer(&mut self, core: Option<u64>, population: &str, seconds: u64) -> f64 {
        let cpu = |tracker: &Tracker| tracker.metrics().sum("process_cpu_seconds_total", &[]);
        let before = cpu(&self.tracker);
        let json = finish(spawn(core, &self.tracker, &format!("{population} --duration {seconds}s")));
        self.answers += json["load"]["answers"].as_f64().unwrap();
        self.cpu += cpu(&self.tracker) - before;
        json["load"]["answers_per_second"].as_f64().unwrap()
    }

    /// Replies per CPU second.
    fn rate(&self) -> f64 {
        // A tick of the clock that the system counts by.
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
    let (seconds, cores) = measured();
    step_aside(cores[1]);
    let mut receiver = Receiver::careless();
    let population = if seconds.is_some() { "--swarms 100000 --peers 500000" } else { "--swarms 100 --peers 2000" };
    let ratios = [None, Some("0.0001"), Some("0.01")];
    let (mut relative, mut capacity, mut unseen) = ([const { Vec::new() }; 2], 0.0f64, 0.0);
    for round in 0..if seconds.is_some() { scale("TIDINGS_TRACES_ROUNDS", ROUNDS) } else { 1 } {
        // New processes each time, and another one first: where their memory lies makes a difference of its own.
        let mut compared = ratios.map(|_| None);
        for at in 0..3 {
            let at = (round as usize + at) % 3;
            let tracker = start(cores[0], &receiver, ratios[at]);
            let it = compared[at].insert(Compared { tracker, answers: 0.0, cpu: 0.0 });
            // Once without being looked at, so that all peers are known.
            it.answer(cores[1], population, seconds.map_or(1, |seconds| seconds * 2));
            (it.answers, it.cpu) = (0.0, 0.0);
        }
        let mut compared = compared.map(Option::unwrap);
        // A machine is not as fast in one second as in another, so they take turns.
        for turn in 0..if seconds.is_some() { TURNS } else { 1 } {
            for at in 0..3 {
                let per_second = compared[(turn + at) % 3].answer(cores[1], population, seconds.unwrap_or(1));
                capacity = capacity.max(per_second);
            }
        }
        for (ratio, it) in ratios.iter().zip(&compared) {
            let [exported, lost] = it.spans();
            unseen += lost;
            // Each that is chosen has five; by chance, and in a short time, there may be none.
            let chosen = ratio.map_or(0.0, |ratio| it.answers * ratio.parse::<f64>().unwrap());
            let enough = if seconds.is_some() { exported + lost >= 4.5 * chosen } else { true };
            assert!(enough && (ratio.is_some() || exported == 0.0), "{exported} spans of {chosen} announces");
            let (rate, ratio) = (it.rate(), ratio.unwrap_or("off"));
            println!("round {round}: {rate:.0} replies per CPU second at {ratio}, {exported} spans, {lost} lost");
        }
        (0..2).for_each(|at| relative[at].push(compared[at + 1].rate() / compared[0].rate()));
    }
    println!("against tracing off, round by round: {relative:.3?}");
    let [low, high] = relative.map(median);

    let tracker = start(cores[0], &receiver, Some("0.01"));
    let rate = if seconds.is_some() { (capacity / 2.0) as u64 } else { 200 };
    let length = if seconds.is_some() { LIFE } else { 2 } * 2;
    let load = spawn(
        cores[1],
        &tracker,
        &format!("{population} --mode open --rate {rate} --duration {length}s --deadline 2s"),
    );
    std::thread::sleep(Duration::from_secs(length / 2));
    let killed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    receiver.kill();
    let json = finish(load);
    let load = &json["load"];
    let killed = (killed - load["started_unix_ms"].as_f64().unwrap() / 1e3) as usize;
    let rows = by_second(load);
    println!("p99 and slowest reply of each second, in microseconds, killed in second {killed}: {rows:?}");
    // The first second has the start of the load in it, so it counts only if there is no other.
    let before = &rows[usize::from(killed > 1)..killed];
    let (after, soon) = (&rows[killed..], &rows[killed..rows.len().min(killed + 2)]);
    let lost = load["lost"].as_u64().unwrap() + load["unsent"].as_u64().unwrap();

    // Without cores of their own only a stall is a failure.
    let [low_bound, high_bound] = if cores[0].is_some() { [0.98, 0.95] } else { [0.0; 2] };
    let (usual, slow, lost_bound) = if cores[0].is_some() { (1e3, 5e3, 0) } else { (5e5, 1.5e6, 8) };
    // The collector works on the load's core until it dies, so what went before says what is slow here.
    let latency =
        |name: &str, after: &[[f64; 2]], figures: fn([f64; 2]) -> f64, over: fn(Vec<f64>) -> f64, least: f64| {
            let [before, after] =
                [before, after].map(|seconds| over(seconds.iter().copied().map(figures).collect()) / 1e3);
            let bound = (least / 1e3).max(1.5 * before);
            figure(name, &format!("{after:.3} ms, before {before:.3} ms"), &format!("≤ {bound:.3} ms"), after <= bound)
        };
    let worst = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    let share = |name: &str, share: f64, bound: f64| {
        figure(name, &format!("{share:.3}"), &format!("≥ {bound} of tracing off"), share >= bound)
    };
    let verdicts = [
        share("replies per CPU second with one announce in 10,000 traced", low, low_bound),
        share("replies per CPU second with one announce in 100 traced", high, high_bound),
        figure("spans lost meanwhile", &unseen.to_string(), "0", unseen == 0.0),
        latency("p99 in the second of the collector's death or the next", soon, |[p99, _]| p99, worst, slow),
        latency("p99 from then on, median second", after, |[p99, _]| p99, median, usual),
        latency("slowest reply from then on, median second", after, |[_, slowest]| slowest, median, slow),
        figure("replies lost meanwhile", &lost.to_string(), &format!("≤ {lost_bound}"), lost <= lost_bound),
    ];
    assert!(verdicts.iter().all(|good| *good), "{json:#}");
}
