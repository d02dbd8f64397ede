//! What the manager tells of itself and of the cluster as this node sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::State;
use crate::partition::anti_entropy::pull::Pulled;
use crate::swarm::Partition;

/// What others may read of the manager without asking it.
#[derive(Default)]
pub struct SharedStatus {
    /// As of its last tick.
    pub now: ArcSwap<ManagerStatus>,
    /// Partitions taken over from nodes that went down, since the start.
    pub takeovers: AtomicU64,
    /// Partitions that were pulled to be held here, since the start.
    pub pulls: AtomicU64,
    /// Comparisons of copies, since the start.
    pub comparisons: AtomicU64,
    /// Comparisons that found a difference, since the start.
    pub differences: AtomicU64,
    /// Records that pulls brought, since the start.
    pub pulled_records: AtomicU64,
    /// Bytes that pulls brought, since the start.
    pub pulled_bytes: AtomicU64,
    /// Records that comparisons brought, since the start.
    pub repaired_records: AtomicU64,
    /// Bytes that comparisons brought, since the start.
    pub repaired_bytes: AtomicU64,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// The fingerprint of the placement, the same on all nodes that see the same members.
    pub fingerprint: String,
    /// Partitions of the cluster.
    pub partitions: u16,
    /// All nodes.
    pub members: Vec<MemberStatus>,
    /// Partitions that placement gives to this node.
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
    /// Whether this node is about to go.
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
    /// Its name.
    pub id: String,
    /// Its region.
    pub region: String,
    pub state: MemberState,
    /// When it started, in milliseconds since the Unix epoch.
    pub incarnation: u64,
    /// Partitions that it answers for in its region.
    pub owned: usize,
    /// Partitions that it holds.
    pub held: usize,
    /// Seconds that the oldest change has waited for it here; `None` for this node.
    pub lag_seconds: Option<f64>,
    /// Bytes of changes that wait for it here.
    pub queued_bytes: usize,
    /// Records that were dropped because its queue was full.
    pub dropped_records: u64,
    /// Records that it was told.
    pub delivered_records: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
}

/// A partition on its way to this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The partition.
    pub partition: Partition,
    /// Whom it comes from.
    pub from: String,
    /// How long it has taken so far.
    pub seconds: f64,
}

impl SharedStatus {
    /// Counts a pull, or a comparison.
    pub(super) fn count(&self, pulled: &Pulled, handoff: bool) {
        let (times, records, bytes) = if handoff {
            (&self.pulls, &self.pulled_records, &self.pulled_bytes)
        } else {
            (&self.comparisons, &self.repaired_records, &self.repaired_bytes)
        };
        times.fetch_add(1, Relaxed);
        records.fetch_add(pulled.taken.kept, Relaxed);
        bytes.fetch_add(pulled.bytes, Relaxed);
        if !handoff && pulled.buckets_differed > 0 {
            self.differences.fetch_add(1, Relaxed);
        }
    }
}

impl State {
    /// Tells how it goes.
    pub(super) fn tell(&self) {
        let now = self.now();
        let routes = self.arguments.routes.load();
        let table = &routes.table;
        let members = table.indexes().map(|at| {
            let node = table.node(at);
            let member = self.view.members().get(&node.id);
            let peer = routes.peer(at);
            let queue = peer.map(|peer| peer.queue.status());
            let reachable = at == table.me() || peer.is_some_and(|peer| peer.link.is_routable());
            let state = match (node.alive, member.is_some_and(|member| member.leaving)) {
                (false, _) => MemberState::Down,
                (true, true) => MemberState::Leaving,
                (true, false) if reachable => MemberState::Up,
                (true, false) => MemberState::Unreachable,
            };
            MemberStatus {
                id: node.id.to_string(),
                region: node.region.to_string(),
                state,
                incarnation: node.incarnation,
                owned: self.summary.owned.get(at.index()).copied().unwrap_or_default(),
                held: member.map_or(0, |member| member.held.len()),
                lag_seconds: queue.map(|queue| queue.lag.as_secs_f64()),
                queued_bytes: queue.map_or(0, |queue| queue.bytes),
                dropped_records: queue.map_or(0, |queue| queue.dropped),
                delivered_records: queue.map_or(0, |queue| queue.delivered),
                delivered_bytes: queue.map_or(0, |queue| queue.delivered_bytes),
            }
        });
        let members: Vec<_> = members.collect();
        let transfers = self.pulls.iter().map(|(partition, (began, from))| Transfer {
            partition: *partition,
            from: from.to_string(),
            seconds: now.saturating_sub(*began).as_secs_f64(),
        });
        self.arguments.status.now.store(Arc::new(ManagerStatus {
            fingerprint: format!("{:016x}", table.fingerprint()),
            partitions: self.arguments.partitions.get(),
            members,
            placed: self.summary.placed,
            held: self.held.len(),
            under_replicated: self.summary.under_replicated,
            transfers: transfers.collect(),
            dropping: self.dropping.len(),
            comparisons_waiting: self.comparisons.waiting(),
            leaving: self.leaving.is_some(),
        }));
    }
}
