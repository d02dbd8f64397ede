//! The laws of the merge: whatever the order and however often records arrive, all copies become equal.

use proptest::prelude::*;

use super::*;

/// One announce somewhere in a cluster, as a record on its way.
#[derive(Clone, Copy, Debug)]
struct Entry {
    swarm: u32,
    record: Record<V4>,
    completed: u32,
}

const NOW: u64 = 70_000;

fn entry() -> impl Strategy<Value = Entry> {
    // Few instants and few peers, so that equal clocks of different nodes occur.
    let roles = prop::sample::select(&[Role::Leecher, Role::PartialSeed, Role::Seeder, Role::Stopped][..]);
    (0u32..2, prop_oneof![0u32..3, 0u32..80], roles, any::<bool>(), 0u16..60, 0u32..9).prop_map(
        |(swarm, number, role, counted, age, completed)| {
            let age = age * (TTL / 50);
            let stamp = Stamp::new(HlcTime::from_millis((NOW - u64::from(age)) * 1000), role, counted);
            let record = Record { stamp, seen: Second::new(NOW).minus(age), key: key::<V4>(number) };
            Entry { swarm, record, completed }
        },
    )
}

type Copied = Vec<(InfoHash, u32, Vec<(u64, u16, [u8; 6])>)>;

/// All that a store holds and that is not expired, in a canonical order.
fn contents(store: &Store<V4>, now: Second) -> Copied {
    let mut swarms: Vec<_> = (0..store.len())
        .filter_map(|at| store.swarm(at))
        .map(|(info_hash, counts, records)| {
            let valid = records.iter().filter(|record| !record.expired(now, TTL));
            let mut valid: Vec<_> =
                valid.map(|record| (record.stamp.to_bits(), record.seen.age(now), record.key)).collect();
            valid.sort_by_key(|(.., key)| *key);
            (info_hash, counts.completed, valid)
        })
        .filter(|(.., valid)| !valid.is_empty())
        .collect();
    swarms.sort_by_key(|(info_hash, ..)| *info_hash);
    swarms
}

fn merge_all(store: &mut Store<V4>, log: &[Entry], now: Second) {
    for Entry { swarm, record, completed } in log {
        assert!(store.merge(info_hash(*swarm), *record, now).kept);
        store.merge_completed(&info_hash(*swarm), *completed);
    }
}

