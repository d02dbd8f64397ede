//! Spans whose times come from the node's own clock and whose place in a trace is known before they end.
//!
//! They are not made by the SDK's builder, which no longer takes an id: other nodes need the id of a span while it lasts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry::{KeyValue, Value};

use super::context::TraceContext;
use super::error_type::ErrorType;
use super::inner::Inner;
use super::names::key;
use super::queue::{EndedSpan, Record, Step};

/// How many steps most announces have.
const STEPS: usize = 4;

/// A span that has not ended. Dropping it ends it as failed, so that no other span is left without its parent.
pub struct OpenSpan {
    inner: Arc<Inner>,
    context: TraceContext,
    parent: Option<(SpanId, bool)>,
    name: &'static str,
    kind: SpanKind,
    /// See [`EndedSpan::anchor`].
    anchor: Duration,
    start: Duration,
    attributes: Vec<KeyValue>,
    links: Vec<TraceContext>,
    error: Option<ErrorType>,
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
            anchor: inner.anchor(),
            start,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
            ended: false,
        }
    }

    /// Begins a span below this one, on the same node.
    pub(super) fn below(&self, name: &'static str, kind: SpanKind, start: Duration) -> Self {
        let mut below = Self::begin(&self.inner, name, kind, Some((self.context, false)), start);
        below.anchor = self.anchor;
        below
    }

    /// Reserves room for more attributes.
    pub(super) fn reserve(&mut self, attributes: usize) {
        self.attributes.reserve(attributes);
    }

    /// What spans below it, here or on other nodes, refer to.
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

    /// Marks it as failed. The first reason stays.
    pub fn fail(&mut self, error: ErrorType) {
        self.error.get_or_insert(error);
    }

    /// Ends it at an uptime.
    pub fn end_at(mut self, end: Duration) {
        self.export(end);
    }

    fn export(&mut self, end: Duration) {
        self.ended = true;
        if let Some(error) = self.error {
            self.set(key::ERROR, error.label());
        }
        self.inner.queue.push(Record::Span(Box::new(EndedSpan {
            context: self.context,
            parent: self.parent,
            name: self.name,
            kind: std::mem::replace(&mut self.kind, SpanKind::Internal),
            anchor: self.anchor,
            start: self.start,
            end,
            attributes: std::mem::take(&mut self.attributes),
            links: std::mem::take(&mut self.links),
            error: self.error.map(ErrorType::label),
        })));
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.fail(ErrorType::Lost);
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
pub struct Steps {
    inner: Arc<Inner>,
    parent: TraceContext,
    anchor: Duration,
    mark: Duration,
    ended: Vec<Step>,
}

impl Steps {
    pub(super) fn below(span: &OpenSpan) -> Self {
        let (inner, parent, anchor, mark) = (span.inner.clone(), span.context, span.anchor, span.start);
        Self { inner, parent, anchor, mark, ended: Vec::new() }
    }

    /// Steps below the same parent for another thread.
    pub fn beside(&self) -> Self {
        let Self { inner, parent, anchor, mark, .. } = self;
        Self { inner: inner.clone(), parent: *parent, anchor: *anchor, mark: *mark, ended: Vec::new() }
    }

    /// Ends a step now, and returns its context.
    pub fn step(&mut self, name: &'static str) -> TraceContext {
        let now = self.inner.now();
        self.step_at(name, now)
    }

    /// Ends a step now if it has lasted so long. Otherwise the next one begins now.
    pub fn step_if(&mut self, name: &'static str, lasted: Duration) {
        let now = self.inner.now();
        if now.saturating_sub(self.mark) >= lasted {
            self.step_at(name, now);
        }
        self.mark = now;
    }

    /// Ends a step at an uptime.
    pub fn step_at(&mut self, name: &'static str, end: Duration) -> TraceContext {
        let context = TraceContext { trace: self.parent.trace, span: self.inner.new_span() };
        if self.ended.capacity() == 0 {
            self.ended.reserve_exact(STEPS);
        }
        self.ended.push(Step { name, span: context.span, start: self.mark, end });
        self.mark = end.max(self.mark);
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

/// They go to the collector together.
impl Drop for Steps {
    fn drop(&mut self) {
        let steps = std::mem::take(&mut self.ended);
        if !steps.is_empty() {
            self.inner.queue.push(Record::Steps { anchor: self.anchor, parent: self.parent, steps });
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("parent", &self.parent).finish_non_exhaustive()
    }
}
