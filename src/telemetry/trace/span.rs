//! Spans whose times come from the node's own clock and whose place in a trace is known before they end.
//!
//! They are put together as the SDK's `SpanData` at their end, as its builder can no longer be told an id: that of a span is
//! needed while it lasts, by the other nodes that work for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Inner;
use super::context::TraceContext;
use super::names::key;

/// Why a span ended that nobody ended: a request was dropped on its way.
const LOST: &str = "lost";

/// A span that lasts. One that is dropped ends there and then, as failed: no other span is left without its parent.
pub struct OpenSpan {
    inner: Arc<Inner>,
    context: TraceContext,
    parent: Option<(SpanId, bool)>,
    name: &'static str,
    kind: SpanKind,
    start: Duration,
    attributes: Vec<KeyValue>,
    links: Vec<TraceContext>,
    error: Option<&'static str>,
    ended: bool,
}

impl OpenSpan {
    /// Begins a span at an uptime: of its own trace, or below another span, which may be on another node.
    pub(super) fn begin(
        inner: &Arc<Inner>,
        name: &'static str,
        kind: SpanKind,
        parent: Option<(TraceContext, bool)>,
        start: Duration,
    ) -> Self {
        let trace = parent.map_or_else(|| inner.new_trace(), |(parent, _)| parent.trace);
        Self {
            inner: inner.clone(),
            context: TraceContext { trace, span: inner.new_span() },
            parent: parent.map(|(parent, remote)| (parent.span, remote)),
            name,
            kind,
            start,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
            ended: false,
        }
    }

    /// What others hang their spans on.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// Adds a link to a span of another trace.
    pub fn link(&mut self, to: TraceContext) {
        self.links.push(to);
    }

    /// Says that it failed, and why. The first reason stays.
    pub fn fail(&mut self, error: &'static str) {
        self.error.get_or_insert(error);
    }

    /// Ends it now.
    pub fn end(self) {
        let now = self.inner.now();
        self.end_at(now);
    }

    /// Ends it at an uptime.
    pub fn end_at(mut self, end: Duration) {
        self.export(end);
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    fn export(&mut self, end: Duration) {
        self.ended = true;
        let mut attributes = std::mem::take(&mut self.attributes);
        let status = match self.error {
            None => Status::Unset,
            Some(error) => {
                attributes.push(KeyValue::new(key::ERROR, error));
                Status::error(error)
            }
        };
        let mut links = SpanLinks::default();
        links.links = self.links.drain(..).map(|to| Link::with_context(to.of_sdk(true))).collect();
        let data = SpanData {
            span_context: self.context.of_sdk(false),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |(span, _)| span),
            parent_span_is_remote: self.parent.is_some_and(|(_, remote)| remote),
            span_kind: std::mem::replace(&mut self.kind, SpanKind::Internal),
            name: self.name.into(),
            start_time: self.inner.at(self.start),
            end_time: self.inner.at(end.max(self.start)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: self.inner.scope.clone(),
        };
        self.inner.sink.take(data);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.fail(LOST);
            let now = self.inner.now();
            self.export(now);
        }
    }
}

impl fmt::Debug for OpenSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSpan").field("name", &self.name).field("context", &self.context).finish_non_exhaustive()
    }
}

/// Spans that follow each other below one parent: each begins where the one before ended.
#[derive(Clone)]
pub struct Steps {
    inner: Arc<Inner>,
    parent: TraceContext,
    mark: Duration,
}

impl Steps {
    pub(super) fn below(span: &OpenSpan) -> Self {
        Self { inner: span.inner.clone(), parent: span.context, mark: span.start }
    }

    /// Ends a step now, and returns its context.
    pub fn step(&mut self, name: &'static str) -> TraceContext {
        let now = self.inner.now();
        self.step_at(name, now)
    }

    /// Ends a step at an uptime.
    pub fn step_at(&mut self, name: &'static str, end: Duration) -> TraceContext {
        let span = OpenSpan::begin(&self.inner, name, SpanKind::Internal, Some((self.parent, false)), self.mark);
        let context = span.context();
        self.mark = end.max(self.mark);
        span.end_at(end);
        context
    }

    /// The next step begins now. Returns the uptime.
    pub fn restart(&mut self) -> Duration {
        self.mark = self.inner.now();
        self.mark
    }

    /// Reads the clock.
    pub fn now(&self) -> Duration {
        self.inner.now()
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("parent", &self.parent).finish_non_exhaustive()
    }
}
