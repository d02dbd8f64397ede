//! Replies that are ready but wait until a replica has the change (`cluster.ack = "replica"`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answers::Answers;
use super::common::Common;
use super::partial_replies::PartialReplies;
use super::reply::{Answer, ReplyWriter, trace_slow};
use super::requests::AnnounceRequest;
use crate::cluster::NodeIndex;
use crate::net::outbox::Outbox;
use crate::partition::replication::OnAck;
use crate::swarm::{Counts, PartitionCount};
use crate::telemetry::trace::{AnsweredFrom, BatchTimes, Traces, names::span};

/// What replies need that leave later than their batch.
pub struct ReplyContext {
    /// Of the thread whose sockets received the announces.
    outbox: Arc<Outbox>,
    answers: Arc<Answers>,
    traces: Traces,
    partitions: PartitionCount,
    times: BatchTimes,
    /// Where replies to another node go.
    peer: Option<Arc<PartialReplies>>,
}

impl ReplyContext {
    /// For replies to announces with these times, which another node sent if there is a `peer`.
    pub fn new(common: &Common, outbox: &Arc<Outbox>, times: BatchTimes, peer: Option<&Arc<PartialReplies>>) -> Self {
        Self {
            outbox: outbox.clone(),
            answers: common.answers.clone(),
            traces: common.traces.clone(),
            partitions: common.partitions,
            times,
            peer: peer.cloned(),
        }
    }
}

/// Replies of one batch that wait for the same replica.
pub struct PendingReplies {
    context: ReplyContext,
    requests: Vec<AnnounceRequest>,
    answers: Vec<StoredAnswer>,
    /// The peers of all answers, one after the other.
    peers: Vec<u8>,
}

struct StoredAnswer {
    counts: Counts,
    interval: u32,
    /// Where its peers end.
    end: usize,
}

impl PendingReplies {
    fn new(context: ReplyContext) -> Self {
        Self { context, requests: Vec::new(), answers: Vec::new(), peers: Vec::new() }
    }

    fn push(&mut self, request: AnnounceRequest, answer: &Answer<'_>) {
        self.requests.push(request);
        self.peers.extend_from_slice(answer.peers);
        self.answers.push(StoredAnswer { counts: answer.counts, interval: answer.interval, end: self.peers.len() });
    }

    /// Sends the replies.
    pub fn release(self) {
        let Self { context, requests, answers, peers } = self;
        let ReplyContext { outbox, answers: counted, traces, partitions, times, peer } = context;
        trace_slow(&requests, times, counted.now(), &traces, partitions);
        let mut out = ReplyWriter::new(Some(&outbox));
        let mut start = 0;
        for (mut request, StoredAnswer { counts, interval, end }) in requests.into_iter().zip(answers) {
            if let Some(trace) = &mut request.trace {
                trace.steps().step(span::ACKNOWLEDGE);
            }
            let answer = Answer { counts, peers: &peers[start..end], interval, from: AnsweredFrom::Local };
            request.answer(&answer, &mut out);
            start = end;
        }
        out.finish(peer.as_deref(), times, &counted, &traces);
    }
}

/// The replies of a batch that wait, by the replica that they wait for.
#[derive(Default)]
pub struct PendingAcks {
    by_replica: BTreeMap<NodeIndex, PendingReplies>,
}

impl PendingAcks {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_replica.is_empty()
    }

    /// How many replicas are waited for.
    pub fn len(&self) -> usize {
        self.by_replica.len()
    }

    /// Lets the reply to a request wait for a replica. `context` is called for the first of each replica.
    pub fn push(
        &mut self,
        replica: NodeIndex,
        request: AnnounceRequest,
        answer: &Answer<'_>,
        context: impl FnOnce() -> ReplyContext,
    ) {
        self.by_replica.entry(replica).or_insert_with(|| PendingReplies::new(context())).push(request, answer);
    }

    /// What is to be called when a replica has acknowledged, if any reply waits for it.
    pub fn on_ack(&mut self, replica: NodeIndex) -> Option<OnAck> {
        let pending = self.by_replica.remove(&replica)?;
        Some(Box::new(move || pending.release()))
    }

    /// Sends everything that is left.
    pub fn release(self) {
        self.by_replica.into_values().for_each(PendingReplies::release);
    }
}
