//! I4: a peer that has stopped is in no copy once the faults are over. Checked for peers whose last announce and stop were both
//! acknowledged in the same region, without faults from 25 s before the announce to the end of the stop, because an owner
//! that does not know a peer makes no tombstone for its stop; and if clocks were never wrong by more than a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::swarm::{Partition, Role};

use crate::testkit::sim::World;
use crate::testkit::sim::dump::Dump;
use crate::testkit::sim::plan::info_hash;

pub const NAME: &str = "I4 stopped";

pub fn at_the_end(world: &World, dumps: &BTreeMap<usize, Dump>) {
    let (oracle, faults) = (world.oracle.lock(), world.faults.lock());
    for ((swarm, peer), ops) in &oracle.ops {
        let [.., before, stop] = ops[..] else { continue };
        let (Some(_), Some(acked)) = (before.acked, stop.acked) else { continue };
        let settled = acked + Duration::from_secs(1);
        let region = stop.region;
        let shaken = (0..3).any(|region| faults.net(region, before.sent, settled))
            || faults.crashed(region, before.sent.saturating_sub(Duration::from_secs(25)), settled) > 0;
        if !stop.stopped || before.stopped || before.region != region || shaken || world.plan.wild_clocks() {
            continue;
        }
        for (node, dump) in dumps {
            for (partition, copy) in
                dump.copies.iter().filter(|(partition, _)| dump.held.contains(Partition(**partition)))
            {
                world.checked(NAME);
                if copy.records.get(&(info_hash(*swarm), *peer)).is_some_and(|held| held.role != Role::Stopped) {
                    let at = stop.sent;
                    world.violated(
                        NAME,
                        format!("{peer:?} of swarm {swarm} stopped at {at:?} and is in {partition} on n{node}"),
                    );
                }
            }
        }
    }
}
