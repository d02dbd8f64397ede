//! Which partitions this node holds, and how they come and go:
//!
//! ```text
//! missing ── start_pulls ──> pulling ── in sync ──> held ── release_surplus ──> dropping ── start_drops ──> dropped
//!    ^ └── no other holder, settled ──────────────────^                            │
//!    └──────── failed: retry ────┘                        assigned again: pulled, with the data that is still there
//! ```
//!
//! Invariants:
//! * A partition is in at most one of `held`, `pulls` and `dropping`; `clearing` is a subset of `dropping`.
//! * A partition that is being cleared is not pulled before its data is gone.
//! * A partition is held only if it was in sync with another holder, or no other holder exists.
//! * A partition is released only when every live node that is assigned to it holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::status::Transfer;
use crate::cluster::{NodeId, NodeIndex, PartitionSet, RoutingTable};
use crate::link::Link;
use crate::partition::anti_entropy::pull::Pulled;
use crate::partition::replication::Routes;
use crate::swarm::{Partition, PartitionCount};

/// Partitions that are pulled at the same time.
const MAX_PULLS: usize = 16;
/// How long data stays after a partition was released, while other nodes still send requests for it.
const KEEP_RELEASED: Duration = Duration::from_secs(10);
/// The pause before a failed pull is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// After this many pulls the copy counts as in sync even if the digests never matched: under load the source keeps
/// changing, and those changes also reach this node as deltas.
const MAX_PULL_ATTEMPTS: u32 = 3;

pub struct Holdings {
    partitions: PartitionCount,
    held: PartitionSet,
    /// What was last advertised by gossip.
    advertised: PartitionSet,
    pulls: BTreeMap<Partition, RunningPull>,
    /// Pulls that ended without success.
    retries: BTreeMap<Partition, Retry>,
    /// Released partitions, and when their data is dropped.
    dropping: BTreeMap<Partition, Duration>,
    /// Those of them whose data is being dropped.
    clearing: BTreeSet<Partition>,
    /// What was pulled since the last complete handoff was logged.
    handoff: Handoff,
}

struct RunningPull {
    began: Duration,
    from: NodeId,
}

struct Retry {
    attempts: u32,
    at: Duration,
}

#[derive(Default)]
struct Handoff {
    partitions: usize,
    records: u64,
}

impl Holdings {
    pub fn new(partitions: PartitionCount) -> Self {
        Self {
            partitions,
            held: PartitionSet::default(),
            advertised: PartitionSet::default(),
            pulls: BTreeMap::new(),
            retries: BTreeMap::new(),
            dropping: BTreeMap::new(),
            clearing: BTreeSet::new(),
            handoff: Handoff::default(),
        }
    }

    pub fn held(&self) -> &PartitionSet {
        &self.held
    }

    pub fn is_pulling(&self, partition: Partition) -> bool {
        self.pulls.contains_key(&partition)
    }

    /// How many released partitions still have data here.
    pub fn dropping(&self) -> usize {
        self.dropping.len()
    }

    pub fn transfers(&self, now: Duration) -> Vec<Transfer> {
        let transfer = |(partition, pull): (&Partition, &RunningPull)| Transfer {
            partition: *partition,
            from: pull.from.to_string(),
            seconds: now.saturating_sub(pull.began).as_secs_f64(),
        };
        self.pulls.iter().map(transfer).collect()
    }

    /// What this node holds, if that has not been advertised yet. Counts as advertised from then on.
    pub fn take_unadvertised(&mut self) -> Option<PartitionSet> {
        if self.held == self.advertised {
            return None;
        }
        self.advertised.clone_from(&self.held);
        Some(self.held.clone())
    }

    pub fn is_empty_and_advertised(&self) -> bool {
        self.held.is_empty() && self.advertised.is_empty()
    }

    /// Takes up assigned partitions that this node does not hold. Those without any other holder are held at once if the
    /// membership is `settled`; for the others the pulls to start are returned, each with the link to pull from.
    pub fn start_pulls(&mut self, routes: &Routes, settled: bool, now: Duration) -> Vec<(Partition, Arc<Link>)> {
        let table = &routes.table;
        let mut started = Vec::new();
        for partition in self.missing(table) {
            let busy = self.pulls.contains_key(&partition) || self.clearing.contains(&partition);
            if busy || self.retries.get(&partition).is_some_and(|retry| now < retry.at) {
                continue;
            }

            let others = || table.candidates(partition).iter().copied().filter(|node| *node != table.me());
            if others().next().is_none() {
                if settled {
                    self.hold(partition);
                }
                continue;
            }

            if self.pulls.len() >= MAX_PULLS {
                break;
            }
            if let Some((node, link)) = self.source(routes, partition, others()) {
                self.dropping.remove(&partition);
                self.pulls.insert(partition, RunningPull { began: now, from: table.node(node).id.clone() });
                started.push((partition, link));
            }
        }
        started
    }

