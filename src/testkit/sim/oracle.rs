//! What clients know: their announces, and which of these were acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::swarm::{AddressFamily, Family, PeerAddr, PeerList, V4, V6};

/// A swarm and a peer.
pub type Key = (u32, PeerAddr);

/// One announce to one node.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub sent: Duration,
    /// When it was acknowledged; otherwise it may have been applied, or may be later.
    pub acked: Option<Duration>,
    pub stopped: bool,
    pub region: usize,
}

/// All announces.
#[derive(Default)]
pub struct Oracle {
    pub ops: BTreeMap<Key, Vec<Op>>,
    /// Regions whose clients have asked for all swarms at the end.
    pub looked: usize,
}

impl Oracle {
    /// Records an announce, and returns its position.
    pub fn sent(&mut self, key: Key, op: Op) -> usize {
        let ops = self.ops.entry(key).or_default();
        ops.push(op);
        ops.len() - 1
    }

    pub fn acked(&mut self, key: Key, at: usize, now: Duration) {
        if let Some(op) = self.ops.get_mut(&key).and_then(|ops| ops.get_mut(at)) {
            op.acked = Some(now);
        }
    }
}

/// The last acknowledged announce of a peer, unless a stop was tried after it.
pub fn alive(ops: &[Op]) -> Option<&Op> {
    let at = ops.iter().rposition(|op| op.acked.is_some() && !op.stopped)?;
    // Those that were concurrent with a stop may have been applied before it.
    let stopped = ops[at + 1..].iter().any(|op| op.stopped) || ops[..at].iter().any(|op| op.stopped);
    (!stopped).then_some(&ops[at])
}

/// The peers of a reply.
pub struct Returned(pub BTreeSet<PeerAddr>);

impl Returned {
    pub fn new(list: &PeerList) -> Self {
        let peers = list.compact.chunks_exact(list.family.stride()).filter_map(|bytes| match list.family {
            Family::V4 => V4::key_from(bytes).map(V4::peer),
            Family::V6 => V6::key_from(bytes).map(V6::peer),
        });
        Self(peers.collect())
    }
}
