//! The trace of one announce.

use std::net::IpAddr;
use std::time::Duration;

use opentelemetry::trace::SpanKind;

use super::context::TraceContext;
use super::error_type::ErrorType;
use super::inner::Inner;
use super::names::{RPC_SYSTEM_VALUE, key, span};
use super::span::{OpenSpan, Steps};

/// How many attributes an announce has, most often.
const ATTRIBUTES: usize = 12;

/// How an announce came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By BEP 15.
    Udp,
    /// By BEP 3.
    Http,
}

/// What a trace shows of an announce.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceSummary<'a> {
    /// The swarm; only a prefix of it is exported.
    pub info_hash: &'a [u8; 20],
    /// What happened.
    pub event: &'static str,
    /// Peers that the client wants.
    pub num_want: u16,
    /// The partition of the swarm.
    pub partition: u16,
}

/// Where the answer to an announce came from: the attribute `tracker.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredFrom {
    /// An owner of this node.
    Local,
    /// Another node.
    Remote,
    /// The last answers of other nodes, as none of them could be reached.
    Cache,
}

impl AnsweredFrom {
    const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Cache => "cache",
        }
    }
}

/// Why an announce is traced that was not sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsampled {
    /// It took too long.
    Slow,
    /// It failed.
    Failed(ErrorType),
}

/// The uptimes that are kept of a batch of announces, for those that turn out slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTimes {
    /// When it was received.
    pub received: Duration,
    /// When it was sent to its owners or to other nodes.
    pub handed: Duration,
    /// When its owner began to work on it; zero if that is not known.
    pub began: Duration,
}

/// The trace of one request: its root span, and what happens below it, one step after the other.
#[derive(Debug)]
pub struct RequestTrace {
    /// The request to another node that is in flight.
    call: Option<OpenSpan>,
    /// Queued before their parent, so that whichever export has the parent has all of it.
    steps: Steps,
    root: OpenSpan,
}

impl RequestTrace {
    /// Begins at the frontend.
    pub(super) fn at_frontend(
        inner: &std::sync::Arc<Inner>,
        parent: Option<TraceContext>,
        received: Duration,
        transport: Transport,
        client: Option<IpAddr>,
    ) -> Self {
        let parent = parent.map(|parent| (parent, true));
        let mut root = OpenSpan::begin(inner, span::ANNOUNCE, SpanKind::Server, parent, received);
        root.reserve(ATTRIBUTES);
        let network = match transport {
            Transport::Udp => "udp",
            Transport::Http => "tcp",
        };
        root.set(key::NETWORK_TRANSPORT, network);
        if let Some(client) = client {
            root.set(key::NETWORK_TYPE, if client.is_ipv4() { "ipv4" } else { "ipv6" });
            root.set(key::CLIENT, inner.client(client));
        }
        if transport == Transport::Http {
            root.set(key::HTTP_METHOD, "GET");
            root.set(key::HTTP_ROUTE, "/announce");
            // Also for a failure, see the frontend.
            root.set(key::HTTP_STATUS, 200i64);
        }
        Self::of(root)
    }

    /// Below a request of another node.
    pub(super) fn at_server(inner: &std::sync::Arc<Inner>, method: &'static str, caller: TraceContext) -> Self {
        let mut root = OpenSpan::begin(inner, method, SpanKind::Server, Some((caller, true)), inner.now());
        root.set(key::RPC_SYSTEM, RPC_SYSTEM_VALUE);
        root.set(key::RPC_METHOD, method);
        Self::of(root)
    }

    /// A trace with calls to another node below it.
    pub(super) fn of(root: OpenSpan) -> Self {
        Self { call: None, steps: Steps::below(&root), root }
    }

    /// The context of its span.
    pub fn context(&self) -> TraceContext {
        self.root.context()
    }

    /// Its span.
    pub fn root(&mut self) -> &mut OpenSpan {
        &mut self.root
    }

    /// What happens below it.
    pub fn steps(&mut self) -> &mut Steps {
        &mut self.steps
    }

