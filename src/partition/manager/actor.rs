//! The actor: receives membership changes, ticks and results, and drives the parts in a fixed order.
//!
//! Invariants:
//! * Everything runs in this actor's mailbox, so that routes, holdings and the comparison schedule never disagree for
//!   longer than one message. Only pulls and drops run in tasks of their own; they report back by message.
//! * A tick that changes what [`Holdings`] holds both advertises it and puts it into the routes.
//! * A leaving node starts no pull, since placement assigns nothing to it, and never drops data that it released.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::arguments::ManagerArguments;
use super::comparisons::Comparisons;
use super::holdings::Holdings;
use super::pull_job::{self, PullJob};
use super::status::{ManagerStatus, MemberStatus};
use super::takeover;
use super::topology::{OwnState, Topology};
use crate::cluster::{Members, NodeId};
use crate::link::Link;
use crate::partition::anti_entropy::pull::Pulled;
use crate::partition::owner::OwnerIndex;
use crate::swarm::Partition;
use crate::telemetry::trace::names;

/// The time between two ticks of the manager.
pub const MANAGER_TICK: Duration = Duration::from_millis(100);
/// How long the membership must not have changed before a partition without a holder counts as new.
const SETTLE: Duration = Duration::from_secs(2);
/// The same for a node that has seeds and has found no other node: they may be there, but cut off.
const SETTLE_LONELY: Duration = Duration::from_secs(10);
/// How long gossip may take to spread that a leaving node holds nothing any more.
const FAREWELL: Duration = Duration::from_millis(1500);

pub enum ManagerMessage {
    /// The membership has changed.
    Members(Arc<Members>),
    /// [`MANAGER_TICK`] has passed.
    Tick,
    /// A pull or a comparison has ended; `None` if it failed.
    Pulled(Partition, Option<Pulled>),
    /// The data of a released partition has been dropped.
    Dropped(Partition),
    /// Another node has dropped changes that it had queued for this one.
    Compare(NodeId),
    /// An owner has failed and was replaced by an empty one.
    Replaced(OwnerIndex),
    /// This node is to leave the cluster. Answered when it may stop.
    Leave(oneshot::Sender<()>),
}

pub struct PartitionManager;

/// The state of the actor.
pub struct ManagerState {
    arguments: Arc<ManagerArguments>,
    /// The members as gossip reports them.
    members: Arc<Members>,
    topology: Topology,
    holdings: Holdings,
    comparisons: Comparisons,
    started: Duration,
    /// When the membership last changed.
    members_changed: Duration,
    departure: Option<Departure>,
}

/// The pending leave of this node.
struct Departure {
    done: Option<oneshot::Sender<()>>,
    /// Since when it has held nothing and all changes have been delivered.
    empty_since: Option<Duration>,
}

impl Actor for PartitionManager {
    type Msg = ManagerMessage;
    type State = ManagerState;
    type Arguments = ManagerArguments;

