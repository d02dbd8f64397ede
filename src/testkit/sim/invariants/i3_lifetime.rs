//! I3: no peer is returned later than its lifetime plus some slack after its last announce. An announce without an answer may
//! have been applied as late as the longest stall. An answer that is marked stale may have peers for another lifetime.

use std::time::Duration;

use crate::testkit::sim::World;
use crate::testkit::sim::clients::PATIENCE;
use crate::testkit::sim::oracle::Returned;
use crate::testkit::sim::plan::TTL;

pub const NAME: &str = "I3 lifetime";
const SLACK: Duration = Duration::from_secs(4);

pub fn returned(world: &World, swarm: u32, returned: &Returned, stale: bool) {
    let now = world.now();
    // The request may be delayed, and then its change, too.
    let mut lifetime = Duration::from_secs(TTL.into()) + SLACK + 2 * world.plan.longest_hold();
    if stale {
        lifetime *= 2;
    }
    for peer in &returned.0 {
        world.checked(NAME);
        let last = world.oracle.lock().ops.get(&(swarm, *peer)).and_then(|ops| ops.last().copied());
        match last {
            None => world.violated(NAME, format!("{peer:?} was never in swarm {swarm}")),
            Some(op) if now > op.sent + PATIENCE + lifetime => {
                world.violated(NAME, format!("{peer:?} of swarm {swarm} was last announced at {:?}", op.sent));
            }
            Some(_) => {}
        }
    }
}
