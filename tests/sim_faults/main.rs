//! The simulation finds planted mistakes: with each mistake of `tidings::faults` the invariant that guards against it is
//! violated by some of a few fixed seeds, and without the mistake all of them pass. The switches belong to the process, so
//! these tests have one of their own, and take turns.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidings::faults::{self, Fault};
use tidings::testkit::sim::invariants::{i1_kept, i2_equal, i8_fencing, i9_economy};
use tidings::testkit::sim::plan::{Plan, Profile};
use tidings::testkit::sim::run::run;

static TURN: Mutex<()> = Mutex::new(());

/// For each invariant, how many of the seeds violate it.
fn violations(fault: &Fault, on: bool, profile: Profile, seeds: &[u64]) -> BTreeMap<&'static str, usize> {
    let mut violations = BTreeMap::new();
    for seed in seeds {
        fault.set(on);
        // One that turns itself off has to happen more than once.
        let outcome = run(Plan::of(*seed, profile), |_| fault.set(on));
        fault.set(false);
        let mut names: Vec<_> = outcome.violations.iter().map(|violation| violation.invariant).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().for_each(|name| *violations.entry(name).or_default() += 1);
    }
    violations
}

fn finds(fault: &Fault, invariant: &str, profile: Profile, seeds: &[u64]) {
    let _turn = TURN.lock();
    let with = violations(fault, true, profile, seeds);
    println!("with the mistake: {with:?} of {}", seeds.len());
    let without = violations(fault, false, profile, seeds);
    assert!(with.contains_key(invariant), "the mistake is not found by {invariant}: {with:?}");
    assert!(without.is_empty(), "without the mistake: {without:?}");
}

#[test]
fn a_lost_chunk_loses_peers() {
    finds(&faults::LOSE_CHUNK, i1_kept::NAME, Profile::Nodes, &[0, 1, 2, 3]);
}

#[test]
fn tombstones_dropped_early_leave_copies_different() {
    finds(&faults::DROP_TOMBSTONES_EARLY, i2_equal::NAME, Profile::Nodes, &[0, 1]);
}

#[test]
fn without_fencing_requests_for_another_incarnation_are_answered() {
    finds(&faults::NO_FENCING, i8_fencing::NAME, Profile::Nodes, &[0, 1, 2, 3]);
}

#[test]
fn an_unnoticed_overflow_leaves_copies_different() {
    finds(&faults::OVERFLOW_UNNOTICED, i2_equal::NAME, Profile::Trickle, &[0, 1, 2]);
}

#[test]
fn digests_up_to_the_present_make_equal_copies_differ() {
    finds(&faults::DIGEST_UNSTABLE, i9_economy::NAME, Profile::Steady, &[0, 1, 2, 3]);
}
