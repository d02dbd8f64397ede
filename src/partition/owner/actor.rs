//! The owner: an actor that holds some partitions of the node and answers for them.

mod traced;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use crate::clock::{Clock, Now};
use crate::cluster::NodeIndex;
use crate::net::Endpoint;
use crate::net::outbox::Outbox;
use crate::partition::owner::answers::{Answers, Tally};
use crate::partition::owner::pending_acks::{PartialReplies, PendingAcks, PendingReply, PendingUdpReplies};
use crate::partition::replication::{Change, Changes, CrossRegion, Replication};
use crate::swarm::{
    AddressFamily, Announce, AnnounceReply, ClockAhead, Counts, Family, Hlc, HlcTime, InfoHash, KeyedHash,
    PartitionCount, PeerList, Quota, Second, Source, Store, Totals, V4, V6,
};
use crate::telemetry::trace::{FlightRecord, OpenTrace, Steps, Traces, names::key};
use crate::wire::peer::Reply;
use crate::wire::peer::announces as routed;
use crate::wire::udp::{self, TransactionId};

/// The time in which a pass over all records removes those that have expired.
const SWEEP: Duration = Duration::from_secs(60);
/// Records that a tick looks at, at the least.
const SWEEP_MIN: usize = 64;

/// One announce that came by UDP, and how to answer it.
pub struct UdpAnnounce {
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// What was announced.
    pub announce: Announce,
    /// To be returned.
    pub transaction_id: TransactionId,
    /// The socket that it came by, which the sockets of all threads have at the same position.
    pub socket: u8,
    /// Who is answered.
    pub to: Endpoint,
    /// It has been answered already and is only to be kept.
    pub answered: bool,
    /// As what it is answered by whoever it is on its way to.
    pub source: Source,
    /// Its trace, if it has one.
    pub trace: Option<Box<OpenTrace>>,
}

/// One announce that another node's frontend took in.
pub struct RoutedAnnounce {
    /// Its position in the request.
    pub index: u16,
    /// The keyed hash of the info hash.
    pub hash: u64,
    /// What was announced.
    pub announce: Announce,
    /// Its trace on this node, if it has one.
    pub trace: Option<Box<OpenTrace>>,
}

/// Announces that another node's frontends took in.
pub struct Routed {
    /// The announces.
    pub announces: Vec<RoutedAnnounce>,
    /// Where the replies go.
    pub parts: Arc<PartialReplies>,
    /// The uptime until which they are worth an answer. Whoever sent them asks another node then, and applied later they
    /// would win over what that node has heard since.
    pub until: Duration,
}

/// What an owner is asked.
pub enum Message {
    /// Announces whose replies go through the outbox of the owner's thread, and the times of their batch.
    Udp(Vec<UdpAnnounce>, FlightRecord),
    /// Announces whose replies go back to another node.
    Routed(Routed),
    /// One announce, with the keyed hash of its info hash, and what its trace is to tell of it.
    Announce(u64, Announce, oneshot::Sender<AnnounceReply>, Option<Box<Steps>>),
    /// The counts of some swarms, given with the keyed hashes of their info hashes.
    Scrape(Family, Vec<(u64, InfoHash)>, oneshot::Sender<Vec<Counts>>),
    /// Time has passed: sweep.
    Tick,
    /// Anything else, which is rare: operations, snapshots, restores, what other nodes send and ask.
    Visit(Visit),
}

/// A function that sees the partitions of an owner, on its thread.
pub type Visit = Box<dyn FnOnce(&mut Partitions, Now) + Send>;

/// The data of an owner.
pub struct Partitions {
    /// IPv4 peers.
    pub v4: Store<V4>,
    /// IPv6 peers.
    pub v6: Store<V6>,
    /// What replicas have to be told at the next tick.
    pub changes: Changes,
    hlc: Hlc,
}

/// What all owners of a node have in common.
pub struct Common {
    /// Places info hashes and peers.
    pub hash: KeyedHash,
    /// The number of partitions of the cluster, a power of two.
    pub partitions: PartitionCount,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// The interval told to UDP clients, in seconds, before its jitter.
    pub interval: u32,
    /// Caps of the node.
    pub quota: Arc<Quota>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The time between two ticks.
    pub tick: Duration,
    /// Takes what replicas have to be told; `None` for a node that is never part of a cluster.
    pub replication: Option<Arc<Replication>>,
    /// Traces of announces.
    pub traces: Traces,
    /// How announces of clients are answered.
    pub answers: Arc<Answers>,
}

