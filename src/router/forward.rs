//! Announces on their way to another node: a batch is one request, and its replies go to the clients as they come. What is
//! not answered in time goes to the next node that holds its partition, and in the end is answered from what this node knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{ClusterRouting, Router, STALE_INTERVALS};
use crate::cluster::NodeIndex;
use crate::link::{Class, Completion, LinkError};
use crate::net::outbox::Outbox;
use crate::partition::{AnnounceRequest, Answer, ReplyTo, ReplyWriter, Route, Routes, jittered};
use crate::swarm::Source;
use crate::telemetry::trace::{AnsweredFrom, BatchTimes, ErrorType, Transport, Unsampled, names::span};
use crate::wire::peer::{Reply, Request, announces};

/// How many times the deadline of a node after its arrival an announce is given up.
const GIVEN_UP: u32 = 4;

/// Announces of one request to another node, and what is needed to answer them.
pub(super) struct Forwarding {
    router: Router,
    cluster: Arc<ClusterRouting>,
    /// By their position in the request; `None` once answered.
    requests: Vec<Option<AnnounceRequest>>,
    /// `None` if none came by UDP.
    outbox: Option<Arc<Outbox>>,
    /// When this node began to look for an answer.
    began: Duration,
    times: BatchTimes,
    /// Nodes that were asked.
    tried: Vec<NodeIndex>,
}

impl Forwarding {
    /// For a batch with these times; `None` on a node without a cluster.
    pub(super) fn new(
        router: &Router,
        requests: Vec<AnnounceRequest>,
        outbox: Option<Arc<Outbox>>,
        times: BatchTimes,
    ) -> Option<Self> {
        let cluster = router.cluster.clone()?;
        let began = cluster.clock.now().uptime;
        let requests = requests.into_iter().map(Some).collect();
        Some(Self { router: router.clone(), cluster, requests, outbox, began, times, tried: Vec::new() })
    }

    /// The rest of this batch for another node.
    fn continued(&self, requests: Vec<AnnounceRequest>) -> Self {
        Self {
            router: self.router.clone(),
            cluster: self.cluster.clone(),
            requests: requests.into_iter().map(Some).collect(),
            outbox: self.outbox.clone(),
            began: self.began,
            times: self.times,
            tried: self.tried.clone(),
        }
    }

    /// Sends it to a node.
    pub(super) fn send(mut self, routes: &Routes, node: NodeIndex) {
        let (Some(deadline), Some(peer)) = (self.cluster.time_left(self.began), routes.peer(node)) else {
            return self.answer_stale();
        };
        self.cluster.count_forwarded(node, self.requests.len(), !self.tried.is_empty());
        self.tried.push(node);

        let mut packed = announces::begin(self.cluster.sent(), self.requests.len());
        let mut spans = Vec::new();
        for (index, request) in self.requests.iter_mut().flatten().enumerate() {
            announces::push_announce(&mut packed, &request.announce);
            if let Some(trace) = &mut request.trace {
                let context = trace.begin_call(span::CALL_ANNOUNCES, peer.link.target().id.to_string());
                spans.push((index as u16, context));
            }
        }
        let request = Request::Announces(packed.into());
        peer.link.send_traced(Class::Request, &request, &spans, deadline, Box::new(self));
    }

    /// Sends what has no answer, because of `error`, to the nodes that hold it next.
    fn try_next(&mut self, error: ErrorType) {
        let mut left: Vec<AnnounceRequest> = self.requests.drain(..).flatten().collect();
        if left.is_empty() {
            return;
        }
        for trace in left.iter_mut().filter_map(|request| request.trace.as_mut()) {
            trace.end_call(Some(error));
        }
        let routes = self.cluster.routes.load();
        let NextHops { by_node, here, no_holder } = NextHops::choose(&self.router, &routes, left, &self.tried);
        self.router.send_to_owners(here, self.times);
        for (node, requests) in by_node {
            self.continued(requests).send(&routes, node);
        }
        if !no_holder.is_empty() {
            self.continued(no_holder).answer_stale();
        }
    }

