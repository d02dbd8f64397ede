//! What an owner does with announces: apply them to their swarms, and reply.

use std::time::Duration;

use rand::Rng;

use super::actor::State;
use super::partitions::Partitions;
use super::pending_acks::{PendingAcks, ReplyContext};
use super::reply::{Answer, ReplyWriter, trace_slow};
use super::requests::{AnnounceBatch, AnnounceRequest, ReplyTo};
use crate::clock::Now;
use crate::cluster::NodeIndex;
use crate::partition::replication::{Cause, Change};
use crate::swarm::{AddressFamily, Counts, Family, HlcTime, Second, Store};
use crate::telemetry::trace::{AnsweredFrom, BatchTimes, ErrorType, names::span};
use crate::wire::udp;

/// Shorter waits for the owner are no span but a gap, which shows as much: most announces have one.
const QUEUE_SPAN: Duration = Duration::from_millis(1);

/// What became of an announce in its swarm.
struct Applied {
    /// The swarm's counts, this announce included.
    counts: Counts,
    /// Its record has to be replicated.
    changed: bool,
}

/// When an announce is applied, and its random number.
#[derive(Clone, Copy)]
struct Moment {
    second: Second,
    stamp: HlcTime,
    random: u64,
}

impl State {
    /// Applies the announces of a batch and replies to them.
    pub(super) fn answer(&mut self, batch: AnnounceBatch, now: Now) {
        if batch.peer.as_ref().is_some_and(|peer| now.uptime > peer.until) {
            return batch.shed(ErrorType::Late);
        }
        let AnnounceBatch { mut requests, times, peer } = batch;
        self.touch(&requests);

        let randoms = std::mem::take(&mut self.randoms);
        let outbox = self.outbox.clone();
        let mut out = ReplyWriter::new(Some(&outbox));
        let mut pending = PendingAcks::default();
        let mut peers = Vec::new();
        let waits = self.common.replication.as_ref().is_some_and(|replication| replication.waits());
        for (request, &random) in requests.iter_mut().zip(&randoms) {
            let interval = jittered(self.common.interval, self.random.next_u32());
            // Nothing to trace and nothing to wait for: the reply is written where it is sent from.
            if let (ReplyTo::Udp(client), Some(writer), None, false) =
                (&request.reply_to, &mut out.udp, &request.trace, waits)
            {
                writer.reply(client.socket, &client.endpoint, |out| {
                    self.apply(request, now, random, out, |counts, out| {
                        udp::write_announce(out, client.transaction_id, interval, &counts);
                    });
                });
                out.tally.add(request.announce.peer.family(), request.source);
                continue;
            }
            let mut request = request.take();
            peers.clear();
            let Applied { counts, changed } = self.apply_traced(&mut request, now, random, &mut peers);
            let answer = Answer { counts, peers: &peers, interval, from: AnsweredFrom::Local };
            match self.replica_to_wait_for(&request, changed) {
                None => request.answer(&answer, &mut out),
                Some(replica) => pending.push(replica, request, &answer, || {
                    ReplyContext::new(&self.common, &outbox, times, peer.as_ref().map(|peer| &peer.replies))
                }),
            }
        }
        self.randoms = randoms;

        if let Some(peer) = &peer {
            peer.replies.reserve(pending.len());
        }
        out.finish(peer.as_ref().map(|peer| &*peer.replies), times, &self.common.answers, &self.common.traces);
        let times = BatchTimes { began: now.uptime, ..times };
        trace_slow(&requests, times, self.common.answers.now(), &self.common.traces, self.common.partitions);
        if !pending.is_empty() {
            self.flush(now, pending);
        }
    }