/// What others may know of an owner without asking it.
#[derive(Default)]
pub struct Status {
    /// Requests sent to it that it has not finished.
    pub in_flight: AtomicUsize,
    /// IPv4 and IPv6, as of its last tick.
    pub totals: Mutex<[Totals; 2]>,
}

/// What makes an owner.
pub struct Arguments {
    /// See there.
    pub common: Arc<Common>,
    /// The outbox of the owner's thread.
    pub outbox: Arc<Outbox>,
    /// See there.
    pub status: Arc<Status>,
    /// Seeds the random choice of peers.
    pub seed: u64,
}

/// The actor.
pub struct Owner;

/// The state of the actor.
pub struct State {
    common: Arc<Common>,
    outbox: Arc<Outbox>,
    status: Arc<Status>,
    partitions: Partitions,
    random: SmallRng,
    /// Of the announces of a batch; kept for its memory.
    randoms: Vec<u64>,
    /// What other regions have to be told.
    abroad: CrossRegion,
}

impl Actor for Owner {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Message>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { common, outbox, status, seed } = arguments;
        let mut partitions = Partitions::new(common.hash, common.partitions, common.peer_ttl, &common.quota);
        if common.replication.is_some() {
            partitions.v4.keep_all_stops();
            partitions.v6.keep_all_stops();
        }
        let (random, randoms, abroad) = (SmallRng::seed_from_u64(seed), Vec::new(), CrossRegion::default());
        Ok(State { common, outbox, status, partitions, random, randoms, abroad })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let weight = message.weight();
        let now = state.common.clock.now();
        match message {
            Message::Udp(mut announces, record) => state.answer(&mut announces, record, now),
            Message::Routed(routed) => state.answer_routed(routed, now),
            Message::Announce(hash, announce, reply, mut steps) => {
                let mut compact = Vec::new();
                let random = state.random.next_u64();
                let lent = steps.as_deref_mut();
                let done = state.announce_traced(lent, hash, &announce, now, random, &mut compact, |_, _| {});
                // On their way before the asker can end the span that they are below.
                drop(steps);
                let peers = PeerList { family: announce.peer.family(), compact };
                let answer = AnnounceReply { counts: done.counts, peers, source: Source::Owner, stale: false };
                match state.waits_for(hash, done.changed) {
                    None => PendingReply::Http(reply, answer).release(),
                    Some(replica) => {
                        let mut waiting = PendingAcks::default();
                        waiting.http(replica, reply, answer);
                        state.flush(now, waiting);
                    }
                }
            }
            Message::Scrape(family, hashes, reply) => {
                let counts = hashes.iter().map(|(hash, info_hash)| state.partitions.counts(family, *hash, info_hash));
                let _ = reply.send(counts.collect());
            }
            Message::Tick => state.tick(now),
            Message::Visit(visit) => visit(&mut state.partitions, now),
        }
        state.status.in_flight.fetch_sub(weight, Relaxed);
        Ok(())
    }
}

impl Message {
    /// Requests in it.
    pub fn weight(&self) -> usize {
        match self {
            Self::Udp(announces, _) => announces.len(),
            Self::Routed(routed) => routed.announces.len(),
            _ => 1,
        }
    }
}

impl Partitions {
    /// Empty ones; for the arguments see [`Store::new`].
    pub fn new(hash: KeyedHash, partitions: PartitionCount, peer_ttl: u16, quota: &Arc<Quota>) -> Self {
        Self {
            v4: Store::new(hash, partitions, peer_ttl, quota.clone()),
            v6: Store::new(hash, partitions, peer_ttl, quota.clone()),
            changes: Changes::default(),
            hlc: Hlc::default(),
        }
    }

    /// Takes notice of the clock reading of a record that was made elsewhere or earlier.
    ///
    /// # Errors
    /// See [`Hlc::observe`].
    pub fn observe(&mut self, seen: HlcTime, now: Now) -> Result<(), ClockAhead> {
        self.hlc.observe(seen, now.wall_millis)
    }

    /// The counts of a swarm in one family.
    pub fn counts(&self, family: Family, hash: u64, info_hash: &InfoHash) -> Counts {
        match family {
            Family::V4 => self.v4.counts(hash, info_hash),
            Family::V6 => self.v6.counts(hash, info_hash),
        }
    }
}

/// What became of an announce.
struct Done {
    counts: Counts,
    /// Replicas have to be told.
    changed: bool,
}

