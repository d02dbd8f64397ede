//! The schedule of anti-entropy: which copies are compared when, and with which node.
//!
//! Regular comparisons take turns over all held partitions; urgent ones follow an event that may have made copies differ.
//!
//! Invariants:
//! * At most one comparison of a partition runs at a time.
//! * A pair of partition and node that became urgent is compared after that, or dropped only because the node is
//!   unreachable (its return makes it urgent again) or the partition is not held any more.
//! * Regular comparisons are spread over [`PERIOD`], so that there is never much to do at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{NodeId, NodeIndex, PartitionSet, RoutingTable};
use crate::link::Link;
use crate::partition::replication::Routes;
use crate::swarm::Partition;

/// Every partition is compared with another copy once in this time: in turns with each other holder in its region and, by
/// the leader of the region, with the leader of each other region.
const PERIOD: Duration = Duration::from_secs(45);
/// Comparisons at the same time.
const MAX_RUNNING: usize = 4;
/// The same while some are urgent. They spend nearly all of their time waiting for changes to settle.
const MAX_RUNNING_URGENT: usize = 64;
/// The delay after a node can be reached again: what waited in queues comes first.
const AFTER_RECONNECT: Duration = Duration::from_secs(1);
/// The delay after a comparison that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// The delay after a death: until then other nodes may not have noticed it.
const AFTER_DEATH: Duration = Duration::from_secs(3);
/// The delay after changes were dropped: digests leave out what is younger than three seconds
/// ([`PullOptions::lag`](crate::partition::anti_entropy::pull::PullOptions)), and so what was dropped just now.
const AFTER_DROP: Duration = Duration::from_secs(4);

#[derive(Default)]
pub struct Comparisons {
    running: BTreeSet<Partition>,
    /// Nodes to compare everything with.
    nodes: BTreeMap<NodeId, NodeSchedule>,
    /// Partitions that become urgent later, with the node to compare with, and when.
    postponed: BTreeMap<(Partition, NodeId), Duration>,
    /// Partitions to be compared with a node as soon as possible.
    urgent: BTreeSet<(Partition, NodeId)>,
    /// Urgent comparisons that run, and with which node.
    running_urgent: BTreeMap<Partition, NodeId>,
    /// Some urgent comparisons fetched what another region had, which the other nodes of this region may still lack.
    compared_cross_region: bool,
    regular: RegularTurn,
}

/// When everything is compared with a node: next, and for the last time. Another event neither delays the next comparison
/// nor goes without its own.
#[derive(Clone, Copy)]
struct NodeSchedule {
    next: Duration,
    last: Duration,
}

#[derive(Default)]
struct RegularTurn {
    /// The partition whose turn is next.
    partition: Partition,
    due: Duration,
    /// How often all partitions had their turn.
    rounds: usize,
}

impl Comparisons {
    /// Schedules a comparison of everything with a node that has dropped changes for this one.
    pub fn changes_dropped(&mut self, node: NodeId, now: Duration) {
        self.schedule_node(node, now + AFTER_DROP);
    }

    /// Schedules a comparison of everything with a node that can be reached again.
    pub fn node_reconnected(&mut self, node: NodeId, now: Duration) {
        self.schedule_node(node, now + AFTER_RECONNECT);
    }

    fn schedule_node(&mut self, node: NodeId, at: Duration) {
        let schedule = self.nodes.entry(node).or_insert(NodeSchedule { next: at, last: at });
        schedule.next = schedule.next.min(at);
        schedule.last = schedule.last.max(at);
    }

    /// Schedules a comparison with `node` of a partition whose leader in some region has died.
    pub fn leader_died(&mut self, partition: Partition, node: NodeId, now: Duration) {
        self.postponed.insert((partition, node), now + AFTER_DEATH);
    }

    /// A comparison has ended. An urgent one that failed, such as for an overloaded owner, is repeated.
    pub fn finished(&mut self, partition: Partition, succeeded: bool, now: Duration) {
        self.running.remove(&partition);
        if let Some(node) = self.running_urgent.remove(&partition)
            && !succeeded
        {
            self.postponed.insert((partition, node), now + AFTER_FAILURE);
        }
    }

    /// Whether urgent comparisons with other regions have ended, so that the other nodes of this region should now compare
    /// with this one. True once for each batch of them.
    pub fn take_cross_region_done(&mut self) -> bool {
        let done = self.urgent.is_empty() && self.running_urgent.is_empty() && self.postponed.is_empty();
        done && std::mem::take(&mut self.compared_cross_region)
    }

