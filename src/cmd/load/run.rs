//! A run of `tidings load`: its phases, what they print, and why it fails.

use std::io::IsTerminal;

use serde_json::{Map, Value, json};

use super::args::Args;
use super::engine::Engine;
use super::phase::Pace;
use super::population::Population;
use super::progress::Bar;
use super::report::Phase;
use super::spec::Spec;
use super::tally::Tally;
use super::verify::{Findings, Pass, Verify};
use super::workload::{Fill, MixedLoad};
use crate::cmd::failure::Failure;
use crate::cmd::output::print;

impl Args {
    /// Runs the load and prints the results.
    ///
    /// # Errors
    /// [`Failure::Settings`] for a wrong command line; [`Failure::Run`] if the sockets cannot be opened, or if answers were
    /// wrong or too few.
    pub fn run(self) -> Result<(), Failure> {
        let spec = self.check().map_err(Failure::Settings)?;
        let show = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let phases = run_phases(&spec, show)?;
        if self.json {
            let setup = std::iter::once(("setup".to_owned(), setup(&self, &spec)));
            let all: Map<_, _> =
                setup.chain(phases.iter().map(|phase| (phase.name.to_owned(), phase.json()))).collect();
            print(&format!("{}\n", Value::Object(all)))?;
        } else {
            print(&phases.iter().map(Phase::table).collect::<String>())?;
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
        phases.push(Phase { name: "fill", tally, recall: Vec::new() });
    }
    if !spec.duration.is_zero() {
        let bar = Bar::new(show, "load", None, Some(spec.duration));
        let pace = if spec.open.is_some() { Pace::Open(spec.duration) } else { Pace::Closed(spec.duration) };
        let tally = engine.run(|worker| MixedLoad::new(&population, spec.mix, worker), pace, &bar)?;
        phases.push(Phase { name: "load", tally, recall: Vec::new() });
    }
    if spec.verify {
        if phases.is_empty() {
            population.assume_filled();
        }
        std::thread::sleep(spec.verify_after);
        phases.push(verify(spec, &population, &mut engine, show)?);
    }
    Ok(phases)
}

/// Verifies the targets, or those of `--verify-at` one after the other, in two passes: scrapes would count an observer.
fn verify(spec: &Spec, population: &Population, engine: &mut Engine<'_>, show: bool) -> anyhow::Result<Phase> {
    let bar = Bar::new(show, "verify", None, None);
    let (mut tally, mut recall) = (Tally::default(), Vec::new());
    let mut run = |engine: &mut Engine<'_>, findings: &Findings<'_>, pass| -> anyhow::Result<()> {
        let pass = engine.run(|_| Verify::new(findings, pass), Pace::All, &bar)?;
        let elapsed = tally.elapsed + pass.elapsed;
        tally.merge(&pass);
        tally.elapsed = elapsed;
        Ok(())
    };
    if spec.verify_at.is_empty() {
        let findings = Findings::new(population, false);
        run(engine, &findings, Pass::Scrape)?;
        run(engine, &findings, Pass::Look)?;
        recall.push((None, findings.recall()));
    }
    let findings: Vec<_> = spec.verify_at.iter().map(|_| Findings::new(population, true)).collect();
    for pass in [Pass::Scrape, Pass::Look] {
        for ((_, target), findings) in spec.verify_at.iter().zip(&findings) {
            let alone = Spec { targets: vec![target.clone()], failover: false, ..spec.clone() };
            run(&mut Engine::new(&alone, population)?, findings, pass)?;
        }
    }
    recall.extend(spec.verify_at.iter().zip(&findings).map(|((url, _), it)| (Some(url.clone()), it.recall())));
    Ok(Phase { name: "verify", tally, recall })
}

/// The reasons for exit code 1, one sentence each.
fn failures(args: &Args, phase: &Phase) -> Vec<String> {
    let (t, name) = (&phase.tally, phase.name);
    let mut failures = Vec::new();
    if t.errors.count + t.malformed.count > 0 {
        failures.push(format!("{name}: {} error and {} malformed replies", t.errors.count, t.malformed.count));
    }
    if t.all_answers() == 0 && t.sent > 0 {
        failures
            .push(format!("{name}: no request was answered: is the tracker running at {}?", args.target.join(", ")));
    }
    if let Some(max) = args.max_loss.filter(|max| t.loss() > *max) {
        failures.push(format!("{name}: {:.3} % lost, more than the {max} % of --max-loss", t.loss()));
    }
    for (at, recall) in phase.recall.iter().filter(|(_, recall)| recall.percent() < args.min_known) {
        let at = at.as_ref().map_or(String::new(), |at| format!(" at {at}"));
        failures.push(format!(
            "{name}: {:.3} % known{at}, less than the {} % of --min-known",
            recall.percent(),
            args.min_known
        ));
    }
    failures
}

fn setup(args: &Args, spec: &Spec) -> Value {
    json!({
        "targets": args.target,
        "verify_at": args.verify_at,
        "failover": args.failover,
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
