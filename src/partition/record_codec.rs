//! RecordBatch of swarms as bytes: in snapshots, in deltas between nodes, and in the chunks of a partition that is copied.
//!
//! ```text
//! pieces = piece…                                               all numbers little-endian
//! piece  = 4 or 6 · info hash (20) · completed (u32) · count (u32) · record…
//! record = stamp (u64) · age in seconds (u16) · key (6 or 18)
//! ```
//!
//! Ages are as of the moment when the piece was made; who keeps it for a while adds that time. A swarm may come in
//! several pieces, and a record more than once: the merge law sorts that out.

use std::marker::PhantomData;

use crate::swarm::{AddressFamily, Family, InfoHash, Record, Second, Stamp};
use crate::telemetry::trace::TraceContext;

/// Bytes before the records of a piece.
const HEAD: usize = 29;
/// Where in it the count is.
const COUNT: usize = 25;

/// Spans that pieces remember, at the most: as many as fit into a request between nodes many times over.
const MAX_CAUSES: usize = 64;

/// Bytes that are no pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not pieces of swarms")]
pub struct Malformed;

/// RecordBatch in the making.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    /// Records in them.
    pub records: usize,
    /// How many pieces there are.
    pub pieces: usize,
    /// Spans of what has made some of the records change, at most [`MAX_CAUSES`].
    pub causes: Vec<TraceContext>,
    /// Where the piece begins that [`RecordBatch::push_one`] may go on with.
    open: Option<usize>,
}

impl RecordBatch {
    /// No pieces, to be appended to some bytes that come before them.
    pub fn after(head: Vec<u8>) -> Self {
        Self { bytes: head, ..Self::default() }
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

    /// Appends one record that has changed. It shares the piece of the one before if that is of the same swarm.
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

    /// Appends a piece of others, as it is.
    pub fn push_part(&mut self, part: &SwarmRecords<'_>) {
        self.head(part.family, &part.info_hash, part.completed, part.len());
        self.bytes.extend_from_slice(part.records);
        self.records += part.len();
    }

    /// The pieces, after the bytes that were there before.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to be kept.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces == 0
    }

    fn head(&mut self, family: Family, info_hash: &InfoHash, completed: u32, records: usize) {
        self.bytes.push(mark(family));
        self.bytes.extend_from_slice(&info_hash.0);
        self.bytes.extend_from_slice(&completed.to_le_bytes());
        self.bytes.extend_from_slice(&(records as u32).to_le_bytes());
        self.pieces += 1;
        self.open = None;
    }

    fn record<F: AddressFamily>(&mut self, record: &Record<F>, now: Second) {
        self.bytes.extend_from_slice(&record.stamp.to_bits().to_le_bytes());
        self.bytes.extend_from_slice(&record.seen.age(now).to_le_bytes());
        self.bytes.extend_from_slice(record.key.as_ref());
        self.records += 1;
    }
}

/// A record as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved<F: AddressFamily> {
    /// See [`Record::stamp`].
    pub stamp: Stamp,
    /// Its age in seconds when its piece was made.
    pub age: u16,
    /// See [`Record::key`].
    pub key: F::Key,
}

/// A piece within somebody else's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmRecords<'a> {
    /// The family of its records.
    pub family: Family,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Its completed count; 0 if the piece does not say.
    pub completed: u32,
    records: &'a [u8],
}

impl<'a> SwarmRecords<'a> {
    /// Records in it.
    pub fn len(&self) -> usize {
        self.records.len() / stride(self.family)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Its records; none for the other family.
    pub fn records<F: AddressFamily>(&self) -> SavedRecords<'a, F> {
        let bytes = if self.family == F::FAMILY { self.records } else { &[] };
        SavedRecords { bytes, family: PhantomData }
    }
}

/// The records of a [`SwarmRecords`].
#[derive(Clone, Debug)]
pub struct SavedRecords<'a, F> {
    bytes: &'a [u8],
    family: PhantomData<F>,
}

impl<F: AddressFamily> Iterator for SavedRecords<'_, F> {
    type Item = Saved<F>;

    fn next(&mut self) -> Option<Saved<F>> {
        let (stamp, rest) = self.bytes.split_first_chunk()?;
        let (age, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(F::FAMILY.stride())?;
        self.bytes = rest;
        let (stamp, age) = (Stamp::from_bits(u64::from_le_bytes(*stamp)), u16::from_le_bytes(*age));
        Some(Saved { stamp, age, key: F::key_from(key)? })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / stride(F::FAMILY);
        (left, Some(left))
    }
}

/// Reads pieces without copying them. Nothing comes after an error.
#[derive(Clone, Debug)]
pub struct SwarmRecordsIter<'a>(&'a [u8]);

/// The pieces in some bytes.
pub fn parts(bytes: &[u8]) -> SwarmRecordsIter<'_> {
    SwarmRecordsIter(bytes)
}

/// Looks whether all of the bytes are pieces, and tells how many records there are.
///
/// # Errors
/// When they are not.
pub fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    parts(bytes).try_fold(0, |records, part| Ok(records + part?.len()))
}

impl<'a> SwarmRecordsIter<'a> {
    fn part(&mut self) -> Option<SwarmRecords<'a>> {
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
        let part = self.part();
        if part.is_none() {
            self.0 = &[];
        }
        Some(part.ok_or(Malformed))
    }
}

/// Bytes of a record.
fn stride(family: Family) -> usize {
    10 + family.stride()
}

/// What a piece begins with.
fn mark(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

#[cfg(test)]
mod tests;
