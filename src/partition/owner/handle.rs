//! How others reach the owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use ractor::{ActorRef, MessagingErr};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::partitions::Partitions;
use super::requests::Message;
use crate::clock::Now;
use crate::swarm::{InfoHash, KeyedHash, Partition, PartitionCount, SwarmKey, Totals};

/// How long an owner may take for a visit.
const VISIT_DEADLINE: Duration = Duration::from_secs(2);

/// What an owner publishes, to be read without asking it.
#[derive(Default)]
pub struct Status {
    /// Requests sent to it that it has not finished.
    pub in_flight: AtomicUsize,
    /// IPv4 and IPv6, as of its last tick.
    pub totals: Mutex<[Totals; 2]>,
}

/// Sends to one owner. ractor's mailboxes have no bound, so the handle counts what is in flight and sheds above it.
#[derive(Clone)]
pub struct OwnerHandle {
    actor: ActorRef<Message>,
    status: Arc<Status>,
    limit: usize,
}

/// The owner is at its limit, or has just failed and has not been replaced yet.
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
    /// [`Overloaded`] when the limit is reached or the actor is gone. The message is shed, and
    /// what waits for its reply is notified.
    pub fn send(&self, message: Message) -> Result<(), Overloaded> {
        let weight = message.weight();
        if self.status.in_flight.fetch_add(weight, Relaxed) + weight > self.limit {
            self.status.in_flight.fetch_sub(weight, Relaxed);
            message.shed();
            return Err(Overloaded);
        }
        self.cast(message)
    }

    /// Sends a message even when the limit is reached. For what the node itself asks, one message at a time: under a
    /// load that keeps an owner at its limit, that must come through too.
    ///
    /// # Errors
    /// [`Overloaded`] when the actor is gone. The message is lost.
    pub fn send_beyond_limit(&self, message: Message) -> Result<(), Overloaded> {
        self.status.in_flight.fetch_add(message.weight(), Relaxed);
        self.cast(message)
    }

    fn cast(&self, message: Message) -> Result<(), Overloaded> {
        self.actor.cast(message).map_err(|error| {
            if let MessagingErr::SendErr(message) = error {
                message.shed();
            }
            Overloaded
        })
    }

    /// What the owner publishes.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The actor.
    pub fn actor(&self) -> &ActorRef<Message> {
        &self.actor
    }
}

/// The position of an owner among those of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerIndex(pub usize);

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

    /// The current owners. To be loaded once for a batch.
    pub fn load(&self) -> arc_swap::Guard<Arc<Vec<OwnerHandle>>> {
        self.handles.load()
    }

    /// Sets the owner at this position, which is at most one above the last.
    pub fn set(&self, at: OwnerIndex, handle: &OwnerHandle) {
        self.handles.rcu(|handles| {
            let mut handles = Vec::clone(handles);
            match handles.get_mut(at.0) {
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

    /// What finds the swarm of an info hash.
    pub fn key(&self, info_hash: InfoHash) -> SwarmKey {
        self.hash.swarm_key(info_hash)
    }

    /// The partition of a swarm with this keyed hash.
    pub fn partition(&self, hash: u64) -> Partition {
        self.partitions.partition(hash)
    }

    /// Runs a function on the owner that holds a partition, and returns its result; `None` when that owner is gone or does
    /// not answer within two seconds. Callers wait for one call before they make the next, so it may exceed the owner's
    /// limit: anti-entropy has to get through under load, too.
    pub async fn visit<T: Send + 'static>(
        &self,
        partition: Partition,
        visit: impl FnOnce(&mut Partitions, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let visit = Message::Visit(Box::new(move |partitions, now| {
            // The caller may have gone.
            let _ = reply.send(visit(partitions, now));
        }));
        {
            let handles = self.load();
            handles.get(self.owner_of(partition, handles.len()).0)?.send_beyond_limit(visit).ok()?;
        }
        timeout(VISIT_DEADLINE, answer).await.ok()?.ok()
    }

    /// Which of `count` owners holds a partition.
    #[inline]
    pub fn owner_of(&self, partition: Partition, count: usize) -> OwnerIndex {
        OwnerIndex(partition.index() % count.max(1))
    }

    /// The owner of a swarm with this keyed hash, as of now.
    pub fn owner_of_swarm(&self, hash: u64) -> OwnerIndex {
        self.owner_of(self.partition(hash), self.load().len())
    }

    /// Sorts items by the owner of their swarm; owners without any are left out.
    pub fn group_by_owner<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        hash_of: impl Fn(&T) -> u64,
    ) -> impl Iterator<Item = (OwnerHandle, Vec<T>)> {
        let handles = self.handles.load_full();
        let mut groups: Vec<Vec<T>> = Vec::new();
        groups.resize_with(handles.len(), Vec::new);
        for item in items {
            // None only while there are no owners at all.
            if let Some(group) = groups.get_mut(self.owner_of(self.partition(hash_of(&item)), handles.len()).0) {
                group.push(item);
            }
        }
        let groups = groups.into_iter().enumerate().filter(|(_, group)| !group.is_empty());
        groups.map(move |(at, group)| (handles[at].clone(), group))
    }
}
