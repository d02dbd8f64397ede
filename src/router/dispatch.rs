//! Sends the announces of frontends to where they are answered: an owner of this node, or another node.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::Guard;
use tokio::sync::oneshot;

use super::forward::Forwarding;
use super::{DEADLINE, PATIENCE, Router, Unavailable, receive};
use crate::cluster::NodeIndex;
use crate::net::outbox::Outbox;
use crate::partition::{
    AnnounceBatch, AnnounceRequest, HttpAnswer, Message, OwnerHandle, OwnerIndex, ReplyTo, Route, Routes,
};
use crate::swarm::{Announce, AnnounceReply, Source};
use crate::telemetry::trace::{BatchTimes, RequestTrace, names::span};

/// What a batch is routed by, loaded once.
pub struct RoutingSnapshot<'a> {
    router: &'a Router,
    owners: Guard<Arc<Vec<OwnerHandle>>>,
    routes: Option<Guard<Arc<Routes>>>,
}

/// Where an announce goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    /// To an owner of this node.
    Owner(OwnerIndex),
    /// To another node.
    Node(NodeIndex),
    /// No node that holds the partition can be reached.
    NoHolder,
}

/// The announces of a batch, by where they go. Its lists are reused from batch to batch.
#[derive(Default)]
pub struct RoutedBatch {
    by_owner: Vec<Vec<AnnounceRequest>>,
    by_node: Vec<Vec<AnnounceRequest>>,
    no_holder: Vec<AnnounceRequest>,
}

impl RoutingSnapshot<'_> {
    fn route(&self, hash: u64) -> (Destination, Source) {
        let partition = self.router.owners.partition(hash);
        let owner = || Destination::Owner(self.router.owners.owner_of(partition, self.owners.len()));
        match self.routes.as_ref().map(|routes| routes.next(partition, &[])) {
            None => (owner(), Source::Owner),
            Some(Route::Here(source)) => (owner(), source),
            Some(Route::Node(node, _, source)) => (Destination::Node(node), source),
            Some(Route::NoHolder) => (Destination::NoHolder, Source::Stale),
        }
    }
}

impl RoutedBatch {
    /// Adds an announce, and sets its source by who will answer it.
    #[inline]
    pub fn push(&mut self, mut request: AnnounceRequest, snapshot: &RoutingSnapshot<'_>) {
        let (destination, source) = snapshot.route(request.hash);
        request.source = source;
        let list = match destination {
            Destination::Owner(owner) => list_at(&mut self.by_owner, owner.0),
            Destination::Node(node) => list_at(&mut self.by_node, node.index()),
            Destination::NoHolder => &mut self.no_holder,
        };
        list.push(request);
    }

    /// Sends every announce to where it goes. Their replies leave through `outbox`, or through that of their owner's
    /// thread. Returns how many were shed.
    pub fn dispatch(&mut self, snapshot: &RoutingSnapshot<'_>, outbox: &Arc<Outbox>, times: BatchTimes) -> usize {
        let router = snapshot.router;
        let mut shed = 0;
        for (at, list) in self.by_owner.iter_mut().enumerate().filter(|(_, list)| !list.is_empty()) {
            let requests = std::mem::take(list);
            shed += router.send_to_owner(snapshot.owners.get(at), requests, times);
        }
        let Some(routes) = &snapshot.routes else { return shed };
        for (node, list) in routes.table.indexes().zip(&mut self.by_node).filter(|(_, list)| !list.is_empty()) {
            let forwarding = Forwarding::new(router, std::mem::take(list), Some(outbox.clone()), times);
            forwarding.into_iter().for_each(|forwarding| forwarding.send(routes, node));
        }
        if !self.no_holder.is_empty() {
            let requests = std::mem::take(&mut self.no_holder);
            let forwarding = Forwarding::new(router, requests, Some(outbox.clone()), times);
            forwarding.into_iter().for_each(Forwarding::answer_stale);
        }
        shed
    }
}

fn list_at(lists: &mut Vec<Vec<AnnounceRequest>>, at: usize) -> &mut Vec<AnnounceRequest> {
    if lists.len() <= at {
        lists.resize_with(at + 1, Vec::new);
    }
    &mut lists[at]
}

impl Router {
    /// What a batch is routed by.
    pub fn snapshot(&self) -> RoutingSnapshot<'_> {
        RoutingSnapshot { router: self, owners: self.owners.load(), routes: self.routes() }
    }

    /// Applies an announce, wherever its owner is, and returns the reply.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner is overloaded or does not answer in time, and no other node does.
    pub async fn announce(&self, announce: Announce) -> Result<AnnounceReply, Unavailable> {
        self.announce_by_http(announce, None, BatchTimes::default()).await.map(|(reply, _)| reply)
    }

    /// The same for an HTTP frontend, with the trace, which comes back to be finished once the client has the reply.
    ///
    /// # Errors
    /// See [`Router::announce`].
    pub async fn announce_by_http(
        &self,
        announce: Announce,
        mut trace: Option<Box<RequestTrace>>,
        times: BatchTimes,
    ) -> Result<HttpAnswer, Unavailable> {
        let hash = self.owners.hash(&announce.info_hash);
        let (reply, answer) = oneshot::channel();
        let deadline = {
            let snapshot = self.snapshot();
            let (destination, source) = snapshot.route(hash);
            if let Some(trace) = &mut trace {
                trace.steps().step(span::ROUTE);
            }
            let request = AnnounceRequest { announce, hash, source, reply_to: ReplyTo::Http(reply), trace };
            match (destination, &self.cluster, &snapshot.routes) {
                (Destination::Owner(owner), ..) => {
                    self.send_to_owner(snapshot.owners.get(owner.0), vec![request], times);
                    DEADLINE
                }
                (destination, Some(cluster), Some(routes)) => {
                    let forwarding = Forwarding::new(self, vec![request], None, times).ok_or(Unavailable)?;
                    match destination {
                        Destination::Node(node) => forwarding.send(routes, node),
                        _ => forwarding.answer_stale(),
                    }
                    // An owner of this node may be asked in the end.
                    cluster.deadline * PATIENCE + DEADLINE
                }
                // A node without a cluster has no other destinations.
                _ => return Err(Unavailable),
            }
        };
        let (reply, mut trace) = receive(answer, deadline).await?;
        if let Some(trace) = &mut trace {
            trace.steps().restart();
        }
        Ok((reply, trace))
    }

    /// Sends announces to owners of this node. Returns how many were shed.
    pub(super) fn send_to_owners(&self, requests: Vec<AnnounceRequest>, times: BatchTimes) -> usize {
        let groups = self.owners.group_by_owner(requests, |request| request.hash);
        groups.map(|(owner, requests)| self.send_to_owner(Some(&owner), requests, times)).sum()
    }

    fn send_to_owner(&self, owner: Option<&OwnerHandle>, requests: Vec<AnnounceRequest>, times: BatchTimes) -> usize {
        let count = requests.len();
        let batch = AnnounceBatch { requests, times, peer: None };
        if owner.is_some_and(|owner| owner.send(Message::Announces(batch)).is_ok()) {
            return 0;
        }
        self.owners.shed.fetch_add(count as u64, Relaxed);
        count
    }
}
