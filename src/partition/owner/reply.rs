//! Writing replies to announces, wherever they go.

use std::time::Duration;

use super::answers::{Answers, Tally};
use super::partial_replies::PartialReplies;
use super::requests::{AnnounceRequest, ReplyTo};
use crate::net::outbox::{Outbox, Writer};
use crate::swarm::{AnnounceReply, Counts, PartitionCount, PeerList};
use crate::telemetry::trace::{AnsweredFrom, BatchTimes, RequestTrace, Traces, Transport, Unsampled};
use crate::wire::peer::{Reply, announces};
use crate::wire::udp;

/// The answer to an announce.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The swarm's counts.
    pub counts: Counts,
    /// Peers in the compact form of the announce's family.
    pub peers: &'a [u8],
    /// The interval for UDP clients, in seconds, jitter included.
    pub interval: u32,
    /// Where it comes from.
    pub from: AnsweredFrom,
}

/// Writes the replies of a batch: datagrams into an outbox, those for another node into one message. Nothing is sent
/// before [`ReplyWriter::finish`].
pub struct ReplyWriter<'a> {
    /// `None` if no announce of the batch came by UDP.
    pub udp: Option<Writer<'a>>,
    /// Announces answered by UDP.
    pub tally: Tally,
    part: Vec<u8>,
    /// Traces of the replies in `part`.
    #[expect(clippy::vec_box, reason = "they come in boxes, and are far larger than a reply")]
    part_traces: Vec<Box<RequestTrace>>,
}

impl<'a> ReplyWriter<'a> {
    /// A writer into this outbox, which it locks.
    pub fn new(outbox: Option<&'a Outbox>) -> Self {
        let udp = outbox.map(Outbox::writer);
        Self { udp, tally: Tally::default(), part: Vec::new(), part_traces: Vec::new() }
    }

    /// Sends what was written: the datagrams with the outbox's next flush, the rest now.
    pub fn finish(self, peer: Option<&PartialReplies>, times: BatchTimes, answers: &Answers, traces: &Traces) {
        if let Some(writer) = self.udp {
            writer.finish();
        }
        answers.udp(&self.tally, times.received, answers.now());
        if let Some(replies) = peer {
            // Read before the other node can have the reply, so that its span encloses this one.
            let end = traces.now();
            replies.send(&Reply::Announces(self.part.into()));
            self.part_traces.into_iter().for_each(|trace| trace.finish_at(end));
        }
    }
}

impl AnnounceRequest {
    /// Writes its reply.
    pub fn answer(self, answer: &Answer<'_>, out: &mut ReplyWriter<'_>) {
        let Self { announce, source, reply_to, mut trace, .. } = self;
        let family = announce.peer.family();
        if let Some(trace) = &mut trace {
            trace.answered(answer.peers.len() / family.stride(), answer.from);
        }
        match reply_to {
            ReplyTo::Udp(client) => {
                let Some(writer) = &mut out.udp else { return };
                writer.reply(client.socket, &client.endpoint, |out| {
                    udp::write_announce(out, client.transaction_id, answer.interval, &answer.counts);
                    out.extend_from_slice(answer.peers);
                });
                out.tally.add(family, source);
                if let Some(trace) = trace {
                    writer.traced(trace);
                }
            }
            ReplyTo::Peer(index) => {
                announces::push_reply(&mut out.part, index, &answer.counts, |out| {
                    out.extend_from_slice(answer.peers);
                });
                out.part_traces.extend(trace);
            }
            ReplyTo::Http(waiting) => {
                let peers = PeerList { family, compact: answer.peers.to_vec() };
                let stale = answer.from == AnsweredFrom::Cache;
                let reply = AnnounceReply { counts: answer.counts, peers, source, stale };
                // The client may have gone; its trace then ends here, as lost.
                let _ = waiting.send((reply, trace));
            }
            ReplyTo::Answered => {}
        }
    }
}

/// Traces those announces of a batch that were slow and not sampled, as far as the rate limit allows.
pub fn trace_slow(
    requests: &[AnnounceRequest],
    times: BatchTimes,
    answered: Duration,
    traces: &Traces,
    partitions: PartitionCount,
) {
    if !traces.is_slow(times.received, answered) {
        return;
    }
    for request in requests.iter().filter(|request| request.trace.is_none()) {
        if !matches!(request.reply_to, ReplyTo::Udp(_)) {
            continue;
        }
        if !traces.allows_unsampled(answered) {
            return;
        }
        let summary = request.summary(partitions);
        traces.record_unsampled(times, Unsampled::Slow, Transport::Udp, request.client(), Some(&summary), None);
    }
}
