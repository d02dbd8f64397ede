//! Which peers the store returns.

use std::collections::HashMap;

use super::*;

/// Asks `rounds` times for `want` peers of a swarm and fails if some peer that may be returned comes up much more or
/// less often than the others.
fn assert_even(tracker: &mut Tracker<V4>, want: u16, rounds: usize, eligible: &[u32]) {
    let mut seen: HashMap<_, usize> = HashMap::new();
    for _ in 0..rounds {
        let (_, returned) = tracker.announce(0, 1_000_000, Event::None, true, want);
        assert_eq!(returned.len(), eligible.len().min(want.into()));
        returned.into_iter().for_each(|key| *seen.entry(key).or_default() += 1);
    }
    let share = f64::from(want) / eligible.len() as f64;
    let mean = rounds as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    let mut chi_square = 0.0;
    for number in eligible {
        let count = seen.remove(&key::<V4>(*number)).unwrap_or(0) as f64;
        assert!((count - mean).abs() < 6.0 * deviation, "peer {number}: {count} times, expected {mean:.0}");
        chi_square += (count - mean).powi(2) / mean;
    }
    assert!(seen.is_empty(), "only peers that may be returned");
    // Windows make neighbours come together, which widens the distribution; four times its mean is far outside of it.
    assert!(chi_square < 4.0 * eligible.len() as f64, "chi-square {chi_square:.0} of {} peers", eligible.len());
}

#[test]
fn every_peer_is_returned_about_equally_often() {
    for (size, want) in [(2, 1), (7, 2), (32, 3), (33, 5), (200, 20), (2_000, 50)] {
        let mut tracker = Tracker::new();
        (0..size).for_each(|number| _ = tracker.leecher(0, number));
        let rounds = 300 * size as usize / usize::from(want);
        assert_even(&mut tracker, want, rounds, &(0..size).collect::<Vec<_>>());
    }
}

/// Peers of no use that lie side by side must not make the next one after them a favourite.
#[test]
fn peers_that_are_passed_over_do_not_favour_their_neighbours_in_small_swarms() {
    let mut tracker = Tracker::new();
    (0..20).for_each(|number| _ = tracker.seeder(0, 100 + number));
    (0..10).for_each(|number| _ = tracker.leecher(0, number));
    assert_even(&mut tracker, 2, 3_000, &(0..10).collect::<Vec<_>>());
}

#[test]
fn a_leecher_is_told_of_half_uploaders_and_what_one_kind_lacks_the_other_fills() {
    for (leechers, seeders, want, expected_seeders) in [
        (100, 100, 50, 25),
        (100, 10, 50, 10),
        (10, 100, 50, 40),
        (100, 100, 51, 26),
        (0, 100, 50, 50),
        (100, 0, 50, 0),
    ] {
        let mut tracker = Tracker::<V6>::new();
        (0..leechers).for_each(|number| _ = tracker.leecher(0, number));
        (0..seeders).for_each(|number| _ = tracker.seeder(0, 1_000 + number));
        let (_, returned) = tracker.announce(0, 9_000, Event::None, false, want);
        assert_eq!(returned.len(), usize::from(want));
        let seeds: Vec<_> = (0..seeders).map(|number| key::<V6>(1_000 + number)).collect();
        assert_eq!(returned.iter().filter(|key| seeds.contains(key)).count(), expected_seeders);
    }
}

#[test]
fn expired_peers_are_not_returned_even_before_the_sweep() {
    for size in [1, 2, 20, 200] {
        let mut tracker = Tracker::<V4>::new();
        (0..size).for_each(|number| _ = tracker.leecher(0, number));
        tracker.now += u64::from(TTL);
        assert_eq!(tracker.leecher(0, 1_000).1.len(), size.min(50) as usize, "alive to the last second");
        tracker.now += 1;
        assert_eq!(tracker.leecher(0, 1_001).1, [key::<V4>(1_000)]);
        if size > 20 {
            // The counts of a large swarm lag until the sweep; those of a small one never do.
            tracker.sweep_all();
        }
        assert_eq!(tracker.counts(0).leechers, 2);
    }
}

#[test]
fn ages_survive_the_wrap_of_the_clock() {
    // A week in steps of a quarter of an hour: ten wraps.
    let mut tracker = Tracker::<V4>::new();
    for step in 0..700 {
        tracker.now += 900;
        tracker.leecher(0, 1);
        tracker.leecher(0, 2 + step);
        tracker.store.sweep(1_000, tracker.now());
        // The regular one, and the four latest of those that came once.
        assert_eq!(tracker.counts(0).leechers, 1 + 4.min(step + 1));
    }
}
