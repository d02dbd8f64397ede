//! From the membership to the routes: who counts, where partitions are placed, and the way to each other node.
//!
//! Invariants:
//! * Each other member has one link and one queue per incarnation. What waits in the queue of an earlier incarnation moves
//!   to that of the next.
//! * The routes are built from [`Topology::members`]: gossip's members, except that this node is there with what it really
//!   holds, and that a node counts as alive while its link answers. Gossip may fail where links do not, and that is no
//!   reason to leave clients without answers.
//! * The routes are replaced only if the members, the placement or the ways to other nodes have changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::ManagerArguments;
use crate::cluster::{Members, NodeId, PartitionSet, Placement, RoutingTable, StableMembers, StableMembership};
use crate::link::PeerTarget;
use crate::partition::replication::{DeltaQueue, Peer, Routes};
use crate::swarm::PartitionCount;
use crate::telemetry::trace::names;

/// A link that was down for less than this has lost nothing that a queue does not hold.
const CUT: Duration = Duration::from_secs(1);

pub struct Topology {
    arguments: Arc<ManagerArguments>,
    stability: StableMembership,
    stable_members: StableMembers,
    placement: Placement,
    /// What the routes were built from.
    members: Members,
    /// The ways to other nodes, each with the incarnation that it leads to.
    peers: BTreeMap<NodeId, (u64, Peer)>,
    unreachable_since: BTreeMap<NodeId, Duration>,
    summary: Summary,
}

/// What this node knows about itself before gossip does.
#[derive(Clone, Copy)]
pub struct OwnState<'a> {
    pub held: &'a PartitionSet,
    pub leaving: bool,
}

/// What [`Topology::refresh`] has changed.
#[derive(Default)]
pub struct TopologyChanges {
    /// Nodes that answer again after a cut.
    pub reconnected: Vec<NodeId>,
    /// The routes before and after, if they were replaced.
    pub routes: Option<(Arc<Routes>, Arc<Routes>)>,
}

/// What changes with the routes alone.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Partitions that each node answers for in its region, in the order of the table.
    pub owned: Vec<usize>,
    /// Partitions that placement assigns to this node.
    pub placed: usize,
    /// Partitions of which this region has fewer copies than it should.
    pub under_replicated: usize,
}

