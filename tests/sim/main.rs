mod world;

use world::plan::Plan;
use world::run::run;

#[test]
fn one() {
    let seed = std::env::var("TIDINGS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let plan = Plan::new(seed);
    println!("{plan:#?}");
    let began = std::time::Instant::now();
    let outcome = run(plan, |_| {});
    println!("{}", outcome.trace.join("\n"));
    println!("{:?}\n{:#?}\n{:?}", outcome.checks, outcome.violations, began.elapsed());
}
