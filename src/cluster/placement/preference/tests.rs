use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::swarm::{Partition, PartitionCount};

fn members(ids: impl IntoIterator<Item = String>) -> StableMembers {
    weighted(ids.into_iter().map(|id| (id, 1)))
}

fn weighted(members: impl IntoIterator<Item = (String, u16)>) -> StableMembers {
    let member = |(id, weight): (String, u16)| StableMember { region: "eu".into(), id: id.as_str().into(), weight };
    members.into_iter().map(member).collect()
}

fn named(set: u32, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("node-{set}-{number}")).collect()
}

/// The lists of all partitions.
fn lists(placement: &Placement) -> Vec<Vec<String>> {
    let list = |partition| placement.list(&"eu".into(), partition).map(|id| id.to_string()).collect();
    placement.partitions().iter().map(list).collect()
}

fn count(ids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    ids.into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
    counts
}

/// How many copies are new in `after`, relative to one of `nodes` equal shares.
fn moved(before: &[Vec<String>], after: &[Vec<String>], nodes: usize) -> f64 {
    let new = |(before, after): (&Vec<String>, &Vec<String>)| after.iter().filter(|id| !before.contains(id)).count();
    let new: usize = before.iter().zip(after).map(new).sum();
    (new * nodes) as f64 / after.iter().map(Vec::len).sum::<usize>() as f64
}

#[test]
fn virtual_nodes_hash_to_the_same_place_for_ever() {
    let at = |id, number| hash(VirtualNode { node: 0, number, id });
    // Of SipHash-2-4 with an all-zero key over `00000000 6e6f64652d31` and so on.
    assert_eq!(
        [at("node-1", 0), at("node-1", 1), at("node-1", 0x0102_0304), at("", 0)].map(|at| format!("{at:016x}")),
        ["d59e3a2d73dd1446", "2b4bc454c563481f", "be02f07a564d8a88", "7bf55e51b22b9698"]
    );
}

#[test]
fn a_small_placement_is_the_same_for_ever() {
    let mut ring = members(named(0, 4)).as_slice().to_vec();
    ring.push(StableMember { region: "us".into(), id: "far".into(), weight: 1 });
    let placement = Placement::compute(&ring.into_iter().collect(), PartitionCount::new(8), 2);
    let short = |list: Vec<String>| list.iter().map(|id| &id[7..]).collect::<String>();
    assert_eq!(lists(&placement).into_iter().map(short).collect::<Vec<_>>().join(" "), "10 12 23 32 12 01 21 03");
    assert_eq!(format!("{:016x}", placement.fingerprint()), "7b94055837d7aee1");
    assert_eq!(placement.regions().map(Region::as_str).collect::<Vec<_>>(), ["eu", "us"]);
    assert_eq!(placement.list(&"us".into(), Partition(7)).map(NodeId::as_str).collect::<Vec<_>>(), ["far"]);
    assert_eq!(
        placement.list(&"us".into(), Partition(8)).count() + placement.list(&"xx".into(), Partition(0)).count(),
        0
    );
}

#[test]
fn everything_that_places_is_in_the_fingerprint() {
    let ring = weighted([("a".into(), 1), ("b".into(), 1)]);
    let other = |members: [(&str, &str, u16); 2]| {
        let member =
            |(region, id, weight): (&str, &str, u16)| StableMember { region: region.into(), id: id.into(), weight };
        Placement::compute(&members.map(member).into_iter().collect(), PartitionCount::new(256), 2).fingerprint()
    };
    let all = [
        Placement::compute(&ring, PartitionCount::new(256), 2).fingerprint(),
        Placement::compute(&ring, PartitionCount::new(512), 2).fingerprint(),
        Placement::compute(&ring, PartitionCount::new(256), 3).fingerprint(),
        other([("eu", "a", 1), ("eu", "b", 2)]),
        other([("eu", "a", 1), ("us", "b", 1)]),
        other([("eu", "a", 1), ("eu", "c", 1)]),
        other([("e", "ua", 1), ("eu", "b", 1)]),
    ];
    assert_eq!(other([("eu", "b", 1), ("eu", "a", 1)]), all[0]);
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
}

