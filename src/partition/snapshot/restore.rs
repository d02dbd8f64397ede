//! From a snapshot back into an owner.

use std::io::Read;

use super::format::{AnyPiece, Fault, Frames, Piece};
use crate::clock::Now;
use crate::partition::Partitions;
use crate::partition::merge::{Merger, StoredFamily};
use crate::partition::record_codec::AgedRecord;
use crate::swarm::AddressFamily;

/// Records that one visit merges, at the most, as an owner may be serving.
pub const BATCH: usize = 2_048;

/// What a restore made of the records that it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records that are held again.
    pub kept: u64,
    /// Records that expired in the meantime.
    pub expired: u64,
    /// Records that a cap of the settings forbids, or whose owner did not take them.
    pub refused: u64,
}

impl std::ops::AddAssign for Restored {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.expired += other.expired;
        self.refused += other.refused;
    }
}

/// What was read of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were too old.
    pub expired: u64,
    /// Bytes up to the fault, if there is one.
    pub whole_bytes: u64,
}

/// Reads whole frames until the end or the first fault. Calls `each` with pieces of at most [`BATCH`] records that are
/// no older than `ttl` seconds at `wall`.
///
/// # Errors
/// The fault; all that was whole before it has been handed over.
pub fn read(
    source: impl Read,
    wall: u64,
    ttl: u16,
    report: &mut Report,
    mut each: impl FnMut(AnyPiece),
) -> Result<(), Fault> {
    let mut frames = Frames::open(source)?;
    loop {
        report.whole_bytes = frames.offset();
        let Some(frame) = frames.read()? else { return Ok(()) };
        // Rounded up: no number of restarts makes a peer younger. A clock that went back lets no time pass.
        let passed = wall.saturating_sub(frame.wall).div_ceil(1_000);
        let expired = &mut report.expired;
        for piece in frame.pieces {
            match piece {
                AnyPiece::V4(piece) => aged(piece, passed, ttl, expired).for_each(|piece| each(AnyPiece::V4(piece))),
                AnyPiece::V6(piece) => aged(piece, passed, ttl, expired).for_each(|piece| each(AnyPiece::V6(piece))),
            }
        }
    }
}

/// The piece in parts, `passed` seconds later.
fn aged<F: AddressFamily>(
    Piece { info_hash, completed, mut records }: Piece<F>,
    passed: u64,
    ttl: u16,
    expired: &mut u64,
) -> impl Iterator<Item = Piece<F>> {
    let before = records.len();
    records.retain_mut(|record| {
        let age = passed.saturating_add(record.age.into());
        record.age = age.min(u64::from(u16::MAX)) as u16;
        age <= ttl.into()
    });
    *expired += (before - records.len()) as u64;
    let mut records = records.into_iter();
    std::iter::from_fn(move || {
        let records: Vec<AgedRecord<F>> = records.by_ref().take(BATCH).collect();
        (!records.is_empty()).then_some(Piece { info_hash, completed, records })
    })
}

/// Merges pieces into the partitions that hold them.
pub fn merge(pieces: &[AnyPiece], partitions: &mut Partitions, now: Now) -> Restored {
    let mut merger = Merger::new(partitions, now, 0);
    for piece in pieces {
        match piece {
            AnyPiece::V4(piece) => merge_piece(piece, &mut merger),
            AnyPiece::V6(piece) => merge_piece(piece, &mut merger),
        }
    }
    let taken = merger.counts;
    Restored { kept: taken.kept, expired: taken.expired, refused: taken.refused }
}

fn merge_piece<F: StoredFamily>(piece: &Piece<F>, merger: &mut Merger<'_>) {
    merger.merge_copy(&piece.info_hash, piece.completed, piece.records.iter().copied());
}
