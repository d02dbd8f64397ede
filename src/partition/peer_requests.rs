//! What other nodes send for the owners of this one: deltas to merge, and digests and chunks that they ask for.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::partition::anti_entropy::digest::{DigestWalk, Window};
use crate::partition::anti_entropy::pull::{self, Chunk};
use crate::partition::merge::{self, AnyRecord};
use crate::partition::owner::Owners;
use crate::partition::owner::{Message, Partitions};
use crate::partition::record_codec::{self, RecordBatch};
use crate::partition::replication::{Cause, Change};
use crate::swarm::{InfoHash, Partition};
use crate::telemetry::trace::{Steps, names::span};
use crate::wire::peer::Refusal;

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
    if record_codec::check(bytes).is_err() {
        return done(Err(Refusal::Malformed));
    }
    let handles = owners.load();
    let mut lists: Vec<RecordBatch> = handles.iter().map(|_| RecordBatch::default()).collect();
    for part in record_codec::parts(bytes).map_while(Result::ok) {
        let owner = owners.owner_of(owners.partition(owners.hash(&part.info_hash)), handles.len()).0;
        if let Some(list) = lists.get_mut(owner) {
            list.push_part(&part);
        }
    }
    let count = lists.iter().filter(|list| !list.is_empty()).count();
    if count == 0 {
        return done(Ok(()));
    }
    let left = Arc::new(Mutex::new(Left { parts: count, refused: false, done: Some(done) }));
    for (handle, list) in handles.iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
        let (pieces, part, hash, steps) = (list.into_bytes(), left.clone(), owners.hasher(), steps.map(Steps::beside));
        let merge = Message::Visit(Box::new(move |partitions, now| {
            let mut news = Vec::new();
            let mut steps = steps;
            steps.iter_mut().for_each(|steps| _ = steps.restart());
            let merged = merge::merge_deltas(&pieces, waited, partitions, now, |info_hash, record| {
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
            Left::ended(&part, merged.is_ok());
        }));
        if handle.send(merge).is_err() {
            Left::ended(&left, false);
        }
    }
}

/// Puts news from another region with what the replicas of this one have to be told.
fn pass_on(partitions: &mut Partitions, hash: u64, info_hash: InfoHash, record: AnyRecord) {
    match record {
        AnyRecord::V4(record) => partitions.changes.v4.push(Change { hash, info_hash, record, forwarded: true }),
        AnyRecord::V6(record) => partitions.changes.v6.push(Change { hash, info_hash, record, forwarded: true }),
    }
}

/// The parts of a message that have yet to be merged.
struct Left<F> {
    parts: usize,
    refused: bool,
    done: Option<F>,
}

impl<F: FnOnce(Result<(), Refusal>)> Left<F> {
    fn ended(left: &Mutex<Self>, merged: bool) {
        let mut it = left.lock();
        it.parts -= 1;
        it.refused |= !merged;
        let result = if it.refused { Err(Refusal::Overloaded) } else { Ok(()) };
        let done = if it.parts == 0 { it.done.take() } else { None };
        drop(it);
        if let Some(done) = done {
            done(result);
        }
    }
}

/// The digest of a partition over the stamps from `from` to before `to`; `None` when its owner is overloaded.
pub async fn digest(owners: &Owners, partition: Partition, from: u64, to: u64) -> Option<Vec<u64>> {
    let mut walk = DigestWalk::new(partition, Window { from, to });
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

/// A chunk of a partition, see [`pull::chunk`].
pub async fn chunk(owners: &Owners, partition: Partition, buckets: u64, cursor: Vec<u8>) -> Result<Chunk, Refusal> {
    let chunk = owners.visit(partition, move |partitions, now| {
        pull::chunk(partitions, partition, buckets, &cursor, pull::MAX_CHUNK, now)
    });
    chunk.await.ok_or(Refusal::Overloaded)?.map_err(|_| Refusal::Malformed)
}
