//! Receiver side: the chunks in which a node sends its copy of a partition to the node that pulls it.

use crate::clock::Now;
use crate::partition::Partitions;
use crate::partition::anti_entropy::scan::{ScanCursor, ScanScope, ScannedSwarm, Visitor};
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, Record, Second};

/// Records of a chunk, where a swarm without any counts as one: at most 256 KiB.
pub const MAX_CHUNK: usize = 4_096;

/// A part of a partition on its way to another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Records, see [`crate::partition::record_codec`].
    pub batch: Vec<u8>,
    /// The cursor of the next chunk; empty at the end.
    pub next: Vec<u8>,
}

/// A cursor that does not come from any chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

/// The chunk of a partition that begins at `cursor`, which is empty at first, with up to [`MAX_CHUNK`] records. A chunk
/// without any need not be the last.
///
/// # Errors
/// When the cursor is malformed.
pub fn chunk(partitions: &Partitions, now: Now, cursor: &[u8], scope: ScanScope) -> Result<Chunk, BadCursor> {
    let cursor = ScanCursor::from_bytes(cursor).ok_or(BadCursor)?;
    let scope = ScanScope { budget: scope.budget.min(MAX_CHUNK), ..scope };
    let now = Second::new(now.uptime.as_secs());
    let mut writer = ChunkWriter { batch: RecordBatch::default(), now, ttl: partitions.v4.ttl() };
    let next = cursor.scan(partitions, scope, &mut writer);
    Ok(Chunk { batch: writer.batch.into_bytes(), next: next.map(ScanCursor::to_bytes).unwrap_or_default() })
}

struct ChunkWriter {
    batch: RecordBatch,
    now: Second,
    ttl: u16,
}

impl Visitor for ChunkWriter {
    fn visit<F: AddressFamily>(&mut self, ScannedSwarm { info_hash, completed, records, .. }: ScannedSwarm<'_, F>) {
        let expired = |record: &Record<F>| record.expired(self.now, self.ttl);
        let completed = completed.unwrap_or(0);
        if records.iter().any(expired) {
            let living: Vec<_> = records.iter().filter(|record| !expired(record)).copied().collect();
            self.batch.push(&info_hash, completed, &living, self.now);
        } else if !records.is_empty() || completed > 0 {
            self.batch.push(&info_hash, completed, records, self.now);
        }
    }
}
