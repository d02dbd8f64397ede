//! The manager: the actor that sees to it that this node holds the partitions that placement gives it. It follows the
//! membership, makes the routes, has partitions pulled that are to be held, compares copies, and gives away what others hold
//! by now.

mod comparisons;
mod pull_job;
mod status;
mod takeover;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub use status::{ManagerStatus, MemberStatus, SharedStatus, Transfer};

use crate::clock::Clock;
use crate::cluster::{Members, NodeId, PartitionSet, Placement, StableMembers, StableMembership};
use crate::link::{Link, Links};
use crate::partition::anti_entropy::pull::Pulled;
use crate::partition::owner::{OwnerIndex, Owners};
use crate::partition::replication::SharedRoutes;
use crate::swarm::{Partition, PartitionCount};
use crate::telemetry::trace::{Traces, names};
use comparisons::Comparisons;
use view::{Summary, View};

/// The time between two ticks of the manager.
pub const MANAGER_TICK: Duration = Duration::from_millis(100);
/// Partitions that are pulled at a time.
const PULLS: usize = 16;
/// How long nothing may have changed before a partition that nobody holds is taken to be new.
const SETTLE: Duration = Duration::from_secs(2);
/// The same for a node that has been told of others and has found none: they may be there and cut off.
const SETTLE_LONELY: Duration = Duration::from_secs(10);
/// How long data stays after others have been told that it is no longer held here.
const KEEP: Duration = Duration::from_secs(10);
/// A pull that failed is tried again after this.
const RETRY: Duration = Duration::from_millis(500);
/// Pulls after which a copy counts as in sync although it never was the same at one moment: under load others go on
/// changing it, and they tell this node.
const ENOUGH: u32 = 3;
/// How long others may take to hear by gossip that a leaving node holds nothing more.
const FAREWELL: Duration = Duration::from_millis(1500);

/// How the manager tells the others what this node holds.
pub trait Gossip: Send + Sync + 'static {
    /// Tells what this node holds.
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()>;
    /// Tells that this node is about to go.
    fn set_leaving(&self) -> BoxFuture<'_, ()>;
}

/// What makes a [`PartitionManager`].
pub struct ManagerArguments {
    /// This node.
    pub me: NodeId,
    /// Whether it has been told of other nodes.
    pub has_seeds: bool,
    /// Partitions of the cluster.
    pub partitions: PartitionCount,
    /// Replicas in each region.
    pub replicas: u8,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// Bytes of changes kept for one other node.
    pub hint_bytes: usize,
    /// How long a replica may take while a reply to a client waits: less than whoever waits for that reply does.
    pub ack_deadline: Duration,
    /// How long a node may be away before it loses its partitions.
    pub stable_after: Duration,
    /// The routes that it makes.
    pub routes: SharedRoutes,
    /// The links to other nodes.
    pub links: Arc<Links>,
    /// The owners of this node.
    pub owners: Arc<Owners>,
    /// Tells the others.
    pub gossip: Arc<dyn Gossip>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Traces of batches of changes.
    pub traces: Traces,
    /// Where it tells how it goes.
    pub status: Arc<SharedStatus>,
}

/// What the manager is told.
pub enum ManagerMessage {
    /// The membership has changed.
    Members(Arc<Members>),
    /// Time has passed.
    Tick,
    /// A pull has ended.
    Pulled(Partition, Option<Pulled>),
    /// The data of a partition is gone.
    Dropped(Partition),
    /// Another node has dropped changes for this one.
    Compare(NodeId),
    /// The owner with this number has failed and was replaced by one that has nothing.
    Replaced(OwnerIndex),
    /// This node is to go; answered when it may.
    Leave(oneshot::Sender<()>),
}

/// The actor.
pub struct PartitionManager;

/// The state of the actor.
pub struct State {
    arguments: ManagerArguments,
    ring: StableMembership,
    ring_members: StableMembers,
    placement: Placement,
    members: Arc<Members>,
    view: View,
    summary: Summary,
    held: PartitionSet,
    /// What gossip was last told.
    told: PartitionSet,
    started: Duration,
    /// When the membership last changed.
    changed: Duration,
    /// Partitions that are being pulled, with the time of their begin and the node that they come from.
    pulls: BTreeMap<Partition, (Duration, NodeId)>,
    /// Pulls that ended without success, and when to try again.
    retries: BTreeMap<Partition, (u32, Duration)>,
    /// Partitions no longer held, and when their data goes.
    dropping: BTreeMap<Partition, Duration>,
    /// Those of them whose data is going.
    clearing: BTreeSet<Partition>,
    comparisons: Comparisons,
    /// Partitions that were pulled since that was last told, and the records in them.
    handed: (usize, u64),
    leaving: Option<Leaving>,
}

