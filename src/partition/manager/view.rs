//! From the membership to the routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{ManagerArguments, State, takeover};
use crate::cluster::{Members, NodeId, Placement, RoutingTable};
use crate::link::PeerTarget;
use crate::partition::replication::DeltaQueue;
use crate::partition::replication::{Peer, Routes};
use crate::swarm::PartitionCount;
use crate::telemetry::trace::names;

/// A link that did not answer for less than this has lost nothing that a queue does not hold.
const CUT: Duration = Duration::from_secs(1);

/// What the routes were made of.
#[derive(Default)]
pub struct View {
    /// The members, dead ones that answer by their links made alive.
    members: Members,
    /// The ways to other nodes, each with the incarnation that it leads to.
    peers: BTreeMap<NodeId, (u64, Peer)>,
    /// Since when a node could not be reached.
    unreachable: BTreeMap<NodeId, Duration>,
}

impl View {
    /// The ways to all other nodes.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(|(_, peer)| peer)
    }

    /// The members, those that gossip does not hear but links do counted as alive.
    pub fn members(&self) -> &Members {
        &self.members
    }
}

/// What changes with the routes alone.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Partitions that each node answers for in its region, in the order of the table.
    pub owned: Vec<usize>,
    /// Partitions that placement gives to this node.
    pub placed: usize,
    /// Partitions of which this region has fewer copies than it should.
    pub under_replicated: usize,
}

impl Summary {
    fn new(table: &RoutingTable, partitions: PartitionCount, replicas: u8) -> Self {
        let nodes = table.nodes();
        let me = table.own_region();
        let here = nodes.iter().filter(|node| node.alive && Some(&node.region) == me).count();
        let copies = here.min(replicas.into());
        let mut summary = Self { owned: vec![0; nodes.len()], ..Self::default() };
        for partition in partitions.iter() {
            let mut region = None;
            // Candidates of one region lie side by side, its owner first.
            for &node in table.candidates(partition) {
                let of = &table.node(node).region;
                if region != Some(of) {
                    region = Some(of);
                    summary.owned[node.index()] += 1;
                }
            }
            summary.placed += usize::from(table.is_placed_here(partition));
            summary.under_replicated += usize::from(table.in_region(partition).len() < copies);
        }
        summary
    }
}

impl State {
    /// What waits for a node of another region that cannot be reached goes to another node there: that region is not to
    /// wait until that very node is back.
    pub(super) fn divert(&self) {
        let routes = self.arguments.routes.load();
        let table = &routes.table;
        if table.own_region().is_none() {
            return;
        }
        for node in table.indexes().filter(|node| !table.is_in_own_region(*node)) {
            let Some(peer) = routes.peer(node).filter(|peer| !peer.link.is_routable()) else { continue };
            let others = table.indexes().filter(|other| table.node(*other).region == table.node(node).region);
            let mut reachable = others.filter_map(|other| routes.peer(other)).filter(|it| it.link.is_routable());
            if let Some(other) = reachable.next() {
                peer.queue.redirect_cross_region(&other.queue);
            }
        }
    }

