use proptest::prelude::*;

use super::*;
use crate::partition::testing::*;
use crate::swarm::{Event, Partition, PartitionCount};

fn window(node: &Node) -> Window {
    Window::at(node.now.wall_millis, TTL, Duration::from_secs(3), Duration::from_secs(60))
}

fn differing(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_of_any_size_make_the_same_digest(
        announces in prop::collection::vec((any::<bool>(), 0u32..20, 0u32..300, any::<bool>()), 1..600),
        budget in 1usize..80,
    ) {
        let mut node = Node::new(PartitionCount::new(2), 5, WALL);
        for (v6, swarm, number, seeder) in announces {
            node.announce(v6, if number > 100 { 0 } else { swarm }, number, Event::None, seeder);
            node.pass(20);
        }
        node.pass(5_000);
        for partition in 0..2 {
            let whole = node.digest(Partition(partition), window(&node), usize::MAX);
            prop_assert_eq!(&node.digest(Partition(partition), window(&node), budget), &whole);
        }
    }
}

#[test]
fn any_difference_shows_in_exactly_one_bucket() {
    let (mut a, mut b) = (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 60_000, WALL));
    for number in 0..2_000u32 {
        let delta = a.announce(number % 2 == 0, number % 70, number, Event::Started, number % 3 == 0).unwrap();
        b.merge_deltas(&delta, 0);
    }
    [&mut a, &mut b].into_iter().for_each(|node| node.pass(5_000));
    let equal = |a: &Node, b: &Node| {
        differing(&a.digest(Partition(0), window(a), 100), &b.digest(Partition(0), window(a), 100))
    };
    assert_eq!(equal(&a, &b), 0);
    let set = a.digest(Partition(0), window(&a), 100).iter().filter(|value| **value != 0).count();
    assert!(set > 35, "70 swarms of two families lie in {set} buckets");
    // A role, a tombstone, a new peer, a new stamp alone: each once it is older than the lag.
    let steps: [(u32, Event, bool); 4] =
        [(1, Event::None, true), (2, Event::Stopped, false), (9_000, Event::None, false), (4, Event::Started, false)];
    for (number, event, seeder) in steps {
        let delta = a.announce(number % 2 == 0, number % 70, number, event, seeder).unwrap();
        let before = a.now;
        [&mut a, &mut b].into_iter().for_each(|node| node.pass(5_000));
        assert_eq!(equal(&a, &b), 1, "{number}");
        b.merge_deltas(&delta, (a.now.uptime - before.uptime).as_secs() as u32);
        assert_eq!(equal(&a, &b), 0, "{number}");
    }
    // So does a completed count.
    let swarm = info_hash(1);
    b.partitions.v4.merge_completed(&swarm, 1_000);
    assert_eq!(equal(&a, &b), 1);
}

#[test]
fn records_in_flight_or_about_to_expire_do_not_count() {
    let (mut a, b) = (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 5, WALL));
    a.announce(false, 0, 1, Event::Started, false);
    let compare = |a: &Node, wall| {
        let window = Window::at(wall, TTL, Duration::from_secs(3), Duration::from_secs(60));
        differing(&a.digest(Partition(0), window, 100), &b.digest(Partition(0), window, 100))
    };
    for (seconds, expected) in [(0, 0), (3, 0), (4, 1), (2_639, 1), (2_640, 1), (2_641, 0), (2_700, 0)] {
        assert_eq!(compare(&a, WALL + seconds * 1_000), expected, "{seconds} s later by the clock of the other");
    }
    a.pass(2_701_000);
    assert_eq!(compare(&a, WALL + 5_000), 0, "an expired record counts in no window");
}

#[test]
fn a_renewal_that_is_not_replicated_changes_no_digest() {
    let (mut a, mut b) = (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 5, WALL));
    let mut quiet = 0;
    for _ in 0..40 {
        if let Some(delta) = a.announce(false, 0, 1, Event::None, false) {
            b.merge_deltas(&delta, 0);
        } else {
            quiet += 1;
        }
        [&mut a, &mut b].into_iter().for_each(|node| node.pass(60_000));
        assert_eq!(a.digest(Partition(0), window(&a), 9), b.digest(Partition(0), window(&a), 9));
        assert_ne!(a.digest(Partition(0), window(&a), 9), [0; BUCKETS]);
    }
    assert!(quiet > 30);
}
