//! The interface of the workers of both transports, and what they have in common.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::event::Event;
use mio::{Events, Poll};

use super::flights::Nanos;
use super::job::Job;
use super::population::Population;
use super::spec::Spec;
use super::tally::Tally;
use super::workload::Workload;

pub const SECOND: Nanos = 1_000_000_000;
/// A source that fails this often in a row stops sending in a phase that has no time limit.
pub const MAX_FAILURES: u32 = 50;
/// The most requests of an open loop that may wait in one source.
pub const MAX_WAITING: usize = 4096;
/// The longest sleep of a worker.
const MAX_SLEEP: Nanos = SECOND / 10;

/// The state of a worker that is independent of the transport.
pub struct Core<'a> {
    pub spec: &'a Spec,
    pub population: &'a Population,
    pub poll: Poll,
    /// Of the current phase.
    pub tally: Tally,
    /// Sources of a closed loop that may have room for another request.
    pub ready: Vec<usize>,
    epoch: Instant,
}

impl<'a> Core<'a> {
    /// # Errors
    /// epoll cannot be opened.
    #[expect(clippy::disallowed_methods, reason = "latencies are those of the real clock")]
    pub fn new(spec: &'a Spec, population: &'a Population) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot open an epoll")?;
        Ok(Self { spec, population, poll, tally: Tally::default(), ready: Vec::new(), epoch: Instant::now() })
    }

    pub fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// Sleeps until a socket is ready or one of these times is reached. epoll counts in milliseconds, so the last
    /// millisecond before a due send is spent spinning.
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

/// One worker's sockets. Sources are identified by their position among those of the worker.
pub trait Sockets<'a> {
    fn core(&mut self) -> &mut Core<'a>;
    /// The source's index among the sources of all workers; `None` beyond the last one.
    fn source(&self, source: usize) -> Option<u32>;
    /// Prepares for a phase.
    ///
    /// # Errors
    /// epoll fails.
    fn prepare(&mut self) -> anyhow::Result<()>;
    /// Whether a closed loop may send from this source now. A source that has given up may not, if `may_give_up`.
    fn has_room(&mut self, source: usize, may_give_up: bool) -> bool;
    /// Sends a request, or queues it.
    fn submit(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos);
    /// Expires late requests, and renews connections while the phase still sends.
    fn maintain(&mut self, workload: &mut dyn Workload, now: Nanos, sending: bool);
    /// Handles an event of a socket.
    fn handle(&mut self, workload: &mut dyn Workload, event: &Event);
    /// Whether any request is under way or waiting.
    fn is_idle(&self) -> bool;
    /// When the oldest request will expire.
    fn next_expiry(&self) -> Option<Nanos>;
}
