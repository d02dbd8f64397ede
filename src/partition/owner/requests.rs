//! What an owner is sent: announces above all, each with where its reply goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::partial_replies::PartialReplies;
use super::partitions::Partitions;
use crate::clock::Now;
use crate::net::Endpoint;
use crate::swarm::{Announce, AnnounceReply, Counts, Family, Partition, PartitionCount, Source, SwarmKey};
use crate::telemetry::trace::{AnnounceSummary, BatchTimes, ErrorType, RequestTrace};
use crate::wire::peer::Reply;
use crate::wire::udp::TransactionId;

/// A message to an owner.
pub enum Message {
    /// Announces, from this node's frontends or from another node.
    Announces(AnnounceBatch),
    /// The counts of some swarms.
    Scrape(Family, Vec<SwarmKey>, oneshot::Sender<Vec<Counts>>),
    /// Time has passed: flush changes, remove expired peers.
    Tick,
    /// Anything else, which is rare: operations, snapshots, anti-entropy.
    Visit(Visit),
}

/// A function that runs on an owner's thread and sees its partitions.
pub type Visit = Box<dyn FnOnce(&mut Partitions, Now) + Send>;

/// One announce on its way: to an owner of this node, to another node, or to its reply.
///
/// It ends in one of four ways: [`answer`](Self::answer), waiting for a replica
/// ([`PendingAcks`](super::pending_acks::PendingAcks)), being forwarded (the router), or [`shed`](Self::shed). Dropping it is
/// noticed as well: the trace is exported as lost, and HTTP clients and other nodes get a failure.
pub struct AnnounceRequest {
    /// What was announced.
    pub announce: Announce,
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// How the node that answers counts it: as owner, replica, …
    pub source: Source,
    /// Where the reply goes.
    pub reply_to: ReplyTo,
    /// Its trace, if it is sampled.
    pub trace: Option<Box<RequestTrace>>,
}

/// Where the reply to an announce goes.
pub enum ReplyTo {
    /// To a client, by UDP.
    Udp(UdpClient),
    /// To the node whose frontend received the announce, as the reply to the announce at this position of its request.
    Peer(u16),
    /// To the HTTP request that waits for it.
    Http(oneshot::Sender<HttpAnswer>),
    /// Nowhere: the client has its answer already, and the announce only has to be stored.
    Answered,
}

/// A client that announced by UDP.
#[derive(Clone, Copy)]
pub struct UdpClient {
    /// To be returned (BEP 15).
    pub transaction_id: TransactionId,
    /// The socket that received the announce; the sockets of all threads have the same positions.
    pub socket: u8,
    /// The client's address, and the local one that it sent to.
    pub endpoint: Endpoint,
}

/// What an HTTP request receives: the reply, and the trace to be finished once it is written.
pub type HttpAnswer = (AnnounceReply, Option<Box<RequestTrace>>);

/// Announces that an owner works on together, so that their cache misses overlap.
pub struct AnnounceBatch {
    /// The announces.
    pub requests: Vec<AnnounceRequest>,
    /// When they were received and dispatched.
    pub times: BatchTimes,
    /// Set if another node sent them.
    pub peer: Option<PeerBatch>,
}

/// The other node's side of a batch.
#[derive(Clone)]
pub struct PeerBatch {
    /// Where the replies go.
    pub replies: Arc<PartialReplies>,
    /// The uptime until which the batch may be applied. After that the other node has asked someone else, and an announce
    /// applied late would override what that node has heard since.
    pub until: Duration,
}

impl AnnounceRequest {
    /// What finds its swarm.
    pub fn key(&self) -> SwarmKey {
        SwarmKey { hash: self.hash, info_hash: self.announce.info_hash }
    }

    /// Moves it out of a batch, which keeps an announce that has been answered.
    pub(super) fn take(&mut self) -> Self {
        let (reply_to, trace) = (std::mem::replace(&mut self.reply_to, ReplyTo::Answered), self.trace.take());
        Self { announce: self.announce, hash: self.hash, source: self.source, reply_to, trace }
    }

    /// Marks its trace, if there is one, as failed.
    pub fn fail(&mut self, error: ErrorType) {
        if let Some(trace) = &mut self.trace {
            trace.fail(error);
        }
    }

    /// Drops it, for a reason that its trace shows. UDP clients announce again when nothing comes; an HTTP request and
    /// another node see that their reply will not come.
    pub fn shed(mut self, error: ErrorType) {
        self.fail(error);
    }

    /// The address of its client, if it came by UDP.
    pub fn client(&self) -> Option<std::net::IpAddr> {
        match &self.reply_to {
            ReplyTo::Udp(client) => client.endpoint.remote().map(|remote| remote.ip()),
            _ => None,
        }
    }

    /// What a trace shows of it.
    pub fn summary(&self, partitions: PartitionCount) -> AnnounceSummary<'_> {
        summary(&self.announce, partitions.partition(self.hash))
    }
}

/// What a trace shows of an announce whose swarm is in this partition.
pub fn summary(announce: &Announce, partition: Partition) -> AnnounceSummary<'_> {
    AnnounceSummary {
        info_hash: &announce.info_hash.0,
        event: announce.event.label(),
        num_want: announce.num_want,
        partition: partition.0,
    }
}

impl AnnounceBatch {
    /// Drops all announces, and lets the other node that sent them know at once.
    pub fn shed(self, error: ErrorType) {
        self.requests.into_iter().for_each(|request| request.shed(error));
        if let Some(peer) = self.peer {
            peer.replies.send(&Reply::Announces(Vec::new().into()));
        }
    }
}

impl Message {
    /// How many requests it counts for.
    pub fn weight(&self) -> usize {
        match self {
            Self::Announces(batch) => batch.requests.len(),
            _ => 1,
        }
    }

    /// Called instead of sending it to an owner that is overloaded or gone.
    pub(super) fn shed(self) {
        if let Self::Announces(batch) = self {
            batch.shed(ErrorType::Overloaded);
        }
    }
}
