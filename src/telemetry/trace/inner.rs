//! What all spans of a node share: its clock, its ids, and the queue that they go to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};
use siphasher::sip::SipHasher13;

use super::options::TraceOptions;
use super::queue::Queue;
use super::sample::Limiter;
use crate::clock::Clock;

/// How often the wall clock is read again. In between, times advance with the uptime.
const ANCHOR: Duration = Duration::from_secs(60);

/// What all spans of a node need.
pub(super) struct Inner {
    pub(super) queue: Arc<Queue>,
    pub(super) options: TraceOptions,
    pub(super) clock: Arc<dyn Clock>,
    /// Microseconds since the Unix epoch when the uptime was zero, by the last look at the wall clock.
    pub(super) anchor: AtomicU64,
    /// The uptime of that look, in seconds.
    pub(super) anchored: AtomicU64,
    pub(super) limiter: Limiter,
    /// Hashes clients' addresses.
    pub(super) clients: SipHasher13,
    pub(super) random: fn() -> u64,
}

impl Inner {
    pub(super) fn now(&self) -> Duration {
        self.clock.now().uptime
    }

    /// When the uptime was zero, since the Unix epoch.
    pub(super) fn anchor(&self) -> Duration {
        Duration::from_micros(self.anchor.load(Relaxed))
    }

    pub(super) fn anchor_at(&self, uptime: Duration) {
        let since = self.clock.started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.anchor.store(u64::try_from(since.as_micros()).unwrap_or_default(), Relaxed);
        self.anchored.store(uptime.as_secs(), Relaxed);
    }

    pub(super) fn refresh_anchor(&self, uptime: Duration) {
        if uptime.as_secs().saturating_sub(self.anchored.load(Relaxed)) >= ANCHOR.as_secs() {
            self.anchor_at(uptime);
        }
    }

    pub(super) fn new_trace(&self) -> TraceId {
        let (high, low) = ((self.random)(), (self.random)());
        // Zero is no id.
        TraceId::from(u128::from(high) << 64 | u128::from(low.max(1)))
    }

    pub(super) fn new_span(&self) -> SpanId {
        SpanId::from((self.random)().max(1))
    }

    /// A pseudonym of a client's address: always the same, and of no use without the key.
    pub(super) fn client(&self, address: IpAddr) -> String {
        let hash = match address {
            IpAddr::V4(address) => self.clients.hash(&address.octets()),
            IpAddr::V6(address) => self.clients.hash(&address.octets()),
        };
        format!("keyed-{hash:016x}")
    }
}
