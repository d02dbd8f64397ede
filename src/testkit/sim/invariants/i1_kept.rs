//! I1: every acknowledged announce is returned to others until it expires, even if one node dies.
//!
//! Every answer is checked for the peers of the same region, if since 25 s before their last announce the network worked
//! there and no more than one node died; with `ack = "owner"`, if none died at the moment of the announce. At the end all
//! copies in all regions are checked; only announces are excused whose replicas all died before they could replicate them.
//!
//! A copy may be older than the peer by a quarter of the lifetime (`Record::renewal_due`), so that after three quarters it
//! may be gone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Ack;
use crate::swarm::{Partition, Role};

use crate::testkit::sim::World;
use crate::testkit::sim::dump::Dump;
use crate::testkit::sim::faults::FaultLog;
use crate::testkit::sim::oracle::{Key, Op, Returned, alive};
use crate::testkit::sim::plan::{Profile, TTL, info_hash};

pub const NAME: &str = "I1 kept";
/// A peer is in all copies for this long after its last announce.
const KEPT: Duration = Duration::from_secs(TTL as u64 * 3 / 4 - 3);
/// A node that comes back has its copies again after this.
const REFILLED: Duration = Duration::from_secs(25);

/// Checks an answer to `asker`, whose request was sent at `sent`, and which lists all peers if `whole`.
pub fn returned(world: &World, region: usize, asker: Key, sent: Duration, whole: bool, returned: &Returned) {
    if !whole {
        return;
    }
    let (oracle, faults, now) = (world.oracle.lock(), world.faults.lock(), world.now());
    let mut missing = Vec::new();
    let ended = world.plan.end <= sent;
    for (key @ (_, peer), ops) in oracle.ops.iter().filter(|((swarm, _), _)| *swarm == asker.0) {
        let Some(last) = alive(ops).filter(|_| *key != asker) else { continue };
        let Some(acked) = last.acked.filter(|acked| *acked < sent && now < last.sent + KEPT) else { continue };
        let here = last.region == region && !shaken(world, &faults, last, acked, now);
        if !(here || ended && last.sent < world.plan.end && !lost(world, &faults, last, acked)) {
            continue;
        }
        world.checked(NAME);
        if !returned.0.contains(peer) {
            missing.push(format!("{peer:?} of {:.3}", last.sent.as_secs_f64()));
        }
    }
    drop((oracle, faults));
    if !missing.is_empty() {
        world.violated(NAME, format!("{:?} in swarm {} does not get {}", asker.1, asker.0, missing.join(", ")));
    }
}

/// Whether there were more faults than one crash.
fn shaken(world: &World, faults: &FaultLog, last: &Op, acked: Duration, now: Duration) -> bool {
    let plan = &world.plan;
    faults.net(last.region, last.sent, now)
        || plan.wild_clocks()
        || plan.profile == Profile::Trickle
        || faults.crashed(last.region, last.sent.saturating_sub(REFILLED), now) > 1
        || plan.ack == Ack::Owner && faults.crashed(last.region, last.sent, faults.replicated(last.region, acked)) > 0
}

/// Whether all replicas in the region may have lost it before it reached another region.
fn lost(world: &World, faults: &FaultLog, last: &Op, acked: Duration) -> bool {
    let plan = &world.plan;
    let nodes = plan.nodes.iter().filter(|node| node.region == last.region).count();
    let enough = usize::from(plan.replicas).min(nodes).max(1);
    let before = last.sent.saturating_sub(REFILLED);
    let replicated = faults.replicated(last.region, acked);
    plan.wild_clocks()
        || faults.crashed(last.region, before, Duration::MAX) >= enough
        || faults.crashed(last.region, last.sent, replicated) > 0
}

/// All holders of all regions must have it.
pub fn at_the_end(world: &World, dumps: &BTreeMap<usize, Dump>) {
    let (oracle, faults) = (world.oracle.lock(), world.faults.lock());
    let end = world.plan.end;
    for ((swarm, peer), ops) in &oracle.ops {
        let Some(last) = alive(ops) else { continue };
        let Some(acked) = last.acked.filter(|_| last.sent < end && end < last.sent + KEPT) else { continue };
        if lost(world, &faults, last, acked) {
            continue;
        }
        for (node, dump) in dumps {
            for (partition, copy) in
                dump.copies.iter().filter(|(partition, _)| dump.held.contains(Partition(**partition)))
            {
                let key = (info_hash(*swarm), *peer);
                if !holds(world, node, Partition(*partition), *swarm) {
                    continue;
                }
                world.checked(NAME);
                if copy.records.get(&key).is_none_or(|held| held.role == Role::Stopped) {
                    let sent = last.sent.as_secs_f64();
                    world.violated(NAME, format!("n{node} has lost {peer:?} of swarm {swarm}, announced at {sent:.3}"));
                }
            }
        }
    }
}

fn holds(world: &World, node: &usize, partition: Partition, swarm: u32) -> bool {
    let nodes = world.nodes.lock();
    let owners = nodes.get(node).and_then(|node| node.running.as_ref()).map(|running| running.owners.clone());
    owners.is_some_and(|owners| owners.partition(owners.hash(&info_hash(swarm))) == partition)
}
