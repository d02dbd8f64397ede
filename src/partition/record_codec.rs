//! Records of swarms as bytes: in snapshots, in deltas between nodes, and in the chunks of a partition that is copied.
//!
//! ```text
//! batch  = entry…                                               all numbers little-endian
//! entry  = 4 or 6 · info hash (20) · completed (u32) · count (u32) · record…
//! record = stamp (u64) · age in seconds (u16) · key (6 or 18)
//! ```
//!
//! Ages are as of the moment when the entry was made; a reader adds the time that has passed since. A swarm may have
//! several entries, and a record may occur more than once: the merge law resolves that.

use std::marker::PhantomData;

use crate::swarm::{AddressFamily, Family, InfoHash, Record, Second, Stamp};
use crate::telemetry::trace::TraceContext;

/// Bytes of an entry before its records.
const HEAD: usize = 29;
/// The offset of the count in them.
const COUNT: usize = 25;

/// The most spans that a batch remembers: far more than fit into a request between nodes.
const MAX_CAUSES: usize = 64;

/// Bytes that are not a batch of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a batch of records")]
pub struct Malformed;

/// A batch that is being written.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    /// Where in the bytes the batch begins.
    start: usize,
    pub records: usize,
    pub entries: usize,
    /// Spans of what has made some of the records change, at most [`MAX_CAUSES`].
    pub causes: Vec<TraceContext>,
    /// The offset of the entry that [`RecordBatch::push_one`] may extend.
    open: Option<usize>,
}

impl RecordBatch {
    /// An empty batch that follows some other bytes.
    pub fn after(head: Vec<u8>) -> Self {
        Self { start: head.len(), bytes: head, ..Self::default() }
    }

    /// Notes a span that has made one of the records change.
    pub fn caused_by(&mut self, span: TraceContext) {
        if self.causes.len() < MAX_CAUSES && !self.causes.contains(&span) {
            self.causes.push(span);
        }
    }

    /// Appends some records of a swarm, as old as they are at `now`.
    pub fn push<F: AddressFamily>(&mut self, info_hash: &InfoHash, completed: u32, records: &[Record<F>], now: Second) {
        self.bytes.reserve(HEAD + records.len() * stride(F::FAMILY));
        self.head(F::FAMILY, info_hash, completed, records.len());
        records.iter().for_each(|record| self.record(record, now));
    }

    /// Appends one record that has changed. It shares the entry of the record before if that is of the same swarm.
    pub fn push_one<F: AddressFamily>(&mut self, info_hash: &InfoHash, record: &Record<F>, now: Second) {
        match self.open.filter(|at| self.bytes[*at] == mark(F::FAMILY) && self.bytes[at + 1..at + 21] == info_hash.0) {
            Some(at) => {
                let count = self.bytes[at + COUNT..].first_chunk_mut();
                if let Some(count) = count {
                    *count = (u32::from_le_bytes(*count) + 1).to_le_bytes();
                }
            }
            None => {
                let at = self.bytes.len();
                self.head(F::FAMILY, info_hash, 0, 1);
                self.open = Some(at);
            }
        }
        self.record(record, now);
    }

    /// Appends an entry of another batch.
    pub fn push_swarm(&mut self, swarm: &SwarmRecords<'_>) {
        self.head(swarm.family, &swarm.info_hash, swarm.completed, swarm.len());
        self.bytes.extend_from_slice(swarm.records);
        self.records += swarm.len();
    }

    /// The batch, without the bytes before it. What was written needs no check.
    pub fn checked(&self) -> CheckedBatch<'_> {
        CheckedBatch(&self.bytes[self.start..])
    }

    /// The batch, after the bytes before it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn head(&mut self, family: Family, info_hash: &InfoHash, completed: u32, records: usize) {
        self.bytes.push(mark(family));
        self.bytes.extend_from_slice(&info_hash.0);
        self.bytes.extend_from_slice(&completed.to_le_bytes());
        self.bytes.extend_from_slice(&(records as u32).to_le_bytes());
        self.entries += 1;
        self.open = None;
    }

    fn record<F: AddressFamily>(&mut self, record: &Record<F>, now: Second) {
        self.bytes.extend_from_slice(&record.stamp.to_bits().to_le_bytes());
        self.bytes.extend_from_slice(&record.seen.age(now).to_le_bytes());
        self.bytes.extend_from_slice(record.key.as_ref());
        self.records += 1;
    }
}

