//! `tidings load`: a load generator that behaves as real peers do.
//!
//! [`args`] checks the command line, [`workload`] knows the peers and what they ask, [`udp`] sends it, [`flights`] and
//! [`pacer`] keep the time, [`tally`] counts, and [`report`] prints.

mod answer;
mod args;
mod flights;
mod pacer;
mod report;
mod tally;
mod udp;
mod verify;
mod workload;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::Failure;
pub use args::Args;
use args::{Spec, Transport};
use flights::Nanos;
use pacer::Pacer;
use report::Phase;
use tally::Tally;
use verify::{Findings, Verify};
use workload::{Fill, Living, Population, Workload};

/// What decides when a phase sends, and when it ends.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// As fast as it is answered, until the workload has no more.
    All,
    /// As fast as it is answered, for a time.
    Closed(Duration),
    /// At a rate, for a time.
    Open(Duration),
}

impl Pace {
    fn duration(self) -> Option<Duration> {
        match self {
            Self::All => None,
            Self::Closed(duration) | Self::Open(duration) => Some(duration),
        }
    }

    fn pacer(self, spec: &Spec, worker: u32, start: Nanos) -> Option<Pacer> {
        let Self::Open(duration) = self else { return None };
        let (rate, arrivals) = spec.open?;
        let rate = f64::from(rate) / f64::from(spec.workers);
        let end = start + duration.as_nanos() as Nanos;
        Some(Pacer::new(rate, arrivals, start, end, spec.seed.wrapping_add(u64::from(worker) << 32)))
    }
}

impl Args {
    /// Runs the load and prints the results.
    ///
    /// # Errors
    /// [`Failure::Settings`] for a wrong command line; [`Failure::Run`] if this machine cannot open the sockets, or if
    /// the tracker's answers were wrong or too few.
    pub fn run(self) -> Result<(), Failure> {
        let spec = self.check().map_err(Failure::Settings)?;
        let show = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let phases = run_phases(&spec, show)?;
        if self.json {
            let setup = std::iter::once(("setup".to_owned(), setup(&self, &spec)));
            let all: Map<_, _> =
                setup.chain(phases.iter().map(|phase| (phase.name.to_owned(), phase.json()))).collect();
            super::print(&format!("{}\n", Value::Object(all)))?;
        } else {
            super::print(&phases.iter().map(Phase::table).collect::<String>())?;
        }
        let failures: Vec<String> = phases.iter().flat_map(|phase| failures(&self, phase)).collect();
        if failures.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(failures.join("; ")).into()) }
    }
}

fn run_phases(spec: &Spec, show: bool) -> anyhow::Result<Vec<Phase>> {
    let population = Population::new(spec);
    let mut engine = Engine::new(spec, &population)?;
    let mut phases = Vec::new();
    if spec.fill {
        let bar = Bar::new(show, "fill", Some(u64::from(spec.peers)), None);
        let tally = engine.run(|_| Fill::new(&population), Pace::All, &bar)?;
        phases.push(Phase { name: "fill", tally, recall: None });
    }
    if !spec.duration.is_zero() {
        let bar = Bar::new(show, "load", None, Some(spec.duration));
        let pace = if spec.open.is_some() { Pace::Open(spec.duration) } else { Pace::Closed(spec.duration) };
        let tally = engine.run(|worker| Living::new(&population, spec.mix, worker), pace, &bar)?;
        phases.push(Phase { name: "load", tally, recall: None });
    }
    if spec.verify {
        if phases.is_empty() {
            population.assume_filled();
        }
        let bar = Bar::new(show, "verify", None, None);
        let findings = Findings::new(&population);
        let tally = engine.run(|_| Verify::new(&findings), Pace::All, &bar)?;
        phases.push(Phase { name: "verify", tally, recall: Some(findings.recall()) });
    }
    Ok(phases)
}

/// What makes the exit code 1, one sentence each.
fn failures(args: &Args, phase: &Phase) -> Vec<String> {
    let (t, name) = (&phase.tally, phase.name);
    let mut failures = Vec::new();
    if t.errors.count + t.malformed.count > 0 {
        failures.push(format!("{name}: {} error and {} malformed replies", t.errors.count, t.malformed.count));
    }
    if t.all_answers() == 0 && t.sent > 0 {
        failures.push(format!("{name}: nothing was answered; is the tracker running at {}?", args.target.join(", ")));
    }
    if let Some(max) = args.max_loss.filter(|max| t.loss() > *max) {
        failures.push(format!("{name}: {:.3} % lost, more than the {max} % of --max-loss", t.loss()));
    }
    if let Some(recall) = phase.recall.filter(|recall| recall.percent() < args.min_known) {
        failures.push(format!(
            "{name}: {:.3} % known, less than the {} % of --min-known",
            recall.percent(),
            args.min_known
        ));
    }
    failures
}

fn setup(args: &Args, spec: &Spec) -> Value {
    json!({
        "targets": args.target,
        "mode": if spec.open.is_some() { "open" } else { "closed" },
        "rate": spec.open.map(|(rate, _)| rate),
        "seed": spec.seed,
        "swarms": spec.swarms,
        "peers": spec.peers,
        "sources": spec.sources,
        "window": spec.window,
        "workers": spec.workers,
        "numwant": spec.num_want,
    })
}

/// The workers of one transport; their sockets outlive the phases.
struct Engine<'a> {
    workers: Vec<udp::Worker<'a>>,
}

impl<'a> Engine<'a> {
    fn new(spec: &'a Spec, population: &'a Population) -> anyhow::Result<Self> {
        anyhow::ensure!(spec.transport == Transport::Udp, "HTTP targets are not supported yet");
        let workers = (0..spec.workers).map(|worker| udp::Worker::new(spec, population, worker));
        Ok(Self { workers: workers.collect::<anyhow::Result<_>>()? })
    }

    /// Runs one phase on all workers.
    fn run<W: Workload + Send>(&mut self, workload: impl Fn(u32) -> W, pace: Pace, bar: &Bar) -> anyhow::Result<Tally> {
        let progress = AtomicU64::new(0);
        let progress = &progress;
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, worker) in (0..).zip(&mut self.workers) {
                let mut workload = workload(index);
                threads.push(scope.spawn(move || worker.run(&mut workload, pace, index, progress)));
            }
            while threads.iter().any(|thread| !thread.is_finished()) {
                bar.show(progress.load(Relaxed));
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut total = Tally::default();
            for thread in threads {
                let tally = thread.join().ok().context("a worker has panicked; please report this")??;
                total.merge(&tally);
            }
            Ok(total)
        })
    }
}

/// Progress on the terminal: of a number of answers, or of a time.
struct Bar {
    bar: ProgressBar,
    time: Option<Duration>,
}

impl Bar {
    fn new(show: bool, name: &'static str, answers: Option<u64>, time: Option<Duration>) -> Self {
        let length = answers.or(time.map(|time| time.as_millis() as u64));
        let bar = match (show, length) {
            (false, _) => ProgressBar::hidden(),
            (true, None) => ProgressBar::new_spinner(),
            (true, Some(length)) => ProgressBar::new(length),
        };
        let template = if length.is_some() { "{prefix} {wide_bar} {msg}" } else { "{prefix} {spinner} {msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style).with_prefix(name), time }
    }

    fn show(&self, answers: u64) {
        let elapsed = self.bar.elapsed();
        self.bar.set_position(if self.time.is_some() { elapsed.as_millis() as u64 } else { answers });
        let rate = answers as f64 / elapsed.as_secs_f64().max(1e-3);
        self.bar.set_message(format!("{answers} answers, {rate:.0}/s"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
