//! Carries out the events of a plan, and records the faults that last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use turmoil::Sim;

use super::faults::{Crash, NetFault};
use super::node::{self, Command};
use super::plan::{self, Event};
use super::{NodeState, World};

/// The current faults.
enum Lasting {
    Stall(usize),
    Cut(usize, usize),
    Split(usize),
    Isolate(usize),
    Slow(Duration),
    Clock(usize),
    Down(usize, bool),
}

pub struct Chaos {
    world: Arc<World>,
    next: usize,
    /// Lasting faults: until when, and their index in the log of faults.
    lasting: Vec<(Duration, Lasting, Option<usize>)>,
}

impl Chaos {
    pub fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), next: 0, lasting: Vec::new() }
    }

    /// Ends the faults that are over and starts those that are due.
    pub fn step(&mut self, sim: &mut Sim<'_>) {
        let now = *self.world.time.lock();
        let all_over = now >= self.world.plan.faults_end;
        let mut over = Vec::new();
        let mut at = 0;
        while at < self.lasting.len() {
            if now >= self.lasting[at].0 || all_over {
                over.push(self.lasting.remove(at));
            } else {
                at += 1;
            }
        }
        for (_, lasting, fault) in &over {
            self.end(sim, lasting);
            if let Some(fault) = fault {
                self.world.faults.lock().net[*fault].until = Some(now);
            }
        }
        if !over.is_empty() {
            self.connect(sim);
        }
        while let Some((at, event)) = self.world.plan.events.get(self.next).copied()
            && now >= at
        {
            self.next += 1;
            self.begin(sim, event, now);
        }
    }

    /// Carries out an event now.
    pub fn happen(&mut self, sim: &mut Sim<'_>, event: Event) {
        let now = *self.world.time.lock();
        self.begin(sim, event, now);
    }

    fn is_down(&self, node: usize) -> bool {
        let down = |lasting: &Lasting| matches!(lasting, Lasting::Down(other, _) if *other == node);
        self.lasting.iter().any(|(_, lasting, _)| down(lasting))
            || self.world.nodes.lock().get(&node).is_none_or(|node| node.gone)
    }

    fn begin(&mut self, sim: &mut Sim<'_>, event: Event, now: Duration) {
        let region = |node: usize| {
            let mut regions = [false; 3];
            regions[self.world.plan.nodes[node].region] = true;
            regions
        };
        let (time, lasting, regions) = match event {
            Event::Stall { node, time } => (time, Lasting::Stall(node), Some([true; 3])),
            Event::Cut { from, to, time } => {
                let (a, b) = (region(from), region(to));
                (time, Lasting::Cut(from, to), Some([0, 1, 2].map(|at| a[at] || b[at])))
            }
            Event::Split { region, time } => (time, Lasting::Split(region), Some([true; 3])),
            Event::Isolate { node, time } => (time, Lasting::Isolate(node), Some([true; 3])),
            Event::Slow { latency, time } => {
                (time, Lasting::Slow(latency), (latency > Duration::from_millis(100)).then_some([true; 3]))
            }
            Event::Clock { node, millis, time } => {
                self.world.nodes.lock()[&node].offset.store(millis, Relaxed);
                (time, Lasting::Clock(node), None)
            }
            Event::Crash { node, down, silent } => {
                let leaving = self.world.nodes.lock()[&node].gone;
                if self.is_down(node) || leaving {
                    return;
                }
                let region = self.world.plan.nodes[node].region;
                self.world.faults.lock().crashes.push(Crash { node, region, at: now });
                (down, Lasting::Down(node, silent), None)
            }
            Event::Join { region } => return self.join(sim, region),
            Event::Leave { node } => {
                let nodes = self.world.nodes.lock();
                if let Some(running) = nodes.get(&node).and_then(|node| node.running.as_ref()) {
                    let _ = running.commands.send(Command::Leave);
                }
                drop(nodes);
                return self.world.trace(format!("{event:?}"));
            }
        };
        self.world.trace(format!("{event:?}"));
        let fault = regions.map(|regions| {
            let mut faults = self.world.faults.lock();
            faults.net.push(NetFault { from: now, until: None, regions });
            faults.net.len() - 1
        });
        self.lasting.push((now + time, lasting, fault));
        self.connect(sim);
        if let Event::Crash { node, .. } = event {
            sim.crash(plan::name(node));
            let mut nodes = self.world.nodes.lock();
            let state = nodes.get_mut(&node).expect("registered");
            (state.running, state.serving) = (None, None);
        }
    }

    fn end(&self, sim: &mut Sim<'_>, lasting: &Lasting) {
        match lasting {
            Lasting::Clock(node) => {
                self.world.nodes.lock()[node].offset.store(0, Relaxed);
                self.world.trace(format!("the clock of {} is right", plan::name(*node)));
            }
            Lasting::Down(node, _) => {
                self.connect(sim);
                self.world.trace(format!("{} starts", plan::name(*node)));
                sim.bounce(plan::name(*node));
            }
            _ => self.world.trace("a fault of the network ends"),
        }
    }

    fn join(&self, sim: &mut Sim<'_>, region: usize) {
        let node = self.world.nodes.lock().len();
        self.world.nodes.lock().insert(node, NodeState::new(node, region));
        self.world.trace(format!("{} joins {}", plan::name(node), plan::region_name(region)));
        add_node(&self.world, sim, node);
        self.connect(sim);
    }

    /// Sets every link between two hosts to the state that all lasting faults together require.
    fn connect(&self, sim: &Sim<'_>) {
        let nodes: Vec<(usize, usize)> = self.world.nodes.lock().iter().map(|(at, node)| (*at, node.region)).collect();
        let slow = self.lasting.iter().rev().find_map(|(_, lasting, _)| match lasting {
            Lasting::Slow(latency) => Some(*latency),
            _ => None,
        });
        let lasts = |test: &dyn Fn(&Lasting) -> bool| self.lasting.iter().any(|(_, lasting, _)| test(lasting));
        let stalled = |node: usize| lasts(&|it| matches!(it, Lasting::Stall(other) if *other == node));
        let silent = |node: usize| lasts(&|it| matches!(it, Lasting::Down(other, true) if *other == node));
        for (at, (a, region_a)) in nodes.iter().enumerate() {
            let a_name = plan::name(*a);
            for (b, region_b) in &nodes[at + 1..] {
                let b_name = plan::name(*b);
                let latency = if region_a == region_b { self.world.plan.near } else { self.world.plan.far };
                sim.set_link_latency(a_name.as_str(), b_name.as_str(), slow.unwrap_or(latency));
                if stalled(*a) || stalled(*b) {
                    sim.hold(a_name.as_str(), b_name.as_str());
                    continue;
                }
                sim.release(a_name.as_str(), b_name.as_str());
                let apart = silent(*a)
                    || silent(*b)
                    || lasts(&|it| match it {
                        Lasting::Isolate(node) => node == a || node == b,
                        Lasting::Split(region) => (region == region_a) != (region == region_b),
                        _ => false,
                    });
                let cut = |from: usize, to: usize| {
                    apart || lasts(&|it| matches!(it, Lasting::Cut(x, y) if *x == from && *y == to))
                };
                if cut(*a, *b) {
                    sim.partition_oneway(a_name.as_str(), b_name.as_str());
                }
                if cut(*b, *a) {
                    sim.partition_oneway(b_name.as_str(), a_name.as_str());
                }
            }
            let clients = client_name(*region_a);
            if stalled(*a) {
                sim.hold(a_name.as_str(), clients.as_str());
            } else {
                sim.release(a_name.as_str(), clients.as_str());
            }
        }
    }
}

/// The name of the host of a region's clients.
pub fn client_name(region: usize) -> String {
    format!("clients-{}", plan::region_name(region))
}

/// Adds a node's host.
pub fn add_node(world: &Arc<World>, sim: &mut Sim<'_>, node: usize) {
    let world = world.clone();
    sim.host(plan::name(node), move || {
        let world = world.clone();
        async move { node::run(world, node).await }
    });
}
