//! Protocol traps that are decided in the store, each named after its number in the list of traps that trackers have
//! fallen into.

use super::*;

#[test]
fn trap_05_a_peer_is_its_address_not_its_id() {
    let mut tracker = Tracker::<V4>::new();
    tracker.leecher(0, 1);
    let (counts, returned) = tracker.announce(0, 1, Event::Started, false, 50);
    assert_eq!((counts.leechers, returned), (1, vec![]));
}

#[test]
fn trap_06_families_do_not_mix() {
    let (mut v4, mut v6) = (Tracker::<V4>::new(), Tracker::<V6>::new());
    v4.leecher(0, 1);
    v6.leecher(0, 1);
    assert_eq!(v4.leecher(0, 2), (Counts { leechers: 2, ..Counts::default() }, vec![key::<V4>(1)]));
    assert_eq!(v6.leecher(0, 2), (Counts { leechers: 2, ..Counts::default() }, vec![key::<V6>(1)]));
}

#[test]
fn trap_08_a_mapped_address_is_its_ipv4_address() {
    let mapped = PeerAddr::new("::ffff:10.0.0.1".parse().unwrap(), 6881);
    assert_eq!(V6::key(mapped), None);
    assert_eq!(V4::key(mapped), Some(key::<V4>(1)));
}

#[test]
fn trap_14_num_want_is_exact() {
    for size in [1, 2, 3, 10, 31, 32, 33, 34, 100, 500] {
        let mut tracker = Tracker::<V4>::new();
        for number in 0..size {
            tracker.announce(0, number, Event::None, number % 3 == 0, 0);
        }
        for num_want in [0, 1, 2, 5, 30, 31, 32, 50, 74, 200, u16::MAX] {
            let (_, returned) = tracker.announce(0, 1_000_000, Event::None, false, num_want);
            assert_eq!(returned.len(), usize::from(num_want).min(size as usize), "{num_want} of {size}");
        }
    }
}

#[test]
fn trap_22_completed_is_counted_once() {
    for others in [0, 5, 100] {
        let mut tracker = Tracker::<V4>::new();
        (0..others).for_each(|number| _ = tracker.leecher(0, 1_000 + number));
        // Not at all for a peer that was never seen downloading, however often it says so.
        for _ in 0..3 {
            assert_eq!(tracker.announce(0, 1, Event::Completed, true, 0).0.completed, 0);
        }
        // Once for one that was seen, also when the event is lost and a plain announce reports it.
        for (number, event) in [(2, Event::Completed), (3, Event::None)] {
            tracker.announce(0, number, Event::Started, false, 0);
            assert_eq!(tracker.announce(0, number, event, true, 0).0.completed, number - 1);
            for event in [Event::Completed, Event::None, Event::Completed] {
                assert_eq!(tracker.announce(0, number, event, true, 0).0.completed, number - 1);
            }
            // It selects another file, finishes that too, and is still the same download.
            tracker.announce(0, number, Event::None, false, 0);
            assert_eq!(tracker.announce(0, number, Event::Completed, true, 0).0.completed, number - 1);
            // A restart sends it again.
            tracker.stop(0, number);
            assert_eq!(tracker.announce(0, number, Event::Completed, true, 0).0.completed, number - 1);
        }
        // `completed` with something left is no completion.
        tracker.leecher(0, 4);
        assert_eq!(tracker.announce(0, 4, Event::Completed, false, 0).0.completed, 2);
    }
}

#[test]
fn trap_23_stopped_makes_no_swarm_and_gets_no_peers() {
    let mut tracker = Tracker::<V4>::new();
    assert_eq!(tracker.stop(0, 1), (Counts::default(), vec![]));
    assert!(tracker.store.is_empty());
    assert_eq!(tracker.store.totals(), Totals::default());
    for number in 0..100 {
        tracker.leecher(0, number);
        // From a peer that is not there, and from one that is, twice.
        let before = tracker.counts(0);
        assert_eq!(tracker.stop(0, 1_000), (before, vec![]));
        tracker.leecher(0, 500);
        assert_eq!(tracker.stop(0, 500), (before, vec![]));
        assert_eq!(tracker.stop(0, 500), (before, vec![]));
    }
    assert!(tracker.leecher(0, 0).1.iter().all(|peer| *peer != key::<V4>(500)));
}

#[test]
fn trap_24_stopped_and_started_keep_their_order() {
    let mut tracker = Tracker::<V4>::new();
    tracker.leecher(0, 1);
    // All within one millisecond of the wall clock.
    for _ in 0..100 {
        assert_eq!(tracker.stop(0, 2).0.leechers, 1);
        assert_eq!(tracker.leecher(0, 2).0.leechers, 2);
    }
}

#[test]
fn trap_25_seeders_and_partial_seeds_are_told_of_leechers_only() {
    for (leechers, uploaders) in [(1, 1), (1, 2), (5, 20), (0, 40), (3, 300)] {
        let mut tracker = Tracker::<V4>::new();
        let wanted: Vec<_> = (0..leechers).map(key::<V4>).collect();
        (0..leechers).for_each(|number| _ = tracker.leecher(0, number));
        for number in 100..100 + uploaders {
            let event = if number % 2 == 0 { Event::Paused } else { Event::None };
            tracker.announce(0, number, event, number % 2 == 1, 0);
        }
        for event in [Event::None, Event::Paused] {
            let (_, mut returned) = tracker.announce(0, 9_000, event, event == Event::None, 50);
            returned.sort();
            assert_eq!(returned, wanted);
        }
        assert_eq!(tracker.announce(0, 9_000, Event::None, false, 1_000).1.len(), (leechers + uploaders) as usize);
    }
}

#[test]
fn trap_26_a_paused_peer_is_a_leecher_that_is_a_partial_seed() {
    let mut tracker = Tracker::<V4>::new();
    let (counts, _) = tracker.announce(0, 1, Event::Paused, false, 50);
    assert_eq!(counts, Counts { leechers: 1, partial_seeds: 1, ..Counts::default() });
    // With nothing left it is a seeder, whatever the event.
    let (counts, _) = tracker.announce(0, 2, Event::Paused, true, 50);
    assert_eq!(counts, Counts { seeders: 1, leechers: 1, partial_seeds: 1, completed: 0 });
}