/// A record as it was written: with an age instead of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgedRecord<F: AddressFamily> {
    pub stamp: Stamp,
    /// In seconds, when its entry was made.
    pub age: u16,
    pub key: F::Key,
}

/// An entry within the bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmRecords<'a> {
    pub family: Family,
    pub info_hash: InfoHash,
    /// The completed count of the swarm; 0 if the entry does not contain one.
    pub completed: u32,
    records: &'a [u8],
}

impl<'a> SwarmRecords<'a> {
    pub fn len(&self) -> usize {
        self.records.len() / stride(self.family)
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records; none if they are of the other family.
    pub fn records<F: AddressFamily>(&self) -> AgedRecords<'a, F> {
        let bytes = if self.family == F::FAMILY { self.records } else { &[] };
        AgedRecords { bytes, family: PhantomData }
    }
}

/// The records of a [`SwarmRecords`].
#[derive(Clone, Debug)]
pub struct AgedRecords<'a, F> {
    bytes: &'a [u8],
    family: PhantomData<F>,
}

impl<F: AddressFamily> Iterator for AgedRecords<'_, F> {
    type Item = AgedRecord<F>;

    fn next(&mut self) -> Option<AgedRecord<F>> {
        let (stamp, rest) = self.bytes.split_first_chunk()?;
        let (age, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(F::FAMILY.stride())?;
        self.bytes = rest;
        let (stamp, age) = (Stamp::from_bits(u64::from_le_bytes(*stamp)), u16::from_le_bytes(*age));
        Some(AgedRecord { stamp, age, key: F::key_from(key)? })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / stride(F::FAMILY);
        (left, Some(left))
    }
}

/// A batch that is known to be whole, so that reading it cannot fail half-way.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBatch<'a>(&'a [u8]);

impl<'a> CheckedBatch<'a> {
    /// # Errors
    /// When the bytes are not a batch.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        check(bytes).map(|_| Self(bytes))
    }

    pub fn swarms(self) -> impl Iterator<Item = SwarmRecords<'a>> {
        swarms(self.0).map_while(Result::ok)
    }
}

/// Reads the entries of a batch without copying them. Nothing follows an error.
#[derive(Clone, Debug)]
pub struct SwarmRecordsIter<'a>(&'a [u8]);

/// The entries of a batch that has not been checked.
pub fn swarms(bytes: &[u8]) -> SwarmRecordsIter<'_> {
    SwarmRecordsIter(bytes)
}

/// Checks that the bytes are a whole batch, and returns the number of records in it.
///
/// # Errors
/// When they are not.
pub fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    swarms(bytes).try_fold(0, |records, swarm| Ok(records + swarm?.len()))
}

impl<'a> SwarmRecordsIter<'a> {
    fn entry(&mut self) -> Option<SwarmRecords<'a>> {
        let (&mark, rest) = self.0.split_first()?;
        let family = match mark {
            4 => Family::V4,
            6 => Family::V6,
            _ => return None,
        };
        let (info_hash, rest) = rest.split_first_chunk()?;
        let (completed, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(stride(family))?;
        let (records, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(SwarmRecords {
            family,
            info_hash: InfoHash(*info_hash),
            completed: u32::from_le_bytes(*completed),
            records,
        })
    }
}

impl<'a> Iterator for SwarmRecordsIter<'a> {
    type Item = Result<SwarmRecords<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            self.0 = &[];
        }
        Some(entry.ok_or(Malformed))
    }
}

/// Bytes of a record.
fn stride(family: Family) -> usize {
    10 + family.stride()
}

/// The first byte of an entry.
fn mark(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

#[cfg(test)]
mod tests;