    /// No node that holds the partitions can be reached: answers with what was last heard of their swarms, or what this
    /// node knows of them, and stores the announces here until the others are back.
    pub(super) fn answer_stale(mut self) {
        let now = self.cluster.clock.now().uptime;
        // This node was paused in the meantime: the client has asked elsewhere, and may have announced other things there.
        if now.saturating_sub(self.began) > self.cluster.deadline * GIVEN_UP {
            return;
        }
        let requests: Vec<AnnounceRequest> = self.requests.drain(..).flatten().collect();
        let interval = self.cluster.interval.saturating_mul(STALE_INTERVALS);
        let mut out = ReplyWriter::new(self.outbox.as_deref());
        let mut here = Vec::with_capacity(requests.len());
        for mut request in requests {
            self.cluster.metrics.last_resort.fetch_add(1, Relaxed);
            request.source = Source::Stale;
            self.trace_unsampled(&request, Unsampled::Failed(ErrorType::NoHolder), now);
            request.fail(ErrorType::NoHolder);

            let AnnounceRequest { announce, hash, .. } = request;
            let stale = self.cluster.stale.get(hash, announce.peer.family(), announce.num_want, now);
            let Some((counts, peers)) = stale else {
                here.push(request);
                continue;
            };
            let interval = jittered(interval, rand::random());
            request.answer(&Answer { counts, peers: &peers, interval, from: AnsweredFrom::Cache }, &mut out);
            let (source, reply_to, trace) = (Source::Stale, ReplyTo::Answered, None);
            here.push(AnnounceRequest { announce, hash, source, reply_to, trace });
        }
        out.finish(None, self.times, &self.cluster.answers, &self.cluster.traces);
        self.router.send_to_owners(here, self.times);
    }

    /// Answers those announces that a reply of the other node is for.
    fn answer(&mut self, bytes: &[u8]) {
        let now = self.cluster.clock.now().uptime;
        let slow = self.cluster.traces.is_slow(self.times.received, now);
        let mut out = ReplyWriter::new(self.outbox.as_deref());
        for reply in announces::replies(bytes).map_while(Result::ok) {
            let Some(mut request) = self.requests.get_mut(usize::from(reply.index)).and_then(Option::take) else {
                continue;
            };
            if slow {
                self.trace_unsampled(&request, Unsampled::Slow, now);
            }
            let family = request.announce.peer.family();
            self.cluster.stale.put(request.hash, family, &reply.counts, reply.peers, now);
            if let Some(trace) = &mut request.trace {
                trace.end_call(None);
            }
            let interval = jittered(self.cluster.interval, rand::random());
            let from = AnsweredFrom::Remote;
            request.answer(&Answer { counts: reply.counts, peers: reply.peers, interval, from }, &mut out);
        }
        if let Some(writer) = &mut out.udp {
            writer.promise_flush();
        }
        out.finish(None, self.times, &self.cluster.answers, &self.cluster.traces);
        if let Some(outbox) = &self.outbox {
            outbox.flush();
        }
    }

    /// Traces an announce by UDP that was not sampled but was slow or has failed, as far as the rate limit allows.
    fn trace_unsampled(&self, request: &AnnounceRequest, why: Unsampled, now: Duration) {
        let traces = &self.cluster.traces;
        // HTTP frontends do this by themselves.
        let by_udp = matches!(request.reply_to, ReplyTo::Udp(_));
        if request.trace.is_some() || !by_udp || !traces.allows_unsampled(now) {
            return;
        }
        let routes = self.cluster.routes.load();
        let node = self.tried.last().and_then(|node| routes.table.nodes().get(node.index()));
        let node = node.map(|node| node.id.to_string());
        let summary = request.summary(self.router.owners.partitions());
        traces.record_unsampled(self.times, why, Transport::Udp, request.client(), Some(&summary), node);
    }
}

/// Announces by the node that is asked next, those for this node's owners, and those that no node can be asked for.
#[derive(Default)]
struct NextHops {
    by_node: BTreeMap<NodeIndex, Vec<AnnounceRequest>>,
    here: Vec<AnnounceRequest>,
    no_holder: Vec<AnnounceRequest>,
}

impl NextHops {
    /// Chooses the next holder of each announce's partition, without the nodes that were tried.
    fn choose(
        router: &Router,
        routes: &Routes,
        requests: impl IntoIterator<Item = AnnounceRequest>,
        tried: &[NodeIndex],
    ) -> Self {
        let mut hops = Self::default();
        for mut request in requests {
            match routes.next(router.owners.partition(request.hash), tried) {
                Route::Here(source) => {
                    request.source = source;
                    hops.here.push(request);
                }
                Route::Node(node, _, source) => {
                    request.source = source;
                    hops.by_node.entry(node).or_default().push(request);
                }
                Route::NoHolder => hops.no_holder.push(request),
            }
        }
        hops
    }
}

impl Completion for Forwarding {
    fn reply(&mut self, reply: Reply, last: bool) {
        if let Reply::Announces(bytes) = &reply {
            self.answer(bytes);
        }
        if last {
            self.try_next(ErrorType::NotAnswered);
        }
    }

    fn failed(mut self: Box<Self>, error: LinkError) {
        self.try_next(ErrorType::Link(error.kind()));
    }
}
