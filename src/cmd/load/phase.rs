//! The loop of a worker through one phase: send due requests, receive answers, expire late requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mio::Events;

use super::flights::Nanos;
use super::pacer::{LATE, Pacer};
use super::sockets::Sockets;
use super::spec::Spec;
use super::tally::Tally;
use super::workload::Workload;
use crate::clock::{Clock, SystemClock};

/// The most sends of an open loop between two polls of the sockets.
const BURST: usize = 64;

/// When a phase sends, and when it ends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as requests are answered, until the workload has no more.
    All,
    /// As fast as requests are answered, for a time.
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

/// Runs one phase to its end, and until no request is under way. `progress` counts answers.
pub fn run_phase<'a>(
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
