//! Anti-entropy: which copies are to be compared when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{NodeId, NodeIndex, PartitionSet, RoutingTable};
use crate::link::Link;
use crate::partition::replication::Routes;
use crate::swarm::Partition;

/// Every partition is compared with another copy once in this time: in turns with each other holder in its region and, by
/// the node that speaks for the region, with the one that speaks for each other region.
const PERIOD: Duration = Duration::from_secs(45);
/// Comparisons at a time.
const AT_A_TIME: usize = 4;
/// The same while some are urgent. They spend nearly all of their time waiting for changes to settle.
const URGENT_AT_A_TIME: usize = 64;
/// How long after a cut has healed copies are compared: what waited in queues comes first.
const AFTER_HEAL: Duration = Duration::from_secs(1);
/// How long after a comparison that came to nothing.
const AGAIN: Duration = Duration::from_millis(500);
/// How long after a death: until then others may not have noticed it.
const AFTER_DEATH: Duration = Duration::from_secs(3);
/// How long after changes were dropped copies are compared: digests leave out what is younger than three seconds
/// ([`PullOptions::lag`](crate::partition::anti_entropy::pull::PullOptions)), and so what was dropped just now.
const AFTER_DROP: Duration = Duration::from_secs(4);

/// What is being compared and what is to be compared.
#[derive(Default)]
pub struct Comparisons {
    running: BTreeSet<Partition>,
    /// Nodes to compare everything with, when next, and when for the last time.
    healed: BTreeMap<NodeId, (Duration, Duration)>,
    /// Partitions that become urgent later, with whom to compare them and from when on.
    postponed: BTreeMap<(Partition, NodeId), Duration>,
    /// Partitions to be compared with a node as soon as possible.
    urgent: BTreeSet<(Partition, NodeId)>,
    /// Urgent comparisons that run, and with whom.
    running_urgent: BTreeMap<Partition, NodeId>,
    /// Some of the urgent ones brought what another region knew, and the other nodes of this one do not know it yet.
    news: bool,
    /// The partition that the next regular comparison is for, and its due time.
    next: (Partition, Duration),
    /// How often all partitions had their regular comparison.
    rounds: usize,
}

impl Comparisons {
    /// Compares everything with a node that has dropped changes for this one.
    pub fn dropped(&mut self, node: NodeId, now: Duration) {
        self.compare_at(node, now + AFTER_DROP);
    }

    /// Compares everything with a node that has just come back.
    pub fn healed(&mut self, node: NodeId, now: Duration) {
        self.compare_at(node, now + AFTER_HEAL);
    }

    /// Whatever comes meanwhile puts off nothing, and has its own comparison after that.
    fn compare_at(&mut self, node: NodeId, at: Duration) {
        let (next, last) = self.healed.entry(node).or_insert((at, at));
        (*next, *last) = ((*next).min(at), (*last).max(at));
    }

    /// Compares a partition that a dead node led, soon.
    pub fn succeed(&mut self, partition: Partition, node: NodeId, now: Duration) {
        self.postponed.insert((partition, node), now + AFTER_DEATH);
    }

    /// A comparison has ended. An urgent one that came to nothing, such as for an overloaded owner, is made again.
    pub fn ended(&mut self, partition: Partition, done: bool, now: Duration) {
        self.running.remove(&partition);
        if let Some(node) = self.running_urgent.remove(&partition)
            && !done
        {
            self.postponed.insert((partition, node), now + AGAIN);
        }
    }

    /// Whether the other nodes of this region should now compare with this one, as all that was urgent abroad is done.
    pub fn take_news(&mut self) -> bool {
        let done = self.urgent.is_empty() && self.running_urgent.is_empty() && self.postponed.is_empty();
        done && std::mem::take(&mut self.news)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.urgent.len() + self.postponed.len()
    }

    /// Takes those that are to start now, each with the link to the node to compare with.
    pub fn due(&mut self, routes: &Routes, held: &PartitionSet, now: Duration) -> Vec<(Partition, Arc<Link>)> {
        let table = &routes.table;
        let healed: Vec<_> =
            self.healed.iter().filter(|(_, (next, _))| *next <= now).map(|(node, _)| node.clone()).collect();
        for node in healed {
            if let Some((_, last)) = self.healed.remove(&node)
                && last > now
            {
                self.healed.insert(node.clone(), (last, last));
            }
            self.urgent.extend(held.iter().filter(|at| shares(routes, *at, &node)).map(|at| (at, node.clone())));
        }
        let ripe = self.postponed.extract_if(.., |_, at| *at <= now);
        self.urgent.extend(ripe.map(|(pair, _)| pair).filter(|(partition, _)| held.contains(*partition)));
        let mut due = Vec::new();
        let waiting = std::mem::take(&mut self.urgent);
        for (partition, node) in waiting {
            let at = table.index_of(&node);
            let peer = at.and_then(|at| routes.peer(at)).filter(|peer| peer.link.is_routable());
            match peer {
                // Another cut will bring it back.
                None => {}
                Some(_) if self.running.len() >= URGENT_AT_A_TIME || self.running.contains(&partition) => {
                    self.urgent.insert((partition, node));
                }
                Some(peer) => {
                    self.running.insert(partition);
                    self.running_urgent.insert(partition, node.clone());
                    self.news |= at.is_some_and(|at| !table.in_region(partition).contains(&at));
                    due.push((partition, peer.link.clone()));
                }
            }
        }
        // Spread over the period, so that there is never much to do at once.
        let count = held.len() as u32;
        while count > 0 && now >= self.next.1 && self.running.len() < AT_A_TIME {
            self.next.1 = self.next.1.max(now.saturating_sub(PERIOD)) + PERIOD / count;
            let partition = match held.iter().find(|at| *at >= self.next.0) {
                Some(partition) => partition,
                None => {
                    self.rounds = self.rounds.wrapping_add(1);
                    let Some(first) = held.iter().next() else { break };
                    first
                }
            };
            self.next.0 = Partition(partition.0.wrapping_add(1));
            let others = others(table, partition);
            // Not all partitions with the same node at once.
            let turn = self.rounds.wrapping_add(partition.index()).checked_rem(others.len());
            let chosen = turn.and_then(|turn| others.get(turn).copied());
            let peer = chosen.and_then(|node| routes.peer(node)).filter(|peer| peer.link.is_routable());
            if let Some(peer) = peer
                && self.running.insert(partition)
            {
                due.push((partition, peer.link.clone()));
            }
        }
        due
    }
}

/// Whom this node compares a partition with regularly.
fn others(table: &RoutingTable, partition: Partition) -> Vec<NodeIndex> {
    let near = table.in_region(partition);
    let speaks_for_region = near.first() == Some(&table.me());
    let far = if speaks_for_region { table.first_in_other_regions(partition) } else { &[] };
    near.iter().filter(|node| **node != table.me()).chain(far).copied().collect()
}

/// Whether a partition is to be compared with a node that was cut off: any holder of the region, and abroad the owner.
fn shares(routes: &Routes, partition: Partition, node: &NodeId) -> bool {
    let table = &routes.table;
    let is = |at: &NodeIndex| table.node(*at).id == *node;
    let near = table.in_region(partition);
    let owner = near.first() == Some(&table.me());
    near.iter().any(is) || owner && table.candidates(partition)[near.len()..].iter().any(is)
}
