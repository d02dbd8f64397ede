//! Spans that have ended and wait for their export. The threads that answer announces never wait here and only store small
//! records; the exporting thread makes the SDK's spans from them.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::context::TraceContext;
use super::names::SCOPE;

/// One or more spans that have ended.
pub(super) enum Record {
    /// A span with attributes and links.
    Span(Box<EndedSpan>),
    /// Spans that follow each other below one parent.
    Steps {
        /// See [`EndedSpan::anchor`].
        anchor: Duration,
        /// The span that they are below.
        parent: TraceContext,
        /// The spans.
        steps: Vec<Step>,
    },
    /// A span made by the macros of `tracing`.
    Sdk(Box<SpanData>),
}

/// A span that has ended.
pub(super) struct EndedSpan {
    pub context: TraceContext,
    /// The span that it is below, and whether that is on another node.
    pub parent: Option<(SpanId, bool)>,
    pub name: &'static str,
    pub kind: SpanKind,
    /// When the uptime was zero, since the Unix epoch: one for all spans of a trace, so that these lie within each other.
    pub anchor: Duration,
    /// Uptimes.
    pub start: Duration,
    pub end: Duration,
    pub attributes: Vec<KeyValue>,
    pub links: Vec<TraceContext>,
    pub error: Option<&'static str>,
}

/// A span that has only a name and two times.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub name: &'static str,
    pub span: SpanId,
    /// Uptimes.
    pub start: Duration,
    pub end: Duration,
}

impl Record {
    fn spans(&self) -> usize {
        match self {
            Self::Span(_) | Self::Sdk(_) => 1,
            Self::Steps { steps, .. } => steps.len(),
        }
    }

    /// Converts to spans of the SDK.
    pub(super) fn into_sdk(self, scope: &InstrumentationScope, out: &mut Vec<SpanData>) {
        match self {
            Self::Sdk(span) => out.push(*span),
            Self::Span(ended) => out.push(ended.into_sdk(scope)),
            Self::Steps { anchor, parent, steps } => out.extend(steps.into_iter().map(|step| {
                let context = TraceContext { trace: parent.trace, span: step.span };
                span(scope, context, Some((parent.span, false)), step.name, anchor, (step.start, step.end))
            })),
        }
    }
}

impl EndedSpan {
    fn into_sdk(self, scope: &InstrumentationScope) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = self.links.into_iter().map(|to| Link::with_context(to.of_sdk(true))).collect();
        SpanData {
            span_kind: self.kind,
            attributes: self.attributes,
            links,
            status: self.error.map_or(Status::Unset, Status::error),
            ..span(scope, self.context, self.parent, self.name, self.anchor, (self.start, self.end))
        }
    }
}

fn span(
    scope: &InstrumentationScope,
    context: TraceContext,
    parent: Option<(SpanId, bool)>,
    name: &'static str,
    anchor: Duration,
    (start, end): (Duration, Duration),
) -> SpanData {
    let at = |uptime| SystemTime::UNIX_EPOCH + anchor + uptime;
    SpanData {
        span_context: context.of_sdk(false),
        parent_span_id: parent.map_or(SpanId::INVALID, |(span, _)| span),
        parent_span_is_remote: parent.is_some_and(|(_, remote)| remote),
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: at(start),
        end_time: at(end.max(start)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

/// The instrumentation scope of all spans.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Spans by outcome, since the start.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// The collector has them.
    pub exported: AtomicU64,
    /// Dropped, as the queue was full.
    pub queue_full: AtomicU64,
    /// Dropped, as the collector did not take them.
    pub failed: AtomicU64,
    /// In the queue now.
    pub waiting: AtomicUsize,
}

/// The queue of spans, which has a bound.
pub(super) struct Queue {
    records: Mutex<Vec<Record>>,
    counts: SpanCounts,
    limit: usize,
    batch: usize,
    enough: Notify,
}

impl Queue {
    /// One for up to `limit` spans, of which `batch` are enough for an export; no more than half of what there is room for,
    /// as others come while these are taken.
    pub(super) fn new(limit: usize, batch: usize) -> Self {
        let (records, counts, enough) = Default::default();
        let batch = batch.min(limit.div_ceil(2));
        Self { records, counts, limit, batch, enough }
    }

    /// Takes spans, or drops and counts them.
    pub(super) fn push(&self, record: Record) {
        let spans = record.spans();
        let mut records = self.records.lock();
        // Only this function adds to it, under the lock.
        let before = self.counts.waiting.load(Relaxed);
        if before + spans > self.limit {
            self.counts.queue_full.fetch_add(spans as u64, Relaxed);
            return;
        }
        let before = self.counts.waiting.fetch_add(spans, Relaxed);
        records.push(record);
        drop(records);
        if before < self.batch && before + spans >= self.batch {
            self.enough.notify_one();
        }
    }

    /// Swaps all that waits for an empty list, whose memory is used again.
    pub(super) fn swap(&self, empty: &mut Vec<Record>) {
        std::mem::swap(&mut *self.records.lock(), empty);
    }

    /// Resolves when there is enough for an export.
    pub(super) async fn enough(&self) {
        while self.counts.waiting.load(Relaxed) < self.batch {
            self.enough.notified().await;
        }
    }

    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    pub(super) fn counts(&self) -> &SpanCounts {
        &self.counts
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("counts", &self.counts).finish_non_exhaustive()
    }
}
