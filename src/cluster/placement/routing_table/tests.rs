use proptest::prelude::*;

use super::*;
use crate::cluster::{NodeIndex, PartitionSet, StableMember, StableMembers};
use crate::swarm::{Partition, PartitionCount};

const PARTITIONS: PartitionCount = PartitionCount::new(16);

fn member(id: &str, region: &str, held: &[u16]) -> Member {
    Member {
        id: id.into(),
        region: region.into(),
        incarnation: 7,
        link: ([127, 0, 0, 1], 7000).into(),
        weight: 1,
        leaving: false,
        held: held.iter().copied().map(Partition).collect(),
        alive: true,
    }
}

fn placement(members: &Members, replicas: u8) -> Placement {
    let ring: StableMembers = members.0.iter().filter(|member| !member.leaving).map(ring_member).collect();
    Placement::compute(&ring, PARTITIONS, replicas)
}

fn ring_member(member: &Member) -> StableMember {
    StableMember { region: member.region.clone(), id: member.id.clone(), weight: member.weight }
}

fn names(table: &RoutingTable, list: &[NodeIndex]) -> Vec<String> {
    list.iter().map(|at| table.node(*at).id.to_string()).collect()
}

/// Three nodes in each of three regions, all of which hold everything.
fn nine() -> Members {
    let all: Vec<u16> = (0..PARTITIONS.get()).collect();
    let ids = ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"];
    Members(ids.into_iter().map(|id| member(id, &id[..1], &all)).collect())
}

/// The placed ones of partition 0 in a region, then the third.
fn order(placement: &Placement, region: &str) -> Vec<String> {
    let mut order: Vec<String> = placement.list(&region.into(), Partition(0)).map(|id| id.to_string()).collect();
    let third = (1..=3).map(|number| format!("{region}{number}")).find(|id| !order.contains(id));
    order.extend(third);
    order
}

#[test]
fn the_own_region_comes_first_and_then_the_next_ones_by_name() {
    let members = nine();
    let placement = placement(&members, 2);
    let table = RoutingTable::build(&"b1".into(), &members, &placement, PARTITIONS);
    let expected: Vec<String> = ["b", "c", "a"].iter().flat_map(|region| order(&placement, region)).collect();
    assert_eq!(names(&table, table.candidates(Partition(0))), expected);
    assert_eq!(names(&table, table.in_region(Partition(0))), expected[..3]);
    assert_eq!(names(&table, table.placed(Partition(0))), expected[..2]);
    assert_eq!(names(&table, table.first_in_other_regions(Partition(0))), [&*expected[3], &*expected[6]]);
    assert_eq!(table.fingerprint(), placement.fingerprint());
    assert!(!table.placed_without_copy(Partition(0)) && table.is_held_here(Partition(0)) && !table.is_alone());
    assert_eq!(table.node(table.me()).id, "b1".into());
}

#[test]
fn a_first_node_that_is_dead_or_holds_nothing_is_skipped_but_gets_deltas() {
    let members = nine();
    let placement = placement(&members, 2);
    let [first, second, third] = order(&placement, "a").try_into().unwrap();
    let me: NodeId = third.as_str().into();
    for dead in [true, false] {
        let mut members = members.clone();
        let owner = members.0.iter_mut().find(|member| member.id.as_str() == first).unwrap();
        if dead {
            owner.alive = false;
        } else {
            owner.held.remove(Partition(0));
        }
        let table = RoutingTable::build(&me, &members, &placement, PARTITIONS);
        assert_eq!(names(&table, table.in_region(Partition(0))), [&*second, &*third]);
        assert_eq!(names(&table, table.placed(Partition(0))), [&*first, &*second]);
        assert_eq!(names(&table, table.replicas(Partition(0))), [&*first, &*second]);
        assert_eq!(table.placed_without_copy(Partition(0)), !dead);
        assert!(!table.is_placed_here(Partition(0)) && table.is_held_here(Partition(0)));
    }
}

#[test]
fn a_leaving_holder_is_last_of_its_region_even_where_it_is_still_placed() {
    let mut members = nine();
    let stale = placement(&members, 2);
    let [first, second, third] = order(&stale, "a").try_into().unwrap();
    members.0.iter_mut().find(|member| member.id.as_str() == first).unwrap().leaving = true;
    let table = RoutingTable::build(&"b1".into(), &members, &stale, PARTITIONS);
    let a: Vec<String> =
        names(&table, table.candidates(Partition(0))).into_iter().filter(|id| id.starts_with('a')).collect();
    assert_eq!(a, [second, third, first]);
}

#[test]
fn regions_without_holders_get_deltas_for_one_that_is_alive() {
    let mut members = nine();
    let placement = placement(&members, 2);
    let [first, second, _] = order(&placement, "a").try_into().unwrap();
    for member in &mut members.0[..3] {
        member.held = PartitionSet::default();
    }
    let cross_region = |members: &Members| {
        let table = RoutingTable::build(&"b1".into(), members, &placement, PARTITIONS);
        names(&table, table.first_in_other_regions(Partition(0))).pop().unwrap()
    };
    assert_eq!(cross_region(&members), first);
    members.0.iter_mut().find(|member| member.id.as_str() == first).unwrap().alive = false;
    assert_eq!(cross_region(&members), second);
    members.0.iter_mut().for_each(|member| member.alive = false);
    assert_eq!(cross_region(&members), first);
}

