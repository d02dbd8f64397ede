//! What a store replicates to other nodes, and how it merges what they send.

use proptest::prelude::*;

use super::*;

const QUARTER: u64 = TTL as u64 / 4;

impl<F: AddressFamily> Tracker<F> {
    /// The record of an announce that has to be replicated, if any.
    fn replicated(&mut self, number: u32, event: Event, seeder: bool) -> Option<Record<F>> {
        self.announce(0, number, event, seeder, 0);
        self.change
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_renewal_is_told_once_per_quarter(
        number in 0u32..1 << 24,
        start in 0u64..200_000,
        interval in 1u64..1_000,
        waits in prop::collection::vec(0u64..100, 1..400),
    ) {
        let mut tracker = Tracker::<V4>::new();
        tracker.now = start;
        let first = tracker.replicated(number, Event::Started, false).unwrap();
        let (mut replicated, mut count, mut stamp) = (start, 0, first.stamp);
        for jitter in waits {
            let before = tracker.now;
            tracker.now += interval + interval * jitter / 1_000;
            match tracker.replicated(number, Event::None, false) {
                Some(record) => {
                    prop_assert!(record.stamp > stamp);
                    (replicated, stamp) = (tracker.now, record.stamp);
                    count += 1;
                }
                None => {
                    // The last announce that the others do not know of came within a quarter.
                    prop_assert!(tracker.now - replicated < QUARTER, "{} after {before}", tracker.now - replicated);
                }
            }
            let [held] = tracker.store.records(&info_hash(0)) else { panic!("one peer") };
            prop_assert_eq!((held.stamp, held.seen), (stamp, tracker.now()), "the age is kept, whatever is replicated");
        }
        let passed = tracker.now - start;
        // One more for each wrap of the clock, and the begun quarters at both ends.
        prop_assert!(count <= passed / QUARTER + passed / 65_536 + 2, "{count} in {passed} s");
    }

    #[test]
    fn through_several_nodes_it_is_told_once_per_quarter_too(
        starts in prop::array::uniform3(0u64..70_000),
        announces in prop::collection::vec((0usize..3, 1u64..600, prop::option::of(0usize..3)), 1..200),
    ) {
        let mut nodes = starts.map(|start| {
            let mut node = Tracker::<V4>::new();
            node.now = start;
            node
        });
        let (mut wall, mut replicated) = (100_000_000, 0);
        for (at, wait, restarted) in announces {
            wall += wait;
            nodes.iter_mut().for_each(|node| node.now += wait);
            if let Some(restarted) = restarted && restarted != at {
                // It comes back empty and pulls what the other node has.
                let uptime = nodes[restarted].now;
                nodes[restarted] = Tracker::new();
                nodes[restarted].now = uptime;
                let from = nodes[at].now();
                if let [record] = *nodes[at].store.records(&info_hash(0)) {
                    let node = &mut nodes[restarted];
                    let seen = node.now().minus(record.seen.age(from));
                    node.store.merge(info_hash(0), Record { seen, ..record }, node.now());
                }
            }
            let node = &mut nodes[at];
            let announce = Announce {
                info_hash: info_hash(0), peer: peer::<V4>(7), event: Event::None, seeder: false, num_want: 0,
            };
            let hash = keyed_hash().info_hash(&announce.info_hash);
            let time = node.clock.tick(wall * 1_000);
            let outcome = node.store.announce(hash, &announce, key::<V4>(7), node.now(), time);
            if let Some(change) = outcome.change {
                replicated = wall;
                for node in &mut nodes {
                    let record = Record { seen: node.now(), ..change };
                    node.store.merge_delta(info_hash(0), record, node.now());
                }
            }
            prop_assert!(wall - replicated < QUARTER);
        }
    }
}

#[test]
fn everything_but_a_plain_renewal_is_told_at_once() {
    for others in [0, 5, 100] {
        let mut tracker = Tracker::<V4>::new();
        (0..others).for_each(|number| _ = tracker.leecher(0, 1_000 + number));
        let mut last = tracker.replicated(1, Event::None, false).expect("a new peer").stamp;
        let steps = [
            (Event::Started, false, "an event, though nothing changes"),
            (Event::Paused, false, "a leecher that is now a partial seed"),
            (Event::None, false, "and back"),
            (Event::None, true, "a completion without its event"),
            (Event::Completed, true, "the event again"),
            (Event::None, false, "a seeder that lacks something"),
            (Event::Stopped, false, "a tombstone"),
            (Event::None, true, "a peer that comes back"),
            (Event::Stopped, true, "a tombstone"),
        ];
        for (event, seeder, what) in steps {
            tracker.now += 1;
            let record = tracker.replicated(1, event, seeder).expect(what);
            assert!(record.stamp > last, "{what}");
            last = record.stamp;
        }
        assert!(tracker.replicated(1, Event::Stopped, false).is_none(), "nothing is kept of a second stop");
    }
}

#[test]
fn partial_seeds_say_so_with_every_announce_and_are_told_once_per_quarter() {
    let mut tracker = Tracker::<V6>::new();
    let mut replicated = 0;
    for _ in 0..100 {
        tracker.now += 20;
        replicated += usize::from(tracker.replicated(1, Event::Paused, false).is_some());
    }
    assert!((3..=5).contains(&replicated), "{replicated} times in {} quarters", 2_000 / QUARTER);
}

#[test]
fn peers_that_started_together_are_not_told_together() {
    let mut tracker = Tracker::<V4>::new();
    (0..1_000).for_each(|number| _ = tracker.replicated(number, Event::Started, false));
    let mut most = 0;
    for _ in 0..70 {
        tracker.now += 10;
        most = most.max((0..1_000).filter(|number| tracker.replicated(*number, Event::None, false).is_some()).count());
    }
    assert!(most < 60, "{most} of 1,000 peers within ten seconds");
}

#[test]
fn a_wall_clock_that_was_set_back_stops_no_renewals() {
    let mut tracker = Tracker::<V4>::new();
    tracker.replicated(1, Event::Started, false);
    // The stamps stand still while the wall clock catches up; the store's own clock goes on.
    let info_hash = info_hash(0);
    let announce = Announce { info_hash, peer: peer::<V4>(1), event: Event::None, seeder: false, num_want: 0 };
    let mut replicated = 0;
    for _ in 0..60 {
        tracker.now += 60;
        let time = tracker.clock.tick(0);
        let hash = keyed_hash().info_hash(&info_hash);
        let outcome = tracker.store.announce(hash, &announce, key::<V4>(1), tracker.now(), time);
        replicated += usize::from(outcome.change.is_some());
    }
    assert!(replicated >= 5, "{replicated} times in an hour");
}

#[test]
fn a_partition_can_be_dropped_in_steps_while_the_others_serve() {
    let quota = Arc::new(Quota::new(usize::MAX, usize::MAX, usize::MAX));
    let mut tracker = Tracker::<V4>::with_quota(quota.clone());
    let events = [Event::None, Event::Paused, Event::Completed, Event::Stopped];
    for number in 0..6_000u32 {
        let swarm = if number < 1_000 { 0 } else { number % 700 };
        tracker.leecher(swarm, number);
        tracker.announce(swarm, number, events[number as usize % 4], number % 4 == 2, 0);
    }
    let of = |partition: Partition| {
        move |swarm: &u32| keyed_hash().info_hash(&info_hash(*swarm)) % 4 == u64::from(partition.0)
    };
    // That of the large swarm.
    let gone = (keyed_hash().info_hash(&info_hash(0)) % 4) as u16;
    for partition in 0..4 {
        let mut walked = partition_swarms(&tracker.store, Partition(partition));
        walked.sort();
        let expected: Vec<_> = (0..700).filter(of(Partition(partition))).map(info_hash).collect();
        assert_eq!((tracker.store.partition_len(Partition(partition)), walked), (expected.len(), expected));
    }
    let mut steps = 0;
    while !tracker.store.drop_partition_step(Partition(gone), 10) {
        steps += 1;
        tracker.store.sweep(20, tracker.now());
        tracker.leecher(1_000 + steps, steps);
    }
    assert!((10..100).contains(&steps), "{steps} steps");
    assert!(partition_swarms(&tracker.store, Partition(gone)).is_empty());
    // All that is left is whole, and the totals are those of what is left.
    let mut totals = Totals::default();
    for (swarm, counts) in
        (0..700).filter(|swarm| !of(Partition(gone))(swarm)).map(|swarm| (swarm, tracker.counts(swarm)))
    {
        let records = tracker.store.records(&info_hash(swarm)).len();
        assert!(records >= 7, "swarm {swarm}");
        totals.leechers += (counts.leechers - counts.partial_seeds) as usize;
        totals.partial_seeds += counts.partial_seeds as usize;
        totals.seeders += counts.seeders as usize;
        totals.stopped += records - (counts.leechers + counts.seeders) as usize;
    }
    let later = (1..=steps).filter(|step| !of(Partition(gone))(&(1_000 + step))).count();
    totals.leechers += later;
    let held = tracker.store.totals();
    totals = Totals { swarms: held.swarms, ..totals };
    assert_eq!(held, totals);
    (0..4).for_each(|partition| while !tracker.store.drop_partition_step(Partition(partition), 1_000) {});
    assert_eq!(tracker.store.totals(), Totals::default());
    assert!(tracker.store.drop_partition_step(Partition(4), 1), "a partition that is none is empty");
    // The quota has it all back.
    assert_eq!(format!("{quota:?}").matches("records: 0").count(), 1, "{quota:?}");
}

#[test]
fn a_stop_that_is_heard_before_the_start_that_it_ends_is_the_last_word() {
    let (mut elsewhere, mut here) = (Tracker::<V4>::new(), Tracker::<V4>::new());
    here.store.keep_all_stops();
    for life in 0..3 {
        let started = elsewhere.replicated(1, Event::Started, life == 1).unwrap();
        // This node knows nothing of the peer in its first life, and a tombstone in the others.
        here.now += 10;
        let stopped = here.replicated(1, Event::Stopped, false).expect("others have to learn of it");
        assert!(stopped.role() == Role::Stopped && stopped.stamp > started.stamp);
        let late = here.store.merge_delta(info_hash(0), started, here.now());
        assert_eq!(late, Merged { kept: true, changed: false });
        assert_eq!((here.counts(0), here.store.totals().stopped), (Counts::default(), 1));
        elsewhere.now = here.now + 10;
        elsewhere.store.merge_delta(info_hash(0), stopped, elsewhere.now());
        assert_eq!(elsewhere.counts(0), Counts::default());
    }
}

#[test]
fn a_stop_that_is_repeated_keeps_that_a_completion_was_counted() {
    let mut node = Tracker::<V4>::new();
    node.store.keep_all_stops();
    node.replicated(1, Event::Started, false);
    assert_eq!(node.announce(0, 1, Event::Completed, true, 0).0.completed, 1);
    for _ in 0..2 {
        node.now += 1;
        assert!(node.replicated(1, Event::Stopped, true).unwrap().stamp.counted());
    }
}

#[test]
fn a_node_by_itself_keeps_no_stop_of_whom_it_does_not_know() {
    let mut node = Tracker::<V4>::new();
    assert!(node.replicated(1, Event::Stopped, false).is_none());
    assert!(node.store.is_empty());
}

/// The info hashes of all swarms in a partition.
fn partition_swarms<F: AddressFamily>(store: &Store<F>, partition: Partition) -> Vec<InfoHash> {
    store.swarms_between(partition, &(0..=u32::MAX), u16::MAX).into_iter().map(|(_, info_hash)| info_hash).collect()
}
