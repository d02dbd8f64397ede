//! I2: once the faults are over, all copies of a partition become equal, and counts with them; every partition is held by
//! those that are to hold it, and by no other.
//!
//! Copies of a record may differ in age by a quarter of the lifetime, so those older than three quarters may be gone in one
//! and not in another; swarms with such are not compared as a whole. Digests are compared over what was stamped in the last
//! half of a lifetime.

use std::collections::BTreeMap;

use crate::partition::MemberState;
use crate::swarm::{Partition, Role};

use crate::testkit::sim::World;
use crate::testkit::sim::dump::{Copy, Dump};
use crate::testkit::sim::plan::TTL;

pub const NAME: &str = "I2 equal";
const YOUNG: u16 = TTL * 3 / 4 - 3;

pub fn at_the_end(world: &World, dumps: &BTreeMap<usize, Dump>) {
    for (node, dump) in dumps {
        let ups = dump.status.members.iter().filter(|member| member.state == MemberState::Up).count();
        if ups != dumps.len() {
            world.violated(NAME, format!("n{node} sees {ups} of {} nodes: {:?}", dumps.len(), dump.status.members));
        }
        if dump.held != dump.placed {
            world.violated(NAME, format!("n{node} holds {:?} and is to hold {:?}", dump.held, dump.placed));
        }
    }
    for partition in 0..world.plan.partitions {
        let holders: Vec<_> = dumps.iter().filter(|(_, dump)| dump.held.contains(Partition(partition))).collect();
        let Some(((first, dump), others)) = holders.split_first() else {
            world.violated(NAME, format!("no node holds partition {partition}"));
            continue;
        };
        let Some(copy) = dump.copies.get(&partition) else { continue };
        for (node, other) in others {
            let Some(other) = other.copies.get(&partition) else { continue };
            world.checked(NAME);
            let differs = [differ(copy, other), differ(other, copy)].concat();
            if !differs.is_empty() {
                world.violated(NAME, format!("partition {partition} on n{first} and n{node}: {}", differs.join("; ")));
            } else if copy.digest != other.digest {
                world.violated(NAME, format!("the digests of partition {partition} on n{first} and n{node} differ"));
            }
        }
    }
}

/// What one copy has and the other has not, or otherwise.
fn differ(one: &Copy, other: &Copy) -> Vec<String> {
    let mut differs = Vec::new();
    for ((info_hash, peer), held) in one.records.iter().filter(|(_, held)| held.age < YOUNG) {
        let theirs = other.records.get(&(*info_hash, *peer));
        if theirs.is_none_or(|theirs| theirs.stamp != held.stamp) {
            let ago = |held: &crate::testkit::sim::dump::Held| {
                format!(
                    "{:?} {} s old, stamped {}",
                    held.role,
                    held.age,
                    held.stamp.time().millis() - crate::testkit::sim::EPOCH
                )
            };
            let theirs = theirs.map_or("missing".to_owned(), ago);
            differs.push(format!("{peer:?} is {} here, {theirs} there", ago(held)));
        }
    }
    for ((info_hash, v6), counts) in &one.counts {
        let old = |copy: &Copy| {
            let of = copy.records.iter().filter(|((of, _), _)| of == info_hash);
            let living: Vec<_> = of.filter(|(_, held)| held.role != Role::Stopped).collect();
            living.is_empty() || living.iter().any(|(_, held)| held.age >= YOUNG)
        };
        if !old(one) && !old(other) && other.counts.get(&(*info_hash, *v6)) != Some(counts) {
            differs.push(format!("{counts:?} here, {:?} there", other.counts.get(&(*info_hash, *v6))));
        }
    }
    differs
}
