//! Records that were made elsewhere or earlier, and how the completed counts of several nodes become one.
//!
//! Every node counts the completions that clients report to it. A count alone cannot be merged: of 5 here and 6
//! there it is unknown whether one completion is missing or eleven happened. But each completion is one peer's, whose
//! record carries the flag [`super::Stamp::counted`] from then on. So there are two ways for a count to travel:
//!
//! - A **delta** is one peer's news. The node that takes it raises its count by one if the record is counted and its own
//!   record of that peer was not: exactly what the other node did when the client reported it. Repeated, or after the same
//!   completion arrived by another path, it finds the flag set and raises nothing.
//! - A **copy** of a swarm (a snapshot, a chunk) brings all counted records and the count that belongs to them. It sets
//!   the flags without raising the count, and then takes the greater of both counts. Completions that only one of both
//!   had are then missing from the sum where both had some, for good if their deltas are lost; but never is one counted
//!   twice, and all copies become equal.
//!
//! A copy must not carry a count that is newer than the records in it, as then deltas of the records that are missing
//! would count again. A node that lost a counted record which others still have, by a cap or because its own copy was
//! the older one, counts that peer again when it receives it; nothing in the store could prevent that.

use super::super::record::{AddressFamily, Record, Second};
use super::{InfoHash, Store};

/// The outcome of merging a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// False if a cap prevented storing it.
    pub kept: bool,
    /// The store now holds this record and held another one or none before.
    pub changed: bool,
}

impl<F: AddressFamily> Store<F> {
    /// Merges a record of a snapshot or of another node's copy: the store keeps the winner. The completed count is a
    /// matter of [`Store::merge_completed`].
    pub fn merge(&mut self, info_hash: InfoHash, record: Record<F>, now: Second) -> Merged {
        self.merge_record(info_hash, record, now, false)
    }

    /// Merges a record that has just changed on another node, and counts its completion if that is news.
    pub fn merge_delta(&mut self, info_hash: InfoHash, record: Record<F>, now: Second) -> Merged {
        self.merge_record(info_hash, record, now, true)
    }

    /// Raises the completed count of a swarm that is held to what another copy of it says.
    pub fn merge_completed(&mut self, info_hash: &InfoHash, completed: u32) {
        if let Some(at) = self.find(self.hash.info_hash(info_hash), info_hash) {
            let held = &mut self.swarms[at].completed;
            *held = completed.max(*held);
        }
    }

    fn merge_record(&mut self, info_hash: InfoHash, record: Record<F>, now: Second, delta: bool) -> Merged {
        if record.expired(now, self.ttl) {
            return Merged { kept: true, changed: false };
        }
        let hash = self.hash.info_hash(&info_hash);
        let at = self.find(hash, &info_hash);
        let known = at.and_then(|at| self.swarms[at].peers.get(record.key, &self.hash));
        if known.is_none() && !self.admits(at) {
            return Merged { kept: false, changed: false };
        }
        // Whether the sweep has already removed an expired record must make no difference.
        let living = known.filter(|known| !known.expired(now, self.ttl));
        let changed = living.is_none_or(|living| record.stamp > living.stamp);
        let completes = delta && changed && record.stamp.counted() && !living.is_some_and(|it| it.stamp.counted());
        let winner = living.map_or(record, |living| living.merge(record, now));
        let at = self.put(hash, info_hash, at, known, winner);
        self.swarms[at].completed = self.swarms[at].completed.saturating_add(completes.into());
        Merged { kept: true, changed }
    }
}
