//! Any sequence of announces, merges, sweeps and passing time leaves the store as the naive model says.

use proptest::prelude::*;

use super::model::{Known, Model, role};
use super::*;

const SWARMS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Announce {
        swarm: u32,
        number: u32,
        event: Event,
        seeder: bool,
        num_want: u16,
    },
    /// Many peers in a row, one event.
    Crowd {
        swarm: u32,
        from: u32,
        count: u32,
        event: Event,
        seeder: bool,
    },
    /// A record of another node: made `age` seconds ago by a clock that is up to 20 s off.
    Merge {
        swarm: u32,
        number: u32,
        role: Role,
        counted: bool,
        age: u16,
        skew: i8,
    },
    Pass {
        seconds: u64,
    },
    Sweep {
        budget: usize,
    },
    SweepAll,
}

fn numbers() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0u32..4, 2 => 0u32..40, 1 => 0u32..400]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::None),
        1 => Just(Event::Started),
        2 => Just(Event::Completed),
        3 => Just(Event::Stopped),
        2 => Just(Event::Paused),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let roles = prop::sample::select(&[Role::Leecher, Role::PartialSeed, Role::Seeder, Role::Stopped][..]);
    prop_oneof![
        40 => (0..SWARMS, numbers(), events(), any::<bool>(), 0u16..60)
            .prop_map(|(swarm, number, event, seeder, num_want)| Step::Announce { swarm, number, event, seeder, num_want }),
        2 => (0..SWARMS, 0u32..100, 1u32..300, events(), any::<bool>())
            .prop_map(|(swarm, from, count, event, seeder)| Step::Crowd { swarm, from, count, event, seeder }),
        15 => (0..SWARMS, numbers(), roles, any::<bool>(), 0..TTL + 5, -20i8..20)
            .prop_map(|(swarm, number, role, counted, age, skew)| Step::Merge { swarm, number, role, counted, age, skew }),
        6 => (1u64..u64::from(TTL) / 2).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Pass { seconds: u64::from(TTL) + 1 }),
        10 => (1usize..60).prop_map(|budget| Step::Sweep { budget }),
        2 => Just(Step::SweepAll),
    ]
}

/// The store under test and the model of it.
struct Pair<F: AddressFamily> {
    tracker: Tracker<F>,
    model: Model,
}

