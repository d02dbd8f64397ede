//! Copies an owner while it serves, in steps, each of which is one visit.

use super::format::data_frame;
use crate::clock::Now;
use crate::partition::Partitions;
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, InfoHash, Second, Store};

/// The most records that one step copies: 64 KiB of IPv4 peers or 112 KiB of IPv6 peers. Requests wait half a millisecond
/// for a step.
pub const MAX_STEP: usize = 4096;

/// Copies all swarms of an owner.
///
/// It goes downwards, so that every swarm that stays there is seen ([`Store::swarm`]). A swarm of up to [`MAX_STEP`]
/// records is copied in one step, as it is at one moment. A larger one takes several steps, during which its records may
/// move: an expiry moves others downwards only, which at worst copies them twice; but a new peer, or one that changes its
/// role, moves one other over a border between roles, perhaps from below the copier to above it. So the copy of a large
/// swarm may lack as many peers as came or changed their role while it was made, at 20 ms for every [`MAX_STEP`] records.
/// Each is back with its next announce; a log of moves would cost every announce more than that.
#[derive(Debug)]
pub struct OwnerCopier {
    v4: FamilyCopier,
    v6: FamilyCopier,
}

/// The copier of one family.
#[derive(Debug)]
struct FamilyCopier {
    /// Swarms at this position and above are done.
    left: usize,
    /// A large swarm that was begun, and how many of its records are left.
    inside: Option<(InfoHash, usize)>,
}

/// The result of a step.
#[derive(Debug)]
pub struct CopyStep {
    pub frame: RecordBatch,
    /// Whether this was the last step.
    pub done: bool,
}

impl OwnerCopier {
    pub fn new() -> Self {
        let [v4, v6] = [(); 2].map(|()| FamilyCopier { left: usize::MAX, inside: None });
        Self { v4, v6 }
    }

    /// Copies about `budget` swarms and records, at most [`MAX_STEP`] records.
    pub fn step(&mut self, partitions: &Partitions, now: Now, budget: usize) -> CopyStep {
        let (mut frame, second) = (data_frame(now.wall_millis), Second::new(now.uptime.as_secs()));
        let budget = budget.min(MAX_STEP);
        let done = self.v4.step(&partitions.v4, second, budget, &mut frame)
            && self.v6.step(&partitions.v6, second, budget, &mut frame);
        CopyStep { frame, done }
    }
}

impl FamilyCopier {
    /// Returns true once all swarms are copied.
    fn step<F: AddressFamily>(
        &mut self,
        store: &Store<F>,
        now: Second,
        budget: usize,
        frame: &mut RecordBatch,
    ) -> bool {
        self.left = self.left.min(store.len());
        while let Some(at) = self.left.checked_sub(1)
            && let Some((info_hash, counts, records)) = store.swarm(at)
        {
            if frame.records + frame.entries >= budget {
                return false;
            }
            // If another swarm has moved to this position, that one is begun.
            let from = match self.inside {
                Some((begun, left)) if begun == info_hash => left.min(records.len()),
                _ => records.len(),
            };
            let room = MAX_STEP - frame.records;
            if from > room && from <= MAX_STEP {
                return false;
            }
            let next = from.saturating_sub(room);
            frame.push(&info_hash, counts.completed, &records[next..from], now);
            if next > 0 {
                self.inside = Some((info_hash, next));
                return false;
            }
            *self = Self { left: at, inside: None };
        }
        true
    }
}
