//! A run of `tidings probe`: rounds until the last one, and what they print.

use anyhow::{Context, anyhow};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::args::{Args, Output, Spec};
use super::round::Round;
use crate::clock::{Clock, SystemClock};
use crate::cmd::failure::Failure;
use crate::cmd::output::print;

impl Args {
    /// Probes and prints the results.
    ///
    /// # Errors
    /// [`Failure::Settings`] for a wrong command line; [`Failure::Run`] if a probe failed, or if no socket can be opened.
    pub fn run(self) -> Result<(), Failure> {
        let spec = self.check().map_err(Failure::Settings)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let mut random = StdRng::try_from_rng(&mut SysRng).context("the system has no random numbers")?;
        let done = runtime.block_on(probe(&spec, &SystemClock::start(), &mut random));
        // A running name lookup cannot be cancelled, and its result is no longer needed.
        runtime.shutdown_background();
        done
    }
}

async fn probe(spec: &Spec, clock: &dyn Clock, random: &mut StdRng) -> Result<(), Failure> {
    let mut ended = Ended::new()?;
    let mut ticks = spec.every.map(interval);
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let (mut rounds, mut failed, mut last) = (0, 0, String::new());
    loop {
        if let Some(ticks) = &mut ticks {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ended.wait() => break,
            }
        }
        let mut round = Round::new(spec, clock, random);
        let complete = tokio::select! {
            biased;
            () = ended.wait() => false,
            () = round.run() => true,
        };
        round.stop(!complete).await;
        if !complete {
            if spec.every.is_none() {
                return Err(anyhow!("ended by a signal before the probe was complete").into());
            }
            break;
        }
        let (ok, text) = round.verdict();
        match spec.output {
            Output::Json => print(&format!("{}\n", round.json()))?,
            Output::Quiet if ok || spec.every.is_none() => {}
            Output::Text if spec.every.is_none() => {
                print(&round.table())?;
                if ok {
                    print(&format!("{text}.\n"))?;
                }
            }
            _ => print(&round.line())?,
        }
        rounds += 1;
        if !ok {
            (failed, last) = (failed + 1, text);
        }
        if spec.every.is_none() || spec.count.is_some_and(|count| rounds >= count.get()) {
            break;
        }
    }
    match (failed, spec.every) {
        (0, _) => Ok(()),
        (_, None) => Err(anyhow!(last).into()),
        (_, Some(_)) => Err(anyhow!("{failed} of {rounds} rounds failed; the last failure: {last}").into()),
    }
}

/// Ctrl-C and SIGTERM.
struct Ended([Signal; 2]);

impl Ended {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
