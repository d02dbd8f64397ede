//! I5: no request is forwarded twice. Every announce has a number of its own; a node may forward only those that clients have
//! sent to it.

use crate::wire::peer::announces;

use crate::testkit::sim::World;

pub const NAME: &str = "I5 one hop";

/// Checks the announces that a node sends to another one.
pub fn check(world: &World, node: usize, packed: &[u8]) {
    let Ok((_, announces)) = announces::announces(packed) else {
        return world.violated(NAME, format!("n{node} sends something other than announces"));
    };
    for announce in announces {
        world.checked(NAME);
        let own = world.nodes.lock().get(&node).is_some_and(|node| node.nonces.contains(&announce.num_want));
        if !own {
            world.violated(
                NAME,
                format!("n{node} forwards the announce {} that no client sent to it", announce.num_want),
            );
        }
    }
}
