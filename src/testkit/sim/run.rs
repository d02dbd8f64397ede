//! Runs a plan and checks all invariants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use turmoil::{Builder, Sim};

use super::chaos::{self, Chaos, client_name};
use super::dump::Dump;
use super::node::Command;
use super::plan::Plan;
use super::{EPOCH, Violation, World, clients, invariants};

/// The time of a simulation step. Timers within a host are exact, messages are rounded up to it.
const STEP: Duration = Duration::from_millis(20);
/// Steps between two checks of the invariants that must always hold.
const LOOK: u32 = 5;

/// The result of a run.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub trace: Vec<String>,
    pub checks: BTreeMap<&'static str, u64>,
}

/// The hosts of all nodes and clients.
pub fn hosts(world: &Arc<World>) -> Sim<'static> {
    let plan = &world.plan;
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH))
        .simulation_duration(Duration::from_secs(3600))
        .tick_duration(STEP)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.near)
        .tcp_capacity(4096)
        .udp_capacity(1024)
        .build();
    for node in 0..plan.nodes.len() {
        chaos::add_node(world, &mut sim, node);
    }
    for region in 0..plan.regions {
        let world = world.clone();
        sim.host(client_name(region), move || clients::run(world.clone(), region));
    }
    sim
}

/// Runs a plan. `each_second` is called every second of its time.
pub fn run(plan: Plan, mut each_second: impl FnMut(Duration)) -> Outcome {
    let world = World::new(plan);
    let plan = world.plan.clone();
    let mut sim = hosts(&world);
    let mut chaos = Chaos::new(&world);
    let (mut steps, mut dumps) = (0, None);
    loop {
        let now = sim.elapsed();
        *world.time.lock() = now;
        if u32::is_multiple_of(steps, 50) {
            each_second(now);
        }
        chaos.step(&mut sim);
        if let Err(error) = sim.step() {
            world.violated("run", format!("a host failed: {error}"));
            break;
        }
        *world.time.lock() = sim.elapsed();
        steps += 1;
        if u32::is_multiple_of(steps, LOOK) {
            invariants::always(&world);
        }
        if dumps.is_none() && now >= plan.end {
            dumps = Some(ask_for_dumps(&world));
        }
        let looked = world.oracle.lock().looked == plan.regions;
        if now >= plan.end + Duration::from_secs(1) && looked || now >= plan.end + Duration::from_secs(60) {
            break;
        }
        if now >= plan.end + Duration::from_secs(2) && plan.profile == super::plan::Profile::Steady {
            break;
        }
    }
    let dumps: BTreeMap<usize, Dump> = dumps
        .into_iter()
        .flatten()
        .filter_map(|(node, dump)| {
            let taken = dump.lock().take();
            if taken.is_none() {
                world.violated("run", format!("n{node} does not return its dump"));
            }
            Some((node, taken?))
        })
        .collect();
    invariants::at_the_end(&world, &dumps);
    drop(sim);
    Outcome { violations: world.violations(), checks: world.checks(), trace: world.take_trace() }
}

type Dumps = Vec<(usize, Arc<Mutex<Option<Dump>>>)>;

fn ask_for_dumps(world: &World) -> Dumps {
    let nodes = world.nodes.lock();
    let running = nodes.iter().filter_map(|(at, node)| Some((*at, node.running.as_ref()?)));
    running
        .map(|(at, running)| {
            let to = Arc::<Mutex<Option<Dump>>>::default();
            let _ = running.commands.send(Command::Dump(to.clone()));
            (at, to)
        })
        .collect()
}