    /// How many urgent comparisons wait.
    pub fn waiting(&self) -> usize {
        self.urgent.len() + self.postponed.len()
    }

    /// The comparisons to start now, each with the link to the other node.
    pub fn start_due(&mut self, routes: &Routes, held: &PartitionSet, now: Duration) -> Vec<(Partition, Arc<Link>)> {
        let mut started = Vec::new();
        self.collect_urgent(routes, held, now);
        self.start_urgent(routes, &mut started);
        self.start_regular(routes, held, now, &mut started);
        started
    }

    /// Makes urgent what is due by now.
    fn collect_urgent(&mut self, routes: &Routes, held: &PartitionSet, now: Duration) {
        let due = self.nodes.iter().filter(|(_, schedule)| schedule.next <= now);
        let due: Vec<_> = due.map(|(node, schedule)| (node.clone(), schedule.last)).collect();
        for (node, last) in due {
            if last > now {
                self.nodes.insert(node.clone(), NodeSchedule { next: last, last });
            } else {
                self.nodes.remove(&node);
            }
            let shared = held.iter().filter(|partition| is_shared(&routes.table, *partition, &node));
            self.urgent.extend(shared.map(|partition| (partition, node.clone())));
        }

        let postponed = self.postponed.extract_if(.., |_, at| *at <= now).map(|(pair, _)| pair);
        self.urgent.extend(postponed.filter(|(partition, _)| held.contains(*partition)));
    }

    fn start_urgent(&mut self, routes: &Routes, started: &mut Vec<(Partition, Arc<Link>)>) {
        let table = &routes.table;
        for (partition, node) in std::mem::take(&mut self.urgent) {
            // An unreachable node is compared with once it is back.
            let Some(at) = table.index_of(&node) else { continue };
            let Some(peer) = routes.peer(at).filter(|peer| peer.link.is_routable()) else { continue };

            if self.running.len() >= MAX_RUNNING_URGENT || self.running.contains(&partition) {
                self.urgent.insert((partition, node));
                continue;
            }
            self.running.insert(partition);
            self.running_urgent.insert(partition, node);
            self.compared_cross_region |= !table.in_region(partition).contains(&at);
            started.push((partition, peer.link.clone()));
        }
    }

    fn start_regular(
        &mut self,
        routes: &Routes,
        held: &PartitionSet,
        now: Duration,
        started: &mut Vec<(Partition, Arc<Link>)>,
    ) {
        let count = held.len() as u32;
        while count > 0 && now >= self.regular.due && self.running.len() < MAX_RUNNING {
            self.regular.due = self.regular.due.max(now.saturating_sub(PERIOD)) + PERIOD / count;
            let Some(partition) = self.regular.take_partition(held) else { break };

            let partners = regular_partners(&routes.table, partition);
            // Not all partitions with the same node at once.
            let turn = self.regular.rounds.wrapping_add(partition.index()).checked_rem(partners.len());
            let partner = turn.and_then(|turn| partners.get(turn).copied());
            let peer = partner.and_then(|node| routes.peer(node)).filter(|peer| peer.link.is_routable());
            if let Some(peer) = peer
                && self.running.insert(partition)
            {
                started.push((partition, peer.link.clone()));
            }
        }
    }
}

impl RegularTurn {
    /// The held partition whose turn it is.
    fn take_partition(&mut self, held: &PartitionSet) -> Option<Partition> {
        let partition = match held.iter().find(|partition| *partition >= self.partition) {
            Some(partition) => partition,
            None => {
                self.rounds = self.rounds.wrapping_add(1);
                held.iter().next()?
            }
        };
        self.partition = Partition(partition.0.wrapping_add(1));
        Some(partition)
    }
}

/// The nodes that this one compares a partition with regularly.
fn regular_partners(table: &RoutingTable, partition: Partition) -> Vec<NodeIndex> {
    let in_region = table.in_region(partition);
    let leads = in_region.first() == Some(&table.me());
    let cross_region = if leads { table.first_in_other_regions(partition) } else { &[] };
    in_region.iter().filter(|node| **node != table.me()).chain(cross_region).copied().collect()
}

/// Whether a partition has to be compared with a node that was cut off: with any holder in this region, and by the leader
/// of this region with the holders in others.
fn is_shared(table: &RoutingTable, partition: Partition, node: &NodeId) -> bool {
    let Some(node) = table.index_of(node) else { return false };
    let in_region = table.in_region(partition);
    let leads = in_region.first() == Some(&table.me());
    in_region.contains(&node) || leads && table.candidates(partition).contains(&node)
}
