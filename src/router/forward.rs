//! Announces that came by UDP on their way to another node: a batch is one request, and its replies go to the clients as
//! they come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{ClusterRouting, NO_HOLDER, Router, STALE_INTERVALS};
use crate::cluster::NodeIndex;
use crate::link::{Class, Completion, LinkError};
use crate::net::outbox::Outbox;
use crate::partition::{Route, Routes, Tally, UdpAnnounce, jittered, traced};
use crate::swarm::Source;
use crate::telemetry::trace::{FlightRecord, Transport, Why, names::key, names::span};
use crate::wire::peer::{Reply, Request};
use crate::wire::{peer::announces as routed, udp};

/// How many times the deadline of a node after its begin a request is no longer worth an answer.
const FORGOTTEN: u32 = 4;

impl Router {
    /// Sends announces to the node at this position of the table; those for the position after the last go to nobody.
    pub(super) fn forward(
        &self,
        node: usize,
        announces: Vec<UdpAnnounce>,
        routes: &Routes,
        outbox: &Arc<Outbox>,
        record: FlightRecord,
    ) {
        let Some(cluster) = &self.cluster else { return };
        let began = cluster.clock.now().uptime;
        let flight = Flight::new(self, cluster, announces, outbox, began, record);
        match routes.table.indexes().nth(node) {
            Some(node) => flight.send(routes, node),
            None => flight.last_resort(),
        }
    }
}

/// Announces of one request, and what is needed to answer them.
struct Flight {
    router: Router,
    cluster: Arc<ClusterRouting>,
    /// Those without an answer yet are `Some`.
    announces: Vec<Option<UdpAnnounce>>,
    outbox: Arc<Outbox>,
    /// When the clients' requests came in.
    began: Duration,
    /// The times of their batch.
    record: FlightRecord,
    /// Nodes that were asked.
    tried: Vec<NodeIndex>,
}

impl Flight {
    fn new(
        router: &Router,
        cluster: &Arc<ClusterRouting>,
        announces: Vec<UdpAnnounce>,
        outbox: &Arc<Outbox>,
        began: Duration,
        record: FlightRecord,
    ) -> Self {
        let announces = announces.into_iter().map(Some).collect();
        let (router, cluster, outbox) = (router.clone(), cluster.clone(), outbox.clone());
        Self { router, cluster, announces, outbox, began, record, tried: Vec::new() }
    }

    fn send(mut self, routes: &Routes, node: NodeIndex) {
        let (Some(deadline), Some(peer)) = (self.cluster.time_left(self.began), routes.peer(node)) else {
            return self.last_resort();
        };
        self.cluster.count_forwarded(node, self.announces.len(), !self.tried.is_empty());
        self.tried.push(node);
        let mut packed = routed::begin(self.cluster.sent(), self.announces.len());
        let mut spans = Vec::new();
        for (index, request) in self.announces.iter_mut().flatten().enumerate() {
            routed::push_announce(&mut packed, &request.announce);
            if let Some(trace) = &mut request.trace {
                spans.push((index as u16, trace.call(span::CALL_ANNOUNCES, peer.link.target().id.to_string())));
            }
        }
        let request = Request::Announces(packed.into());
        peer.link.send_traced(Class::Request, &request, &spans, deadline, Box::new(self));
    }

    /// Sends what has no answer to those who hold it next. `error` is why it has none.
    fn next(&mut self, error: &'static str) {
        let left: Vec<UdpAnnounce> = self.announces.drain(..).flatten().collect();
        if left.is_empty() {
            return;
        }
        let routes = self.cluster.routes.load();
        let mut by_node: BTreeMap<Option<NodeIndex>, Vec<UdpAnnounce>> = BTreeMap::new();
        let mut here = Vec::new();
        for mut request in left {
            request.trace.iter_mut().for_each(|trace| trace.called(Some(error)));
            match routes.next(self.router.owners.partition(request.hash), &self.tried) {
                Route::Here(source) => {
                    request.source = source;
                    here.push(request);
                }
                Route::Node(node, _, source) => {
                    request.source = source;
                    by_node.entry(Some(node)).or_default().push(request);
                }
                Route::Nobody => by_node.entry(None).or_default().push(request),
            }
        }
        self.to_owners(here);
        for (node, announces) in by_node {
            let mut flight = Self::new(&self.router, &self.cluster, announces, &self.outbox, self.began, self.record);
            flight.tried.clone_from(&self.tried);
            match node {
                Some(node) => flight.send(&routes, node),
                None => flight.last_resort(),
            }
        }
    }

