//! I7: while a node of a region lives, its clients get answers: every node answers every request within 600 ms, even
//! while others are dying, and a client that tries all nodes of its region gets an answer.

use std::time::Duration;

use crate::testkit::sim::World;
use crate::testkit::sim::plan::{Event, Profile, name};

pub const NAME: &str = "I7 answers";
/// Twice `cluster.deadline`, what the node itself needs, and some rounding.
const WITHIN: Duration = Duration::from_millis(600 + 40);

/// A node has answered a client, or said that it cannot.
pub fn answered(world: &World, node: usize, began: Duration, ok: bool) {
    world.checked(NAME);
    let took = world.now().saturating_sub(began);
    if !ok {
        world.violated(NAME, format!("{} does not answer", name(node)));
    } else if took > WITHIN {
        world.violated(NAME, format!("{} takes {took:?} to answer", name(node)));
    }
}

/// No node has answered a client, which has tried all of these.
pub fn unanswered(world: &World, region: usize, asked: &[usize], began: Duration) {
    // Stalls delay answers, too.
    let stall = |(_, event): &(Duration, Event)| matches!(event, Event::Stall { .. });
    if world.plan.events.iter().any(stall) {
        return;
    }
    let nodes = world.nodes.lock();
    let lives = |node: &&usize| nodes.get(node).is_some_and(|node| node.serving.is_some_and(|since| since <= began));
    let living = asked.iter().find(lives).copied();
    drop(nodes);
    if let Some(living) = living {
        world.violated(NAME, format!("no node of region {region} answers, though {} lives", name(living)));
    }
}

/// Checks that the clients have asked all nodes at the end.
pub fn at_the_end(world: &World) {
    if world.plan.profile != Profile::Steady && world.oracle.lock().looked < world.plan.regions {
        world.violated(NAME, "the clients have not asked all nodes at the end");
    }
}
