//! What other nodes ask of this one.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use ractor::ActorRef;

use super::lateness::Lateness;
use super::{ClusterRouting, Router};
use crate::cluster::NodeId;
use crate::link::{ReplyTo, Service};
use crate::partition::anti_entropy::chunk::Chunk;
use crate::partition::anti_entropy::digest::Window;
use crate::partition::{ManagerMessage, Message, PartialReplies, Routed, RoutedAnnounce, serving, traced};
use crate::swarm::{Family, InfoHash, Partition};
use crate::telemetry::trace::{OpenTrace, names::span};
use crate::wire::peer::announces as routed;
use crate::wire::peer::{Refusal, Reply, Request};

/// Info hashes of one scrape of another node, at the most.
const MAX_SCRAPE: usize = 10_000;

/// Answers other nodes from the owners of this one.
pub struct ClusterService {
    router: Router,
    manager: OnceLock<ActorRef<ManagerMessage>>,
    lateness: Lateness,
}

impl ClusterService {
    /// Answers from what this router finds here.
    pub fn new(router: Router) -> Self {
        Self { router, manager: OnceLock::new(), lateness: Lateness::default() }
    }

    /// Tells the manager what concerns it, from now on.
    pub fn follow(&self, manager: ActorRef<ManagerMessage>) {
        // Once, by the node that makes both.
        let _ = self.manager.set(manager);
    }

    fn announces(&self, cluster: &ClusterRouting, from: &NodeId, packed: &[u8], reply: ReplyTo) {
        let Ok((sent, announces)) = routed::announces(packed) else { return refuse(&reply, Refusal::Malformed) };
        let now = cluster.clock.now().uptime;
        let serve =
            |(position, caller): &(u16, _)| Some((*position, cluster.traces.serve(span::CALL_ANNOUNCES, *caller)?));
        let mut served: Vec<(u16, Box<OpenTrace>)> = reply.traces().iter().filter_map(serve).collect();
        if self.lateness.is_late(from, sent, now, cluster.deadline) {
            served.iter_mut().for_each(|(_, trace)| trace.fail("late"));
            return refuse(&reply, Refusal::Overloaded);
        }
        let owners = self.router.owners.load();
        let routes = cluster.routes.load();
        let mut lists: Vec<Vec<RoutedAnnounce>> = Vec::new();
        lists.resize_with(owners.len(), Vec::new);
        for (index, announce) in announces.iter().enumerate() {
            let (index, hash) = (index as u16, self.router.owners.hash(&announce.info_hash));
            let partition = self.router.owners.partition(hash);
            // What is not held here is left without an answer, and the other node asks the next.
            if routes.table.is_held_here(partition)
                && let Some(list) = lists.get_mut(self.router.owners.place(hash, owners.len()))
            {
                let at = served.iter().position(|(position, _)| *position == index);
                let mut trace = at.map(|at| served.swap_remove(at).1);
                trace.iter_mut().for_each(|trace| trace.says(&traced::said(announce, partition)));
                list.push(RoutedAnnounce { index, hash, announce: *announce, trace });
            }
        }
        served.iter_mut().for_each(|(_, trace)| trace.fail("not_held"));
        cluster.metrics.served.fetch_add(announces.len() as u64, Relaxed);
        let count = lists.iter().filter(|list| !list.is_empty()).count();
        if count == 0 {
            return refuse(&reply, Refusal::NotHeld);
        }
        let parts = PartialReplies::new(reply, count);
        for (owner, announces) in owners.iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
            let (parts, until) = (parts.clone(), now + cluster.deadline);
            let message = Message::Routed(Routed { announces, parts: parts.clone(), until });
            if self.router.send(owner, message).is_err() {
                parts.send(&Reply::Announces(Vec::new().into()));
            }
        }
    }

    fn scrape(&self, v6: bool, packed: &[u8], reply: ReplyTo) {
        let (info_hashes, rest) = packed.as_chunks::<20>();
        if !rest.is_empty() || info_hashes.len() > MAX_SCRAPE {
            return refuse(&reply, Refusal::Malformed);
        }
        let info_hashes = info_hashes.iter().map(|bytes| InfoHash(*bytes));
        let hashes: Vec<_> = info_hashes.map(|info_hash| (self.router.owners.hash(&info_hash), info_hash)).collect();
        let router = self.router.clone();
        tokio::spawn(async move {
            let family = if v6 { Family::V6 } else { Family::V4 };
            match router.scrape_here(family, &hashes).await {
                Err(_) => refuse(&reply, Refusal::Overloaded),
                Ok(counts) => {
                    let counts = counts.iter().map(|it| [it.seeders, it.leechers, it.partial_seeds, it.completed]);
                    reply.send(&Reply::Counts(counts.collect()), true);
                }
            }
        });
    }

    /// Whether a partition may be copied by another node: it is held here, and if that node is to hold it, this one already
    /// tells it of all changes. Else changes could be lost between the copy and the first of them.
    fn may_copy(&self, cluster: &ClusterRouting, partition: Partition, from: &NodeId) -> bool {
        let routes = cluster.routes.load();
        let table = &routes.table;
        let Some(node) = table.index_of(from) else { return false };
        let told = table.replicas(partition).contains(&node) || !table.is_in_own_region(node);
        self.router.owners.partitions().contains(partition) && table.is_held_here(partition) && told
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
                let mut trace = caller.and_then(|(_, caller)| cluster.traces.serve(span::CALL_DELTAS, caller));
                let steps = trace.as_mut().map(|trace| trace.lend());
                serving::merge_deltas(&owners, forward, waited, &pieces, steps.as_deref(), move |done| match done {
                    Ok(()) => {
                        // Before the other node can have the reply.
                        trace.into_iter().for_each(|trace| trace.finish());
                        reply.send(&Reply::Done, true);
                    }
                    Err(refusal) => {
                        trace.iter_mut().for_each(|trace| trace.fail("not_merged"));
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