impl State {
    fn answer(&mut self, announces: &mut [UdpAnnounce], record: FlightRecord, now: Now) {
        self.touch(announces.iter().map(|request| (request.hash, &request.announce)));
        let randoms = std::mem::take(&mut self.randoms);
        let outbox = self.outbox.clone();
        let mut writer = outbox.writer();
        let mut waiting = PendingAcks::default();
        let mut tally = Tally::default();
        let waits = self.common.replication.as_ref().is_some_and(|replication| replication.waits());
        for (request, random) in announces.iter_mut().zip(&randoms) {
            if !waits && !request.answered && request.trace.is_none() {
                writer.reply(request.socket, &request.to, |out| {
                    self.answer_one(request, None, now, *random, out);
                });
                tally.add(request.announce.peer.family(), request.source);
                continue;
            }
            let mut trace = request.trace.take();
            let mut out = Vec::new();
            let done = self.answer_one(request, trace.as_deref_mut().map(OpenTrace::steps), now, *random, &mut out);
            if request.answered {
                continue;
            }
            if let Some(trace) = &mut trace {
                let bytes = out.len().saturating_sub(udp::ANNOUNCE_REPLY_HEAD);
                trace.answers(bytes / request.announce.peer.family().stride(), "local");
                // It needs no other spans afterwards.
                request.answered = true;
            }
            match self.waits_for(request.hash, done.changed) {
                None => {
                    writer.reply(request.socket, &request.to, |to| to.extend_from_slice(&out));
                    tally.add(request.announce.peer.family(), request.source);
                    trace.into_iter().for_each(|trace| writer.traced(trace));
                }
                Some(replica) => {
                    let parked = || {
                        PendingUdpReplies::new(
                            &self.common.answers,
                            &outbox,
                            record.received,
                            self.late(request, record),
                        )
                    };
                    waiting.udp(replica, request, &out, trace, parked);
                    request.answered = true;
                }
            }
        }
        writer.finish();
        self.randoms = randoms;
        let answered = self.common.answers.now();
        self.common.answers.udp(&tally, record.received, answered);
        self.tell_slow(announces, record, now, answered);
        if !waiting.is_empty() {
            self.flush(now, waiting);
        }
    }

    fn answer_one(
        &mut self,
        request: &UdpAnnounce,
        steps: Option<&mut Steps>,
        now: Now,
        random: u64,
        out: &mut Vec<u8>,
    ) -> Done {
        let interval = jittered(self.common.interval, self.random.next_u32());
        self.announce_traced(steps, request.hash, &request.announce, now, random, out, |counts, out| {
            udp::write_announce(out, request.transaction_id, interval, &counts);
        })
    }

    fn answer_routed(&mut self, Routed { mut announces, parts, until }: Routed, now: Now) {
        if now.uptime > until {
            announces.iter_mut().filter_map(|it| it.trace.as_mut()).for_each(|trace| trace.fail("late"));
            return parts.send(&Reply::Announces(Vec::new().into()));
        }
        self.touch(announces.iter().map(|it| (it.hash, &it.announce)));
        let randoms = std::mem::take(&mut self.randoms);
        let (mut answers, mut peers) = (Vec::with_capacity(announces.len() * 256), Vec::new());
        let mut waiting = PendingAcks::default();
        for (RoutedAnnounce { index, hash, announce, trace }, random) in announces.iter_mut().zip(&randoms) {
            let start = answers.len();
            peers.clear();
            let steps = trace.as_deref_mut().map(OpenTrace::steps);
            let done = self.announce_traced(steps, *hash, announce, now, *random, &mut peers, |_, _| {});
            routed::push_reply(&mut answers, *index, &done.counts, |out| out.extend_from_slice(&peers));
            if let Some(trace) = trace {
                trace.root().set(key::PEERS, (peers.len() / announce.peer.family().stride()) as i64);
            }
            if let Some(replica) = self.waits_for(*hash, done.changed) {
                waiting.routed(replica, &parts, &answers[start..], trace.take());
                answers.truncate(start);
            }
        }
        self.randoms = randoms;
        parts.reserve(waiting.len());
        // Before the other node can have the reply.
        let end = self.common.traces.now();
        parts.send(&Reply::Announces(answers.into()));
        announces.iter_mut().filter_map(|it| it.trace.take()).for_each(|trace| trace.finish_at(end));
        if !waiting.is_empty() {
            self.flush(now, waiting);
        }
    }

