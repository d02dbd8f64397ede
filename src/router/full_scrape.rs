//! The counts of every swarm, a batch at a time.

use tokio::sync::mpsc;

use super::{Router, Unavailable};
use crate::partition::{OwnerIndex, Partitions};
use crate::swarm::{AddressFamily, Counts, Family, InfoHash, Store};

/// Swarms of a batch: owners look them up in a few dozen microseconds.
const BATCH: usize = 512;
/// Batches that wait for a slow reader.
const WAITING: usize = 2;

/// Swarms and their counts; an error, after which nothing comes, when an owner did not answer in time.
pub type Batch = Result<Vec<(InfoHash, Counts)>, Unavailable>;

impl Router {
    /// Starts to walk all swarms of a family that this node has peers of, in the order of their info hashes, as a bencoded
    /// dictionary wants them. It holds the info hashes of all of them for that, 20 bytes each. The walk ends early when
    /// the receiver is dropped.
    pub fn scrape_all(&self, family: Family) -> mpsc::Receiver<Batch> {
        let (batches, receiver) = mpsc::channel(WAITING);
        let router = self.clone();
        tokio::spawn(async move {
            if let Err(unavailable) = router.walk(family, &batches).await {
                // The reader may have gone.
                let _ = batches.send(Err(unavailable)).await;
            }
        });
        receiver
    }

    async fn walk(&self, family: Family, batches: &mpsc::Sender<Batch>) -> Result<(), Unavailable> {
        let mut info_hashes = Vec::new();
        for owner in (0..self.owners.load().len()).map(OwnerIndex) {
            // Downwards from above any position, see `Store::swarm`.
            let mut end = usize::MAX;
            while end > 0 {
                let names = move |partitions: &mut Partitions, _| names(partitions, family, end);
                let (found, next) = self.visit_owner(owner, names).await?;
                info_hashes.extend(found);
                end = next;
            }
        }
        info_hashes.sort_unstable();
        // A swarm that moved during the walk was seen twice.
        info_hashes.dedup();
        for info_hashes in info_hashes.chunks(BATCH) {
            let keys: Vec<_> = info_hashes.iter().map(|info_hash| self.owners.key(*info_hash)).collect();
            let counts = self.scrape_here(family, &keys).await?;
            let swarms = info_hashes.iter().copied().zip(counts);
            // A swarm of tombstones alone does not exist for clients.
            let living = swarms.filter(|(_, counts)| counts.seeders + counts.leechers > 0);
            if batches.send(Ok(living.collect())).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The info hashes of up to [`BATCH`] swarms below the position `end`, and where to go on.
fn names(partitions: &Partitions, family: Family, end: usize) -> (Vec<InfoHash>, usize) {
    fn of<F: AddressFamily>(store: &Store<F>, end: usize) -> (Vec<InfoHash>, usize) {
        let end = end.min(store.len());
        let start = end.saturating_sub(BATCH);
        ((start..end).filter_map(|at| store.swarm(at)).map(|(info_hash, ..)| info_hash).collect(), start)
    }
    match family {
        Family::V4 => of(&partitions.v4, end),
        Family::V6 => of(&partitions.v6, end),
    }
}
