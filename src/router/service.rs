//! Requests of other nodes.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use ractor::ActorRef;

use super::lateness::Lateness;
use super::{ClusterRouting, Router};
use crate::cluster::NodeId;
use crate::link::{ReplyTo, Service};
use crate::partition::anti_entropy::chunk::Chunk;
use crate::partition::anti_entropy::digest::Window;
use crate::partition::{
    AnnounceBatch, AnnounceRequest, ManagerMessage, Message, PartialReplies, PeerBatch, ReplyTo as AnnounceReplyTo,
    serving, summary,
};
use crate::swarm::{Family, InfoHash, Partition, Source};
use crate::telemetry::trace::{BatchTimes, ErrorType, RequestTrace, names::span};
use crate::wire::peer::announces;
use crate::wire::peer::{Refusal, Reply, Request};

/// The most info hashes of one scrape of another node.
const MAX_SCRAPE: usize = 10_000;

/// Answers other nodes from the owners of this one.
pub struct ClusterService {
    router: Router,
    manager: OnceLock<ActorRef<ManagerMessage>>,
    lateness: Lateness,
}

impl ClusterService {
    /// Answers from the owners of this router.
    pub fn new(router: Router) -> Self {
        Self { router, manager: OnceLock::new(), lateness: Lateness::default() }
    }

    /// Passes on what concerns the partition manager, from now on.
    pub fn set_manager(&self, manager: ActorRef<ManagerMessage>) {
        // Called once, by the node that makes both.
        let _ = self.manager.set(manager);
    }

    /// Announces of another node's clients: sorts them by owner, each of which sends a part of the reply.
    fn announces(&self, cluster: &ClusterRouting, from: &NodeId, packed: &[u8], reply: ReplyTo) {
        let Ok((sent, announces)) = announces::announces(packed) else { return refuse(&reply, Refusal::Malformed) };
        let now = cluster.clock.now().uptime;
        let mut traces = OpenTraces::start(cluster, &reply);
        if self.lateness.is_late(from, sent, now, cluster.deadline) {
            traces.fail(ErrorType::Late);
            return refuse(&reply, Refusal::Overloaded);
        }

        let owners = &self.router.owners;
        let routes = cluster.routes.load();
        let requests = announces.iter().enumerate().filter_map(|(index, announce)| {
            let (index, hash) = (index as u16, owners.hash(&announce.info_hash));
            let partition = owners.partition(hash);
            // What is not held here is left without an answer, and the other node asks the next one.
            if !routes.table.is_held_here(partition) {
                return None;
            }
            let mut trace = traces.take(index);
            if let Some(trace) = &mut trace {
                trace.describe(&summary(announce, partition));
            }
            let reply_to = AnnounceReplyTo::Peer(index);
            Some(AnnounceRequest { announce: *announce, hash, source: Source::Owner, reply_to, trace })
        });
        let groups: Vec<_> = owners.group_by_owner(requests, |request| request.hash).collect();
        traces.fail(ErrorType::NotHeld);
        cluster.metrics.served.fetch_add(announces.len() as u64, Relaxed);
        if groups.is_empty() {
            return refuse(&reply, Refusal::NotHeld);
        }

        let peer = PeerBatch { replies: PartialReplies::new(reply, groups.len()), until: now + cluster.deadline };
        let times = BatchTimes { received: now, handed: now, began: now };
        for (owner, requests) in groups {
            let batch = AnnounceBatch { requests, times, peer: Some(peer.clone()) };
            // An owner that is overloaded sends an empty part.
            let _ = self.router.send(&owner, Message::Announces(batch));
        }
    }

    fn scrape(&self, v6: bool, packed: &[u8], reply: ReplyTo) {
        let (info_hashes, rest) = packed.as_chunks::<20>();
        if !rest.is_empty() || info_hashes.len() > MAX_SCRAPE {
            return refuse(&reply, Refusal::Malformed);
        }
        let info_hashes = info_hashes.iter().map(|bytes| InfoHash(*bytes));
        let keys: Vec<_> = info_hashes.map(|info_hash| self.router.owners.key(info_hash)).collect();
        let router = self.router.clone();
        tokio::spawn(async move {
            let family = if v6 { Family::V6 } else { Family::V4 };
            match router.scrape_here(family, &keys).await {
                Err(_) => refuse(&reply, Refusal::Overloaded),
                Ok(counts) => {
                    let counts = counts.iter().map(|it| [it.seeders, it.leechers, it.partial_seeds, it.completed]);
                    reply.send(&Reply::Counts(counts.collect()), true);
                }
            }
        });
    }

