//! Whole clusters of three to nine nodes in one process, on virtual time. A seed chooses all that goes wrong: crashes,
//! stalls, cuts, splits, slow links, loss, clocks that jump, joins and leaves, under the load of clients. The invariants are
//! in `src/testkit/sim/invariants`, one file each.
//!
//! ```console
//! $ cargo test --test sim                                    # the seeds of seeds.txt and two hundred others
//! $ SIM_SEEDS=2000 cargo test --test sim seeds               # this many seeds
//! $ SIM_FIRST=500 cargo test --test sim seeds                # starting with this one
//! $ SIM_SEED=17 cargo test --test sim seeds -- --nocapture   # one seed, with its trace
//! ```
//!
//! A run has a phase with faults, in which the invariants are checked all the time, and one without, at the end of which
//! all copies have to be equal.
//!
//! **What a seed decides.** A run is the same each time: one thread, virtual time, all randomness from the seed. chitchat
//! draws its own from the system, so most seeds run the gossip of `sim/gossip.rs` in its place (the library's membership
//! view and everything above it are real), and a few run chitchat, whose traces are not the same. Links, manager, owners
//! and router are always the real ones, over turmoil's TCP.
//!
//! **What is left out.** Threads, files, TLS and the frontends have tests of their own. turmoil's TCP does not resend what
//! a cut has lost, so a connection that was cut stays broken until the link notices. A stalled node is one whose messages
//! are delayed both ways; its timers go on.
//!
//! **Clocks.** Clocks that are up to 50 s wrong change nothing. A node whose clock is wrong by more than a minute
//! (`Hlc::MAX_AHEAD`) is outside of what is promised: the profile `Clocks` has jumps of up to five minutes. It requires
//! answers all the time, and equal copies some time after the clocks were corrected, but not I1 and I4. Since a logical
//! clock never goes back, one that was five minutes ahead is rejected for four minutes more, and copies differ for as long.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, available_parallelism};

use tidings::testkit::sim::plan::Plan;
use tidings::testkit::sim::run::{Outcome, run};

/// Seeds of a run by default: five to six minutes on two cores.
const SEEDS: u64 = 200;
/// Seeds that once failed.
const REGRESSIONS: &str = include_str!("seeds.txt");

fn outcome(plan: Plan) -> Outcome {
    let seed = plan.seed;
    let ran = catch_unwind(AssertUnwindSafe(|| run(plan, |_| {})));
    ran.unwrap_or_else(|_| panic!("seed {seed} panicked: SIM_SEED={seed} cargo test --test sim seeds -- --nocapture"))
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Runs seeds, on as many threads as there are cores, and reports those that fail.
fn run_all(seeds: &[u64]) {
    let next = AtomicUsize::new(0);
    let run_some = || {
        let mut ran = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, Relaxed)) {
            ran.push((*seed, Outcome { trace: Vec::new(), ..outcome(Plan::new(*seed)) }));
        }
        ran
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let mut ran: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a seed panicked")).collect()
    });
    ran.sort_by_key(|(seed, _)| *seed);
    let (mut failed, mut checks) = (Vec::new(), BTreeMap::new());
    for (seed, outcome) in &ran {
        outcome.checks.iter().for_each(|(name, count)| *checks.entry(*name).or_insert(0) += count);
        if let Some(first) = outcome.violations.first() {
            let (profile, others) = (Plan::new(*seed).profile, outcome.violations.len() - 1);
            println!("seed {seed} ({profile:?}): {}: {} ({others} more)", first.invariant, first.what);
            failed.push(seed);
        }
    }
    println!("{} seeds; checks: {checks:?}", ran.len());
    assert_eq!(ran.len(), seeds.len());
    assert!(
        failed.is_empty(),
        "of {} seeds these fail: {failed:?}; SIM_SEED=n prints the trace; add them to tests/sim/seeds.txt",
        ran.len()
    );
}

#[test]
fn seeds() {
    if let Some(seed) = env("SIM_SEED") {
        let plan = Plan::new(seed);
        println!("{plan:#?}");
        let outcome = outcome(plan);
        println!("{}\n{:?}", outcome.trace.join("\n"), outcome.checks);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        return;
    }
    let first = env("SIM_FIRST").unwrap_or(0);
    let seeds: Vec<_> = (first..first + env("SIM_SEEDS").unwrap_or(SEEDS)).collect();
    run_all(&seeds);
}

#[test]
fn seeds_that_failed_before() {
    let lines = REGRESSIONS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let seeds: Vec<_> = lines.filter(|line| !line.is_empty()).map(|seed| seed.parse().expect("a seed")).collect();
    run_all(&seeds);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [3, 5, 6] {
        let first = outcome(Plan::new(seed));
        assert!(first.trace.len() > 100, "{:?}", first.trace);
        let again = outcome(Plan::new(seed));
        let differs = first.trace.iter().zip(&again.trace).find(|(a, b)| a != b);
        assert!(differs.is_none(), "seed {seed}: {differs:?}");
        assert_eq!(first.trace.len(), again.trace.len(), "seed {seed}");
    }
}

#[test]
fn with_the_real_chitchat() {
    for seed in 0..8 {
        let outcome = outcome(Plan { chitchat: true, ..Plan::new(seed) });
        let trace = outcome.trace.join("\n");
        assert!(outcome.violations.is_empty(), "seed {seed}: {trace}\n{:#?}", outcome.violations);
    }
}