    /// Reads what announces will read, for all of them before any is applied, so that their cache misses overlap; and
    /// makes their random numbers.
    fn touch<'a>(&mut self, announces: impl Iterator<Item = (u64, &'a Announce)> + Clone) {
        for (hash, announce) in announces.clone() {
            match announce.peer.family() {
                Family::V4 => self.partitions.v4.touch_swarm(hash, &announce.info_hash),
                Family::V6 => self.partitions.v6.touch_swarm(hash, &announce.info_hash),
            }
        }
        self.randoms.clear();
        for (hash, announce) in announces {
            let random = self.random.next_u64();
            self.randoms.push(random);
            match announce.peer.family() {
                Family::V4 => touch_peers(&self.partitions.v4, hash, announce, random),
                Family::V6 => touch_peers(&self.partitions.v6, hash, announce, random),
            }
        }
    }

    /// Applies an announce, calls `head` with the swarm's counts, and appends the peers that `random` chooses.
    fn announce(
        &mut self,
        hash: u64,
        announce: &Announce,
        now: Now,
        random: u64,
        out: &mut Vec<u8>,
        head: impl FnOnce(Counts, &mut Vec<u8>),
    ) -> Done {
        let Partitions { v4, v6, changes, hlc } = &mut self.partitions;
        let time = hlc.tick(now.wall_millis);
        let changes = self.common.replication.is_some().then_some(changes);
        match announce.peer.family() {
            Family::V4 => {
                announce_in(v4, hash, announce, now, time, random, out, head, changes.map(|changes| &mut changes.v4))
            }
            Family::V6 => {
                announce_in(v6, hash, announce, now, time, random, out, head, changes.map(|changes| &mut changes.v6))
            }
        }
    }

    /// The replica whose word the reply to an announce has to wait for.
    fn waits_for(&self, hash: u64, changed: bool) -> Option<NodeIndex> {
        self.common.replication.as_ref().filter(|_| changed)?.waits_for(hash)
    }

    /// Sends to replicas what has changed, with the replies that wait for them.
    fn flush(&mut self, now: Now, waiting: PendingAcks) {
        if let Some(replication) = &self.common.replication {
            replication.flush(&mut self.partitions.changes, &mut self.abroad, now, waiting);
        }
    }

    fn tick(&mut self, now: Now) {
        self.flush(now, PendingAcks::default());
        if let Some(replication) = &self.common.replication {
            replication.flush_abroad(&mut self.abroad, now);
        }
        let Partitions { v4, v6, .. } = &mut self.partitions;
        sweep(v4, now, self.common.tick);
        sweep(v6, now, self.common.tick);
        *self.status.totals.lock() = [v4.totals(), v6.totals()];
    }
}

fn touch_peers<F: AddressFamily>(store: &Store<F>, hash: u64, announce: &Announce, random: u64) {
    if let Some(key) = F::key(announce.peer) {
        store.touch_peers(hash, &announce.info_hash, key, random);
    }
}

#[expect(clippy::too_many_arguments, reason = "one announce and all that it depends on")]
fn announce_in<F: AddressFamily>(
    store: &mut Store<F>,
    hash: u64,
    announce: &Announce,
    now: Now,
    time: HlcTime,
    random: u64,
    out: &mut Vec<u8>,
    head: impl FnOnce(Counts, &mut Vec<u8>),
    changes: Option<&mut Vec<Change<F>>>,
) -> Done {
    let nothing = Done { counts: Counts::default(), changed: false };
    let Some(key) = F::key(announce.peer) else { return nothing };
    let second = Second::new(now.uptime.as_secs());
    let outcome = store.announce(hash, announce, key, second, time);
    head(outcome.counts, out);
    store.select(&outcome, announce.num_want.into(), second, random, out);
    let changed = match (changes, outcome.change) {
        (Some(changes), Some(record)) => {
            changes.push(Change { hash, info_hash: announce.info_hash, record, forwarded: false });
            true
        }
        _ => false,
    };
    Done { counts: outcome.counts, changed }
}

fn sweep<F: AddressFamily>(store: &mut Store<F>, now: Now, tick: Duration) {
    let Totals { leechers, partial_seeds, seeders, stopped, .. } = store.totals();
    let records = leechers + partial_seeds + seeders + stopped;
    let ticks = (SWEEP.as_millis() / tick.as_millis().max(1)).max(1) as usize;
    store.sweep((records / ticks).max(SWEEP_MIN), Second::new(now.uptime.as_secs()));
}

/// Varies an interval by up to 10 %, so that clients that started together do not stay together (trap 27). `random` is
/// uniform over all of `u32`.
pub fn jittered(interval: u32, random: u32) -> u32 {
    let spread = u64::from(interval / 10);
    let offset = (u64::from(random) * (2 * spread + 1)) >> 32;
    (u64::from(interval) - spread + offset).try_into().unwrap_or(u32::MAX)
}
