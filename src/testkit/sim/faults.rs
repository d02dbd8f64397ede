//! A log of faults, which excuses what invariants would otherwise report.

use std::time::Duration;

/// A fault of the network.
#[derive(Clone, Copy, Debug)]
pub struct NetFault {
    pub from: Duration,
    /// None while it lasts.
    pub until: Option<Duration>,
    /// The affected regions.
    pub regions: [bool; 3],
}

/// A crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub node: usize,
    pub region: usize,
    pub at: Duration,
}

#[derive(Debug, Default)]
pub struct FaultLog {
    pub net: Vec<NetFault>,
    pub crashes: Vec<Crash>,
}

/// After a network fault, links have to reconnect and copies have to be compared.
pub const REPAIR: Duration = Duration::from_secs(25);

impl FaultLog {
    /// Whether a network fault affected a region between two times, including the time for its repair.
    pub fn net(&self, region: usize, from: Duration, to: Duration) -> bool {
        let touches = |fault: &&NetFault| fault.regions[region] && fault.from <= to;
        self.net.iter().filter(touches).any(|fault| fault.until.is_none_or(|until| until + REPAIR >= from))
    }

    /// How long after `at` the last replica in the region may have got a change.
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
