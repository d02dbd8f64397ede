//! The trace of one announce.

use std::net::IpAddr;
use std::time::Duration;

use opentelemetry::trace::SpanKind;

use super::context::TraceContext;
use super::names::{RPC_SYSTEM_VALUE, key, span};
use super::span::{OpenSpan, Steps};
use super::{Inner, Traces};

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

/// What an announce says, as far as a trace tells of it.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceSummary<'a> {
    /// The swarm, of which only a prefix is told.
    pub info_hash: &'a [u8; 20],
    /// What happened.
    pub event: &'static str,
    /// Peers that are wanted.
    pub num_want: u16,
    /// The partition of the swarm.
    pub partition: u16,
}

/// Why an announce is traced that was not sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It took too long.
    Slow,
    /// It failed.
    Failed(&'static str),
}

/// The few times that are kept of a batch of announces that are not sampled, as uptimes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlightRecord {
    /// When it was received.
    pub received: Duration,
    /// When it was handed over to its owner or to another node.
    pub handed: Duration,
    /// When whoever answers began; zero if that is not known.
    pub began: Duration,
}

/// An announce that is traced: its span, and what happens below it one after the other.
#[derive(Debug)]
pub struct OpenTrace {
    /// The request to another node that lasts.
    call: Option<OpenSpan>,
    /// On their way before their parent, so that whoever has that has all.
    steps: Steps,
    root: OpenSpan,
}

impl OpenTrace {
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

    /// The same for somebody else, who goes on from now.
    pub fn lend(&mut self) -> Box<Steps> {
        self.steps.restart();
        Box::new(self.steps.beside())
    }

    /// Tells what was announced.
    pub fn says(&mut self, said: &AnnounceSummary<'_>) {
        describe(&mut self.root, said);
    }

    /// Tells how many peers are returned, and who answers: `local`, `remote` or `cache`.
    pub fn answers(&mut self, peers: usize, source: &'static str) {
        self.root.set(key::PEERS, peers as i64);
        self.root.set(key::SOURCE, source);
    }

    /// Begins a request to another node; what that one does is to hang on the context.
    pub fn call(&mut self, method: &'static str, node: String) -> TraceContext {
        let mut call = self.root.below(method, SpanKind::Client, self.steps.now());
        call.set(key::RPC_SYSTEM, RPC_SYSTEM_VALUE);
        call.set(key::RPC_METHOD, method);
        call.set(key::SERVER, node);
        let context = call.context();
        self.call = Some(call);
        context
    }

    /// Ends that request, with what went wrong.
    pub fn called(&mut self, error: Option<&'static str>) {
        if let Some(mut call) = self.call.take() {
            call.set(key::RPC_STATUS, error.unwrap_or("OK"));
            if let Some(error) = error {
                call.fail(error);
            }
            let now = self.steps.restart();
            call.end_at(now);
        }
    }

    /// Says that the announce failed. It lasts until it is dropped or finished.
    pub fn fail(&mut self, error: &'static str) {
        self.root.fail(error);
    }

    /// The announce is answered: ends everything now.
    pub fn finish(mut self) {
        self.called(None);
        let now = self.steps.now();
        self.finish_at(now);
    }

    /// It was answered at this uptime.
    pub fn finish_at(self, end: Duration) {
        drop(self.steps);
        self.root.end_at(end);
    }

    /// The announce is answered, and the last step was this.
    pub fn finish_with(mut self, step: &'static str) {
        let now = self.steps.now();
        self.steps.step_at(step, now);
        self.finish_at(now);
    }
}

fn describe(root: &mut OpenSpan, said: &AnnounceSummary<'_>) {
    root.set(key::INFO_HASH, hex::encode(&said.info_hash[..4]));
    root.set(key::EVENT, said.event);
    root.set(key::NUM_WANT, i64::from(said.num_want));
    root.set(key::PARTITION, i64::from(said.partition));
}

impl Traces {
    /// Makes spans of an announce that nobody looked at until it had proved to be slow or to fail, from the times of its
    /// batch. The caller has asked [`Traces::may_tell`]. `client` and `said` are missing where nobody knows them any more.
    pub fn afterwards(
        &self,
        record: FlightRecord,
        why: Why,
        transport: Transport,
        client: Option<IpAddr>,
        said: Option<&AnnounceSummary<'_>>,
        node: Option<String>,
    ) {
        let Some(inner) = &self.0 else { return };
        let now = inner.now();
        let mut trace = OpenTrace::at_frontend(inner, None, record.received, transport, client);
        match why {
            Why::Slow => trace.root.set(key::AFTERWARDS, "slow"),
            Why::Failed(error) => {
                trace.root.set(key::AFTERWARDS, "failed");
                trace.root.fail(error);
            }
        }
        if let Some(said) = said {
            trace.says(said);
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
                if let Why::Failed(error) = why {
                    call.fail(error);
                }
                call.end_at(now);
            }
        }
        trace.finish_at(now);
    }
}