#[test]
fn a_join_and_a_leave_stay_within_their_bounds() {
    for (nodes, partitions, sets) in [(3, 256, 40), (10, 256, 40), (10, 1024, 20), (30, 2048, 6)] {
        for set in 0..sets {
            let ids = named(set, nodes + 1);
            let before =
                lists(&Placement::compute(&members(ids[..nodes].to_vec()), PartitionCount::new(partitions), 2));
            let after = lists(&Placement::compute(&members(ids), PartitionCount::new(partitions), 2));
            let relative = |counts: BTreeMap<String, usize>, copies: usize| {
                (counts.values().max().unwrap() * nodes) as f64 / (usize::from(partitions) * copies) as f64
            };
            let copies = relative(count(before.iter().flatten().cloned()), 2);
            let owned = relative(count(before.iter().map(|list| list[0].clone())), 1);
            let (join, leave) = (moved(&before, &after, nodes + 1), moved(&after, &before, nodes + 1));
            let what = format!("{nodes} nodes, {partitions} partitions, set {set}");
            assert!(copies < 1.25, "{what}: {copies} copies");
            assert!(owned < 1.3, "{what}: {owned} owned");
            assert!(join < 1.3 && leave < 1.3, "{what}: {join} moved by a join, {leave} by a leave");
        }
    }
}

#[test]
fn weights_are_respected() {
    for set in 0..20 {
        let weights = [1, 1, 2, 2, 3, 1, 2, 4];
        let ring = weighted(named(set, weights.len()).into_iter().zip(weights));
        let copies = count(lists(&Placement::compute(&ring, PartitionCount::new(1024), 2)).into_iter().flatten());
        let total: u16 = weights.iter().sum();
        for member in ring.as_slice() {
            let share = 2048.0 * f64::from(member.weight) / f64::from(total);
            let part = copies[member.id.as_str()] as f64 / share;
            assert!((0.8..=1.21).contains(&part), "set {set}: {member:?} has {part} of its share");
        }
    }
}

#[test]
fn an_oversized_weight_gets_every_partition_and_weight_0_none() {
    let ring = weighted([("big".into(), 60_000), ("a".into(), 1), ("b".into(), 1), ("none".into(), 0)]);
    let copies = count(lists(&Placement::compute(&ring, PartitionCount::new(256), 2)).into_iter().flatten());
    assert_eq!(copies["big"], 256);
    assert_eq!(copies["a"] + copies["b"], 256);
    assert!(copies["a"] <= 154 && copies["b"] <= 154 && !copies.contains_key("none"), "{copies:?}");

    let empty = Placement::compute(&weighted([("none".into(), 0)]), PartitionCount::new(256), 2);
    assert_eq!(empty.list(&"eu".into(), Partition(0)).count(), 0);
    assert_eq!(bounds(&[7, 2, 1], 100, 2), [100, 80, 40]);
    assert_eq!(bounds(&[1, 1, 1], 100, 3), [100; 3]);
}

proptest! {
    #[test]
    fn lists_are_distinct_and_do_not_depend_on_order(
        ids in prop::collection::btree_map("[a-z0-9.-]{1,12}", (0..3u8, 1..4u16), 1..12),
        shuffled in any::<prop::sample::Index>(), exponent in 0..9u32, replicas in 0..5u8,
    ) {
        let member = |(id, (region, weight)): (&String, &(u8, u16))| StableMember {
            region: ["eu", "sa", "us"][usize::from(*region)].into(), id: id.as_str().into(), weight: *weight };
        let mut ring: Vec<StableMember> = ids.iter().map(member).collect();
        let partitions = PartitionCount::new(1 << exponent);
        let placement = Placement::compute(&ring.iter().cloned().collect(), partitions, replicas);
        let middle = shuffled.index(ring.len());
        ring.rotate_left(middle);
        ring.reverse();
        prop_assert_eq!(&placement, &Placement::compute(&ring.iter().cloned().collect(), partitions, replicas));
        for region in placement.regions() {
            let there = ring.iter().filter(|member| member.region == *region).count();
            for partition in partitions.iter() {
                let list: std::collections::BTreeSet<_> = placement.list(region, partition).collect();
                prop_assert_eq!(list.len(), there.min(usize::from(replicas)));
                prop_assert_eq!(list.len(), placement.list(region, partition).count());
            }
        }
    }

    #[test]
    fn a_region_does_not_move_another(count in 1..8usize, far in 0..8usize) {
        let near = members(named(1, count));
        let far = named(2, far).into_iter().map(|id| StableMember { region: "us".into(), id: id.as_str().into(), weight: 1 });
        let both: StableMembers = near.as_slice().iter().cloned().chain(far).collect();
        prop_assert_eq!(lists(&Placement::compute(&near, PartitionCount::new(64), 2)), lists(&Placement::compute(&both, PartitionCount::new(64), 2)));
    }
}
