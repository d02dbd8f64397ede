//! What has gone wrong when: by this the invariants know what is excused.

use std::time::Duration;

/// A fault of the network.
#[derive(Clone, Copy, Debug)]
pub struct NetFault {
    pub from: Duration,
    /// None while it lasts.
    pub until: Option<Duration>,
    /// Those that it touches.
    pub regions: [bool; 3],
}

/// A crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub node: usize,
    pub region: usize,
    pub at: Duration,
}

/// All faults so far.
#[derive(Debug, Default)]
pub struct FaultLog {
    pub net: Vec<NetFault>,
    pub crashes: Vec<Crash>,
}

/// After a fault of the network links have to be made anew and copies compared.
pub const MENDED: Duration = Duration::from_secs(25);

impl FaultLog {
    /// Whether a fault of the network that touches a region was there, or was not yet mended, between two times.
    pub fn net(&self, region: usize, from: Duration, to: Duration) -> bool {
        let touches = |fault: &&NetFault| fault.regions[region] && fault.from <= to;
        self.net.iter().filter(touches).any(|fault| fault.until.is_none_or(|until| until + MENDED >= from))
    }

    /// How long it may have taken from `at` on until all replicas in the region knew.
    pub fn replicated(&self, region: usize, at: Duration) -> Duration {
        let lag = Duration::from_millis(600);
        let touches = |fault: &&NetFault| fault.regions[region] && fault.from <= at + lag;
        let late = self.net.iter().filter(touches).filter_map(|fault| {
            let until = fault.until.unwrap_or(Duration::MAX / 2) + Duration::from_secs(8);
            (until >= at).then_some(until)
        });
        late.max().unwrap_or_default().max(at + lag)
    }

    /// How many different nodes of a region crashed between two times.
    pub fn crashed(&self, region: usize, from: Duration, to: Duration) -> usize {
        let in_time = |crash: &&Crash| crash.region == region && (from..=to).contains(&crash.at);
        let mut nodes: Vec<_> = self.crashes.iter().filter(in_time).map(|crash| crash.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len()
    }
}
