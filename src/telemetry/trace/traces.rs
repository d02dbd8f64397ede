//! Decides what is traced, and starts its traces.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use siphasher::sip::SipHasher13;

use super::announce::{AnnounceSummary, BatchTimes, RequestTrace, Transport, Unsampled};
use super::context::{Parent, TraceContext};
use super::export::TraceExport;
use super::inner::Inner;
use super::names::span;
use super::options::TraceOptions;
use super::queue::{Queue, SpanCounts};
use super::sample::{Countdown, Limiter};
use super::span::OpenSpan;
use crate::clock::Clock;

/// What the hash of clients' addresses is for, so that it has a key of its own.
const PURPOSE: &[u8] = b"tidings: client.address in traces";

/// Makes traces; cheap to clone. One that is off makes none, and reads neither the clock nor the random source.
#[derive(Clone, Default)]
pub struct Traces(pub(super) Option<Arc<Inner>>);

impl Traces {
    /// Traces nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Traces of a node that go to this export. Addresses are hashed with a key derived from `secret`; `random` is uniform
    /// over all of `u64`.
    pub fn new(export: &TraceExport, clock: Arc<dyn Clock>, secret: &[u8; 16], random: fn() -> u64) -> Self {
        Self::to(export.queue.clone(), export.options.clone(), clock, secret, random)
    }

    pub(super) fn to(
        queue: Arc<Queue>,
        options: TraceOptions,
        clock: Arc<dyn Clock>,
        secret: &[u8; 16],
        random: fn() -> u64,
    ) -> Self {
        let key = SipHasher13::new_with_key(secret);
        let (first, second) = (key.hash(PURPOSE), key.hash(&[PURPOSE, b"2"].concat()));
        let inner = Inner {
            queue,
            limiter: Limiter::new(options.slow_per_second),
            options,
            anchor: AtomicU64::new(0),
            anchored: AtomicU64::new(0),
            clients: SipHasher13::new_with_keys(first, second),
            random,
            clock,
        };
        inner.anchor_at(inner.clock.now().uptime);
        Self(Some(Arc::new(inner)))
    }

    /// Whether anything is traced.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Samples the configured share of announces, at the cost of one subtraction each.
    pub fn countdown(&self) -> Countdown {
        match &self.0 {
            None => Countdown::never(),
            Some(inner) => Countdown::new(inner.options.ratio, inner.random),
        }
    }

    /// Samples the same share where there is no state for a countdown.
    pub fn sample(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            let ratio = inner.options.ratio;
            ratio >= 1.0 || (ratio > 0.0 && ((inner.random)() as f64) < ratio * 2f64.powi(64))
        })
    }

    /// Whether there is any client whose traceparent is honoured.
    #[inline]
    pub fn has_probes(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| !inner.options.probes.is_empty())
    }

    /// Whether the traceparent of this client, with its canonical address, is honoured.
    pub fn trusts(&self, client: IpAddr) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.options.probes.iter().any(|probes| probes.contains(&client)))
    }

    /// Starts the trace of an announce that was received at this uptime, if it is sampled: by this node (`chosen`), or by a
    /// trusted probe that says so in `parent`.
    pub fn start_announce(
        &self,
        chosen: bool,
        parent: Option<Parent>,
        received: Duration,
        transport: Transport,
        client: IpAddr,
    ) -> Option<Box<RequestTrace>> {
        let inner = self.0.as_ref()?;
        let traced = match parent {
            Some(parent) if inner.options.follow_parent => parent.sampled,
            _ => chosen,
        };
        if !traced {
            return None;
        }
        inner.refresh_anchor(received);
        let parent = parent.filter(|parent| parent.sampled).map(|parent| parent.context);
        Some(Box::new(RequestTrace::at_frontend(inner, parent, received, transport, Some(client))))
    }

    /// Starts the server span of a request that another node traces.
    pub fn start_server(&self, method: &'static str, caller: TraceContext) -> Option<Box<RequestTrace>> {
        let inner = self.0.as_ref()?;
        Some(Box::new(RequestTrace::at_server(inner, method, caller)))
    }

    /// Starts the trace of a batch of changes made at this uptime, with links to the spans that made them.
    pub fn start_batch(&self, made: Duration, of: &[TraceContext]) -> Option<Box<RequestTrace>> {
        let inner = self.0.as_ref().filter(|_| !of.is_empty())?;
        let mut root = OpenSpan::begin(inner, span::REPLICATE, SpanKind::Internal, None, made);
        of.iter().for_each(|of| root.link(*of));
        Some(Box::new(RequestTrace::of(root)))
    }

    /// Whether something that was received at one uptime and answered at another is slow.
    #[inline]
    pub fn is_slow(&self, received: Duration, answered: Duration) -> bool {
        self.0.as_ref().is_some_and(|inner| answered.saturating_sub(received) >= inner.options.slow)
    }

    /// Whether the rate limit allows one more unsampled announce to be traced, at this uptime.
    pub fn allows_unsampled(&self, now: Duration) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.limiter.allow(now))
    }

    /// The uptime, for [`BatchTimes`]; zero if nothing is traced.
    #[inline]
    pub fn now(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |inner| inner.now())
    }

    /// Counts of spans by outcome, and how many may wait; `None` if nothing is traced.
    pub fn counts(&self) -> Option<(&SpanCounts, usize)> {
        self.0.as_ref().map(|inner| (inner.queue.counts(), inner.queue.limit()))
    }

    /// Makes the spans of an announce that was not sampled but turned out slow or failed, from the times of its batch. The
    /// caller has asked [`Traces::allows_unsampled`]. `client` and `summary` are `None` where they are no longer known.
    pub fn record_unsampled(
        &self,
        record: BatchTimes,
        why: Unsampled,
        transport: Transport,
        client: Option<IpAddr>,
        summary: Option<&AnnounceSummary<'_>>,
        node: Option<String>,
    ) {
        if let Some(inner) = &self.0 {
            RequestTrace::record_unsampled(inner, record, why, transport, client, summary, node);
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Traces(on)" } else { "Traces(off)" })
    }
}