#[test]
fn alone_means_that_no_other_node_is_known() {
    let mut members = Members(vec![member("a", "eu", &[])]);
    let table = RoutingTable::build(&"a".into(), &members, &placement(&members, 2), PARTITIONS);
    assert!(table.is_alone() && table.is_placed_here(Partition(3)) && table.placed_without_copy(Partition(3)));
    assert_eq!(
        (table.candidates(Partition(3)), table.replicas(Partition(3)), table.first_in_other_regions(Partition(3))),
        (&[][..], &[][..], &[][..])
    );
    assert_eq!(table.placed(Partition(3)), [NodeIndex(0)]);
    assert!(table.placed(Partition(PARTITIONS.get())).is_empty() && table.candidates(Partition(u16::MAX)).is_empty());
    members.0.push(member("b", "us", &[]));
    members.0[1].alive = false;
    assert!(!RoutingTable::build(&"a".into(), &members, &placement(&members, 2), PARTITIONS).is_alone());
}

#[test]
fn a_node_that_is_no_member_can_build_a_table() {
    let members = nine();
    let table = RoutingTable::build(&"x".into(), &members, &placement(&members, 2), PARTITIONS);
    assert_eq!(
        (table.in_region(Partition(0)), table.placed(Partition(0)), table.candidates(Partition(0)).len()),
        (&[][..], &[][..], 9)
    );
    assert!(table.nodes().get(table.me().index()).is_none());
    assert!(!table.is_placed_here(Partition(0)) && !table.is_held_here(Partition(0)));
}

prop_compose! {
    fn any_member()(region in 0..3u8, leaving in prop::bool::weighted(0.2), alive in prop::bool::weighted(0.7),
            held in prop::collection::vec(0..PARTITIONS.get(), 0..24), placed in prop::bool::weighted(0.8)) -> (Member, bool) {
        let mut member = member("", ["eu", "sa", "us"][usize::from(region)], &held);
        (member.leaving, member.alive) = (leaving, alive);
        (member, placed)
    }
}

proptest! {
    #[test]
    fn laws_of_routing(any in prop::collection::vec(any_member(), 1..12), me in any::<prop::sample::Index>(), r in 1..4u8) {
        let mut members = Members::default();
        let mut ring = Vec::new();
        for (number, (mut member, placed)) in any.into_iter().enumerate() {
            member.id = format!("n{number:02}").as_str().into();
            if placed {
                ring.push(ring_member(&member));
            }
            members.0.push(member);
        }
        let me = me.get(&members.0);
        let placement = Placement::compute(&ring.into_iter().collect(), PARTITIONS, r);
        let table = RoutingTable::build(&me.id, &members, &placement, PARTITIONS);
        let at = |node: &NodeIndex| &members.0[node.index()];
        let place = |node: &NodeIndex, partition| placement.list(&at(node).region, partition).position(|id| *id == at(node).id);

        for partition in PARTITIONS.iter() {
            let holders = members.0.iter().filter(|member| member.alive && member.held.contains(partition));
            let candidates = table.candidates(partition);
            prop_assert_eq!(candidates.len(), holders.count());
            prop_assert!(candidates.iter().all(|node| at(node).alive && at(node).held.contains(partition)));
            let distance = |region: &Region| ((*region != me.region), (*region < me.region), region.clone());
            let keys = candidates.iter().map(|node| (distance(&at(node).region), at(node).leaving,
                place(node, partition).filter(|_| !at(node).leaving).unwrap_or(usize::MAX), *node));
            // Strictly ascending, and so no node is listed twice.
            prop_assert!(keys.clone().zip(keys.skip(1)).all(|(a, b)| a < b));
            let home = candidates.iter().filter(|node| at(node).region == me.region).count();
            prop_assert_eq!(table.in_region(partition), &candidates[..home]);

            let placed: Vec<&NodeId> = table.placed(partition).iter().map(|node| &at(node).id).collect();
            prop_assert_eq!(&placed, &placement.list(&me.region, partition).collect::<Vec<_>>());
            prop_assert_eq!(table.is_placed_here(partition), placed.contains(&&me.id));
            prop_assert_eq!(table.is_held_here(partition), me.held.contains(partition));
            let lacks = table.placed(partition).iter().any(|node| at(node).alive && !at(node).held.contains(partition));
            prop_assert_eq!(table.placed_without_copy(partition), lacks);

            let mut replicas = table.replicas(partition).to_vec();
            replicas.sort();
            let mut expected = [table.placed(partition), table.in_region(partition)].concat();
            expected.retain(|node| *node != table.me());
            expected.sort();
            expected.dedup();
            prop_assert_eq!(replicas, expected);

            let cross_region = table.first_in_other_regions(partition);
            prop_assert!(cross_region.iter().all(|node| at(node).region != me.region));
            prop_assert!(cross_region.windows(2).all(|two| distance(&at(&two[0]).region) < distance(&at(&two[1]).region)));
            for region in ["eu", "sa", "us"].map(Region::from).into_iter().filter(|region| *region != me.region) {
                let first = candidates.iter().find(|node| at(node).region == region);
                let chosen = cross_region.iter().find(|node| at(node).region == region);
                prop_assert!(first.is_none() || first == chosen);
                prop_assert_eq!(chosen.is_some(), first.is_some() || placement.list(&region, partition).next().is_some());
            }
        }
    }
}
