//! The workers of a run, one thread each, whichever the transport.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;

use super::phase::{Pace, run_phase};
use super::population::Population;
use super::progress::Bar;
use super::sockets::Sockets;
use super::spec::{Spec, Transport};
use super::tally::Tally;
use super::workload::Workload;
use super::{http, udp};

/// The workers of a run. Their sockets outlive the phases.
pub struct Engine<'a> {
    workers: Vec<Box<dyn Sockets<'a> + Send + 'a>>,
}

impl<'a> Engine<'a> {
    /// Opens the sockets.
    ///
    /// # Errors
    /// A socket cannot be opened or bound.
    pub fn new(spec: &'a Spec, population: &'a Population) -> anyhow::Result<Self> {
        let worker = |worker| -> anyhow::Result<Box<dyn Sockets<'a> + Send + 'a>> {
            Ok(match spec.transport {
                Transport::Udp => Box::new(udp::Worker::new(spec, population, worker)?),
                Transport::Http => Box::new(http::Worker::new(spec, population, worker)?),
            })
        };
        Ok(Self { workers: (0..spec.workers).map(worker).collect::<anyhow::Result<_>>()? })
    }

    /// Runs one phase on all workers.
    ///
    /// # Errors
    /// epoll fails.
    pub fn run<W: Workload + Send>(
        &mut self,
        workload: impl Fn(u32) -> W,
        pace: Pace,
        bar: &Bar,
    ) -> anyhow::Result<Tally> {
        let progress = &AtomicU64::new(0);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, worker) in (0..).zip(&mut self.workers) {
                let mut workload = workload(index);
                threads.push(scope.spawn(move || run_phase(&mut **worker, &mut workload, pace, index, progress)));
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