    async fn pre_start(
        &self,
        _: ActorRef<ManagerMessage>,
        arguments: ManagerArguments,
    ) -> Result<ManagerState, ActorProcessingErr> {
        let arguments = Arc::new(arguments);
        let now = arguments.clock.now().uptime;
        Ok(ManagerState {
            members: Arc::default(),
            topology: Topology::new(arguments.clone()),
            holdings: Holdings::new(arguments.partitions),
            comparisons: Comparisons::default(),
            started: now,
            members_changed: now,
            departure: None,
            arguments,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ManagerMessage>,
        message: ManagerMessage,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ManagerMessage::Members(members) => {
                state.members_changed = state.now();
                let _span = membership_span(&state.members, &members).entered();
                state.members = members;
                state.refresh_routes();
            }
            ManagerMessage::Tick => state.tick(&myself).await,
            ManagerMessage::Pulled(partition, pulled) => state.pull_ended(partition, pulled),
            ManagerMessage::Dropped(partition) => state.holdings.drop_ended(partition),
            ManagerMessage::Compare(node) => state.comparisons.changes_dropped(node, state.now()),
            ManagerMessage::Replaced(owner) => state.owner_replaced(owner),
            ManagerMessage::Leave(done) => {
                tracing::info!(event = "leave_started", "leaving the cluster, handing partitions to other nodes");
                state.departure = Some(Departure { done: Some(done), empty_since: None });
                state.arguments.gossip.set_leaving().await;
            }
        }
        Ok(())
    }
}

/// The span of a membership change; none if only the held partitions of some nodes have changed.
fn membership_span(before: &Members, after: &Members) -> tracing::Span {
    fn all(members: &Members) -> BTreeSet<(&NodeId, u64, bool, bool)> {
        members.0.iter().map(|it| (&it.id, it.incarnation, it.alive, it.leaving)).collect()
    }
    let (before, after) = (all(before), all(after));
    if before == after {
        return tracing::Span::none();
    }

    let names = |some: BTreeSet<(&NodeId, u64, bool, bool)>| {
        let names: BTreeSet<&str> = some.iter().map(|(id, ..)| id.as_str()).collect();
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    tracing::info_span!(
        target: names::TARGET,
        names::span::MEMBERSHIP,
        members = after.iter().filter(|(.., alive, _)| *alive).count(),
        changed = names(&before ^ &after),
    )
}

impl ManagerState {
    fn now(&self) -> Duration {
        self.arguments.clock.now().uptime
    }

    async fn tick(&mut self, myself: &ActorRef<ManagerMessage>) {
        self.refresh_routes();
        self.start_pulls(myself);
        self.release_surplus(myself);
        self.start_comparisons(myself);

        self.topology.redirect_hints();
        for peer in self.topology.peers() {
            peer.queue.pump();
            if peer.queue.take_gap() {
                pull_job::request_comparison(&peer.link);
            }
        }

        if let Some(held) = self.holdings.take_unadvertised() {
            self.arguments.gossip.set_held(held).await;
            self.refresh_routes();
        }

        self.complete_leave();
        self.holdings.log_handoff(&self.arguments.routes.load().table);
        self.publish_status();
    }

    /// Rebuilds the routes if anything that they depend on has changed, and schedules the comparisons that follow from it.
    fn refresh_routes(&mut self) {
        let now = self.now();
        let own = OwnState { held: self.holdings.held(), leaving: self.departure.is_some() };
        let changes = self.topology.refresh(&self.members, own, now);
        for node in changes.reconnected {
            self.comparisons.node_reconnected(node, now);
        }

        let Some((before, after)) = changes.routes else { return };
        let partitions = self.arguments.partitions;
        let taken_over = takeover::log_takeovers(&before.table, &after.table, partitions);
        self.arguments.status.takeovers.fetch_add(taken_over, Relaxed);
        for (partition, node) in takeover::comparisons(&before.table, &after.table, partitions) {
            self.comparisons.leader_died(partition, node, now);
        }
    }

    /// Serves or pulls the assigned partitions that this node does not hold.
    fn start_pulls(&mut self, myself: &ActorRef<ManagerMessage>) {
        let now = self.now();
        let routes = self.arguments.routes.load_full();
        for (partition, link) in self.holdings.start_pulls(&routes, self.is_settled(now), now) {
            self.spawn_pull(myself, partition, true, link);
        }
    }

    /// Whether other nodes had the time to advertise what they hold.
    fn is_settled(&self, now: Duration) -> bool {
        let settle = if self.members.0.len() <= 1 { SETTLE_LONELY } else { SETTLE };
        !self.arguments.has_seeds || now.saturating_sub(self.members_changed.max(self.started)) >= settle
    }

    fn spawn_pull(&self, myself: &ActorRef<ManagerMessage>, partition: Partition, handoff: bool, link: Arc<Link>) {
        let (myself, arguments) = (myself.clone(), &self.arguments);
        let job = PullJob {
            partition,
            handoff,
            link,
            owners: arguments.owners.clone(),
            clock: arguments.clock.clone(),
            peer_ttl: arguments.peer_ttl,
        };
        tokio::spawn(async move {
            let pulled = job.run().await;
            // The manager ends only with the node.
            let _ = myself.cast(ManagerMessage::Pulled(partition, pulled));
        });
    }

    fn pull_ended(&mut self, partition: Partition, pulled: Option<Pulled>) {
        let now = self.now();
        if let Some(pulled) = &pulled {
            self.arguments.status.count_pull(pulled, self.holdings.is_pulling(partition));
        }
        self.comparisons.finished(partition, pulled.is_some(), now);
        self.holdings.pull_ended(partition, pulled.as_ref(), now);
    }

    /// What a failed owner held has to be pulled again; until then the replicas answer.
    fn owner_replaced(&mut self, owner: OwnerIndex) {
        let owners = self.arguments.owners.load().len();
        self.holdings.lose(|partition| self.arguments.owners.owner_of(partition, owners) == owner);
        self.refresh_routes();
    }

    /// Releases what all assigned nodes hold by now, and drops the data of what was released a while ago.
    fn release_surplus(&mut self, myself: &ActorRef<ManagerMessage>) {
        let now = self.now();
        let leaving = self.departure.is_some();
        self.holdings.release_surplus(&self.arguments.routes.load().table, leaving, now);
        if leaving {
            return;
        }

        for partition in self.holdings.start_drops(now) {
            let (myself, owners) = (myself.clone(), self.arguments.owners.clone());
            tokio::spawn(async move {
                pull_job::drop_partition(&owners, partition).await;
                let _ = myself.cast(ManagerMessage::Dropped(partition));
            });
        }
    }

    /// Starts the comparisons that are due. Once those with other regions are done, the nodes of this region are asked to
    /// compare with this one, which now has what the other regions had.
    fn start_comparisons(&mut self, myself: &ActorRef<ManagerMessage>) {
        let routes = self.arguments.routes.load_full();
        for (partition, link) in self.comparisons.start_due(&routes, self.holdings.held(), self.now()) {
            self.spawn_pull(myself, partition, false, link);
        }

        if self.comparisons.take_cross_region_done() {
            let table = &routes.table;
            let in_region = table.indexes().filter(|node| table.is_in_own_region(*node));
            for peer in in_region.filter_map(|node| routes.peer(node)) {
                pull_job::request_comparison(&peer.link);
            }
        }
    }

    /// Completes the pending leave once everything has been handed over and that has been advertised for a while.
    fn complete_leave(&mut self) {
        let now = self.now();
        let Some(departure) = &mut self.departure else { return };
        let delivered = self.topology.peers().all(|peer| peer.queue.is_empty() || !peer.link.is_routable());
        if !(self.holdings.is_empty_and_advertised() && delivered) {
            departure.empty_since = None;
            return;
        }

        let since = *departure.empty_since.get_or_insert(now);
        if now.saturating_sub(since) >= FAREWELL
            && let Some(done) = departure.done.take()
        {
            tracing::info!(event = "leave_completed", "all partitions are handed over");
            // The caller may have given up waiting.
            let _ = done.send(());
        }
    }

    fn publish_status(&self) {
        let routes = self.arguments.routes.load();
        let summary = self.topology.summary();
        self.arguments.status.now.store(Arc::new(ManagerStatus {
            fingerprint: format!("{:016x}", routes.table.fingerprint()),
            partitions: self.arguments.partitions.get(),
            members: MemberStatus::of_all(&routes, self.topology.members(), &summary.owned),
            placed: summary.placed,
            held: self.holdings.held().len(),
            under_replicated: summary.under_replicated,
            transfers: self.holdings.transfers(self.now()),
            dropping: self.holdings.dropping(),
            comparisons_waiting: self.comparisons.waiting(),
            leaving: self.departure.is_some(),
        }));
    }
}
