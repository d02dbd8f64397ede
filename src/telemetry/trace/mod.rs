//! Traces of single announces, of batches of changes, and of the cluster.
//!
//! An announce that is not sampled has no span: its batch keeps a few times ([`BatchTimes`]), from which spans are made
//! afterwards if it turns out slow or fails. One that is sampled carries a [`RequestTrace`].

mod announce;
mod context;
mod error_type;
mod export;
pub mod names;
mod options;
mod queue;
mod sample;
mod span;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use siphasher::sip::SipHasher13;

pub use announce::{AnnounceSummary, AnsweredFrom, BatchTimes, RequestTrace, Transport, Unsampled};
pub use context::{Parent, TRACEPARENT, TraceContext};
pub use error_type::ErrorType;
pub use export::TraceExport;
pub use options::{TraceError, TraceOptions};
pub use queue::SpanCounts;
pub use sample::Countdown;
pub use span::{OpenSpan, Steps};

use crate::clock::Clock;
use queue::Queue;
use sample::Limiter;

/// How often the wall clock is read again. In between, times advance with the uptime.
const ANCHOR: Duration = Duration::from_secs(60);
/// What the hash of clients' addresses is for, so that it has a key of its own.
const PURPOSE: &[u8] = b"tidings: client.address in traces";

/// Makes traces; cheap to clone. One that is off makes none, and reads neither the clock nor the random source.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

/// What all spans of a node need.
struct Inner {
    queue: Arc<Queue>,
    options: TraceOptions,
    clock: Arc<dyn Clock>,
    /// Microseconds since the Unix epoch when the uptime was zero, by the last look at the wall clock.
    anchor: AtomicU64,
    /// The uptime of that look, in seconds.
    anchored: AtomicU64,
    limiter: Limiter,
    /// Hashes clients' addresses.
    clients: SipHasher13,
    random: fn() -> u64,
}

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

    fn to(
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
        let mut root = OpenSpan::begin(inner, names::span::REPLICATE, SpanKind::Internal, None, made);
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
}

impl Inner {
    fn now(&self) -> Duration {
        self.clock.now().uptime
    }

    /// When the uptime was zero, since the Unix epoch.
    fn anchor(&self) -> Duration {
        Duration::from_micros(self.anchor.load(Relaxed))
    }

    fn anchor_at(&self, uptime: Duration) {
        let since = self.clock.started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.anchor.store(u64::try_from(since.as_micros()).unwrap_or_default(), Relaxed);
        self.anchored.store(uptime.as_secs(), Relaxed);
    }

    fn refresh_anchor(&self, uptime: Duration) {
        if uptime.as_secs().saturating_sub(self.anchored.load(Relaxed)) >= ANCHOR.as_secs() {
            self.anchor_at(uptime);
        }
    }

    fn new_trace(&self) -> TraceId {
        let (high, low) = ((self.random)(), (self.random)());
        // Zero is no id.
        TraceId::from(u128::from(high) << 64 | u128::from(low.max(1)))
    }

    fn new_span(&self) -> SpanId {
        SpanId::from((self.random)().max(1))
    }

    /// A pseudonym of a client's address: always the same, and of no use without the key.
    fn client(&self, address: IpAddr) -> String {
        let hash = match address {
            IpAddr::V4(address) => self.clients.hash(&address.octets()),
            IpAddr::V6(address) => self.clients.hash(&address.octets()),
        };
        format!("keyed-{hash:016x}")
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Traces(on)" } else { "Traces(off)" })
    }
}
