//! The membership task.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatHandle;
use chitchat::transport::Transport;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::gossiper::{observations, start};
use super::types::{Current, MembershipConfig, MembershipError, Shared};
use crate::clock::Clock;
use crate::cluster::membership::conflict::Conflict;
use crate::cluster::membership::events::diff;
use crate::cluster::membership::member::Members;
use crate::cluster::membership::pause_guard::PauseGuard;
use crate::cluster::membership::view::View;

/// Gossip is given up after more than [`MAX_RESTARTS`] failures within this time.
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);
const MAX_RESTARTS: usize = 5;
/// The delay before gossip is restarted.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// After a restart, gossip needs some time to hear from all previously known nodes.
const RESTART_HOLD: Duration = Duration::from_secs(5);
/// How long gossip may take to stop.
const STOP: Duration = Duration::from_secs(2);

pub(super) struct Worker {
    config: MembershipConfig,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    members: watch::Sender<Arc<Members>>,
    conflict: watch::Sender<Option<Conflict>>,
    view: View,
    guard: PauseGuard,
    started: Instant,
    generation: u64,
    /// When gossip was restarted, within the last minute.
    restarts: VecDeque<Duration>,
    /// The gossip addresses of the nodes that were alive at the last refresh.
    peers: Vec<SocketAddr>,
}

impl Worker {
    pub(super) fn new(
        config: MembershipConfig,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        members: watch::Sender<Arc<Members>>,
        conflict: watch::Sender<Option<Conflict>>,
    ) -> Self {
        let (view, generation) = (View::new(config.me.clone(), config.advertise), config.me.incarnation);
        let guard = PauseGuard::new(period(&config), Duration::ZERO);
        let (restarts, peers, started) = (VecDeque::new(), Vec::new(), Instant::now());
        Self { config, transport, clock, shared, members, conflict, view, guard, started, generation, restarts, peers }
    }

    /// Runs until `stop` turns true, or until gossip fails for good.
    pub(super) async fn run(mut self, mut handle: ChitchatHandle, mut stop: watch::Receiver<bool>) {
        while self.watch(&handle, &mut stop).await {
            let Some(fresh) = self.restart().await else {
                // The members that were last known stay readable until the node has stopped.
                let _ = stop.wait_for(|stop| *stop).await;
                return;
            };
            handle = fresh;
        }
        // A task that does not stop in time ends with the runtime.
        let _ = timeout(STOP, handle.shutdown()).await;
    }

    /// Keeps the members up to date until gossip ends (true) or `stop` turns true.
    async fn watch(&mut self, handle: &ChitchatHandle, stop: &mut watch::Receiver<bool>) -> bool {
        let mut live = handle.chitchat().lock().await.live_nodes_watcher();
        let mut ticks = interval(period(&self.config));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = handle.termination_watcher();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return false,
                ended = &mut ended => {
                    let why = ended.err().map_or_else(|| "it ended".into(), |error| error.to_string());
                    tracing::error!("gossip failed and will be restarted: {why}");
                    return true;
                }
                _ = ticks.tick() => {}
                // Earlier than the next tick.
                Ok(()) = live.changed() => {}
                () = self.shared.changed.notified() => {}
            }
            self.refresh().await;
        }
    }

    async fn refresh(&mut self) {
        let now = self.started.elapsed();
        if let Some(late) = self.guard.wake(now) {
            tracing::warn!(
                event = "pause_detected",
                ?late,
                "this node was paused; no node is marked down until heartbeats had time to arrive"
            );
        }
        let (own, heard) = {
            let current = self.shared.current.lock().await;
            let heard = observations(&*current.chitchat.lock().await);
            (current.own.clone(), heard)
        };
        self.peers = heard.iter().filter(|heard| heard.alive).map(|heard| heard.start.gossip).collect();
        let before = self.members.borrow().clone();
        let (members, conflict) = self.view.update(&heard, &own, &before, self.guard.holds(now), now);

        let live = members.0.iter().filter(|member| member.alive).count();
        {
            let mut status = self.shared.status.lock();
            status.live = live;
            status.dead = members.0.len() - live;
            status.pauses = self.guard.pauses();
            status.ignored = self.view.ignored();
            status.last_update = self.clock.now().uptime;
        }
        for event in diff(&before, &members) {
            event.log();
        }
        if *before != members {
            self.members.send_replace(Arc::new(members));
        }
        self.publish_conflict(conflict);
    }

    fn publish_conflict(&self, conflict: Option<Conflict>) {
        self.conflict.send_if_modified(|current| {
            let changed = *current != conflict;
            if let (true, Some(conflict)) = (changed, &conflict) {
                tracing::error!(event = "conflict_detected", "{conflict}");
            }
            *current = conflict;
            changed
        });
    }

    /// Restarts gossip, retrying until it succeeds; `None` after too many restarts.
    async fn restart(&mut self) -> Option<ChitchatHandle> {
        loop {
            let now = self.started.elapsed();
            self.restarts.retain(|at| now - *at < RESTARTS_WITHIN);
            if self.restarts.len() >= MAX_RESTARTS {
                self.publish_conflict(Some(Conflict::Gossip { restarts: self.restarts.len() }));
                return None;
            }
            self.restarts.push_back(now);
            self.shared.status.lock().gossip_restarts += 1;
            sleep(RESTART_PAUSE).await;
            match self.start().await {
                Ok(handle) => return Some(handle),
                Err(error) => tracing::error!("gossip did not restart: {error}"),
            }
        }
    }

    async fn start(&mut self) -> Result<ChitchatHandle, MembershipError> {
        // Other nodes must see a newer generation, or they refuse it; the incarnation stays.
        self.generation = (self.generation + 1).max(self.clock.now().wall_millis);
        let mut current = self.shared.current.lock().await;
        let (config, own) = (&self.config, &current.own);
        let handle = start(config, self.generation, &self.peers, own, &*self.transport).await?;
        *current = Current { own: current.own.clone(), chitchat: handle.chitchat() };
        let now = self.started.elapsed();
        // The time that the restart took is not a pause.
        self.guard.restart(now);
        self.guard.hold(now, RESTART_HOLD);
        tracing::debug!(event = "gossip_restarted", generation = self.generation, "gossip restarted");
        Ok(handle)
    }
}

/// How often the members are refreshed.
fn period(config: &MembershipConfig) -> Duration {
    (config.gossip_interval / 2).max(Duration::from_millis(10))
}
