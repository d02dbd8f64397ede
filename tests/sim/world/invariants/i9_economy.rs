//! I9: repair costs what the difference is: copies that lack nothing are found equal, however busy they are. Held against
//! runs without faults and without completions: the completed counts in a digest have no window, so that one that is on its
//! way makes copies differ.

use std::sync::atomic::Ordering::Relaxed;

use crate::world::World;
use crate::world::plan::Profile;

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
