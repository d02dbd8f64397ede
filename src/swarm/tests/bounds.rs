//! What the store may cost, and what it does when a cap is reached.

use super::*;

#[test]
fn a_large_swarm_spends_at_most_28_bytes_a_peer_at_every_size() {
    let mut tracker = Tracker::<V4>::new();
    let empty = tracker.store.heap_bytes();
    for number in 0..300_000 {
        tracker.announce(0, number, Event::None, number % 4 == 0, 0);
        if number > 1_000 && number % 997 == 0 {
            let bytes = tracker.store.heap_bytes() - empty;
            assert!(bytes <= 28 * number as usize, "{bytes} bytes for {number} peers");
        }
    }
    // And on the way back: every pass finds one more part expired.
    tracker.now += u64::from(TTL) - 100;
    for number in 0..300_000 {
        // The last to renew is the last to expire.
        if number % 15_000 == 0 {
            tracker.now += 1;
        }
        tracker.announce(0, number, Event::None, number % 4 == 0, 0);
    }
    tracker.now += u64::from(TTL) - 19;
    for _ in 0..=20 {
        tracker.sweep_all();
        let (bytes, counts) = (tracker.store.heap_bytes() - empty, tracker.counts(0));
        let peers = (counts.seeders + counts.leechers) as usize;
        assert!(peers < 1_000 || bytes <= 28 * peers, "{bytes} bytes for {peers} peers");
        tracker.now += 1;
    }
    assert_eq!(tracker.counts(0).leechers, 0);
}

#[test]
fn a_million_swarms_of_two_million_peers_fit_into_85_megabytes() {
    // A tenth of it; two peers in each swarm, then as chance has it.
    let (swarms, peers) = (100_000u32, 200_000);
    let even = |number: u32| number % swarms;
    let random = |number: u32| (random(number.into()) % u64::from(swarms)) as u32;
    for swarm_of in [&even as &dyn Fn(u32) -> u32, &random] {
        let mut tracker = Tracker::<V4>::new();
        (0..peers).for_each(|number| _ = tracker.announce(swarm_of(number), number, Event::None, false, 0));
        let megabytes = tracker.store.heap_bytes() * 10 / 1_000_000;
        assert!(megabytes <= 85, "{megabytes} MB");
    }
}

#[test]
fn a_full_quota_keeps_known_peers_and_tells_new_ones_of_others() {
    let quota = Arc::new(Quota::new(3, 50, 40));
    let mut tracker = Tracker::<V4>::with_quota(quota.clone());
    // A swarm may have 40 peers.
    for number in 0..45 {
        assert_eq!(tracker.leecher(0, number).0.leechers, 40.min(number + 1));
    }
    assert_eq!(tracker.store.totals().refused, 5);
    let (counts, returned) = tracker.leecher(0, 44);
    assert_eq!((counts.leechers, returned.len()), (40, 40), "it is sent all that are stored");
    assert_eq!(tracker.seeder(0, 7).0, Counts { seeders: 1, leechers: 39, partial_seeds: 0, completed: 1 });
    let stamp = Stamp::new(HlcTime::from_millis(1), Role::Leecher, false);
    let record = |number| Record::<V4> { stamp, seen: Second::new(65_000), key: key::<V4>(number) };
    assert!(
        !tracker.store.merge(info_hash(0), record(44), tracker.now()).kept,
        "a replica learns that it was not stored"
    );
    assert!(tracker.store.merge(info_hash(0), record(1), tracker.now()).kept);

    // All stores of the node share 50 peers and 3 swarms.
    let mut other = Tracker::<V6>::with_quota(quota.clone());
    (0..9).for_each(|number| _ = other.leecher(0, number));
    other.leecher(1, 0);
    assert_eq!(other.leecher(1, 1), (Counts { leechers: 1, ..Counts::default() }, vec![key::<V6>(0)]));
    assert_eq!(other.leecher(2, 0), (Counts::default(), vec![]));
    assert_eq!((other.store.len(), other.store.totals().refused), (2, 2));

    // A stop frees nothing at once, as its tombstone stays; its end does.
    tracker.stop(0, 7);
    other.leecher(1, 1);
    assert_eq!(other.store.totals().refused, 3);
    tracker.now += u64::from(TTL) + 1;
    tracker.sweep_all();
    assert_eq!(other.leecher(1, 1).0.leechers, 2);
    assert_eq!(other.leecher(2, 0).0.leechers, 1);

    // So does the end of a store.
    drop(other);
    (0..3).for_each(|swarm| (0..16).for_each(|number| _ = tracker.leecher(swarm, number)));
    assert_eq!(tracker.store.totals().leechers, 48);
}

#[test]
fn a_sweep_looks_at_no_more_than_its_budget() {
    let mut tracker = Tracker::<V4>::new();
    (0..1_000).for_each(|number| _ = tracker.leecher(0, number));
    (1..500).for_each(|swarm| _ = tracker.leecher(swarm, 0));
    tracker.now += u64::from(TTL) + 1;
    let mut steps = 0;
    loop {
        let before = tracker.store.totals().expired;
        let done = tracker.store.sweep(10, tracker.now());
        assert!(tracker.store.totals().expired - before <= 10);
        steps += 1;
        if done {
            break;
        }
    }
    assert!((150..=151).contains(&steps), "{steps} steps for 1,499 peers");
    assert!(tracker.store.is_empty());
}

#[test]
fn a_crowd_that_comes_and_goes_during_a_pass_does_not_stop_it() {
    let mut tracker = Tracker::<V4>::new();
    (0..2_000).for_each(|number| _ = tracker.leecher(0, number));
    tracker.now += u64::from(TTL) + 1;
    for number in 0..4_000 {
        tracker.leecher(0, 10_000 + number);
        tracker.stop(0, 10_000 + number / 2);
        tracker.leecher(number, number);
        tracker.store.sweep(5, tracker.now());
    }
    let now = tracker.now();
    let kept = tracker.store.records(&info_hash(0)).iter().filter(|record| record.expired(now, TTL)).count();
    assert!(kept < 200, "{kept} expired records are left");
    tracker.sweep_all();
    assert_eq!(tracker.store.records(&info_hash(0)).iter().filter(|record| record.expired(now, TTL)).count(), 0);
}
