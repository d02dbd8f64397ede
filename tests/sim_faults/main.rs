//! The simulation bites: each mistake of `tidings::faults` makes some of a few fixed seeds fail, by the
//! invariant that is for it, and without the mistake all of them pass. The switches belong to the process, so this is one
//! of its own, and its tests take turns.

#[path = "../sim/world/mod.rs"]
#[allow(dead_code, reason = "the simulation has more than these tests use")]
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tidings::faults;
use world::invariants::{i1_kept, i2_equal, i8_fencing, i9_economy};
use world::plan::{Plan, Profile};
use world::run::run;

static TURN: Mutex<()> = Mutex::new(());

/// How many of the seeds break which invariant.
fn broken(fault: &AtomicBool, on: bool, profile: Profile, seeds: &[u64]) -> BTreeMap<&'static str, usize> {
    let mut broken = BTreeMap::new();
    for seed in seeds {
        fault.store(on, Relaxed);
        // One that turns itself off is to happen more than once.
        let outcome = run(Plan::of(*seed, profile), |_| fault.store(on, Relaxed));
        fault.store(false, Relaxed);
        let mut names: Vec<_> = outcome.violations.iter().map(|violation| violation.invariant).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().for_each(|name| *broken.entry(name).or_default() += 1);
    }
    broken
}

fn bites(fault: &AtomicBool, invariant: &str, profile: Profile, seeds: &[u64]) {
    let _turn = TURN.lock();
    let with = broken(fault, true, profile, seeds);
    println!("with the mistake: {with:?} of {}", seeds.len());
    let without = broken(fault, false, profile, seeds);
    assert!(with.contains_key(invariant), "the mistake is not found by {invariant}: {with:?}");
    assert!(without.is_empty(), "without the mistake: {without:?}");
}

#[test]
fn a_lost_chunk_loses_peers() {
    bites(&faults::LOSE_CHUNK, i1_kept::NAME, Profile::Nodes, &[0, 1, 2, 3]);
}

#[test]
fn tombstones_dropped_early_leave_copies_different() {
    bites(&faults::DROP_TOMBSTONES_EARLY, i2_equal::NAME, Profile::Nodes, &[0, 1]);
}

#[test]
fn without_fencing_requests_for_another_incarnation_are_answered() {
    bites(&faults::NO_FENCING, i8_fencing::NAME, Profile::Nodes, &[0, 1, 2, 3]);
}

#[test]
fn an_unnoticed_overflow_leaves_copies_different() {
    bites(&faults::OVERFLOW_UNNOTICED, i2_equal::NAME, Profile::Trickle, &[0, 1, 2]);
}

#[test]
fn digests_up_to_the_present_make_copies_differ_that_do_not() {
    bites(&faults::DIGEST_UNSTABLE, i9_economy::NAME, Profile::Steady, &[0, 1, 2, 3]);
}
