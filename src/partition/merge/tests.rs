use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::partition::anti_entropy::chunk::chunk;
use crate::partition::anti_entropy::digest::Window;
use crate::partition::anti_entropy::scan::ScanScope;
use crate::partition::record_codec::RecordBatch;
use crate::partition::testing::*;
use crate::swarm::{Event, Partition, PartitionCount};

/// The whole copy of a node, as another node receives it.
fn copy(node: &Node) -> Vec<u8> {
    let scope = ScanScope { partition: Partition(0), buckets: u64::MAX, budget: usize::MAX };
    let chunk = chunk(&node.partitions, node.now, &[], scope).unwrap();
    assert!(chunk.next.is_empty());
    chunk.batch
}

#[derive(Clone, Debug)]
enum Step {
    /// A client completes at one node, or seemingly at both.
    Complete {
        number: u32,
        at: usize,
    },
    /// One of the deltas so far arrives at the other node, perhaps again.
    Deliver(prop::sample::Index),
    /// One node copies the other.
    Copy {
        from: usize,
    },
    Renew {
        number: u32,
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u32..12, 0usize..2).prop_map(|(number, at)| Step::Complete { number, at }),
        5 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        1 => (0usize..2).prop_map(|from| Step::Copy { from }),
        1 => (0u32..12, 0usize..2).prop_map(|(number, at)| Step::Renew { number, at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn completions_on_both_sides_are_counted_once(steps in prop::collection::vec(step(), 1..80), copies in any::<bool>()) {
        let mut nodes = [Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 900, WALL + 7)];
        // Both know everybody as a leecher.
        let (first, second) = nodes.split_at_mut(1);
        for number in 0..12 {
            let delta = first[0].announce(false, 0, number, Event::Started, false).unwrap();
            second[0].merge_deltas(&delta, 0);
        }
        let (mut deltas, mut completed, mut seeds) = (Vec::new(), BTreeSet::new(), [const { BTreeSet::new() }; 2]);
        for step in steps {
            match step {
                Step::Complete { number, at } => {
                    nodes.iter_mut().for_each(|node| node.pass(10));
                    let delta = nodes[at].announce(false, 0, number, Event::Completed, true).unwrap();
                    deltas.push((1 - at, delta));
                    completed.insert(number);
                    seeds[at].insert(number);
                }
                // As what this node knows it to be, so that it completes nothing.
                Step::Renew { number, at } if seeds[at].contains(&number) => {
                    nodes.iter_mut().for_each(|node| node.pass(10));
                    deltas.push((1 - at, nodes[at].announce(false, 0, number, Event::Started, true).unwrap()));
                }
                Step::Deliver(index) if !deltas.is_empty() => {
                    let (to, delta) = index.get(&deltas);
                    nodes[*to].merge_deltas(delta, 0);
                }
                Step::Copy { from } if copies => {
                    let batch = copy(&nodes[from]);
                    nodes[1 - from].merge_chunk(&batch, 0);
                }
                Step::Renew { .. } | Step::Deliver(_) | Step::Copy { .. } => {}
            }
            for node in &nodes {
                prop_assert!(node.counts(0).completed as usize <= completed.len(), "never more than there were");
            }
        }
        for (to, delta) in deltas.iter().rev() {
            nodes[*to].merge_deltas(delta, 0);
            nodes[*to].merge_deltas(delta, 0);
        }
        if copies {
            let batch = copy(&nodes[0]);
            nodes[1].merge_chunk(&batch, 0);
            let batch = copy(&nodes[1]);
            nodes[0].merge_chunk(&batch, 0);
        }
        let [first, second] = [0, 1].map(|at| nodes[at].counts(0).completed as usize);
        prop_assert!(first <= completed.len());
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_stopped_peer_returns_neither_by_deltas_nor_by_chunks(
        before in prop::collection::vec((0u64..600, any::<bool>()), 1..10),
        arrivals in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0u32..600, 0u64..400_000), 1..60),
        others in 0u32..60,
    ) {
        let (mut origin, mut node) = (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 70_000, WALL));
        let mut copies = Vec::new();
        for number in 0..others {
            let delta = origin.announce(false, 0, 100 + number, Event::Started, false).unwrap();
            node.merge_deltas(&delta, 0);
        }
        for (seconds, seeder) in before {
            [&mut origin, &mut node].into_iter().for_each(|it| it.pass(seconds * 1_000));
            copies.extend(origin.announce(false, 0, 1, Event::Started, seeder));
            copies.push(copy(&origin));
        }
        let stop = origin.announce(false, 0, 1, Event::Stopped, false).unwrap();
        node.merge_deltas(&stop, 0);
        // What is still on its way has waited for as long as it really has, or longer.
        let mut passed = 0;
        for (index, as_delta, more, wait) in arrivals {
            [&mut origin, &mut node].into_iter().for_each(|it| it.pass(wait));
            passed += wait.div_ceil(1_000) as u32;
            let bytes = index.get(&copies);
            if as_delta {
                node.merge_deltas(bytes, passed + more);
            } else {
                node.merge_chunk(bytes, passed + more);
            }
            let all = Window { from: 0, to: u64::MAX };
            let held = node.contents(all).0.get(&(info_hash(0), peer(false, 1))).copied();
            prop_assert!(held.is_none_or(|stamp| stamp.role() == Role::Stopped));
            node.partitions.v4.sweep(20, node.second());
        }
    }
}