/// A node about to go.
struct Leaving {
    done: Option<oneshot::Sender<()>>,
    /// When it held nothing more.
    empty_since: Option<Duration>,
}

impl Actor for PartitionManager {
    type Msg = ManagerMessage;
    type State = State;
    type Arguments = ManagerArguments;

    async fn pre_start(
        &self,
        _: ActorRef<ManagerMessage>,
        arguments: ManagerArguments,
    ) -> Result<State, ActorProcessingErr> {
        let now = arguments.clock.now().uptime;
        let ring_members = StableMembers::default();
        let placement = Placement::compute(&ring_members, arguments.partitions, arguments.replicas);
        Ok(State {
            ring: StableMembership::new(arguments.stable_after),
            ring_members,
            placement,
            members: Arc::default(),
            view: View::default(),
            summary: Summary::default(),
            held: PartitionSet::default(),
            told: PartitionSet::default(),
            started: now,
            changed: now,
            pulls: BTreeMap::new(),
            retries: BTreeMap::new(),
            dropping: BTreeMap::new(),
            clearing: BTreeSet::new(),
            comparisons: Comparisons::default(),
            handed: (0, 0),
            leaving: None,
            arguments,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ManagerMessage>,
        message: ManagerMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ManagerMessage::Members(members) => {
                state.changed = state.now();
                let _span = membership_span(&state.members, &members).entered();
                state.members = members;
                state.refresh();
            }
            ManagerMessage::Tick => state.tick(&myself).await,
            ManagerMessage::Pulled(partition, pulled) => state.pulled(partition, pulled),
            ManagerMessage::Dropped(partition) => {
                state.clearing.remove(&partition);
                state.dropping.remove(&partition);
            }
            ManagerMessage::Compare(node) => state.comparisons.dropped(node, state.now()),
            ManagerMessage::Replaced(number) => state.replaced(number),
            ManagerMessage::Leave(done) => {
                tracing::info!("leaving the cluster: handing partitions over");
                state.leaving = Some(Leaving { done: Some(done), empty_since: None });
                state.arguments.gossip.set_leaving().await;
            }
        }
        Ok(())
    }
}

/// The span of a change of the membership; none if nodes only tell that they hold other partitions than before.
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

impl State {
    fn now(&self) -> Duration {
        self.arguments.clock.now().uptime
    }

    async fn tick(&mut self, myself: &ActorRef<ManagerMessage>) {
        self.refresh();
        self.take_up(myself);
        self.give_away(myself);
        self.compare(myself);
        self.divert();
        for peer in self.view.peers() {
            peer.queue.pump();
            if peer.queue.take_gap() {
                pull_job::tell_to_compare(&peer.link);
            }
        }
        if self.held != self.told {
            self.told = self.held.clone();
            self.arguments.gossip.set_held(self.held.clone()).await;
            self.refresh();
        }
        self.leave();
        self.tell_handoff();
        self.tell();
    }

    /// What a failed owner held has to be pulled again; meanwhile the replicas answer.
    fn replaced(&mut self, number: OwnerIndex) {
        let owners = self.arguments.owners.load().len();
        let lost: Vec<Partition> =
            self.held.iter().filter(|at| self.arguments.owners.owner_of(*at, owners) == number).collect();
        lost.into_iter().for_each(|partition| self.held.remove(partition));
        self.refresh();
    }

    /// Pulls what this node is to hold and does not.
    fn take_up(&mut self, myself: &ActorRef<ManagerMessage>) {
        let now = self.now();
        let routes = self.arguments.routes.load_full();
        let table = &routes.table;
        let lonely = self.arguments.has_seeds && self.members.0.len() <= 1;
        let settle = if lonely { SETTLE_LONELY } else { SETTLE };
        let settled = !self.arguments.has_seeds || now.saturating_sub(self.changed.max(self.started)) >= settle;
        let missing = self.arguments.partitions.iter().filter(|partition| table.is_placed_here(*partition));
        let missing: Vec<Partition> = missing.filter(|partition| !self.held.contains(*partition)).collect();
        for partition in missing {
            let busy = self.pulls.contains_key(&partition) || self.clearing.contains(&partition);
            if busy || self.retries.get(&partition).is_some_and(|(_, at)| now < *at) {
                continue;
            }
            let holders = table.candidates(partition).iter().filter(|node| **node != table.me());
            if holders.clone().next().is_none() {
                if settled {
                    self.dropping.remove(&partition);
                    self.held.insert(partition);
                }
                continue;
            }
            if self.pulls.len() >= PULLS {
                return;
            }
            // Another one at each try: the first may be the one that does not answer.
            let tries = self.retries.get(&partition).map_or(0, |(tries, _)| *tries as usize);
            let reachable: Vec<_> = holders
                .filter_map(|node| routes.peer(*node).filter(|peer| peer.link.is_routable()).map(|peer| (*node, peer)))
                .collect();
            let Some(&(node, peer)) = reachable.get(tries.checked_rem(reachable.len()).unwrap_or_default()) else {
                continue;
            };
            let from = table.node(node).id.clone();
            self.dropping.remove(&partition);
            self.pulls.insert(partition, (now, from));
            self.start_pull(myself, partition, true, peer.link.clone());
        }
    }

