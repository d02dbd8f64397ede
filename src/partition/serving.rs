//! What this node does for other nodes with the data of its owners: merge their deltas, and serve digests and chunks of its
//! copies. The receiver side of replication and anti-entropy.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::partition::anti_entropy::chunk::{self, Chunk};
use crate::partition::anti_entropy::digest::{DigestWalk, Window};
use crate::partition::anti_entropy::scan::ScanScope;
use crate::partition::merge::{self, AnyRecord};
use crate::partition::owner::{Message, Owners, Partitions};
use crate::partition::record_codec::{self, Malformed, RecordBatch};
use crate::partition::replication::{Cause, Change};
use crate::swarm::{InfoHash, Partition};
use crate::telemetry::trace::{Steps, names::span};
use crate::wire::peer::Refusal;

/// Deltas of another node, checked and split by owner in one pass. Nothing is merged unless all of them are well-formed.
struct ParsedDeltas {
    /// A batch for each owner, perhaps an empty one.
    by_owner: Vec<RecordBatch>,
}

impl ParsedDeltas {
    fn parse(bytes: &[u8], owners: &Owners, count: usize) -> Result<Self, Malformed> {
        let mut by_owner = vec![RecordBatch::default(); count];
        for swarm in record_codec::swarms(bytes) {
            let swarm = swarm?;
            let owner = owners.owner_of(owners.partition(owners.hash(&swarm.info_hash)), count);
            if let Some(batch) = by_owner.get_mut(owner.0) {
                batch.push_swarm(&swarm);
            }
        }
        Ok(Self { by_owner })
    }
}

/// Merges deltas of another node, and calls `done` once all are merged, or not all could be. Those that come from another
/// region (`forward`) are passed on within this one if they are news. `steps` are those of their trace.
pub fn merge_deltas(
    owners: &Owners,
    forward: bool,
    waited: u32,
    bytes: &[u8],
    steps: Option<&Steps>,
    done: impl FnOnce(Result<(), Refusal>) + Send + 'static,
) {
    let handles = owners.load();
    let Ok(ParsedDeltas { by_owner }) = ParsedDeltas::parse(bytes, owners, handles.len()) else {
        return done(Err(Refusal::Malformed));
    };
    let running = by_owner.iter().filter(|batch| !batch.is_empty()).count();
    if running == 0 {
        return done(Ok(()));
    }

    let pending = Arc::new(Mutex::new(PendingMerges { running, refused: false, done: Some(done) }));
    for (handle, batch) in handles.iter().zip(by_owner).filter(|(_, batch)| !batch.is_empty()) {
        let (merged, hash, steps) = (pending.clone(), owners.hasher(), steps.map(Steps::beside));
        let merge = Message::Visit(Box::new(move |partitions, now| {
            let mut news = Vec::new();
            let mut steps = steps;
            if let Some(steps) = &mut steps {
                steps.restart();
            }
            merge::merge_deltas(batch.checked(), waited, partitions, now, |info_hash, record| {
                if forward {
                    news.push((*info_hash, record));
                }
            });

            let context = steps.map(|mut steps| steps.step(span::MERGE));
            for (info_hash, record) in news {
                let hash = hash.info_hash(&info_hash);
                pass_on(partitions, hash, info_hash, record);
                if let Some(context) = context {
                    partitions.changes.causes.push(Cause { hash, context, forwarded: true });
                }
            }
            PendingMerges::ended(&merged, true);
        }));
        if handle.send(merge).is_err() {
            PendingMerges::ended(&pending, false);
        }
    }
}

/// Adds news from another region to the changes that go to the replicas of this one.
fn pass_on(partitions: &mut Partitions, hash: u64, info_hash: InfoHash, record: AnyRecord) {
    match record {
        AnyRecord::V4(record) => partitions.changes.v4.push(Change { hash, info_hash, record, forwarded: true }),
        AnyRecord::V6(record) => partitions.changes.v6.push(Change { hash, info_hash, record, forwarded: true }),
    }
}

/// The owners that have yet to merge their share of some deltas.
struct PendingMerges<F> {
    running: usize,
    refused: bool,
    done: Option<F>,
}

impl<F: FnOnce(Result<(), Refusal>)> PendingMerges<F> {
    fn ended(pending: &Mutex<Self>, merged: bool) {
        let mut it = pending.lock();
        it.running -= 1;
        it.refused |= !merged;
        let result = if it.refused { Err(Refusal::Overloaded) } else { Ok(()) };
        let done = if it.running == 0 { it.done.take() } else { None };
        drop(it);
        if let Some(done) = done {
            done(result);
        }
    }
}

/// The digest of a partition; `None` when its owner is overloaded.
pub async fn digest(owners: &Owners, partition: Partition, window: Window) -> Option<Vec<u64>> {
    let mut walk = DigestWalk::new(partition, window);
    loop {
        let step = owners.visit(partition, move |partitions, now| {
            let done = walk.step(partitions, now, DigestWalk::STEP);
            (walk, done)
        });
        let (walked, done) = step.await?;
        if done {
            return Some(walked.digest().to_vec());
        }
        walk = walked;
    }
}

/// A chunk of a partition, see [`chunk::chunk`].
pub async fn chunk(owners: &Owners, partition: Partition, buckets: u64, cursor: Vec<u8>) -> Result<Chunk, Refusal> {
    let scope = ScanScope { partition, buckets, budget: chunk::MAX_CHUNK };
    let chunk = owners.visit(partition, move |partitions, now| chunk::chunk(partitions, now, &cursor, scope));
    chunk.await.ok_or(Refusal::Overloaded)?.map_err(|_| Refusal::Malformed)
}