#[test]
fn news_are_passed_on_once() {
    let (mut origin, mut node) =
        (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 900, WALL));
    let delta = origin.announce(true, 3, 1, Event::Started, false).unwrap();
    assert_eq!(node.merge_deltas(&delta, 0), [info_hash(3)]);
    assert_eq!(node.merge_deltas(&delta, 0), []);
    origin.pass(1_000);
    let newer = origin.announce(true, 3, 1, Event::Completed, true).unwrap();
    assert_eq!(node.merge_deltas(&newer, 0), [info_hash(3)]);
    assert_eq!(node.merge_deltas(&delta, 0), [], "older than what is held");
}

#[test]
fn a_record_that_has_waited_too_long_is_expired_even_if_ages_overflow() {
    let mut origin = Node::new(PartitionCount::new(1), 5, WALL);
    let delta = origin.announce(false, 0, 1, Event::Started, false).unwrap();
    for waited in [u32::from(TTL) + 1, 40_000, 65_530, 65_535, 65_536, 65_537, 131_072, u32::MAX] {
        let mut node = Node::new(PartitionCount::new(1), 900, WALL);
        assert!(node.merge_deltas(&delta, waited).is_empty());
        assert_eq!(node.merge_chunk(&delta, waited), MergeCounts { expired: 1, ..MergeCounts::default() });
        assert!(node.partitions.v4.is_empty(), "{waited}");
    }
    let mut node = Node::new(PartitionCount::new(1), 900, WALL);
    node.merge_deltas(&delta, 100);
    assert_eq!(node.partitions.v4.records(&info_hash(0))[0].seen.age(node.second()), 100);
}

#[test]
fn a_stamp_from_the_far_future_is_replaced_by_our_time_and_counted() {
    let (mut ahead, mut node) =
        (Node::new(PartitionCount::new(1), 5, WALL + 3_600_000), Node::new(PartitionCount::new(1), 900, WALL));
    let delta = ahead.announce(false, 0, 1, Event::Started, false).unwrap();
    let taken = node.merge_chunk(&delta, 7);
    assert_eq!(taken, MergeCounts { kept: 1, changed: 1, ahead: 1, ..MergeCounts::default() });
    assert_eq!(node.partitions.v4.records(&info_hash(0))[0].stamp.time(), HlcTime::from_millis(WALL - 7_000));
}

#[test]
fn a_truncated_batch_is_not_merged_at_all() {
    let (mut node, mut batch) = (Node::new(PartitionCount::new(1), 900, WALL), RecordBatch::default());
    let record = Record::<V4> {
        stamp: Stamp::new(HlcTime::from_millis(WALL), Role::Leecher, false),
        seen: node.second(),
        key: [1; 6],
    };
    batch.push_one(&info_hash(0), &record, node.second());
    let bytes = [batch.bytes(), &[4]].concat();
    assert_eq!(merge_chunk(&bytes, 0, &mut node.partitions, node.now), Err(Malformed));
    assert!(CheckedBatch::new(&bytes).is_err());
    assert!(node.partitions.v4.is_empty());
}
