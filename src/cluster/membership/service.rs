//! Runs gossip, restarts it when it fails, and publishes the typed member list.

use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::cluster::membership::advertised::{Advertised, HELD, LEAVING, held_text, leaving_text};
use crate::cluster::membership::conflict::Conflict;
use crate::cluster::membership::member::{Members, PartitionSet};

mod gossiper;
mod types;
mod worker;

use types::{Current, Shared};
use worker::Worker;

pub use types::{MembershipConfig, MembershipError, MembershipStatus};

/// How long [`Membership::stop`] waits for the task.
const STOP: Duration = Duration::from_secs(3);

/// This node's part in the cluster's membership. Dropping it ends gossip abruptly, as a crash would.
pub struct Membership {
    shared: Arc<Shared>,
    members: watch::Receiver<Arc<Members>>,
    conflict: watch::Receiver<Option<Conflict>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Membership {
    /// Starts gossip, as a task on the caller's runtime.
    ///
    /// # Errors
    /// See [`MembershipError`]. Unreachable seeds are not an error.
    pub async fn start(
        config: MembershipConfig,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MembershipError> {
        let own = Advertised { me: config.me.clone(), leaving: false, held: PartitionSet::default() };
        let members = watch::Sender::new(Arc::new(Members(vec![own.member(true)])));
        let conflict = watch::Sender::new(None);
        let stop = watch::Sender::new(false);
        let handle = gossiper::start(&config, config.me.incarnation, &[], &own, &*transport).await?;
        let shared = Arc::new(Shared {
            current: tokio::sync::Mutex::new(Current { own, chitchat: handle.chitchat() }),
            changed: Notify::new(),
            status: Mutex::new(MembershipStatus { live: 1, last_update: clock.now().uptime, ..Default::default() }),
        });
        let (member_receiver, conflict_receiver) = (members.subscribe(), conflict.subscribe());
        let worker = Worker::new(config, transport, clock, shared.clone(), members, conflict);
        let task = tokio::spawn(worker.run(handle, stop.subscribe()));
        Ok(Self { shared, members: member_receiver, conflict: conflict_receiver, stop, task })
    }

    /// The members; initially only this node.
    pub fn members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.clone()
    }

    /// The current conflict between this node and others, if any.
    pub fn conflict(&self) -> watch::Receiver<Option<Conflict>> {
        self.conflict.clone()
    }

    /// Advertises the partitions that this node holds.
    pub async fn set_held(&self, held: &PartitionSet) {
        let mut current = self.shared.current.lock().await;
        current.own.held = held.clone();
        let text = held_text(held, current.own.me.partitions);
        current.chitchat.lock().await.self_node_state().set(HELD, text);
        self.shared.changed.notify_one();
    }

    /// Advertises that this node is about to leave.
    pub async fn set_leaving(&self) {
        let mut current = self.shared.current.lock().await;
        current.own.leaving = true;
        current.chitchat.lock().await.self_node_state().set(LEAVING, leaving_text(true));
        self.shared.changed.notify_one();
    }

    pub fn status(&self) -> MembershipStatus {
        *self.shared.status.lock()
    }

    /// Stops gossip; other nodes mark this one down some seconds later. Takes at most [`STOP`].
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = timeout(STOP, &mut self.task).await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
