//! What operators see of snapshots.

use std::sync::atomic::AtomicU64;

/// Counters since the start of the node, and the last round.
#[derive(Debug, Default)]
pub struct SnapshotStatus {
    /// When the last published round began, in milliseconds since the Unix epoch; 0 before the first.
    pub last_millis: AtomicU64,
    /// How long it took, in milliseconds.
    pub last_duration_millis: AtomicU64,
    /// Bytes in its files.
    pub last_bytes: AtomicU64,
    /// Records in its files.
    pub last_records: AtomicU64,
    /// Rounds that could not be written, or not for every owner.
    pub errors: AtomicU64,
    /// Records that were restored, at the start and into owners that were replaced.
    pub restored_records: AtomicU64,
    /// Files that were corrupt and set aside.
    pub corrupt_files: AtomicU64,
}