    /// Nobody who holds them can be reached: clients are told what was last heard or what is known here, and the announces
    /// are kept here until the others are back.
    fn last_resort(mut self) {
        let mut here = Vec::new();
        let now = self.cluster.clock.now().uptime;
        // This node stood still meanwhile: the client has long gone elsewhere, and has perhaps said other things there.
        if now.saturating_sub(self.began) > self.cluster.deadline * FORGOTTEN {
            return;
        }
        let interval = self.cluster.interval.saturating_mul(STALE_INTERVALS);
        let left: Vec<UdpAnnounce> = self.announces.drain(..).flatten().collect();
        let mut tally = Tally::default();
        let mut writer = self.outbox.writer();
        for mut request in left {
            self.cluster.metrics.last_resort.fetch_add(1, Relaxed);
            request.source = Source::Stale;
            self.tell(&mut request, Why::Failed(NO_HOLDER), now);
            let announce = &request.announce;
            let stale = self.cluster.stale.get(request.hash, announce.peer.family(), announce.num_want, now);
            if let Some((counts, peers)) = stale {
                writer.reply(request.socket, &request.to, |out| {
                    udp::write_announce(out, request.transaction_id, jittered(interval, rand::random()), &counts);
                    out.extend_from_slice(&peers);
                });
                request.answered = true;
                tally.add(announce.peer.family(), Source::Stale);
                if let Some(mut trace) = request.trace.take() {
                    trace.root().set(key::STALE, true);
                    trace.answers(peers.len() / announce.peer.family().stride(), "cache");
                    writer.traced(trace);
                }
            }
            here.push(request);
        }
        writer.finish();
        self.cluster.answers.udp(&tally, self.record.received, now);
        self.to_owners(here);
    }

    fn to_owners(&self, announces: Vec<UdpAnnounce>) {
        let owners = self.router.owners.load();
        let mut lists: Vec<Vec<UdpAnnounce>> = Vec::new();
        lists.resize_with(owners.len(), Vec::new);
        for request in announces {
            if let Some(list) = lists.get_mut(self.router.owners.place(request.hash, owners.len())) {
                list.push(request);
            }
        }
        for (owner, list) in owners.iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
            self.router.hand_to_owner(owner, list, self.record);
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        let now = self.cluster.clock.now().uptime;
        let slow = self.cluster.traces.is_slow(self.record.received, now);
        let mut tally = Tally::default();
        let mut writer = self.outbox.writer();
        for reply in routed::replies(bytes).map_while(Result::ok) {
            let Some(mut request) = self.announces.get_mut(usize::from(reply.index)).and_then(Option::take) else {
                continue;
            };
            let interval = jittered(self.cluster.interval, rand::random());
            writer.reply(request.socket, &request.to, |out| {
                udp::write_announce(out, request.transaction_id, interval, &reply.counts);
                out.extend_from_slice(reply.peers);
            });
            let family = request.announce.peer.family();
            tally.add(family, request.source);
            self.cluster.stale.put(request.hash, family, &reply.counts, reply.peers, now);
            if let Some(mut trace) = request.trace.take() {
                trace.called(None);
                trace.answers(reply.peers.len() / family.stride(), "remote");
                writer.traced(trace);
            } else if slow {
                self.tell(&mut request, Why::Slow, now);
            }
        }
        drop(writer);
        self.outbox.flush();
        self.cluster.answers.udp(&tally, self.record.received, now);
    }
}

impl Flight {
    /// Tells of an announce that was slow or has failed.
    fn tell(&self, request: &mut UdpAnnounce, why: Why, now: Duration) {
        let traces = &self.cluster.traces;
        match (&mut request.trace, why) {
            (Some(trace), Why::Failed(error)) => trace.fail(error),
            (Some(_), Why::Slow) => {}
            (None, _) if traces.may_tell(now) => {
                let said = traced::said(&request.announce, self.router.owners.partition(request.hash));
                let routes = self.cluster.routes.load();
                let node = self.tried.last().and_then(|at| routes.table.nodes().get(at.index()));
                let (client, node) = (traced::client(&request.to), node.map(|node| node.id.to_string()));
                traces.afterwards(self.record, why, Transport::Udp, client, Some(&said), node);
            }
            (None, _) => {}
        }
    }
}

impl Completion for Flight {
    fn reply(&mut self, reply: Reply, last: bool) {
        if let Reply::Announces(bytes) = &reply {
            self.answer(bytes);
        }
        if last {
            self.next("not_answered");
        }
    }

    fn failed(mut self: Box<Self>, error: LinkError) {
        self.next(error.kind());
    }
}
