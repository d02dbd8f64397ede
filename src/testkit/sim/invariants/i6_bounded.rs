//! I6: queues stay within their bounds, and nothing is left in flight at the end.

use std::collections::BTreeMap;

use crate::testkit::sim::World;
use crate::testkit::sim::dump::{Dump, in_flight};
use crate::testkit::sim::node::IN_FLIGHT;

pub const NAME: &str = "I6 bounded";
/// The batch that exceeds the bound is kept: an owner's changes of one tick.
const BATCH: usize = 16 << 10;
/// Visits by the node itself, beyond the limit of owners.
const VISITS: usize = 64;

pub fn check(world: &World) {
    let nodes = world.nodes.lock();
    let mut broken = Vec::new();
    for node in nodes.values() {
        let Some(running) = &node.running else { continue };
        world.checked(NAME);
        let routes = running.routes.load();
        for other in routes.table.indexes() {
            let Some(peer) = routes.peer(other) else { continue };
            let status = peer.queue.status();
            if status.bytes > world.plan.hint_bytes + BATCH {
                broken.push(format!("{} queues {} bytes for {:?}", node.name, status.bytes, peer.link.target().id));
            }
        }
        let requests = in_flight(&running.owners);
        if requests > IN_FLIGHT + VISITS {
            broken.push(format!("{requests} requests are in flight to an owner of {}", node.name));
        }
    }
    drop(nodes);
    broken.into_iter().for_each(|what| world.violated(NAME, what));
}

pub fn at_the_end(world: &World, dumps: &BTreeMap<usize, Dump>) {
    for (node, dump) in dumps {
        // The visit that has counted them, and a tick.
        if dump.in_flight > 8 {
            world.violated(NAME, format!("n{node} still has {} requests in flight", dump.in_flight));
        }
        for member in dump.status.members.iter().filter(|member| member.queued_bytes > 0) {
            world.violated(NAME, format!("n{node} still has {} bytes for {}", member.queued_bytes, member.id));
        }
    }
}