    /// Steps below the same span for another thread, from now on.
    pub fn lend(&mut self) -> Box<Steps> {
        self.steps.restart();
        Box::new(self.steps.beside())
    }

    /// Adds what was announced.
    pub fn describe(&mut self, summary: &AnnounceSummary<'_>) {
        describe(&mut self.root, summary);
    }

    /// Adds how many peers are returned, and from where.
    pub fn answered(&mut self, peers: usize, from: AnsweredFrom) {
        self.root.set(key::PEERS, peers as i64);
        self.root.set(key::SOURCE, from.label());
        if from == AnsweredFrom::Cache {
            self.root.set(key::STALE, true);
        }
    }

    /// Begins a request to another node. Returns the context that the other node continues.
    pub fn begin_call(&mut self, method: &'static str, node: String) -> TraceContext {
        let mut call = self.root.below(method, SpanKind::Client, self.steps.now());
        call.set(key::RPC_SYSTEM, RPC_SYSTEM_VALUE);
        call.set(key::RPC_METHOD, method);
        call.set(key::SERVER, node);
        let context = call.context();
        self.call = Some(call);
        context
    }

    /// Ends that request, with what went wrong.
    pub fn end_call(&mut self, error: Option<ErrorType>) {
        if let Some(mut call) = self.call.take() {
            call.set(key::RPC_STATUS, error.map_or("OK", ErrorType::label));
            if let Some(error) = error {
                call.fail(error);
            }
            let now = self.steps.restart();
            call.end_at(now);
        }
    }

    /// Marks the request as failed. It lasts until it is dropped or finished.
    pub fn fail(&mut self, error: ErrorType) {
        self.root.fail(error);
    }

    /// The request is answered: ends everything now.
    pub fn finish(mut self) {
        self.end_call(None);
        let now = self.steps.now();
        self.finish_at(now);
    }

    /// It was answered at this uptime.
    pub fn finish_at(self, end: Duration) {
        drop(self.steps);
        self.root.end_at(end);
    }

    /// The request is answered, and the last step was this one.
    pub fn finish_with(mut self, step: &'static str) {
        let now = self.steps.now();
        self.steps.step_at(step, now);
        self.finish_at(now);
    }
}

fn describe(root: &mut OpenSpan, summary: &AnnounceSummary<'_>) {
    root.set(key::INFO_HASH, hex::encode(&summary.info_hash[..4]));
    root.set(key::EVENT, summary.event);
    root.set(key::NUM_WANT, i64::from(summary.num_want));
    root.set(key::PARTITION, i64::from(summary.partition));
}

impl RequestTrace {
    /// See [`Traces::record_unsampled`](super::Traces::record_unsampled).
    pub(super) fn record_unsampled(
        inner: &std::sync::Arc<Inner>,
        record: BatchTimes,
        why: Unsampled,
        transport: Transport,
        client: Option<IpAddr>,
        summary: Option<&AnnounceSummary<'_>>,
        node: Option<String>,
    ) {
        let now = inner.now();
        let mut trace = Self::at_frontend(inner, None, record.received, transport, client);
        match why {
            Unsampled::Slow => trace.root.set(key::AFTERWARDS, "slow"),
            Unsampled::Failed(error) => {
                trace.root.set(key::AFTERWARDS, "failed");
                trace.root.fail(error);
            }
        }
        if let Some(summary) = summary {
            trace.describe(summary);
        }
        trace.steps.step_at(span::ADMIT, record.handed);
        if record.began > record.handed {
            trace.steps.step_at(span::QUEUE, record.began);
        }
        match node {
            None => _ = trace.steps.step_at(span::ANSWER, now),
            Some(node) => {
                let mut call = trace.root.below(span::CALL_ANNOUNCES, SpanKind::Client, record.handed);
                call.set(key::RPC_SYSTEM, RPC_SYSTEM_VALUE);
                call.set(key::RPC_METHOD, span::CALL_ANNOUNCES);
                call.set(key::SERVER, node);
                if let Unsampled::Failed(error) = why {
                    call.fail(error);
                }
                call.end_at(now);
            }
        }
        trace.finish_at(now);
    }
}