impl Summary {
    fn new(table: &RoutingTable, partitions: PartitionCount, replicas: u8) -> Self {
        let in_region = table.indexes().filter(|node| table.node(*node).alive && table.is_in_own_region(*node)).count();
        let copies = in_region.min(replicas.into());
        let mut summary = Self { owned: vec![0; table.nodes().len()], ..Self::default() };
        for partition in partitions.iter() {
            let mut region = None;
            // Candidates of one region are adjacent, its owner first.
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

impl Topology {
    pub fn new(arguments: Arc<ManagerArguments>) -> Self {
        let stable_members = StableMembers::default();
        Self {
            stability: StableMembership::new(arguments.stable_after),
            placement: Placement::compute(&stable_members, arguments.partitions, arguments.replicas),
            stable_members,
            members: Members::default(),
            peers: BTreeMap::new(),
            unreachable_since: BTreeMap::new(),
            summary: Summary::default(),
            arguments,
        }
    }

    /// The ways to all other nodes.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(|(_, peer)| peer)
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Follows the members that gossip reports and the state of the links, and replaces the routes if needed.
    pub fn refresh(&mut self, gossip: &Members, own: OwnState<'_>, now: Duration) -> TopologyChanges {
        let others = gossip.0.iter().filter(|member| member.id != self.arguments.me);
        let targets: Vec<_> = others
            .map(|member| PeerTarget { id: member.id.clone(), incarnation: member.incarnation, addr: member.link })
            .collect();
        self.arguments.links.set_peers(&targets);
        let peers_changed = self.update_peers(&targets);
        let reconnected = self.update_reachability(now);

        let members = self.effective_members(gossip, own);
        let placement_changed = self.update_placement(&members, now);

        let mut changes = TopologyChanges { reconnected, routes: None };
        if peers_changed || placement_changed || members != self.members {
            self.members = members;
            changes.routes = Some(self.replace_routes());
        }
        changes
    }

    /// Keeps a link and a queue for each other node. Returns whether any has changed.
    fn update_peers(&mut self, targets: &[PeerTarget]) -> bool {
        let count = self.peers.len();
        self.peers.retain(|id, _| targets.iter().any(|target| target.id == *id));
        let mut changed = self.peers.len() != count;

        for target in targets {
            let Some(link) = self.arguments.links.link(&target.id) else { continue };
            if self.peers.get(&target.id).is_some_and(|(incarnation, _)| *incarnation == target.incarnation) {
                continue;
            }
            let ManagerArguments { hint_bytes, ack_deadline, clock, traces, .. } = &*self.arguments;
            let queue = DeltaQueue::new(link.clone(), *hint_bytes, *ack_deadline, clock.clone(), traces.clone());
            let peer = Peer { link, queue: queue.clone() };
            if let Some((_, before)) = self.peers.insert(target.id.clone(), (target.incarnation, peer)) {
                before.queue.move_to(&queue);
            }
            changed = true;
        }
        changed
    }

    /// Notes which nodes cannot be reached. Returns those that answer again after a cut.
    fn update_reachability(&mut self, now: Duration) -> Vec<NodeId> {
        let mut reconnected = Vec::new();
        for (id, (_, peer)) in &self.peers {
            if !peer.link.is_routable() {
                if !self.unreachable_since.contains_key(id) {
                    tracing::debug!(event = "peer_unreachable", peer = %id, "a node cannot be reached");
                    self.unreachable_since.insert(id.clone(), now);
                }
            } else if let Some(since) = self.unreachable_since.remove(id)
                && now.saturating_sub(since) >= CUT
            {
                tracing::debug!(event = "peer_reconnected", peer = %id, "a node can be reached again");
                reconnected.push(id.clone());
            }
        }
        reconnected
    }

    /// The members that the routes are built from.
    fn effective_members(&self, gossip: &Members, own: OwnState<'_>) -> Members {
        let mut members = gossip.clone();
        for member in &mut members.0 {
            if member.id == self.arguments.me {
                member.held.clone_from(own.held);
                member.leaving |= own.leaving;
                member.alive = true;
            } else {
                member.alive |= self.peers.get(&member.id).is_some_and(|(_, peer)| peer.link.is_routable());
            }
        }
        members
    }

    /// Computes the placement again if the stable members have changed. Returns whether they have.
    fn update_placement(&mut self, members: &Members, now: Duration) -> bool {
        let stable_members = self.stability.update(now, members);
        if stable_members == self.stable_members {
            return false;
        }
        self.placement = Placement::compute(&stable_members, self.arguments.partitions, self.arguments.replicas);
        self.stable_members = stable_members;

        let alive = members.0.iter().filter(|member| member.alive).count();
        let fingerprint = format!("{:016x}", self.placement.fingerprint());
        tracing::info!(event = "placement_changed", members = alive, fingerprint, "placement has changed");
        tracing::info_span!(target: names::TARGET, names::span::PLACEMENT, members = alive, fingerprint);
        true
    }

    /// Publishes new routes. Returns those before and the new ones.
    fn replace_routes(&mut self) -> (Arc<Routes>, Arc<Routes>) {
        let ManagerArguments { me, partitions, replicas, routes, .. } = &*self.arguments;
        let table = RoutingTable::build(me, &self.members, &self.placement, *partitions);
        let peers = table.nodes().iter().map(|node| Some(self.peers.get(&node.id)?.1.clone())).collect();
        self.summary = Summary::new(&table, *partitions, *replicas);

        let after = Arc::new(Routes::new(table, peers));
        let before = routes.swap(after.clone());
        tracing::debug!(event = "routes_replaced", nodes = after.table.nodes().len(), "routes have changed");
        (before, after)
    }

    /// What waits for an unreachable node of another region goes to another node there: that region must not wait until
    /// this very node is back.
    pub fn redirect_hints(&self) {
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
}
