//! What a node that died may have taken with it: changes that only it of its region had received, and changes of its own
//! region that it had not yet sent to others.
//!
//! Invariant: for each partition whose leading node in some region has died, the new leader of that region and the leaders
//! of the other regions compare their copies. The leader of a region is the first candidate of a partition there; no
//! other node has to do anything.

use std::collections::BTreeMap;

use crate::cluster::{NodeId, Region, RoutingTable};
use crate::swarm::{Partition, PartitionCount};
use crate::telemetry::trace::names;

/// The partitions that this node has to compare after the routes have changed, each with the node to compare with.
pub fn comparisons(
    before: &RoutingTable,
    after: &RoutingTable,
    partitions: PartitionCount,
) -> Vec<(Partition, NodeId)> {
    let mut found = Vec::new();
    // A node that is not a member leads nothing.
    let Some(own_region) = after.own_region() else { return found };
    let me = &after.node(after.me()).id;
    for partition in partitions.iter() {
        let (old, new) = (leaders(before, partition), leaders(after, partition));
        if new.get(own_region) != Some(&me) {
            continue;
        }
        let replaced = |region: &Region| old.get(region).is_some_and(|leader| is_gone(after, leader));
        for (region, leader) in new.iter().filter(|(region, _)| **region != own_region) {
            if replaced(region) || replaced(own_region) {
                found.push((partition, (*leader).clone()));
            }
        }
    }
    found
}

/// Logs each node that this one has begun to stand in for, and returns how many partitions it has taken over.
pub fn log_takeovers(before: &RoutingTable, after: &RoutingTable, partitions: PartitionCount) -> u64 {
    let mut taken_over: BTreeMap<&NodeId, u64> = BTreeMap::new();
    for partition in partitions.iter() {
        let Some(&owner) = before.in_region(partition).first() else { continue };
        let owner = &before.node(owner).id;
        let leads = after.in_region(partition).first() == Some(&after.me());
        // This node itself is never gone, as a leader is alive.
        if leads && is_gone(after, owner) {
            *taken_over.entry(owner).or_default() += 1;
        }
    }
    for (node, partitions) in &taken_over {
        tracing::warn!(event = "takeover", %node, partitions, "a node is down, its partitions are taken over");
        tracing::info_span!(target: names::TARGET, names::span::TAKEOVER, %node, partitions);
    }
    taken_over.values().sum()
}

/// Whether a node is dead or no member any more.
fn is_gone(table: &RoutingTable, id: &NodeId) -> bool {
    table.index_of(id).is_none_or(|node| !table.node(node).alive)
}

/// The first candidate of each region.
fn leaders(table: &RoutingTable, partition: Partition) -> BTreeMap<&Region, &NodeId> {
    let mut leaders = BTreeMap::new();
    for node in table.candidates(partition).iter().map(|at| table.node(*at)) {
        leaders.entry(&node.region).or_insert(&node.id);
    }
    leaders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Member, Members, PartitionSet, Placement, StableMembership};
    use std::time::Duration;

    const PARTITIONS: PartitionCount = PartitionCount::new(64);
    const NODES: [&str; 4] = ["ap-1", "ap-2", "eu-1", "eu-2"];

    fn table(me: &str, dead: &[&str]) -> RoutingTable {
        let member = |id: &str| Member {
            id: id.into(),
            region: id[..2].into(),
            incarnation: 1,
            link: "127.0.0.1:1".parse().unwrap(),
            weight: 1,
            leaving: false,
            held: PartitionSet::all(PARTITIONS),
            alive: !dead.contains(&id),
        };
        let members = Members(NODES.map(member).into());
        let all = Members(NODES.map(|id| Member { alive: true, ..member(id) }).into());
        let placed = StableMembership::new(Duration::from_secs(60)).update(Duration::ZERO, &all);
        let placement = Placement::compute(&placed, PARTITIONS, 2);
        RoutingTable::build(&me.into(), &members, &placement, PARTITIONS)
    }

    #[test]
    fn the_new_leader_and_those_of_other_regions_compare() {
        let led_by = |table: &RoutingTable, at: Partition, id: &str| {
            leaders(table, at).values().any(|leader| leader.as_str() == id)
        };
        let before = table("eu-2", &[]);
        let lost: Vec<Partition> = PARTITIONS.iter().filter(|at| led_by(&before, *at, "eu-1")).collect();
        assert!(!lost.is_empty());

        let found = comparisons(&before, &table("eu-2", &["eu-1"]), PARTITIONS);
        assert_eq!(
            found.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            lost,
            "the new leader compares what it took over"
        );
        assert!(found.iter().all(|(at, node)| led_by(&before, *at, node.as_str()) && node.as_str().starts_with("ap")));

        let mut elsewhere: Vec<Partition> = Vec::new();
        for me in ["ap-1", "ap-2"] {
            let found = comparisons(&table(me, &[]), &table(me, &["eu-1"]), PARTITIONS);
            assert!(found.iter().all(|(_, node)| node.as_str() == "eu-2"), "{found:?}");
            elsewhere.extend(found.iter().map(|(at, _)| *at));
        }
        elsewhere.sort_unstable();
        assert_eq!(elsewhere, lost, "and so does one node of the other region for each");
    }

    #[test]
    fn without_a_death_no_node_compares() {
        assert_eq!(comparisons(&table("eu-2", &[]), &table("eu-2", &[]), PARTITIONS), []);
        assert_eq!(comparisons(&table("eu-2", &["eu-1"]), &table("eu-2", &[]), PARTITIONS), []);
    }
}
