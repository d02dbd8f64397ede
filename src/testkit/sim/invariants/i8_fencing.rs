//! I8: a request for another incarnation of a node is refused.

use crate::testkit::sim::World;
use crate::testkit::sim::plan::name;

pub const NAME: &str = "I8 fencing";

/// A node has replied to a request that was meant for another incarnation of it.
pub fn check(world: &World, node: usize, refused: bool) {
    if !refused {
        world.violated(NAME, format!("{} answers a request for another incarnation", name(node)));
    }
}