    /// Whether another node may copy a partition: it is held here, and if that node is assigned it, this one already
    /// replicates all changes to it. Otherwise changes between the copy and the first of them could be lost.
    fn may_copy(&self, cluster: &ClusterRouting, partition: Partition, from: &NodeId) -> bool {
        let routes = cluster.routes.load();
        let table = &routes.table;
        let Some(node) = table.index_of(from) else { return false };
        let replicated = table.replicas(partition).contains(&node) || !table.is_in_own_region(node);
        self.router.owners.partitions().contains(partition) && table.is_held_here(partition) && replicated
    }
}

impl Service for ClusterService {
    fn handle(&self, from: &NodeId, request: Request, reply: ReplyTo) {
        let Some(cluster) = self.router.cluster.as_ref() else { return };
        let owners = self.router.owners.clone();
        match request {
            Request::Announces(packed) => self.announces(cluster, from, &packed, reply),
            Request::Scrape { v6, info_hashes } => self.scrape(v6, &info_hashes, reply),
            Request::Compare => {
                if let Some(manager) = self.manager.get() {
                    let _ = manager.cast(ManagerMessage::Compare(from.clone()));
                }
                reply.send(&Reply::Done, true);
            }
            Request::Deltas { forward, waited, pieces } => {
                let caller = reply.traces().first().copied();
                let mut trace = caller.and_then(|(_, caller)| cluster.traces.start_server(span::CALL_DELTAS, caller));
                let steps = trace.as_mut().map(|trace| trace.lend());
                serving::merge_deltas(&owners, forward, waited, &pieces, steps.as_deref(), move |done| match done {
                    Ok(()) => {
                        // Before the other node can have the reply.
                        trace.into_iter().for_each(|trace| trace.finish());
                        reply.send(&Reply::Done, true);
                    }
                    Err(refusal) => {
                        if let Some(trace) = &mut trace {
                            trace.fail(ErrorType::NotMerged);
                        }
                        refuse(&reply, refusal);
                    }
                });
            }
            Request::Digest { partition, .. } | Request::Fetch { partition, .. }
                if !self.may_copy(cluster, partition, from) =>
            {
                refuse(&reply, Refusal::NotHeld);
            }
            Request::Digest { partition, from, to } => {
                tokio::spawn(async move {
                    match serving::digest(&owners, partition, Window { from, to }).await {
                        Some(digest) => reply.send(&Reply::Digest(digest), true),
                        None => refuse(&reply, Refusal::Overloaded),
                    }
                });
            }
            Request::Fetch { partition, buckets, cursor } => {
                tokio::spawn(async move {
                    match serving::chunk(&owners, partition, buckets, cursor.into_vec()).await {
                        Ok(Chunk { batch, next }) => {
                            reply.send(&Reply::Chunk { pieces: batch.into(), next: next.into() }, true);
                        }
                        Err(refusal) => refuse(&reply, refusal),
                    }
                });
            }
        }
    }
}

fn refuse(reply: &ReplyTo, refusal: Refusal) {
    reply.send(&Reply::Refused(refusal), true);
}

/// The traces of those announces of a request that the other node traces, by their position.
struct OpenTraces(Vec<(u16, Box<RequestTrace>)>);

impl OpenTraces {
    fn start(cluster: &ClusterRouting, reply: &ReplyTo) -> Self {
        let start = |(position, caller): &(u16, _)| {
            Some((*position, cluster.traces.start_server(span::CALL_ANNOUNCES, *caller)?))
        };
        Self(reply.traces().iter().filter_map(start).collect())
    }

    fn take(&mut self, index: u16) -> Option<Box<RequestTrace>> {
        let at = self.0.iter().position(|(position, _)| *position == index)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Those that were not taken have failed.
    fn fail(&mut self, error: ErrorType) {
        self.0.iter_mut().for_each(|(_, trace)| trace.fail(error));
    }
}
