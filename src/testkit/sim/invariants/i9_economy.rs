//! I9: repair is proportional to the difference: copies that lack nothing are found equal, however many peers come. Checked
//! in runs without faults in which no existing record changes.
//!
//! **Known to be violated otherwise:** the window of a digest leaves out what is younger than three seconds, but not what a
//! change in flight will replace, nor the completed counts. So a bucket in which records change ten times a second is found
//! to differ and fetched at every comparison, which costs only traffic.

use std::sync::atomic::Ordering::Relaxed;

use crate::testkit::sim::World;
use crate::testkit::sim::plan::Profile;

pub const NAME: &str = "I9 economy";

pub fn check(world: &World) {
    if world.plan.profile != Profile::Steady {
        return;
    }
    let nodes = world.nodes.lock();
    let found = nodes.values().find_map(|node| {
        let status = &node.running.as_ref()?.status;
        for _ in 0..status.comparisons.load(Relaxed).min(1) {
            world.checked(NAME);
        }
        (status.differences.load(Relaxed) > 0).then(|| node.name.clone())
    });
    drop(nodes);
    if let Some(node) = found
        && world.violations().iter().all(|before| before.invariant != NAME)
    {
        world.violated(NAME, format!("{node} found copies to differ though nothing was lost"));
    }
}
