//! What the manager publishes about itself and about the cluster as this node sees it.
//!
//! Invariant: readers never send the manager a message. They see the status of its last tick, which is consistent in
//! itself, and counters that only grow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::cluster::Members;
use crate::partition::anti_entropy::pull::Pulled;
use crate::partition::replication::Routes;
use crate::swarm::Partition;

#[derive(Default)]
pub struct SharedStatus {
    /// As of the manager's last tick.
    pub now: ArcSwap<ManagerStatus>,
    /// Partitions taken over from nodes that went down, since the start of the node.
    pub takeovers: AtomicU64,
    /// Partitions that were pulled to be held here, since the start of the node.
    pub pulls: AtomicU64,
    /// Comparisons of copies, since the start of the node.
    pub comparisons: AtomicU64,
    /// Comparisons that found a difference, since the start of the node.
    pub differences: AtomicU64,
    /// Records that pulls brought, since the start of the node.
    pub pulled_records: AtomicU64,
    /// Bytes that pulls brought, since the start of the node.
    pub pulled_bytes: AtomicU64,
    /// Records that comparisons brought, since the start of the node.
    pub repaired_records: AtomicU64,
    /// Bytes that comparisons brought, since the start of the node.
    pub repaired_bytes: AtomicU64,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// The fingerprint of the placement, the same on all nodes that see the same members.
    pub fingerprint: String,
    /// How many partitions the cluster has.
    pub partitions: u16,
    pub members: Vec<MemberStatus>,
    /// Partitions that placement assigns to this node.
    pub placed: usize,
    /// Partitions that this node holds.
    pub held: usize,
    /// Partitions of which this region has fewer copies than it should.
    pub under_replicated: usize,
    /// Partitions on their way to this node.
    pub transfers: Vec<Transfer>,
    /// Partitions whose data is about to be dropped here.
    pub dropping: usize,
    /// Copies that wait to be compared.
    pub comparisons_waiting: usize,
    /// Whether this node is leaving.
    pub leaving: bool,
}

/// The state of a node as another sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    Up,
    /// Gossip reports it alive, but its link does not answer.
    Unreachable,
    Leaving,
    Down,
}

impl MemberState {
    pub const ALL: [Self; 4] = [Self::Up, Self::Unreachable, Self::Leaving, Self::Down];

    /// As in the status and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Leaving => "leaving",
            Self::Down => "down",
        }
    }
}

/// One node as another sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub id: String,
    pub region: String,
    pub state: MemberState,
    /// When it started, in milliseconds since the Unix epoch.
    pub incarnation: u64,
    /// Partitions that it leads in its region.
    pub owned: usize,
    pub held: usize,
    /// Seconds that the oldest change has waited for it here; `None` for this node.
    pub lag_seconds: Option<f64>,
    /// Bytes of changes that wait for it here.
    pub queued_bytes: usize,
    /// Records that were dropped because its queue was full.
    pub dropped_records: u64,
    /// Records that were delivered to it.
    pub delivered_records: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
}

/// A partition on its way to this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    pub partition: Partition,
    /// The node that it is pulled from.
    pub from: String,
    /// How long the pull has taken so far.
    pub seconds: f64,
}

impl SharedStatus {
    /// Counts a pull for a handoff, or a comparison.
    pub(super) fn count_pull(&self, pulled: &Pulled, handoff: bool) {
        let (times, records, bytes) = if handoff {
            (&self.pulls, &self.pulled_records, &self.pulled_bytes)
        } else {
            (&self.comparisons, &self.repaired_records, &self.repaired_bytes)
        };
        times.fetch_add(1, Relaxed);
        records.fetch_add(pulled.merged.kept, Relaxed);
        bytes.fetch_add(pulled.bytes, Relaxed);
        if !handoff && pulled.buckets_differed > 0 {
            self.differences.fetch_add(1, Relaxed);
        }
    }
}

impl MemberStatus {
    /// One for each node of the table. `owned` is how many partitions each of them leads, in the order of the table.
    pub(super) fn of_all(routes: &Routes, members: &Members, owned: &[usize]) -> Vec<Self> {
        let table = &routes.table;
        let status = |at| {
            let node = table.node(at);
            let member = members.get(&node.id);
            let peer = routes.peer(at);
            let reachable = at == table.me() || peer.is_some_and(|peer| peer.link.is_routable());
            let state = match (node.alive, member.is_some_and(|member| member.leaving)) {
                (false, _) => MemberState::Down,
                (true, true) => MemberState::Leaving,
                (true, false) if reachable => MemberState::Up,
                (true, false) => MemberState::Unreachable,
            };
            let queue = peer.map(|peer| peer.queue.status());
            Self {
                id: node.id.to_string(),
                region: node.region.to_string(),
                state,
                incarnation: node.incarnation,
                owned: owned.get(at.index()).copied().unwrap_or_default(),
                held: member.map_or(0, |member| member.held.len()),
                lag_seconds: queue.map(|queue| queue.lag.as_secs_f64()),
                queued_bytes: queue.map_or(0, |queue| queue.bytes),
                dropped_records: queue.map_or(0, |queue| queue.dropped),
                delivered_records: queue.map_or(0, |queue| queue.delivered),
                delivered_bytes: queue.map_or(0, |queue| queue.delivered_bytes),
            }
        };
        table.indexes().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_everywhere() {
        for state in MemberState::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{}\"", state.as_str()));
            assert_eq!(serde_json::from_str::<MemberState>(&json).unwrap(), state);
        }
    }
}