    /// Reads what announces will read, for all of them before any is applied, so that their cache misses overlap; and
    /// draws their random numbers.
    fn touch(&mut self, requests: &[AnnounceRequest]) {
        for AnnounceRequest { announce, hash, .. } in requests {
            match announce.peer.family() {
                Family::V4 => self.partitions.v4.touch_swarm(*hash, &announce.info_hash),
                Family::V6 => self.partitions.v6.touch_swarm(*hash, &announce.info_hash),
            }
        }
        self.randoms.clear();
        for request in requests {
            let random = self.random.next_u64();
            self.randoms.push(random);
            match request.announce.peer.family() {
                Family::V4 => touch_peers(&self.partitions.v4, request, random),
                Family::V6 => touch_peers(&self.partitions.v6, request, random),
            }
        }
    }

    /// [`State::apply`], with a span if the announce is traced.
    fn apply_traced(&mut self, request: &mut AnnounceRequest, now: Now, random: u64, peers: &mut Vec<u8>) -> Applied {
        if let Some(trace) = &mut request.trace {
            trace.steps().step_if(span::QUEUE, QUEUE_SPAN);
        }
        let applied = self.apply(request, now, random, peers, |_, _| {});
        if let Some(trace) = &mut request.trace {
            let context = trace.steps().step(span::PARTITION);
            if applied.changed {
                self.partitions.changes.causes.push(Cause { hash: request.hash, context, forwarded: false });
            }
        }
        applied
    }

    /// Applies an announce, calls `head` with the swarm's counts, and appends the peers that `random` selects.
    fn apply(
        &mut self,
        request: &AnnounceRequest,
        now: Now,
        random: u64,
        out: &mut Vec<u8>,
        head: impl FnOnce(Counts, &mut Vec<u8>),
    ) -> Applied {
        let Partitions { v4, v6, changes, hlc } = &mut self.partitions;
        let moment = Moment { second: Second::new(now.uptime.as_secs()), stamp: hlc.tick(now.wall_millis), random };
        let changes = self.common.replication.is_some().then_some(changes);
        match request.announce.peer.family() {
            Family::V4 => apply_to(v4, request, moment, out, head, changes.map(|changes| &mut changes.v4)),
            Family::V6 => apply_to(v6, request, moment, out, head, changes.map(|changes| &mut changes.v6)),
        }
    }

    /// The replica that must have an announce before its reply may leave.
    fn replica_to_wait_for(&self, request: &AnnounceRequest, changed: bool) -> Option<NodeIndex> {
        self.common.replication.as_ref().filter(|_| changed)?.replica_to_wait_for(request.hash)
    }
}

fn touch_peers<F: AddressFamily>(store: &Store<F>, request: &AnnounceRequest, random: u64) {
    if let Some(key) = F::key(request.announce.peer) {
        store.touch_peers(request.hash, &request.announce.info_hash, key, random);
    }
}

fn apply_to<F: AddressFamily>(
    store: &mut Store<F>,
    request: &AnnounceRequest,
    Moment { second, stamp, random }: Moment,
    out: &mut Vec<u8>,
    head: impl FnOnce(Counts, &mut Vec<u8>),
    changes: Option<&mut Vec<Change<F>>>,
) -> Applied {
    let AnnounceRequest { announce, hash, .. } = request;
    let Some(key) = F::key(announce.peer) else { return Applied { counts: Counts::default(), changed: false } };
    let outcome = store.announce(*hash, announce, key, second, stamp);
    head(outcome.counts, out);
    store.select(&outcome, announce.num_want.into(), second, random, out);
    let changed = match (changes, outcome.change) {
        (Some(changes), Some(record)) => {
            changes.push(Change { hash: *hash, info_hash: announce.info_hash, record, forwarded: false });
            true
        }
        _ => false,
    };
    Applied { counts: outcome.counts, changed }
}

/// Varies an interval by up to 10 %, so that clients that started together do not stay together (trap 27). `random` is
/// uniform over all of `u32`.
pub fn jittered(interval: u32, random: u32) -> u32 {
    let spread = u64::from(interval / 10);
    let offset = (u64::from(random) * (2 * spread + 1)) >> 32;
    (u64::from(interval) - spread + offset).try_into().unwrap_or(u32::MAX)
}
