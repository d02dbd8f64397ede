//! The counts of every swarm, a batch at a time.

use tokio::sync::mpsc;

use super::Router;
use crate::partition::Partitions;
use crate::swarm::{AddressFamily, Counts, Family, InfoHash, Store};

/// Swarms of a batch: what an owner tells in a few dozen microseconds.
const BATCH: usize = 512;
/// Batches that wait for a slow reader.
const WAITING: usize = 2;

/// Swarms and their counts.
pub type Batch = Vec<(InfoHash, Counts)>;

impl Router {
    /// Starts to walk all swarms of a family, in no order. A swarm that comes or goes meanwhile may be missing, one that
    /// moves may come twice. The walk ends early when the receiver is dropped or an owner does not answer in time.
    pub fn scrape_all(&self, family: Family) -> mpsc::Receiver<Batch> {
        let (batches, receiver) = mpsc::channel(WAITING);
        let router = self.clone();
        tokio::spawn(async move {
            for owner in 0..router.owners.load().len() {
                // Downwards from above any position, see `Store::swarm`.
                let mut end = usize::MAX;
                while end > 0 {
                    let told = router.visit_owner(owner, move |partitions, _| batch(partitions, family, end)).await;
                    let Ok((batch, next)) = told else { return };
                    end = next;
                    if batches.send(batch).await.is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }
}

/// Up to [`BATCH`] swarms below the position `end`, and where to go on.
fn batch(partitions: &Partitions, family: Family, end: usize) -> (Batch, usize) {
    fn of<F: AddressFamily>(store: &Store<F>, end: usize) -> (Batch, usize) {
        let end = end.min(store.len());
        let start = end.saturating_sub(BATCH);
        let swarms = (start..end).rev().filter_map(|at| store.swarm(at));
        // A swarm of tombstones alone is none to anybody else.
        let living = swarms.filter(|(_, counts, _)| counts.seeders + counts.leechers > 0);
        (living.map(|(info_hash, counts, _)| (info_hash, counts)).collect(), start)
    }
    match family {
        Family::V4 => of(&partitions.v4, end),
        Family::V6 => of(&partitions.v6, end),
    }
}
