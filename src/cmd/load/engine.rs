//! The loop that all workers run, whichever the transport: send what is due, receive what has come, give up what is late.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use mio::event::Event;
use mio::{Events, Poll};

use super::args::{Spec, Transport};
use super::flights::Nanos;
use super::http;
use super::pacer::{LATE, Pacer};
use super::tally::Tally;
use super::udp;
use super::workload::{Job, Population, Workload};
use crate::clock::{Clock, SystemClock};

/// A second.
pub const SECOND: Nanos = 1_000_000_000;
/// A source that fails this often in a row gives up on a phase that has no end in time.
pub const MAX_FAILURES: u32 = 50;
/// Requests of an open loop that may wait within one source.
pub const MAX_WAITING: usize = 4096;
/// Sends of an open loop between two looks at the sockets.
const BURST: usize = 64;
/// How long a worker sleeps at most.
const MAX_SLEEP: Nanos = SECOND / 10;

/// What decides when a phase sends, and when it ends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as it is answered, until the workload has no more.
    All,
    /// As fast as it is answered, for a time.
    Closed(Duration),
    /// At a rate, for a time.
    Open(Duration),
}

impl Pace {
    fn duration(self) -> Option<Nanos> {
        match self {
            Self::All => None,
            Self::Closed(duration) | Self::Open(duration) => Some(duration.as_nanos() as Nanos),
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

/// What the worker of every transport has.
pub struct Core<'a> {
    /// The checked command line.
    pub spec: &'a Spec,
    /// All peers.
    pub population: &'a Population,
    /// Watches the sockets.
    pub poll: Poll,
    /// Counts the current phase.
    pub tally: Tally,
    /// Sources of a closed loop that may have room for another request.
    pub ready: Vec<usize>,
    epoch: Instant,
}

impl<'a> Core<'a> {
    /// Nothing done yet.
    ///
    /// # Errors
    /// epoll cannot be opened.
    #[expect(clippy::disallowed_methods, reason = "latencies are those of the real clock")]
    pub fn new(spec: &'a Spec, population: &'a Population) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot open an epoll")?;
        Ok(Self { spec, population, poll, tally: Tally::default(), ready: Vec::new(), epoch: Instant::now() })
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// Sleeps until a socket is ready or one of these times has come. epoll counts in milliseconds, so the last one
    /// before a due send is spun.
    ///
    /// # Errors
    /// epoll fails.
    pub fn wait(&mut self, events: &mut Events, due: Option<Nanos>, others: [Option<Nanos>; 2]) -> anyhow::Result<()> {
        let now = self.now();
        let next = others.into_iter().chain([due]).flatten().filter(|at| *at > now).min();
        let wait = match due {
            Some(due) if due <= now => 0,
            _ => next.map_or(MAX_SLEEP, |at| (at - now).min(MAX_SLEEP)),
        };
        let timeout = match due {
            Some(_) => Duration::from_millis(wait / 1_000_000),
            None => Duration::from_nanos(wait),
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e).context("epoll failed"),
            _ => {}
        }
        if timeout.is_zero() && events.is_empty() {
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// One worker's sockets. Sources are named by their position among those of the worker.
pub trait Sockets<'a> {
    /// The common part.
    fn core(&mut self) -> &mut Core<'a>;
    /// The source's index among the sources of all workers; none beyond the last one.
    fn source(&self, source: usize) -> Option<u32>;
    /// Before a phase.
    ///
    /// # Errors
    /// epoll fails.
    fn prepare(&mut self) -> anyhow::Result<()>;
    /// Whether a closed loop may send from this source now. A source that has given up may not, if `may_give_up`.
    fn has_room(&mut self, source: usize, may_give_up: bool) -> bool;
    /// Sends a request, or lets it wait for its turn.
    fn submit(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos);
    /// Gives up requests that are too old, and looks after the connections while the phase still sends.
    fn maintain(&mut self, workload: &mut dyn Workload, now: Nanos, sending: bool);
    /// Something has happened on a socket.
    fn handle(&mut self, workload: &mut dyn Workload, event: &Event);
    /// Whether any request is under way or waiting.
    fn is_idle(&self) -> bool;
    /// When the oldest request will be given up.
    fn next_expiry(&self) -> Option<Nanos>;
}

/// Runs one phase to its end and until nothing is under way any more. `progress` counts answers.
fn run_phase<'a>(
    sockets: &mut (impl Sockets<'a> + ?Sized),
    workload: &mut dyn Workload,
    pace: Pace,
    worker: u32,
    progress: &AtomicU64,
) -> anyhow::Result<Tally> {
    sockets.core().tally = Tally::default();
    sockets.prepare()?;
    let start = sockets.core().now();
    sockets.core().tally = Tally::begin(start, SystemClock::start().now().wall_millis);
    let until = pace.duration().map(|duration| start + duration);
    let mut pacer = pace.pacer(sockets.core().spec, worker, start);
    let sources = (0..).take_while(|source| sockets.source(*source).is_some()).count();
    sockets.core().ready = if pacer.is_some() { Vec::new() } else { (0..sources).rev().collect() };
    let (mut events, mut seen, mut next_source, mut last_send) = (Events::with_capacity(1024), 0, 0, start);
    loop {
        let now = sockets.core().now();
        let sending = until.is_none_or(|until| now < until);
        sockets.maintain(workload, now, sending);
        let sent = sockets.core().tally.sent;
        if let Some(pacer) = &mut pacer {
            for _ in 0..BURST {
                let Some(due) = pacer.due(now) else { break };
                if sockets.core().now() > due + LATE {
                    sockets.core().tally.late += 1;
                }
                if let Some(job) = sockets.source(next_source).and_then(|index| workload.next(index)) {
                    sockets.submit(workload, next_source, job, due);
                }
                next_source = (next_source + 1) % sources;
            }
            sockets.core().ready.clear();
        } else if sending {
            while let Some(source) = sockets.core().ready.pop() {
                top_up(sockets, workload, source, until.is_none());
            }
        }
        if sockets.core().tally.sent > sent {
            last_send = now;
        }
        let due = pacer.as_ref().and_then(Pacer::next);
        if due.is_none() && sockets.is_idle() {
            break;
        }
        let expiry = sockets.next_expiry();
        sockets.core().wait(&mut events, due, [until, expiry])?;
        for event in &events {
            sockets.handle(workload, event);
        }
        let answers = sockets.core().tally.all_answers();
        progress.fetch_add(answers - seen, Relaxed);
        seen = answers;
    }
    let core = sockets.core();
    core.tally.elapsed = until.unwrap_or(last_send.max(start + 1)) - start;
    Ok(std::mem::take(&mut core.tally))
}

/// Closed loop: fills the window of a source.
fn top_up<'a>(
    sockets: &mut (impl Sockets<'a> + ?Sized),
    workload: &mut dyn Workload,
    source: usize,
    may_give_up: bool,
) {
    while sockets.has_room(source, may_give_up) {
        let Some(job) = sockets.source(source).and_then(|index| workload.next(index)) else { return };
        let now = sockets.core().now();
        sockets.submit(workload, source, job, now);
    }
}

/// The workers; their sockets outlive the phases.
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

/// Progress on the terminal: of a number of answers, or of a time.
pub struct Bar {
    bar: ProgressBar,
    time: Option<Duration>,
}

impl Bar {
    /// A bar towards a number of answers or a time; nothing is shown unless `show`.
    pub fn new(show: bool, name: &'static str, answers: Option<u64>, time: Option<Duration>) -> Self {
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
