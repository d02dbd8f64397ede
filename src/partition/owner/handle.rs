//! How others reach the owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::Now;
use crate::partition::owner::{Message, Partitions, Status};
use crate::swarm::{InfoHash, KeyedHash, Partition, PartitionCount};

/// How long an owner may take for a visit.
const VISIT_DEADLINE: Duration = Duration::from_secs(2);

/// The way to one owner. ractor's mailboxes have no bound, so the handle counts what is in flight and sheds above it.
#[derive(Clone)]
pub struct OwnerHandle {
    actor: ActorRef<Message>,
    status: Arc<Status>,
    limit: usize,
}

/// The owner has too much to do, or has just failed and is not back yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the owner of this swarm cannot take more requests now")]
pub struct Overloaded;

impl OwnerHandle {
    /// A handle that lets `limit` requests be in flight.
    pub fn new(actor: ActorRef<Message>, status: Arc<Status>, limit: usize) -> Self {
        Self { actor, status, limit }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Overloaded`] when the limit is reached or the actor is gone. The message is lost.
    pub fn send(&self, message: Message) -> Result<(), Overloaded> {
        let weight = message.weight();
        if self.status.in_flight.fetch_add(weight, Relaxed) + weight > self.limit {
            self.status.in_flight.fetch_sub(weight, Relaxed);
            return Err(Overloaded);
        }
        self.actor.cast(message).map_err(|_| Overloaded)
    }

    /// Sends a message even when the limit is reached. For what the node itself asks, one message at a time: under a
    /// load that keeps an owner at its limit, that must come through too.
    ///
    /// # Errors
    /// [`Overloaded`] when the actor is gone. The message is lost.
    pub fn send_beyond_limit(&self, message: Message) -> Result<(), Overloaded> {
        self.status.in_flight.fetch_add(message.weight(), Relaxed);
        self.actor.cast(message).map_err(|_| Overloaded)
    }

    /// What the owner tells without being asked.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The actor.
    pub fn actor(&self) -> &ActorRef<Message> {
        &self.actor
    }
}

/// All owners of this node. A partition belongs to the owner at its number modulo their count.
pub struct Owners {
    handles: ArcSwap<Vec<OwnerHandle>>,
    hash: KeyedHash,
    partitions: PartitionCount,
    /// Owners that failed and were replaced, since the start.
    pub restarts: AtomicU64,
    /// Requests that were shed, since the start.
    pub shed: AtomicU64,
}

impl Owners {
    /// No owners yet.
    pub fn new(hash: KeyedHash, partitions: PartitionCount) -> Self {
        let (restarts, shed) = Default::default();
        Self { handles: ArcSwap::default(), hash, partitions, restarts, shed }
    }

    /// The owners now. To be loaded once for a batch.
    pub fn load(&self) -> arc_swap::Guard<Arc<Vec<OwnerHandle>>> {
        self.handles.load()
    }

    /// Puts `handle` into its place, at most one above those that are there.
    pub fn set(&self, at: usize, handle: &OwnerHandle) {
        self.handles.rcu(|handles| {
            let mut handles = Vec::clone(handles);
            match handles.get_mut(at) {
                Some(old) => *old = handle.clone(),
                None => handles.push(handle.clone()),
            }
            handles
        });
    }

    /// The keyed hash of an info hash.
    pub fn hash(&self, info_hash: &InfoHash) -> u64 {
        self.hash.info_hash(info_hash)
    }

    /// The hash that places info hashes and peers.
    pub fn hasher(&self) -> KeyedHash {
        self.hash
    }

    /// The number of partitions of the cluster.
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// The partition of an info hash with this keyed hash.
    pub fn partition(&self, hash: u64) -> Partition {
        self.partitions.partition(hash)
    }

    /// Lets a function see the partitions of the owner that holds one, and returns its result; `None` when that owner has
    /// too much to do or does not answer in time. Each call waits for the last, so it may go beyond the owner's limit:
    /// what keeps copies the same has to come through under load, too.
    pub async fn visit<T: Send + 'static>(
        &self,
        partition: Partition,
        visit: impl FnOnce(&mut Partitions, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let visit = Message::Visit(Box::new(move |partitions, now| {
            // The asker may have gone.
            let _ = reply.send(visit(partitions, now));
        }));
        {
            let handles = self.load();
            handles.get(self.owner_of(partition, handles.len()))?.send_beyond_limit(visit).ok()?;
        }
        timeout(VISIT_DEADLINE, answer).await.ok()?.ok()
    }

    /// Which of `count` owners holds the partition of a keyed hash.
    pub fn place(&self, hash: u64, count: usize) -> usize {
        self.owner_of(self.partition(hash), count)
    }

    /// Which of `count` owners holds a partition.
    pub fn owner_of(&self, partition: Partition, count: usize) -> usize {
        partition.index() % count.max(1)
    }
}
