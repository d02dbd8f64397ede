//! The owner: an actor that holds some partitions of the node and answers for them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::common::Common;
use super::handle::Status;
use super::partitions::Partitions;
use super::pending_acks::PendingAcks;
use super::requests::Message;
use crate::clock::Now;
use crate::net::outbox::Outbox;
use crate::partition::replication::CrossRegion;
use crate::swarm::{AddressFamily, Second, Store, Totals};

/// The time in which a pass over all records removes those that have expired.
const SWEEP: Duration = Duration::from_secs(60);
/// The least number of records that a tick looks at.
const SWEEP_MIN: usize = 64;

/// What makes an owner.
pub struct Arguments {
    /// Shared by all owners.
    pub common: Arc<Common>,
    /// The outbox of the owner's thread.
    pub outbox: Arc<Outbox>,
    /// What it publishes.
    pub status: Arc<Status>,
    /// Seeds the random choice of peers.
    pub seed: u64,
}

/// The actor.
pub struct Owner;

/// The state of the actor.
pub struct State {
    pub(super) common: Arc<Common>,
    pub(super) outbox: Arc<Outbox>,
    status: Arc<Status>,
    pub(super) partitions: Partitions,
    pub(super) random: SmallRng,
    /// The random numbers of a batch's announces; kept for its memory.
    pub(super) randoms: Vec<u64>,
    /// Changes gathered for other regions.
    cross_region: CrossRegion,
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
        Ok(State {
            common,
            outbox,
            status,
            partitions,
            random: SmallRng::seed_from_u64(seed),
            randoms: Vec::new(),
            cross_region: CrossRegion::default(),
        })
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
            Message::Announces(batch) => state.answer(batch, now),
            Message::Scrape(family, keys, reply) => {
                // The client may have gone.
                let _ = reply.send(keys.iter().map(|key| state.partitions.counts(family, key)).collect());
            }
            Message::Tick => state.tick(now),
            Message::Visit(visit) => visit(&mut state.partitions, now),
        }
        state.status.in_flight.fetch_sub(weight, Relaxed);
        Ok(())
    }
}

impl State {
    /// Sends what has changed to replicas. Replies that wait for a replica leave once it has acknowledged.
    pub(super) fn flush(&mut self, now: Now, mut pending: PendingAcks) {
        if let Some(replication) = &self.common.replication {
            let on_ack = |replica| pending.on_ack(replica);
            replication.flush(&mut self.partitions.changes, &mut self.cross_region, now, on_ack);
        }
        // Their replica has gone in the meantime.
        pending.release();
    }

    fn tick(&mut self, now: Now) {
        self.flush(now, PendingAcks::default());
        if let Some(replication) = &self.common.replication {
            replication.flush_cross_region(&mut self.cross_region, now);
        }
        let Partitions { v4, v6, .. } = &mut self.partitions;
        sweep(v4, now, self.common.tick);
        sweep(v6, now, self.common.tick);
        *self.status.totals.lock() = [v4.totals(), v6.totals()];
    }
}

fn sweep<F: AddressFamily>(store: &mut Store<F>, now: Now, tick: Duration) {
    let Totals { leechers, partial_seeds, seeders, stopped, .. } = store.totals();
    let records = leechers + partial_seeds + seeders + stopped;
    let ticks = (SWEEP.as_millis() / tick.as_millis().max(1)).max(1) as usize;
    store.sweep((records / ticks).max(SWEEP_MIN), Second::new(now.uptime.as_secs()));
}
