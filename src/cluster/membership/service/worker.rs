//! The task behind a membership.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatHandle;
use chitchat::transport::Transport;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::gossiper;
use super::types::{Current, MembershipConfig, MembershipError, Shared};
use crate::clock::Clock;
use crate::cluster::membership::conflict::Conflict;
use crate::cluster::membership::events::diff;
use crate::cluster::membership::member::Members;
use crate::cluster::membership::pause_guard::StallGuard;
use crate::cluster::membership::view::View;

/// More failures of gossip than [`MAX_RESTARTS`] within this time are the end.
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);
const MAX_RESTARTS: usize = 5;
/// The pause before gossip is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// After a start, gossip needs some time to hear of all who were known before.
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
    guard: StallGuard,
    started: Instant,
    generation: u64,
    /// When gossip was started again, within the last minute.
    restarts: VecDeque<Duration>,
    /// The gossip addresses of the nodes that were alive when last looked at.
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
        let guard = StallGuard::new(period(&config), Duration::ZERO);
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
        // What does not stop in time ends with the runtime.
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
                    tracing::error!("gossip failed and is started again: {why}");
                    return true;
                }
                _ = ticks.tick() => {}
                // Earlier than the next tick.
                Ok(()) = live.changed() => {}
                () = self.shared.changed.notified() => {}
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let now = self.started.elapsed();
        if let Some(late) = self.guard.wake(now) {
            tracing::warn!(?late, "this node stood still; nobody is called down until others had time to be heard");
        }
        let (own, heard) = {
            let current = self.shared.current.lock().await;
            let heard = gossiper::heard(&*current.chitchat.lock().await);
            (current.own.clone(), heard)
        };
        self.peers = heard.iter().filter(|heard| heard.alive).map(|heard| heard.start.gossip).collect();
        let before = self.members.borrow().clone();
        let (members, conflict) = self.view.look(&heard, &own, &before, self.guard.holds(now), now);

        let live = members.0.iter().filter(|member| member.alive).count();
        {
            let mut status = self.shared.status.lock();
            status.live = live;
            status.dead = members.0.len() - live;
            status.stalls = self.guard.stalls();
            status.ignored = self.view.ignored();
            status.last_update = self.clock.now().uptime;
        }
        for event in diff(&before, &members) {
            event.log();
        }
        if *before != members {
            self.members.send_replace(Arc::new(members));
        }
        self.tell(conflict);
    }

    fn tell(&self, conflict: Option<Conflict>) {
        self.conflict.send_if_modified(|current| {
            let changed = *current != conflict;
            if let (true, Some(conflict)) = (changed, &conflict) {
                tracing::error!("{conflict}");
            }
            *current = conflict;
            changed
        });
    }

    /// Starts gossip again, as often as it takes; `None` after too many times.
    async fn restart(&mut self) -> Option<ChitchatHandle> {
        loop {
            let now = self.started.elapsed();
            self.restarts.retain(|at| now - *at < RESTARTS_WITHIN);
            if self.restarts.len() >= MAX_RESTARTS {
                self.tell(Some(Conflict::Gossip { restarts: self.restarts.len() }));
                return None;
            }
            self.restarts.push_back(now);
            self.shared.status.lock().gossip_restarts += 1;
            sleep(RESTART_PAUSE).await;
            match self.start().await {
                Ok(handle) => return Some(handle),
                Err(error) => tracing::error!("gossip does not start: {error}"),
            }
        }
    }

    async fn start(&mut self) -> Result<ChitchatHandle, MembershipError> {
        // To the others this is a new start, and an old one would be refused; the incarnation stays.
        self.generation = (self.generation + 1).max(self.clock.now().wall_millis);
        let mut current = self.shared.current.lock().await;
        let (config, own) = (&self.config, &current.own);
        let handle = gossiper::start(config, self.generation, &self.peers, own, &*self.transport).await?;
        *current = Current { own: current.own.clone(), chitchat: handle.chitchat() };
        let now = self.started.elapsed();
        // Not a stall, though it has taken its time.
        self.guard.restart(now);
        self.guard.hold(now, RESTART_HOLD);
        Ok(handle)
    }
}

/// How often the members are looked at.
fn period(config: &MembershipConfig) -> Duration {
    (config.gossip_interval / 2).max(Duration::from_millis(10))
}