fn same(a: Record<V4>, b: Record<V4>) -> bool {
    (a.stamp, a.seen, a.key) == (b.stamp, b.seen, b.key)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_merge_of_records_is_commutative_associative_and_idempotent(
        stamps in prop::collection::vec((0u64..3, 0u64..64, 0u16..4), 3)
    ) {
        let now = Second::new(NOW);
        let [a, b, c] = std::array::from_fn(|at| {
            let (time, state, age) = stamps[at];
            let stamp = Stamp::from_bits(HlcTime::from_millis(time).millis() << 20 | state);
            Record::<V4> { stamp, seen: now.minus(age), key: key::<V4>(1) }
        });
        prop_assert!(same(a.merge(b, now), b.merge(a, now)));
        prop_assert!(same(a.merge(b, now).merge(c, now), a.merge(b.merge(c, now), now)));
        prop_assert!(same(a.merge(a, now), a));
    }

    #[test]
    fn any_order_and_any_repetition_of_a_log_makes_the_same_copies(
        (log, shuffled, repeated) in prop::collection::vec(entry(), 1..150).prop_flat_map(|log| {
            let doubled = [log.clone(), log.clone()].concat();
            (Just(log.clone()), Just(log).prop_shuffle(), Just(doubled).prop_shuffle())
        }),
        budget in 1usize..50,
    ) {
        let now = Second::new(NOW);
        let (mut first, mut second, mut third) = (store::<V4>(), store::<V4>(), store::<V4>());
        // The completed count of a swarm can only be kept once it is held, so it comes again at the end.
        merge_all(&mut first, &log, now);
        merge_all(&mut first, &log, now);
        merge_all(&mut second, &shuffled, now);
        merge_all(&mut second, &log, now);
        for entry in &repeated {
            merge_all(&mut third, &[*entry], now);
            third.sweep(budget, now);
        }
        merge_all(&mut third, &shuffled, now);
        prop_assert_eq!(contents(&first, now), contents(&second, now));
        prop_assert_eq!(contents(&first, now), contents(&third, now));
        // And a fourth that copies the first, as a handoff does.
        let mut fourth = store::<V4>();
        for (info_hash, counts, records) in (0..first.len()).rev().filter_map(|at| first.swarm(at)) {
            records.iter().for_each(|record| _ = fourth.merge(info_hash, *record, now));
            fourth.merge_completed(&info_hash, counts.completed);
        }
        prop_assert_eq!(contents(&first, now), contents(&fourth, now));
    }

    #[test]
    fn it_makes_no_difference_whether_records_expire_before_or_after_the_merge(
        log in prop::collection::vec(entry(), 1..150), later in 0u64..u64::from(TTL),
    ) {
        let (now, later) = (Second::new(NOW), Second::new(NOW + later));
        let (mut early, mut late, mut both) = (store::<V4>(), store::<V4>(), store::<V4>());
        for Entry { swarm, record, .. } in &log {
            early.merge(info_hash(*swarm), *record, now);
            both.merge(info_hash(*swarm), *record, now);
        }
        sweep_all(&mut early, later);
        for Entry { swarm, record, .. } in &log {
            late.merge(info_hash(*swarm), *record, later);
            both.merge(info_hash(*swarm), *record, later);
        }
        prop_assert_eq!(contents(&early, later), contents(&late, later));
        prop_assert_eq!(contents(&both, later), contents(&late, later));
    }

    #[test]
    fn a_stopped_peer_never_returns(
        ages in prop::collection::vec(1u16..TTL, 1..20),
        waits in prop::collection::vec((0u64..u64::from(TTL), any::<prop::sample::Index>(), 1usize..20), 1..60),
        others in 0u32..50,
    ) {
        let mut tracker = Tracker::<V4>::new();
        let start = tracker.now;
        (0..others).for_each(|number| _ = tracker.leecher(0, 100 + number));
        // Copies of the peer from before it stopped, still on their way between other nodes.
        let copies: Vec<_> = ages.iter().map(|age| {
            let made = tracker.now - u64::from(*age);
            let stamp = Stamp::new(HlcTime::from_millis(made * 1000), Role::Leecher, false);
            Record::<V4> { stamp, seen: tracker.now().minus(*age), key: key::<V4>(1) }
        }).collect();
        tracker.leecher(0, 1);
        tracker.stop(0, 1);
        for (wait, copy, budget) in waits {
            // No copy travels for longer than the clock of ages reaches.
            tracker.now = (tracker.now + wait).min(start + 30_000);
            tracker.store.sweep(budget, tracker.now());
            tracker.store.merge(info_hash(0), *copy.get(&copies), tracker.now());
            let records = tracker.store.records(&info_hash(0));
            prop_assert!(records.iter().all(|record| record.key != key::<V4>(1) || record.role() == Role::Stopped));
            tracker.leecher(0, 2);
        }
        // Unless it comes back by itself.
        tracker.leecher(0, 1);
        prop_assert!(tracker.leecher(0, 2).1.contains(&key::<V4>(1)));
    }
}

#[test]
fn a_copy_of_a_copy_gets_no_younger() {
    let now = Second::new(NOW);
    let stamp = Stamp::new(HlcTime::from_millis(1), Role::Leecher, false);
    let record = |age| Record::<V4> { stamp, seen: now.minus(age), key: key::<V4>(1) };
    for order in [[5, 9, 7], [9, 5, 7], [7, 9, 5]] {
        let mut store = store::<V4>();
        order.into_iter().for_each(|age| _ = store.merge(info_hash(0), record(age), now));
        assert_eq!(store.records(&info_hash(0))[0].seen.age(now), 9);
    }
}

#[test]
fn an_expired_record_loses_against_a_living_one_whether_or_not_it_was_swept() {
    // Its clock was ahead, so its stamp is the greater of the two.
    for swept in [false, true] {
        for others in [0, 60] {
            let mut tracker = Tracker::<V4>::new();
            (0..others).for_each(|number| _ = tracker.leecher(0, 100 + number));
            let wall = tracker.now * 1000;
            let record = |millis, seen| Record::<V4> {
                stamp: Stamp::new(HlcTime::from_millis(millis), Role::Leecher, false),
                seen,
                key: key::<V4>(1),
            };
            tracker.store.merge(info_hash(0), record(wall + 50_000, tracker.now()), tracker.now());
            let slower = record(wall + 20_000, Second::new(tracker.now + 20));
            tracker.now += u64::from(TTL) + 1;
            if swept {
                tracker.sweep_all();
            }
            assert!(tracker.store.merge(info_hash(0), slower, tracker.now()).kept);
            assert!(tracker.leecher(0, 2).1.contains(&key::<V4>(1)), "swept: {swept}, others: {others}");
        }
    }
}