    /// Makes the routes anew if anything that they depend on has changed.
    pub(super) fn refresh(&mut self) {
        let now = self.now();
        let me = self.arguments.me.clone();
        let others = || self.members.0.iter().filter(|member| member.id != me);
        let targets: Vec<_> = others()
            .map(|member| PeerTarget { id: member.id.clone(), incarnation: member.incarnation, addr: member.link })
            .collect();
        self.arguments.links.set_peers(&targets);
        let mut changed = self.follow_peers(&targets, now);

        let mut members = Members::clone(&self.members);
        for member in &mut members.0 {
            if member.id == me {
                // Gossip is told a little later.
                member.held.clone_from(&self.held);
                member.leaving |= self.leaving.is_some();
                member.alive = true;
            } else {
                // Gossip may fail where links do not, and that is no reason to leave clients without answers.
                let answers = self.view.peers.get(&member.id).is_some_and(|(_, peer)| peer.link.is_routable());
                member.alive |= answers;
            }
        }
        let ring_members = self.ring.update(now, &members);
        if ring_members != self.ring_members {
            self.placement = Placement::compute(&ring_members, self.arguments.partitions, self.arguments.replicas);
            self.ring_members = ring_members;
            changed = true;
            let alive = members.0.iter().filter(|member| member.alive).count();
            let fingerprint = format!("{:016x}", self.placement.fingerprint());
            tracing::info!(members = alive, fingerprint, "placement has changed");
            tracing::info_span!(target: names::TARGET, names::span::PLACEMENT, members = alive, fingerprint);
        }
        if !changed && members == self.view.members {
            return;
        }
        self.view.members = members;
        let table = RoutingTable::build(&me, &self.view.members, &self.placement, self.arguments.partitions);
        let peer = |id: &NodeId| self.view.peers.get(id).map(|(_, peer)| peer.clone());
        let peers = table.nodes().iter().map(|node| peer(&node.id)).collect();
        let routes = Routes::new(table, peers);
        self.tell_takeovers(&routes);
        let before = self.arguments.routes.load();
        for (partition, node) in takeover::to_compare(&before.table, &routes.table, self.arguments.partitions) {
            self.comparisons.succeed(partition, node, now);
        }
        drop(before);
        self.summary = Summary::new(&routes.table, self.arguments.partitions, self.arguments.replicas);
        self.arguments.routes.store(Arc::new(routes));
    }

    /// Keeps a link and a queue for each other node. Returns whether any has changed.
    fn follow_peers(&mut self, targets: &[PeerTarget], now: Duration) -> bool {
        let before: Vec<_> = self.view.peers.iter().map(|(id, (incarnation, _))| (id.clone(), *incarnation)).collect();
        self.view.peers.retain(|id, _| targets.iter().any(|target| target.id == *id));
        for target in targets {
            let Some(link) = self.arguments.links.link(&target.id) else { continue };
            let known = self.view.peers.get(&target.id).filter(|(incarnation, _)| *incarnation == target.incarnation);
            if known.is_some() {
                continue;
            }
            let ManagerArguments { hint_bytes, ack_deadline, clock, traces, .. } = &self.arguments;
            let queue = DeltaQueue::new(link.clone(), *hint_bytes, *ack_deadline, clock.clone(), traces.clone());
            let peer = Peer { link, queue: queue.clone() };
            if let Some((_, before)) = self.view.peers.insert(target.id.clone(), (target.incarnation, peer)) {
                before.queue.move_to(&queue);
            }
        }
        for (id, (_, peer)) in &self.view.peers {
            if !peer.link.is_routable() {
                self.view.unreachable.entry(id.clone()).or_insert(now);
            } else if let Some(since) = self.view.unreachable.remove(id)
                && now.saturating_sub(since) >= CUT
            {
                self.comparisons.healed(id.clone(), now);
            }
        }
        let after: Vec<_> = self.view.peers.iter().map(|(id, (incarnation, _))| (id.clone(), *incarnation)).collect();
        before != after
    }

    /// One line for each node that this one has begun to stand in for.
    fn tell_takeovers(&self, routes: &Routes) {
        let before = self.arguments.routes.load();
        let mut from: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for partition in self.arguments.partitions.iter() {
            let Some(&owner) = before.table.in_region(partition).first() else { continue };
            let owner = &before.table.node(owner).id;
            let mine = routes.table.in_region(partition).first() == Some(&routes.table.me());
            let gone = |id: &NodeId| !routes.table.nodes().iter().any(|node| node.id == *id && node.alive);
            if mine && *owner != self.arguments.me && gone(owner) {
                *from.entry(owner).or_default() += 1;
            }
        }
        for (node, partitions) in from {
            self.arguments.status.takeovers.fetch_add(partitions as u64, Relaxed);
            tracing::warn!(%node, partitions, "a node is down, its partitions are taken over");
            tracing::info_span!(target: names::TARGET, names::span::TAKEOVER, %node, partitions);
        }
    }
}
