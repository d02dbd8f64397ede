//! From a request to its owner. One node owns every partition by itself; with others the owner may be elsewhere.

mod full_scrape;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub use full_scrape::Batch;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use crate::net::yield_once;
use crate::partition::{Message, Overloaded, OwnerHandle, Owners, Partitions, UdpAnnounce};
use crate::swarm::{Announce, AnnounceReply, Counts, Family, InfoHash};

/// How long an owner may take. One that takes longer is overloaded or has failed.
const DEADLINE: Duration = Duration::from_millis(250);

/// Nobody who owns the swarm answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tracker is overloaded, try again later")]
pub struct Unavailable;

/// Routes requests to their owners. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    owners: Arc<Owners>,
}

impl Router {
    /// A router to these owners.
    pub fn new(owners: Arc<Owners>) -> Self {
        Self { owners }
    }

    /// The owners.
    pub fn owners(&self) -> &Arc<Owners> {
        &self.owners
    }

    /// Applies an announce and returns what its owner answers.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner has too much to do or does not answer within 250 ms.
    pub async fn announce(&self, announce: Announce) -> Result<AnnounceReply, Unavailable> {
        let hash = self.owners.hash(&announce.info_hash);
        let (reply, answer) = oneshot::channel();
        {
            let owners = self.owners.load();
            let owner = owners.get(self.owners.place(hash, owners.len())).ok_or(Unavailable)?;
            self.send(owner, Message::Announce(hash, announce, reply))?;
        }
        answered(answer).await
    }

    /// The counts of some swarms in one family, in the order of their info hashes, which may repeat.
    ///
    /// # Errors
    /// [`Unavailable`] when any owner has too much to do or does not answer within 250 ms.
    pub async fn scrape(&self, family: Family, info_hashes: &[InfoHash]) -> Result<Vec<Counts>, Unavailable> {
        let mut answers = Vec::new();
        {
            let owners = self.owners.load();
            let (mut hashes_of, mut positions_of) = (vec![Vec::new(); owners.len()], vec![Vec::new(); owners.len()]);
            for (position, info_hash) in info_hashes.iter().enumerate() {
                let hash = self.owners.hash(info_hash);
                let owner = self.owners.place(hash, owners.len());
                hashes_of.get_mut(owner).ok_or(Unavailable)?.push((hash, *info_hash));
                positions_of[owner].push(position);
            }
            for ((owner, hashes), positions) in owners.iter().zip(hashes_of).zip(positions_of) {
                if !hashes.is_empty() {
                    let (reply, answer) = oneshot::channel();
                    self.send(owner, Message::Scrape(family, hashes, reply))?;
                    answers.push((positions, answer));
                }
            }
        }
        let mut counts = vec![Counts::default(); info_hashes.len()];
        for (positions, answer) in answers {
            positions.into_iter().zip(answered(answer).await?).for_each(|(at, swarm)| counts[at] = swarm);
        }
        Ok(counts)
    }

    /// Lets a function see the partitions that hold an info hash, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when the owner has too much to do or does not answer within 250 ms.
    pub async fn visit<T: Send + 'static>(
        &self,
        info_hash: &InfoHash,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let place = self.owners.place(self.owners.hash(info_hash), self.owners.load().len());
        self.visit_owner(place, visit).await
    }

    /// Lets a function see all partitions of the owner with this number, and returns its result.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no such owner, it has too much to do or does not answer within 250 ms.
    pub async fn visit_owner<T: Send + 'static>(
        &self,
        number: usize,
        visit: impl FnOnce(&mut Partitions, crate::clock::Now) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let visit = Message::Visit(Box::new(move |partitions, now| {
            // The asker may have gone.
            let _ = reply.send(visit(partitions, now));
        }));
        self.send(self.owners.load().get(number).ok_or(Unavailable)?, visit)?;
        answered(answer).await
    }

    /// Hands announces that came by UDP to their owner, which answers them. Returns how many were shed.
    pub fn hand_over(&self, owner: &OwnerHandle, announces: Vec<UdpAnnounce>) -> usize {
        let count = announces.len();
        match owner.send(Message::Udp(announces)) {
            Ok(()) => 0,
            Err(Overloaded) => {
                self.owners.shed.fetch_add(count as u64, Relaxed);
                count
            }
        }
    }

    fn send(&self, owner: &OwnerHandle, message: Message) -> Result<(), Unavailable> {
        owner.send(message).map_err(|Overloaded| {
            self.owners.shed.fetch_add(1, Relaxed);
            Unavailable
        })
    }
}

async fn answered<T>(mut answer: oneshot::Receiver<T>) -> Result<T, Unavailable> {
    // An owner on this thread has its turn now, and most often no timer is needed.
    yield_once().await;
    match answer.try_recv() {
        Ok(answer) => return Ok(answer),
        Err(TryRecvError::Closed) => return Err(Unavailable),
        Err(TryRecvError::Empty) => {}
    }
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Unavailable),
    }
}
