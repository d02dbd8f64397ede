//! What a dead node may have taken with it: changes that it was the only one of its region to be told of, and changes of
//! its own region that it had not yet told others. Whoever stands in for it and the other regions compare their copies.

use std::collections::BTreeMap;

use crate::cluster::{NodeId, Region, RoutingTable};
use crate::swarm::{Partition, PartitionCount};

/// Whom this node has to compare which partitions with, after the routes have changed from one table to another.
pub fn to_compare(before: &RoutingTable, after: &RoutingTable, partitions: PartitionCount) -> Vec<(Partition, NodeId)> {
    let mut found = Vec::new();
    let me = after.node(after.me());
    for partition in partitions.iter() {
        let (old, new) = (firsts(before, partition), firsts(after, partition));
        // A region's first speaks for it; nobody else has to do anything.
        if new.get(&me.region) != Some(&&me.id) {
            continue;
        }
        let gone = |id: &NodeId| after.nodes().iter().all(|node| node.id != *id || !node.alive);
        let replaced = |region: &Region| old.get(region).is_some_and(|first| gone(first));
        for (region, first) in new.iter().filter(|(region, _)| **region != &me.region) {
            if replaced(region) || replaced(&me.region) {
                found.push((partition, (*first).clone()));
            }
        }
    }
    found
}

/// The first candidate of each region.
fn firsts(table: &RoutingTable, partition: Partition) -> BTreeMap<&Region, &NodeId> {
    let mut firsts = BTreeMap::new();
    for node in table.candidates(partition).iter().map(|at| table.node(*at)) {
        firsts.entry(&node.region).or_insert(&node.id);
    }
    firsts
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
    fn who_stands_in_and_who_told_the_dead_one_compare() {
        let led_by = |table: &RoutingTable, at: Partition, id: &str| {
            firsts(table, at).values().any(|first| first.as_str() == id)
        };
        let before = table("eu-2", &[]);
        let lost: Vec<Partition> = PARTITIONS.iter().filter(|at| led_by(&before, *at, "eu-1")).collect();
        assert!(!lost.is_empty());

        let found = to_compare(&before, &table("eu-2", &["eu-1"]), PARTITIONS);
        assert_eq!(
            found.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            lost,
            "the successor compares what it took over"
        );
        assert!(found.iter().all(|(at, node)| led_by(&before, *at, node.as_str()) && node.as_str().starts_with("ap")));

        let mut abroad: Vec<Partition> = Vec::new();
        for me in ["ap-1", "ap-2"] {
            let found = to_compare(&table(me, &[]), &table(me, &["eu-1"]), PARTITIONS);
            assert!(found.iter().all(|(_, node)| node.as_str() == "eu-2"), "{found:?}");
            abroad.extend(found.iter().map(|(at, _)| *at));
        }
        abroad.sort_unstable();
        assert_eq!(abroad, lost, "and so does one node of the other region for each");
    }

    #[test]
    fn nobody_compares_when_nobody_has_died() {
        assert_eq!(to_compare(&table("eu-2", &[]), &table("eu-2", &[]), PARTITIONS), []);
        assert_eq!(to_compare(&table("eu-2", &["eu-1"]), &table("eu-2", &[]), PARTITIONS), []);
    }
}
