//! Starts the owners and replaces those that fail.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::runtime::Handle;

use super::actor::{Arguments, Owner};
use super::common::Common;
use super::handle::{OwnerHandle, OwnerIndex, Owners, Status};
use super::requests::Message;
use crate::net::outbox::Outbox;

/// The pause before a failed owner is replaced: an owner that fails at once must not keep a core busy.
const RESTART_PAUSE: Duration = Duration::from_millis(20);

/// The pause after an owner could not be started.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A thread that owners can live on.
#[derive(Clone)]
pub struct OwnerThread {
    /// Its runtime.
    pub runtime: Handle,
    /// Its outbox.
    pub outbox: Arc<Outbox>,
}

/// Refills an owner that was replaced: called after it has started.
pub type Refill = Arc<dyn Fn(OwnerIndex) + Send + Sync>;

/// What makes a [`Supervisor`].
pub struct SupervisorArguments {
    /// Shared by all owners.
    pub common: Arc<Common>,
    /// Where the owners are registered.
    pub owners: Arc<Owners>,
    /// One for each owner.
    pub places: Vec<OwnerThread>,
    /// Requests that may be in flight to one owner.
    pub in_flight: usize,
    /// Seeds the owners' random choices.
    pub seed: u64,
    /// Called for each replaced owner.
    pub refill: Refill,
}

/// The actor that supervises all owners of the node.
pub struct Supervisor;

/// Starts the owner at this position.
pub struct Start(OwnerIndex);

impl Actor for Supervisor {
    type Msg = Start;
    type State = SupervisorArguments;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Start>,
        mut arguments: SupervisorArguments,
    ) -> Result<SupervisorArguments, ActorProcessingErr> {
        for at in 0..arguments.places.len() {
            arguments.start(OwnerIndex(at), &myself).await?;
        }
        Ok(arguments)
    }

    async fn handle(
        &self,
        myself: ActorRef<Start>,
        Start(number): Start,
        state: &mut SupervisorArguments,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(error) = state.start(number, &myself).await {
            // The other owners go on, and so must what supervises them.
            tracing::error!(event = "owner_start_failed", owner = number.0, %error, "a partition owner cannot be started, trying again");
            myself.send_after(RETRY_PAUSE, move || Start(number));
            return Ok(());
        }
        state.owners.restarts.fetch_add(1, Relaxed);
        (state.refill)(number);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Start>,
        event: SupervisionEvent,
        state: &mut SupervisorArguments,
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(cell, error) = event else { return Ok(()) };
        let owners = state.owners.load();
        let failed = owners.iter().enumerate().find(|(_, handle)| handle.actor().get_id() == cell.get_id());
        if let Some((at, handle)) = failed {
            let requests = handle.status().in_flight.load(Relaxed);
            tracing::error!(event = "owner_failed", owner = at, requests, %error, "a partition owner failed and is replaced");
            myself.send_after(RESTART_PAUSE, move || Start(OwnerIndex(at)));
        }
        Ok(())
    }
}

impl SupervisorArguments {
    async fn start(&mut self, number: OwnerIndex, myself: &ActorRef<Start>) -> Result<(), SpawnErr> {
        let OwnerThread { runtime, outbox } = self.places[number.0].clone();
        let status = Arc::new(Status::default());
        // A new owner must not repeat the choices of the one it replaces.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let arguments = Arguments { common: self.common.clone(), outbox, status: status.clone(), seed: self.seed };
        let supervisor = myself.get_cell();
        // Spawned by the runtime of its thread, so that its messages are handled there.
        let spawned = runtime.spawn(async move { Owner::spawn_linked(None, Owner, arguments, supervisor).await });
        let (actor, _): (ActorRef<Message>, _) =
            spawned.await.map_err(|error| SpawnErr::StartupFailed(error.into()))??;
        self.owners.set(number, &OwnerHandle::new(actor, status, self.in_flight));
        Ok(())
    }
}