impl<F: AddressFamily> Pair<F> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Announce { swarm, number, event, seeder, num_want } => {
                self.announce(swarm, number, event, seeder, num_want);
            }
            Step::Crowd { swarm, from, count, event, seeder } => {
                (from..from + count).for_each(|number| self.announce(swarm, number, event, seeder, 7));
            }
            Step::Merge { swarm, number, role, counted, age, skew } => {
                let (now, wall) = (self.tracker.now, self.tracker.now * 1000);
                let made = wall - u64::from(age) * 1000;
                let time = HlcTime::from_millis(made.saturating_add_signed(i64::from(skew) * 1000));
                self.tracker.clock.observe(time, wall).unwrap();
                let stamp = Stamp::new(time, role, counted);
                let record = Record { stamp, seen: self.tracker.now().minus(age), key: key::<F>(number) };
                assert!(self.tracker.store.merge(info_hash(swarm), record, self.tracker.now()).kept);
                self.model.merge(swarm, number, Known { stamp, seen: now - u64::from(age) }, now);
            }
            Step::Pass { seconds } => self.tracker.now += seconds,
            Step::Sweep { budget } => _ = self.tracker.store.sweep(budget, self.tracker.now()),
            Step::SweepAll => self.sweep_all(),
        }
        self.check();
    }

    fn announce(&mut self, swarm: u32, number: u32, event: Event, seeder: bool, num_want: u16) {
        let (counts, returned) = self.tracker.announce(swarm, number, event, seeder, num_want);
        let now = self.tracker.now;
        self.model.announce(swarm, number, event, seeder, now, self.tracker.last, self.tracker.change);
        let useful = self.model.useful(swarm, number, role(event, seeder), now);
        assert_eq!(returned.len(), useful.len().min(num_want.into()), "num_want is exact");
        let useful: Vec<_> = useful.into_iter().map(key::<F>).collect();
        assert!(returned.iter().all(|key| useful.contains(key)), "only living, useful, other peers");
        assert_eq!(counts, self.tracker.counts(swarm));
    }

    /// What holds at any time, however much the sweep still has to do.
    fn check(&mut self) {
        let now = self.tracker.now;
        let mut totals = Totals::default();
        for swarm in 0..SWARMS {
            let records = self.tracker.store.records(&info_hash(swarm));
            let counts = self.tracker.counts(swarm);
            let of = |role| records.iter().filter(|record| record.role() == role).count();
            assert_eq!(counts.seeders as usize, of(Role::Seeder));
            assert_eq!(counts.leechers as usize, of(Role::Leecher) + of(Role::PartialSeed));
            assert_eq!(counts.partial_seeds as usize, of(Role::PartialSeed));
            totals.leechers += of(Role::Leecher);
            totals.partial_seeds += of(Role::PartialSeed);
            totals.seeders += of(Role::Seeder);
            totals.stopped += of(Role::Stopped);

            let mut held: Vec<_> = records.iter().filter(|record| !record.expired(self.tracker.now(), TTL)).collect();
            held.sort_by(|a, b| a.key.as_ref().cmp(b.key.as_ref()));
            let known = self.model.swarms.get(&swarm).map(|swarm| &swarm.peers);
            let expected = known.into_iter().flatten().filter(|(_, known)| now - known.seen <= TTL.into());
            let expected: Vec<_> =
                expected.map(|(number, known)| (key::<F>(*number), known.stamp, now - known.seen)).collect();
            let held: Vec<_> = held
                .iter()
                .map(|record| (record.key, record.stamp, u64::from(record.seen.age(self.tracker.now()))))
                .collect();
            assert_eq!(held, expected);

            if records.is_empty() && counts == Counts::default() {
                // It had no peers left, so it may be forgotten, and with it its completed count.
                assert!(!self.model.remembers(swarm, now));
                self.model.swarms.remove(&swarm);
            } else {
                assert_eq!(counts.completed, self.model.counts(swarm, now).completed);
            }
        }
        let held = self.tracker.store.totals();
        totals = Totals { swarms: held.swarms, refused: 0, expired: held.expired, ..totals };
        assert_eq!(held, totals);
    }

    /// After a whole pass nothing expired is left.
    fn sweep_all(&mut self) {
        self.tracker.sweep_all();
        let now = self.tracker.now;
        let remembered: Vec<u32> = (0..SWARMS).filter(|swarm| self.model.remembers(*swarm, now)).collect();
        assert_eq!(self.tracker.store.len(), remembered.len(), "emptied swarms vanish");
        self.model.swarms.retain(|swarm, _| remembered.contains(swarm));
        for swarm in 0..SWARMS {
            assert_eq!(self.tracker.counts(swarm), self.model.counts(swarm, now));
        }
        let mut walked: Vec<_> = (0..remembered.len()).map(|at| self.tracker.store.swarm(at).unwrap().0).collect();
        walked.sort();
        assert!(walked.into_iter().eq(remembered.into_iter().map(info_hash)));
    }
}

fn run<F: AddressFamily>(steps: Vec<Step>) {
    let mut pair = Pair::<F> { tracker: Tracker::new(), model: Model::default() };
    steps.into_iter().for_each(|step| pair.step(step));
    pair.sweep_all();
    pair.tracker.now += u64::from(TTL) + 1;
    pair.sweep_all();
    assert!(pair.tracker.store.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_ipv4_store_does_what_the_model_does(steps in prop::collection::vec(steps(), 1..250)) {
        run::<V4>(steps);
    }

    #[test]
    fn an_ipv6_store_does_what_the_model_does(steps in prop::collection::vec(steps(), 1..250)) {
        run::<V6>(steps);
    }
}