    fn start_pull(&self, myself: &ActorRef<ManagerMessage>, partition: Partition, handoff: bool, link: Arc<Link>) {
        let (myself, arguments) = (myself.clone(), &self.arguments);
        let job = pull_job::Job {
            partition,
            handoff,
            link,
            owners: arguments.owners.clone(),
            clock: arguments.clock.clone(),
            peer_ttl: arguments.peer_ttl,
        };
        tokio::spawn(async move {
            let pulled = job.pull().await;
            // The manager ends only with the node.
            let _ = myself.cast(ManagerMessage::Pulled(partition, pulled));
        });
    }

    fn pulled(&mut self, partition: Partition, pulled: Option<Pulled>) {
        if let Some(pulled) = &pulled {
            self.arguments.status.count(pulled, self.pulls.contains_key(&partition));
        }
        let now = self.now();
        self.comparisons.ended(partition, pulled.is_some(), now);
        if self.pulls.remove(&partition).is_none() {
            return;
        }
        let tries = self.retries.remove(&partition).map_or(0, |(tries, _)| tries) + 1;
        match pulled {
            Some(pulled) if pulled.in_sync || tries >= ENOUGH => {
                self.held.insert(partition);
                self.handed.0 += 1;
                self.handed.1 += pulled.taken.kept;
            }
            _ => {
                self.retries.insert(partition, (tries, self.now() + RETRY));
            }
        }
    }

    /// One line for each handoff to this node, when all that belongs to it has come.
    fn tell_handoff(&mut self) {
        let table = &self.arguments.routes.load_full().table;
        let missing = self.arguments.partitions.iter().any(|at| table.is_placed_here(at) && !self.held.contains(at));
        if self.handed.0 > 0 && !missing {
            let (partitions, records) = std::mem::take(&mut self.handed);
            tracing::info!(partitions, records, "partitions were handed to this node, which now serves them");
        }
    }

    /// Stops holding what others are to hold, once all of them do.
    fn give_away(&mut self, myself: &ActorRef<ManagerMessage>) {
        let now = self.now();
        let routes = self.arguments.routes.load_full();
        let table = &routes.table;
        let surplus: Vec<Partition> = self.held.iter().filter(|partition| !table.is_placed_here(*partition)).collect();
        for partition in surplus {
            // Without any node to hold it in this region, this one goes on.
            let kept = table.placed(partition).is_empty() && self.leaving.is_none();
            if !kept && !table.placed_without_copy(partition) {
                self.held.remove(partition);
                self.dropping.insert(partition, now + KEEP);
            }
        }
        if self.leaving.is_some() {
            return;
        }
        for (&partition, &at) in &self.dropping {
            if now >= at && self.clearing.insert(partition) {
                let (myself, owners) = (myself.clone(), self.arguments.owners.clone());
                tokio::spawn(async move {
                    pull_job::drop_partition(&owners, partition).await;
                    let _ = myself.cast(ManagerMessage::Dropped(partition));
                });
            }
        }
    }

    /// Compares copies with other holders: those that are due, and all that a cut may have touched.
    fn compare(&mut self, myself: &ActorRef<ManagerMessage>) {
        let routes = self.arguments.routes.load_full();
        let now = self.now();
        let due = self.comparisons.due(&routes, &self.held, now);
        for (partition, link) in due {
            self.start_pull(myself, partition, false, link);
        }
        if self.comparisons.take_news() {
            let table = &routes.table;
            let near = table.indexes().filter(|at| table.is_in_own_region(*at));
            near.filter_map(|at| routes.peer(at)).for_each(|peer| pull_job::tell_to_compare(&peer.link));
        }
    }

    /// Tells whoever waits for it that this node may go.
    fn leave(&mut self) {
        let (now, delivered) =
            (self.now(), self.view.peers().all(|peer| peer.queue.is_empty() || !peer.link.is_routable()));
        let (held, told) = (self.held.is_empty(), self.held == self.told);
        let Some(leaving) = &mut self.leaving else { return };
        if !(held && told && delivered) {
            leaving.empty_since = None;
            return;
        }
        let since = *leaving.empty_since.get_or_insert(now);
        if now.saturating_sub(since) >= FAREWELL
            && let Some(done) = leaving.done.take()
        {
            tracing::info!("all partitions are handed over");
            // Whoever asked may have lost patience.
            let _ = done.send(());
        }
    }
}
