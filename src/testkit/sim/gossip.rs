//! Gossip that is the same in every run of a seed: chitchat chooses its partners by the system's randomness, this one by the
//! seed. It sends its whole state to three other nodes every half second, treats nodes without new heartbeats as dead, and
//! passes what it has received to the library's own view.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::membership::advertised::Advertised;
use crate::cluster::membership::pause_guard::PauseGuard;
use crate::cluster::membership::view::{ObservedNode, Start, View};
use crate::cluster::{Me, Members, PartitionSet};
use crate::partition::Gossip;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::interval;

use super::World;
use super::tickets::{Payload, bind};

pub const PORT: u16 = 7071;
const PERIOD: Duration = Duration::from_millis(500);
/// A node without a new heartbeat for this long is dead.
const DEAD: Duration = Duration::from_millis(2_600);
/// Nodes that each round sends to.
const PARTNERS: usize = 3;

/// The state of all nodes that a node knows.
pub type Rumours = Vec<(Start, GossipState)>;

/// What a node advertises.
#[derive(Clone, Debug)]
pub struct GossipState {
    heartbeat: u64,
    advertised: Advertised,
}

struct Known {
    state: GossipState,
    seen: Duration,
}

pub struct Scripted {
    own: Mutex<Advertised>,
    changed: Notify,
}

impl Gossip for Scripted {
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()> {
        self.own.lock().held = held;
        self.changed.notify_one();
        async {}.boxed()
    }

    fn set_leaving(&self) -> BoxFuture<'_, ()> {
        self.own.lock().leaving = true;
        self.changed.notify_one();
        async {}.boxed()
    }
}

/// Starts gossip as a task of the current host.
pub async fn start(
    world: &Arc<World>,
    me: Me,
    seeds: Vec<IpAddr>,
    seed: u64,
) -> std::io::Result<(Arc<Scripted>, watch::Receiver<Arc<Members>>)> {
    let own = Advertised { me: me.clone(), leaving: false, held: PartitionSet::default() };
    let (sender, members) = watch::channel(Arc::new(Members(vec![own.member(true)])));
    let scripted = Arc::new(Scripted { own: Mutex::new(own), changed: Notify::new() });
    let socket = bind(PORT).await?;
    let (world, script) = (world.clone(), scripted.clone());
    tokio::spawn(async move {
        let gossip = SocketAddr::new(me.link.ip(), PORT);
        let start = Start { id: me.id.as_str().into(), generation: me.incarnation, gossip };
        let mut view = View::new(me, gossip);
        let mut known: BTreeMap<(Arc<str>, u64), (Start, Known)> = BTreeMap::new();
        let mut random = SmallRng::seed_from_u64(seed);
        let began = world.now();
        let mut guard = PauseGuard::new(PERIOD, Duration::ZERO);
        let (mut rounds, mut heartbeat) = (interval(PERIOD), 0);
        loop {
            let mut round = false;
            tokio::select! {
                biased;
                heard = world.tickets.recv(&socket) => {
                    let Ok((Payload::Rumours(rumours), _)) = heard else { continue };
                    merge(&mut known, rumours, &start, world.now());
                    continue;
                }
                () = script.changed.notified() => {}
                _ = rounds.tick() => round = true,
            }
            let now = world.now();
            let own = script.own.lock().clone();
            if round {
                heartbeat += 1;
                let mut rumours: Rumours =
                    known.values().map(|(start, known)| (start.clone(), known.state.clone())).collect();
                rumours.push((start.clone(), GossipState { heartbeat, advertised: own.clone() }));
                let mut partners: Vec<IpAddr> = known.values().map(|(start, _)| start.gossip.ip()).collect();
                partners.extend(&seeds);
                partners.sort();
                partners.dedup();
                partners.retain(|ip| *ip != gossip.ip());
                for _ in 0..PARTNERS.min(partners.len()) {
                    let partner = partners.swap_remove(random.random_range(0..partners.len()));
                    let payload = Payload::Rumours(rumours.clone());
                    world.tickets.send(&socket, SocketAddr::new(partner, PORT), payload).await;
                }
                guard.wake(now - began);
            }
            let heard: Vec<ObservedNode> = known
                .values()
                .map(|(start, known)| ObservedNode {
                    start: start.clone(),
                    alive: now.saturating_sub(known.seen) < DEAD,
                    heartbeat: known.state.heartbeat,
                    advertised: Ok(known.state.advertised.clone()),
                })
                .collect();
            let before = sender.borrow().clone();
            let (members, _) = view.update(&heard, &own, &before, guard.holds(now - began), now - began);
            if *before != members && sender.send(Arc::new(members)).is_err() {
                return;
            }
        }
    });
    Ok((scripted, members))
}

fn merge(known: &mut BTreeMap<(Arc<str>, u64), (Start, Known)>, rumours: Rumours, own: &Start, now: Duration) {
    for (start, state) in rumours {
        if start == *own {
            continue;
        }
        let entry = known.entry((start.id.clone(), start.generation));
        match entry {
            std::collections::btree_map::Entry::Vacant(entry) => {
                // Its next heartbeat shows whether it is alive.
                entry.insert((start, Known { state, seen: now }));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let (_, old) = entry.get_mut();
                if state.heartbeat > old.state.heartbeat {
                    *old = Known { state, seen: now };
                }
            }
        }
    }
}
