//! A simulated cluster on virtual time: the state that its parts share, and the verdict.

pub mod chaos;
pub mod clients;
pub mod dump;
pub mod faults;
pub mod gossip;
pub mod invariants;
pub mod net;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::{Clock, Now};
use crate::partition::{Owners, SharedRoutes, SharedStatus};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use faults::FaultLog;
use node::Command;
use oracle::Oracle;
use plan::Plan;
use tickets::Tickets;

/// The wall clock at the start of every simulation, in milliseconds since the Unix epoch.
pub const EPOCH: u64 = 1_700_000_000_000;

/// State of all hosts and the driver. Everything runs on one thread; the locks are there because tasks must be `Send`.
pub struct World {
    pub plan: Plan,
    /// The time between steps, when no host runs.
    pub time: Mutex<Duration>,
    trace: Mutex<Vec<String>>,
    violations: Mutex<Vec<Violation>>,
    pub nodes: Mutex<BTreeMap<usize, NodeState>>,
    pub tickets: Tickets,
    pub oracle: Mutex<Oracle>,
    pub faults: Mutex<FaultLog>,
    nonce: AtomicU64,
    /// How often each invariant was checked; one that never is proves nothing.
    checks: Mutex<BTreeMap<&'static str, u64>>,
}

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// A node as the driver sees it.
pub struct NodeState {
    pub name: String,
    pub region: usize,
    /// Since when it serves clients.
    pub serving: Option<Duration>,
    /// It has left for good.
    pub gone: bool,
    pub incarnation: u64,
    /// The error of its wall clock in milliseconds.
    pub offset: Arc<AtomicI64>,
    pub running: Option<Running>,
    /// The numbers of the announces that clients have sent to it.
    pub nonces: BTreeSet<u16>,
    pub restarts: u64,
}

/// The parts of a node that the driver inspects.
#[derive(Clone)]
pub struct Running {
    pub commands: UnboundedSender<Command>,
    pub routes: SharedRoutes,
    pub owners: Arc<Owners>,
    pub status: Arc<SharedStatus>,
}

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        let nodes = plan.nodes.iter().enumerate().map(|(at, spec)| (at, NodeState::new(at, spec.region))).collect();
        Arc::new(Self {
            tickets: Tickets::new(plan.seed, plan.gossip_loss),
            plan,
            time: Mutex::default(),
            trace: Mutex::default(),
            violations: Mutex::default(),
            nodes: Mutex::new(nodes),
            oracle: Mutex::default(),
            faults: Mutex::default(),
            nonce: AtomicU64::new(0),
            checks: Mutex::default(),
        })
    }

    /// The time since the start of the simulation, the same on all hosts.
    pub fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| *self.time.lock())
    }

    pub fn trace(&self, line: impl AsRef<str>) {
        let now = self.now();
        self.trace.lock().push(format!("{:>9.3} {}", now.as_secs_f64(), line.as_ref()));
    }

    pub fn violated(&self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.trace(format!("VIOLATION {invariant}: {what}"));
        self.violations.lock().push(Violation { invariant, what });
    }

    pub fn checked(&self, invariant: &'static str) {
        *self.checks.lock().entry(invariant).or_default() += 1;
    }

    /// A unique number for an announce. It is sent as the number of wanted peers, which is always more than there are.
    pub fn nonce(&self) -> u16 {
        300 + (self.nonce.fetch_add(1, Relaxed) % 65_000) as u16
    }

    pub fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.trace.lock())
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }

    pub fn checks(&self) -> BTreeMap<&'static str, u64> {
        self.checks.lock().clone()
    }

    /// The nodes of a region that clients may know of.
    pub fn nodes_of(&self, region: usize) -> Vec<usize> {
        let nodes = self.nodes.lock();
        nodes.iter().filter(|(_, node)| node.region == region && !node.gone).map(|(at, _)| *at).collect()
    }
}

impl NodeState {
    pub fn new(at: usize, region: usize) -> Self {
        Self {
            name: plan::name(at),
            region,
            serving: None,
            gone: false,
            incarnation: 0,
            offset: Arc::default(),
            running: None,
            nonces: BTreeSet::new(),
            restarts: 0,
        }
    }
}

/// The clocks of one run of a node.
pub struct SimClock {
    world: Arc<World>,
    started: Duration,
    offset: Arc<AtomicI64>,
}

impl SimClock {
    pub fn new(world: &Arc<World>, offset: Arc<AtomicI64>) -> Self {
        Self { world: world.clone(), started: world.now(), offset }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let now = self.world.now();
        let wall = EPOCH + now.as_millis() as u64;
        Now {
            uptime: now.saturating_sub(self.started),
            wall_millis: wall.saturating_add_signed(self.offset.load(Relaxed)),
        }
    }
}