    fn missing(&self, table: &RoutingTable) -> Vec<Partition> {
        let assigned = self.partitions.iter().filter(|partition| table.is_placed_here(*partition));
        assigned.filter(|partition| !self.held.contains(*partition)).collect()
    }

    fn hold(&mut self, partition: Partition) {
        tracing::debug!(event = "partition_held", %partition, "now holding a partition");
        self.dropping.remove(&partition);
        self.held.insert(partition);
    }

    /// Another holder at each attempt, as the first may be the one that does not answer.
    fn source(
        &self,
        routes: &Routes,
        partition: Partition,
        holders: impl Iterator<Item = NodeIndex>,
    ) -> Option<(NodeIndex, Arc<Link>)> {
        let attempts = self.retries.get(&partition).map_or(0, |retry| retry.attempts as usize);
        let reachable: Vec<_> = holders
            .filter_map(|node| Some((node, routes.peer(node)?)))
            .filter(|(_, peer)| peer.link.is_routable())
            .collect();
        let (node, peer) = reachable.get(attempts.checked_rem(reachable.len())?)?;
        Some((*node, peer.link.clone()))
    }

    /// Records the result of a pull; `None` if it failed. The result of a comparison changes nothing here.
    pub fn pull_ended(&mut self, partition: Partition, pulled: Option<&Pulled>, now: Duration) {
        if self.pulls.remove(&partition).is_none() {
            return;
        }
        let attempts = self.retries.remove(&partition).map_or(0, |retry| retry.attempts) + 1;
        match pulled {
            Some(pulled) if pulled.in_sync || attempts >= MAX_PULL_ATTEMPTS => {
                self.hold(partition);
                self.handoff.partitions += 1;
                self.handoff.records += pulled.merged.kept;
            }
            _ => {
                tracing::debug!(event = "pull_retry_scheduled", %partition, attempts, "will pull the partition again");
                self.retries.insert(partition, Retry { attempts, at: now + RETRY_PAUSE });
            }
        }
    }

    /// One line for each handoff to this node, once it holds everything that is assigned to it.
    pub fn log_handoff(&mut self, table: &RoutingTable) {
        if self.handoff.partitions > 0 && self.missing(table).is_empty() {
            let Handoff { partitions, records } = std::mem::take(&mut self.handoff);
            tracing::info!(
                event = "handoff_completed",
                partitions,
                records,
                "handoff complete, now serving partitions"
            );
        }
    }

    /// Forgets partitions whose data is lost.
    pub fn lose(&mut self, is_lost: impl Fn(Partition) -> bool) {
        let lost: Vec<Partition> = self.held.iter().filter(|partition| is_lost(*partition)).collect();
        for partition in lost {
            tracing::debug!(event = "partition_lost", %partition, "its owner failed, the partition is pulled again");
            self.held.remove(partition);
        }
    }

    /// Stops holding what is assigned to other nodes, once all of them hold it.
    pub fn release_surplus(&mut self, table: &RoutingTable, leaving: bool, now: Duration) {
        let surplus: Vec<Partition> = self.held.iter().filter(|partition| !table.is_placed_here(*partition)).collect();
        for partition in surplus {
            // If no node of this region is assigned to it, this one goes on, unless it leaves.
            let unassigned = table.placed(partition).is_empty() && !leaving;
            if !unassigned && !table.placed_without_copy(partition) {
                tracing::debug!(event = "partition_released", %partition, "other nodes hold the partition now");
                self.held.remove(partition);
                self.dropping.insert(partition, now + KEEP_RELEASED);
            }
        }
    }

    /// The released partitions whose data has to be dropped now; each must be followed by [`Holdings::drop_ended`].
    pub fn start_drops(&mut self, now: Duration) -> Vec<Partition> {
        let due = self.dropping.iter().filter(|(_, at)| now >= **at).map(|(partition, _)| *partition);
        due.filter(|partition| self.clearing.insert(*partition)).collect()
    }

    pub fn drop_ended(&mut self, partition: Partition) {
        tracing::debug!(event = "partition_dropped", %partition, "the data of a released partition is gone");
        self.clearing.remove(&partition);
        self.dropping.remove(&partition);
    }
}
