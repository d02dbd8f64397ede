//! Whole nodes, as in the simulation of `tests/sim`: one joins, one leaves, one dies for good, under the load of a few
//! clients. Partitions are few records here, so times are those of the protocol, not of the network; what moves is what
//! would move with any number of peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidings::partition::{MemberState, SharedStatus};

use tidings::testkit::sim::World;
use tidings::testkit::sim::chaos::Chaos;
use tidings::testkit::sim::plan::{Event, NodeSpec, Plan, Profile};
use tidings::testkit::sim::run::hosts;

const REGIONS: usize = 3;
const REPLICAS: u8 = 2;
/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

pub const HEAD: &str = "\
| Nodes | Partitions | | Copies moved | of 1/N of its region | Records | Routed again | At rest |
| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |";

/// How long it took until each partition was answered for again, and until all was where it belongs.
struct Times {
    routed: Duration,
    rest: Duration,
}

/// Copies that each node has pulled since its start, and records in them.
type Pulled = BTreeMap<usize, [u64; 2]>;

fn statuses(world: &World) -> Vec<Arc<SharedStatus>> {
    world.nodes.lock().values().filter_map(|node| Some(node.running.as_ref()?.status.clone())).collect()
}

fn pulled(world: &World) -> Pulled {
    let nodes = world.nodes.lock();
    let running = nodes.iter().filter_map(|(at, node)| Some((*at, &node.running.as_ref()?.status)));
    running.map(|(at, status)| (at, [&status.pulls, &status.pulled_records].map(|count| count.load(Relaxed)))).collect()
}

/// Whether so many nodes see each other, and each partition has its owner in each region.
fn is_routed(world: &World, nodes: usize) -> bool {
    let statuses = statuses(world);
    statuses.len() == nodes
        && statuses.iter().all(|status| {
            let now = status.now.load();
            let up = now.members.iter().filter(|member| member.state == MemberState::Up);
            let owned: usize = up.clone().map(|member| member.owned).sum();
            up.count() == nodes && owned == REGIONS * usize::from(now.partitions)
        })
}

/// Whether each partition is also where it belongs, and nowhere else.
fn is_at_rest(world: &World, nodes: usize) -> bool {
    is_routed(world, nodes)
        && statuses(world).iter().all(|status| {
            let now = status.now.load();
            now.under_replicated == 0 && now.transfers.is_empty() && now.dropping == 0 && now.held == now.placed
        })
}

struct Run {
    world: Arc<World>,
    sim: turmoil::Sim<'static>,
    chaos: Chaos,
}

impl Run {
    fn step(&mut self) {
        *self.world.time.lock() = self.sim.elapsed();
        self.chaos.step(&mut self.sim);
        self.sim.step().expect("no host fails");
        *self.world.time.lock() = self.sim.elapsed();
    }

    /// Until so many nodes are at rest.
    fn settle(&mut self, nodes: usize) -> Times {
        let began = self.sim.elapsed();
        let mut routed = None;
        loop {
            self.step();
            let time = self.sim.elapsed() - began;
            assert!(time < PATIENCE, "{nodes} nodes do not come to rest: {:#?}", statuses(&self.world)[0].now);
            if routed.is_none() && is_routed(&self.world, nodes) {
                routed = Some(time);
            }
            if is_at_rest(&self.world, nodes) {
                return Times { routed: routed.unwrap_or(time), rest: time };
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.step();
        }
    }
}

/// One row for each thing that happens.
pub fn rows(nodes: usize, partitions: u16) -> String {
    let mut plan = Plan::of(1, Profile::Nodes);
    plan.regions = REGIONS;
    plan.nodes = (0..nodes).map(|node| NodeSpec { region: node % REGIONS }).collect();
    (plan.partitions, plan.replicas, plan.gossip_loss) = (partitions, REPLICAS, 0.0);
    (plan.swarms, plan.clients) = (5_000, 50);
    (plan.near, plan.far) = (Duration::from_millis(2), Duration::from_millis(60));
    (plan.faults_end, plan.end) = (Duration::from_secs(3000), Duration::from_secs(3000));
    // The events come below.
    plan.events = Vec::new();
    let world = World::new(plan);
    let sim = hosts(&world);
    let chaos = Chaos::new(&world);
    let mut run = Run { world, sim, chaos };
    run.settle(nodes);
    run.pass(Duration::from_secs(30));

    let mut rows = Vec::new();
    // `of` are the nodes of the region, with the one that comes or goes.
    let mut happen = |what: &str, event: Event, of: usize, then: usize| {
        let before = pulled(&run.world);
        run.chaos.happen(&mut run.sim, event);
        run.pass(Duration::from_millis(100));
        let times = run.settle(then);
        let moved = pulled(&run.world).into_iter().fold([0; 2], |sum, (node, after)| {
            let before = before.get(&node).copied().unwrap_or_default();
            [0, 1].map(|at| sum[at] + after[at] - before[at])
        });
        let share = f64::from(partitions) * f64::from(REPLICAS) / of as f64;
        rows.push(format!(
            "| {nodes} | {partitions} | {what} | {} | {:.2} | {} | {:.1} s | {:.1} s |",
            moved[0],
            moved[0] as f64 / share,
            moved[1],
            times.routed.as_secs_f64(),
            times.rest.as_secs_f64()
        ));
        run.pass(Duration::from_secs(5));
    };
    let region = nodes / REGIONS;
    let never = Duration::from_secs(2000);
    happen("one joins", Event::Join { region: 0 }, region + 1, nodes + 1);
    happen("one leaves", Event::Leave { node: 0 }, region + 1, nodes);
    happen("one dies", Event::Crash { node: 1, down: never, silent: true }, region, nodes - 1);
    rows.join("\n")
}
