//! Replies on their way: those that wait for a replica (`cluster.ack = "replica"`), and the parts of a reply to another
//! node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cluster::NodeIndex;
use crate::link::ReplyTo;
use crate::net::Endpoint;
use crate::net::outbox::Outbox;
use crate::partition::owner::UdpAnnounce;
use crate::partition::owner::answers::{Answers, Tally};
use crate::partition::owner::traced::Late;
use crate::swarm::AnnounceReply;
use crate::telemetry::trace::{OpenTrace, names::span};
use crate::wire::peer::Reply;

/// The reply to a request of another node, of which several owners make a part each.
pub struct PartialReplies {
    reply: ReplyTo,
    /// PartialReplies to come. Locked while one is sent, so that the last is sent last.
    left: Mutex<usize>,
}

impl PartialReplies {
    /// A reply in this many parts.
    pub fn new(reply: ReplyTo, parts: usize) -> Arc<Self> {
        Arc::new(Self { reply, left: Mutex::new(parts) })
    }

    /// Says that this many more parts will come.
    pub fn reserve(&self, more: usize) {
        *self.left.lock() += more;
    }

    /// Sends a part.
    pub fn send(&self, part: &Reply) {
        let mut left = self.left.lock();
        *left = left.saturating_sub(1);
        self.reply.send(part, *left == 0);
    }
}

/// Traces of replies: most often none.
type Traced = Vec<Box<OpenTrace>>;

/// A reply that is ready but may not go yet.
pub enum PendingReply {
    /// Replies by UDP.
    Udp(PendingUdpReplies),
    /// Replies to another node, and the traces of some.
    Routed(Arc<PartialReplies>, Vec<u8>, Traced),
    /// The reply to an HTTP request.
    Http(oneshot::Sender<AnnounceReply>, AnnounceReply),
}

/// Replies by UDP that wait.
pub struct PendingUdpReplies {
    /// Of the thread whose sockets the requests came by.
    outbox: Arc<Outbox>,
    /// The replies, one after the other.
    bytes: Vec<u8>,
    /// The socket and the receiver of each, and where it ends.
    replies: Vec<(u8, Endpoint, usize)>,
    /// The traces of some.
    traced: Traced,
    /// Speaks for those that have none, if anything is traced.
    late: Option<Box<Late>>,
    answers: Arc<Answers>,
    tally: Tally,
    /// The uptime at which the requests came in.
    received: Duration,
}

impl PendingUdpReplies {
    /// None yet, to requests that were received at this uptime.
    pub fn new(answers: &Arc<Answers>, outbox: &Arc<Outbox>, received: Duration, late: Option<Box<Late>>) -> Self {
        let (bytes, replies, traced, tally) = Default::default();
        Self { outbox: outbox.clone(), bytes, replies, traced, late, answers: answers.clone(), tally, received }
    }

    fn release(self) {
        let mut writer = self.outbox.writer();
        let mut start = 0;
        for (socket, to, end) in self.replies {
            writer.reply(socket, &to, |out| out.extend_from_slice(&self.bytes[start..end]));
            start = end;
        }
        for mut trace in self.traced {
            trace.steps().step(span::ACKNOWLEDGE);
            writer.traced(trace);
        }
        writer.finish();
        self.answers.udp(&self.tally, self.received, self.answers.now());
        self.late.iter().for_each(|late| late.told());
    }
}

impl PendingReply {
    /// Lets it go.
    pub fn release(self) {
        match self {
            Self::Udp(parked) => parked.release(),
            Self::Routed(parts, bytes, traced) => {
                traced.into_iter().for_each(|trace| trace.finish_with(span::ACKNOWLEDGE));
                parts.send(&Reply::Announces(bytes.into()));
            }
            // The asker may have gone.
            Self::Http(asker, reply) => drop(asker.send(reply)),
        }
    }
}

/// The replies of a batch that wait, by the replica that they wait for.
#[derive(Default)]
pub struct PendingAcks {
    by_replica: BTreeMap<NodeIndex, PendingReply>,
}

impl PendingAcks {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_replica.is_empty()
    }

    /// Replicas that are waited for.
    pub fn len(&self) -> usize {
        self.by_replica.len()
    }

    /// Adds the reply to a request by UDP; `new` makes what it is put into if there is nothing yet.
    pub fn udp(
        &mut self,
        replica: NodeIndex,
        request: &UdpAnnounce,
        reply: &[u8],
        trace: Option<Box<OpenTrace>>,
        new: impl FnOnce() -> PendingUdpReplies,
    ) {
        if let PendingReply::Udp(parked) = self.by_replica.entry(replica).or_insert_with(|| PendingReply::Udp(new())) {
            parked.bytes.extend_from_slice(reply);
            parked.replies.push((request.socket, request.to, parked.bytes.len()));
            parked.tally.add(request.announce.peer.family(), request.source);
            parked.traced.extend(trace);
        }
    }

    /// Adds a reply to another node.
    pub fn routed(
        &mut self,
        replica: NodeIndex,
        parts: &Arc<PartialReplies>,
        reply: &[u8],
        trace: Option<Box<OpenTrace>>,
    ) {
        let new = || PendingReply::Routed(parts.clone(), Vec::new(), Vec::new());
        if let PendingReply::Routed(_, bytes, traced) = self.by_replica.entry(replica).or_insert_with(new) {
            bytes.extend_from_slice(reply);
            traced.extend(trace);
        }
    }

    /// Adds the reply to an HTTP request.
    pub fn http(&mut self, replica: NodeIndex, asker: oneshot::Sender<AnnounceReply>, reply: AnnounceReply) {
        self.by_replica.insert(replica, PendingReply::Http(asker, reply));
    }

    /// Takes what waits for a replica.
    pub fn take(&mut self, replica: NodeIndex) -> Option<PendingReply> {
        self.by_replica.remove(&replica)
    }

    /// Lets all go that is left.
    pub fn release(self) {
        self.by_replica.into_values().for_each(PendingReply::release);
    }
}
